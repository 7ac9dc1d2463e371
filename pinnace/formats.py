"""Syntaxes of names, keys, ports, paths and addresses. A check returns what is wrong, in Kubernetes' words; [] if nothing.

Pure functions of one value; rules between fields are in `pinnace.admission`.
Source: apimachinery's util/validation and api/validate/content, and core/v1's path checks.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from functools import lru_cache

Check = Callable[[str], list[str]]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_UNDERSCORED = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_PLAIN_ENV = "[-._a-zA-Z][-._a-zA-Z0-9]*"
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_HEADER = "[-A-Za-z0-9]+"
_SYSCTL = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_SUBDOMAIN_UNDERSCORED = rf"{_UNDERSCORED}(\.{_UNDERSCORED})*"
MAX_LABEL, MAX_SUBDOMAIN, MAX_PORT_NAME = 63, 253, 15
# Nothing longer is a name; it is refused unread, as the cost of a match grows with the text.
MAX_MATCHED = 4096
INT64 = range(-(1 << 63), 1 << 63)
_ALPHANUMERIC = "must start and end with an alphanumeric character"
_DOTTED = f"must consist of alphanumeric characters, '-', '_' or '.', and {_ALPHANUMERIC}"


def in_range(low: int, high: int) -> str:
    """Wording of a range."""
    return f"must be between {low} and {high}, inclusive"


def _longest(length: int, unit: str = "characters") -> str:
    """`unit`: bytes for labels, as apimachinery's api/validate/content has it, characters elsewhere (util/validation)."""
    return f"must be no more than {length} {unit}"


def _syntax(message: str, pattern: str, *examples: str) -> str:
    listed = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {listed}regex used for validation is '{pattern}')"


def _matches(pattern: str, text: str) -> bool:
    if len(text) <= MAX_LABEL:
        return _short_matches(pattern, text)
    return len(text) <= MAX_MATCHED and re.fullmatch(pattern, text, re.ASCII) is not None


@lru_cache(maxsize=4096)
def _short_matches(pattern: str, text: str) -> bool:
    """The same names and keys come again and again; only short ones are kept."""
    return re.fullmatch(pattern, text, re.ASCII) is not None


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def dns_label(text: str) -> list[str]:
    """RFC 1123 label."""
    errors = [_longest(MAX_LABEL)] if len(text) > MAX_LABEL else []
    if not _matches(_LABEL, text):
        words = f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and {_ALPHANUMERIC}"
        dots = _matches(_SUBDOMAIN, text)
        errors.append("must not contain dots" if dots else _syntax(words, _LABEL, "my-name", "123-abc"))
    return errors


def dns_subdomain(text: str) -> list[str]:
    """RFC 1123 subdomain, the syntax of most names."""
    return _domain(text, _SUBDOMAIN, "'-' or '.'")


def wildcard_subdomain(text: str) -> list[str]:
    """A subdomain whose first label is an asterisk, as hosts of Ingresses have it."""
    errors = [_longest(MAX_SUBDOMAIN)] if len(text) > MAX_SUBDOMAIN else []
    if not _matches(_WILDCARD, text):
        words = (
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
            "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
        )
        errors.append(_syntax(words, _WILDCARD, "*.example.com"))
    return errors


def search_domain(text: str) -> list[str]:
    """A subdomain in which a label may have underscores, as the names of services in DNS do."""
    return _domain(text, _SUBDOMAIN_UNDERSCORED, "'_', '-' or '.'")


def _domain(text: str, pattern: str, characters: str, *, unit: str = "characters") -> list[str]:
    errors = [_longest(MAX_SUBDOMAIN, unit)] if len(text) > MAX_SUBDOMAIN else []
    if not _matches(pattern, text):
        words = f"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, {characters}"
        errors.append(_syntax(f"{words}, and {_ALPHANUMERIC}", pattern, "example.com"))
    return errors


def prefix_of(check: Check) -> Check:
    """The check for a text that something will be appended to: it may end with a dash."""
    return lambda text: check(text[:-2] + "a" if len(text) > 1 and text.endswith("-") else text)


def path_segment(text: str) -> list[str]:
    """A name that can be a part of a URL's path, such as a role's."""
    errors = [f"may not be '{text}'"] if text in (".", "..") else []
    errors += [f"may not contain '{character}'" for character in "/%" if character in text]
    # A bound of ours: the store's keys have one.
    return errors + ([_longest(MAX_SUBDOMAIN)] if len(text) > MAX_SUBDOMAIN else [])


