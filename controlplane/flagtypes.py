"""Values of the control plane's flags: text to a number or a network in its range, with an error for the user."""

from __future__ import annotations

import argparse
import ipaddress

from pinnace import pki

# Seconds. A certificate that lives shorter is renewed all the time.
MIN_LIFETIME = 5.0


def rate(text: str) -> float:
    """Events a second."""
    return _number(text, least=0.0, most=1000.0)


def share(text: str) -> float:
    """From 0 to 1."""
    return _number(text, least=0.0, most=1.0)


def lifetime(text: str) -> float:
    """Of a certificate, in seconds."""
    return _number(text, least=MIN_LIFETIME, most=pki.CA_LIFETIME, unit=" seconds")


def window(text: str) -> float:
    """In seconds; 0: none."""
    return _number(text, least=0.0, most=pki.CA_LIFETIME, unit=" seconds")


def period(text: str) -> float:
    """Between two runs of the same, in seconds."""
    return _number(text, least=1.0, most=pki.DAY, unit=" seconds")


def ratio(text: str) -> float:
    """A distance relative to a wanted value."""
    return _number(text, least=0.0, most=100.0)


def _number(text: str, *, least: float, most: float, unit: str = "") -> float:
    """Raises argparse.ArgumentTypeError, also for what is no number or not finite."""
    try:
        found = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number{unit and " of" + unit}') from None
    if not least <= found <= most:
        raise argparse.ArgumentTypeError(f"must be from {least:.0f} to {most:.0f}{unit}, not {text}")
    return found


def count(text: str) -> int:
    """Raises argparse.ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number from 0 to 999999999')
    return int(text)


def megabytes(text: str) -> int:
    """Of a file; 0: none. Raises argparse.ArgumentTypeError."""
    return int(_number(str(count(text)), least=0.0, most=65_536.0, unit=" megabytes"))


def network(text: str) -> str:
    """An IPv4 network in CIDR notation, or nothing. Raises argparse.ArgumentTypeError."""
    if not text:
        return ""
    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if found.version != 4:
        raise argparse.ArgumentTypeError("only IPv4 ranges are supported")
    return str(found)


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(filter(None, (name.strip() for name in text.split(","))))
