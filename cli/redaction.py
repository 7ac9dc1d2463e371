"""A configuration as it may be shown: kubectl's two placeholders in the place of every secret.

Source: clientcmd's ShortenConfig and RedactSecrets. Beyond those, what an exec plugin gets in its environment and arguments,
and what an auth provider keeps, are secrets too.
"""

from __future__ import annotations

import re
from typing import Any

OMITTED, REDACTED = "DATA+OMITTED", "REDACTED"
# tokenFile and password-file name files, and are shown.
_SECRET = re.compile(r"(token|password|passwd|secret|api-?key|bearer|private-?key)s?\Z", re.IGNORECASE)
# Of a URL, such as a proxy's.
_USER_INFO = re.compile(r"(\w+://)[^/@\s]*:[^/@\s]*@")
_PROVIDER_PUBLIC = ("client-id", "idp-issuer-url", "expiry", "cmd-path", "cmd-args", "scopes")


def redacted(value: Any) -> Any:
    """A copy; keys stay, secret values do not, at any depth."""
    if isinstance(value, list):
        return [redacted(item) for item in value]
    if isinstance(value, str):
        return _USER_INFO.sub(rf"\g<1>{REDACTED}@", value)
    if not isinstance(value, dict):
        return value
    return {key: _field(str(key), item) for key, item in value.items()}


def _field(key: str, value: Any) -> Any:
    if value in (None, "", [], {}):
        return value
    if key.endswith("-data"):
        return OMITTED
    if _SECRET.search(key):
        return REDACTED
    if key == "exec" and isinstance(value, dict):
        return _exec(value)
    if key == "auth-provider" and isinstance(value, dict):
        config = value.get("config")
        kept = {k: v if k in _PROVIDER_PUBLIC else REDACTED for k, v in config.items()} if isinstance(config, dict) else config
        return {**value, "config": kept} if "config" in value else value
    return redacted(value)


def _exec(value: dict[str, Any]) -> dict[str, Any]:
    """The names of variables stay; every argument after the first word may be a secret."""
    out = redacted(value)
    if value.get("args"):
        out["args"] = [REDACTED]
    if isinstance(value.get("env"), list):
        out["env"] = [
            {**item, "value": REDACTED} if isinstance(item, dict) and "value" in item else item for item in out["env"]
        ]
    return dict(out)
