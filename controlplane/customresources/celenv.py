"""Environments of CEL: the library's with Kubernetes' functions, and how an expression is compiled in one.

The library is imported with the first rule.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from controlplane.customresources import celfunctions

OLD = "__old"
# Where an error is: in a text that is more than the rule.
_POSITION = re.compile(r"ERROR: <input>:-?\d+:-?\d+: ")
# The names that `celsyntax` gives to functions of other names.
_OURS = re.compile(r"\b_(indexOf|lastIndexOf|validate|named)\b")


class Unsupported(Exception):
    """A rule that does not compile; the text says why."""


def environment(pool: Any, variables: dict[str, Any]) -> Any:
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_bindings, ext_math, ext_optional, ext_strings

    extensions = [ext_strings.ExtStrings(), ext_math.ExtMath(), ext_optional.ExtOptional(), ext_bindings.ExtBindings()]
    return cel.NewEnv(pool, variables=variables, extensions=extensions, functions=celfunctions.declarations())


@cache
def dynamic() -> Any:
    """The environment of evaluation: values are JSON, their types were checked with the definition."""
    from cel_expr_python import cel

    return environment(None, {"self": cel.Type.DYN, "oldSelf": cel.Type.DYN, OLD: cel.Type.List(cel.Type.DYN)})


def bound(name: str, value: str, source: str) -> str:
    """An expression with a variable. The line break ends a comment."""
    return f"cel.bind({name}, {value}, {source}\n)"


def with_old(source: str) -> str:
    """The library takes no optional value from outside: it is made of a list of at most one."""
    return bound("oldSelf", f"{OLD}[?0]", source)


def compiled(env: Any, source: str) -> Any:
    """Raises Unsupported with the library's reason, in one line."""
    try:
        return env.compile(source)
    except (RuntimeError, ValueError, UnicodeEncodeError) as error:
        first = str(error).split("\n")[0].removeprefix("INVALID_ARGUMENT: ")
        raise Unsupported(_OURS.sub(r"\1", _POSITION.sub("", first))[:1000]) from None