def qualified_name(text: str) -> list[str]:
    """A label's key: `name` or `domain/name`."""
    if len(text) <= MAX_LABEL and _short_matches(_NAME, text):
        return []
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        words = _syntax(f"a valid label key {_DOTTED}", _NAME, "MyName", "my.name", "123-abc")
        return [f"{words} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    errors = []
    if slash and not prefix:
        errors.append("prefix part must be non-empty")
    elif slash:
        errors += [f"prefix part {error}" for error in _domain(prefix, _SUBDOMAIN, "'-' or '.'", unit="bytes")]
    if not name:
        errors.append("name part must be non-empty")
    elif len(name) > MAX_LABEL:
        errors.append(f"name part {_longest(MAX_LABEL, 'bytes')}")
    if not _matches(_NAME, name):
        errors.append(f"name part {_syntax(_DOTTED, _NAME, 'MyName', 'my.name', '123-abc')}")
    return errors


def label_value(text: str) -> list[str]:
    """A label's value."""
    errors = [_longest(MAX_LABEL, "bytes")] if len(text) > MAX_LABEL else []
    if not _matches(f"({_NAME})?", text):
        words = f"a valid label must be an empty string or {_DOTTED.removeprefix('must ')}"
        errors.append(_syntax(words, f"({_NAME})?", "MyValue", "my_value", "12345"))
    return errors


def port_name(text: str) -> list[str]:
    """IANA service name."""
    errors = [_longest(MAX_PORT_NAME)] if len(text) > MAX_PORT_NAME else []
    if not _matches("[-a-z0-9]+", text):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", text):
        errors.append("must contain at least one letter (a-z)")
    if "--" in text:
        errors.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def port_number(number: int) -> list[str]:
    """A TCP or UDP port."""
    return [] if 1 <= number <= 65535 else [in_range(1, 65535)]


def env_name(text: str) -> list[str]:
    """A name or a prefix of environment variables."""
    errors = [] if text else ["environment variable name must be non-empty"]
    if not text.isascii() or not text.isprintable() or "=" in text:
        errors.append("a valid environment variable name must consist only of printable ASCII characters other than '='")
    return errors


def plain_env_name(text: str) -> list[str]:
    """A name of an environment variable as kubectl takes it on command lines and in files."""
    errors = []
    if not _matches(_PLAIN_ENV, text):
        words = (
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not"
        )
        errors.append(_syntax(f"{words} start with a digit", _PLAIN_ENV, "my.env-name", "MY_ENV.NAME", "MyEnvName1"))
    if text in (".", ".."):
        errors.append(f"must not be '{text}'")
    elif text.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def config_key(text: str) -> list[str]:
    """A key of a ConfigMap or a Secret, which becomes a file name."""
    errors = [_longest(MAX_SUBDOMAIN)] if len(text) > MAX_SUBDOMAIN else []
    if not _matches(_CONFIG_KEY, text):
        words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        errors.append(_syntax(words, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    if text in (".", ".."):
        errors.append(f"must not be '{text}'")
    elif text.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def http_header(text: str) -> list[str]:
    """The name of an HTTP header."""
    words = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [] if _matches(_HEADER, text) else [_syntax(words, _HEADER, "X-Header-Name")]


def http_path(text: str) -> list[str]:
    """The path of a URL, in the characters that RFC 3986 allows."""
    return [] if _matches(_HTTP_PATH, text) else [f"Invalid path (regex used for validation is '{_HTTP_PATH}')"]


def sysctl(text: str) -> list[str]:
    """A kernel parameter, its parts joined by dots or slashes."""
    fine = len(text) <= MAX_SUBDOMAIN and _matches(_SYSCTL, text)
    return [] if fine else [f"must have at most {MAX_SUBDOMAIN} characters and match regex ^{_SYSCTL}$"]


def decimal(text: str) -> list[str]:
    """A whole number as people write it: no plus sign, no leading zeros, within 64 bits."""
    if not text:
        return ["must be non-empty"]
    if not re.fullmatch("0|-?[1-9][0-9]*", text, re.ASCII):
        return ["must be a valid decimal integer in canonical form"]
    # Compared by length first: parsing a long text takes time that grows with its square.
    return [] if len(text) <= 20 and int(text) in INT64 else ["value out of range"]


def ip(text: str) -> list[str]:
    """An IPv4 or IPv6 address that every program reads in the same way."""
    if _is_ipv4(text):
        return []
    bad = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
    if _matches(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", text):
        leading = any(len(part) > 1 and part[0] == "0" for part in text.split("."))
        return ["must not have leading 0s" if leading else bad]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return [bad]
    if "%" in text:
        return [bad]
    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    return ["must not be an IPv4-mapped IPv6 address"] if mapped else []


def is_address(text: str) -> bool:
    """Whether Kubernetes takes a text for an IP address, in whichever form."""
    return not ip(text) or ip(text) != ip("")


def _is_ipv4(text: str) -> bool:
    """Four numbers up to 255 without leading zeros. In C: statuses of pods bring new addresses all the time."""
    try:
        socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def cidr(text: str) -> list[str]:
    """A range of addresses, such as 10.244.1.0/24."""
    address, slash, length = text.partition("/")
    bad = ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
    if not slash or ip(address) or not _matches("0|[1-9][0-9]{0,2}", length):
        return bad
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return bad
    return []


def network(text: str) -> list[str]:
    """A range of addresses whose address has no bits beyond its prefix length."""
    address, slash, length = text.partition("/")
    bad = ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
    zeros = ip(address) == ["must not have leading 0s"] or _matches("0[0-9]+", length)
    if slash and zeros and _matches("[0-9]{1,8}", length):
        return ["must not have leading 0s in IP or prefix length"]
    if slash and ip(address) == ["must not be an IPv4-mapped IPv6 address"]:
        return ["must not have an IPv4-mapped IPv6 address"]
    if cidr(text):
        return bad
    own = ipaddress.ip_interface(text)
    return [] if own.ip == own.network.network_address else ["must not have bits set beyond the prefix length"]


def usual_network(text: str) -> str:
    """A range of addresses that is one, as RFC 5952 writes it."""
    return str(ipaddress.ip_network(text))


def usual_ip(text: str) -> str:
    """An address as RFC 5952 writes it; any other text as it is."""
    return text if ip(text) else str(ipaddress.ip_address(text))


def no_backsteps(text: str) -> list[str]:
    """A path, absolute or not, without `..` among its parts."""
    if "\0" in text:
        return ["must not contain a NUL byte"]
    return ["must not contain '..'"] if ".." in text.split("/") else []


def descending_path(text: str) -> list[str]:
    """A path that stays below where it starts."""
    return [*(["must be a relative path"] if text.startswith("/") else []), *no_backsteps(text)]


def local_path(text: str) -> list[str]:
    """The path of a file in a volume; names that begin with two dots are the atomic writer's own."""
    errors = descending_path(text)
    if text.startswith("..") and not text.startswith("../") and not errors:
        errors.append("must not start with '..'")
    if not _parts(text):
        errors.append("must name a file")
    return errors


def mount_path(text: str) -> list[str]:
    """Where a volume appears in a container; a path that is not absolute is one below /."""
    if "\0" in text:
        return ["must not contain a NUL byte"]
    if ".." in text.split("/"):
        return ["must not contain '..'"]
    return [] if _parts(text) else ["must not be '/', which would hide the container's root"]


def absolute_path(text: str) -> list[str]:
    """A path from the root, as runtimes want for a working directory."""
    return [] if text.startswith("/") and "\0" not in text else ["must be an absolute path"]


def file_mode(mode: int) -> list[str]:
    """Permission bits of a file."""
    return [] if 0 <= mode <= 0o777 else ["must be a number between 0 and 0777 (octal), both inclusive"]


# By the names that field options give them.
TEXTS: dict[str, Check] = {
    "dns-label": dns_label, "dns-subdomain": dns_subdomain, "qualified-name": qualified_name,
    "label-value": label_value, "port-name": port_name, "env-name": env_name, "config-key": config_key,
    "http-header": http_header, "ip": ip, "cidr": cidr, "host-path": no_backsteps, "absolute-path": absolute_path,
    "descending-path": descending_path, "local-path": local_path, "mount-path": mount_path, "sysctl": sysctl,
    "path-segment": path_segment,
}  # fmt: skip
NUMBERS: dict[str, Callable[[int], list[str]]] = {"file-mode": file_mode, "port": port_number}
