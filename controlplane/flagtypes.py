"""Values of the control plane's flags: text to a number or a network in its range, with an error for the user."""

from __future__ import annotations

import argparse
import ipaddress

from controlplane import resources
from controlplane.serviceranges import LONGEST, PortRange, pool_range
from pinnace import formats, pki
from pinnace.ipfamilies import families_of

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


def vni(text: str) -> int:
    """A VXLAN network identifier of 24 bits (RFC 7348), without 0. Raises argparse.ArgumentTypeError."""
    return int(_number(str(count(text)), least=1.0, most=(1 << 24) - 1.0))


def port(text: str) -> int:
    """Raises argparse.ArgumentTypeError."""
    return int(_number(str(count(text)), least=1.0, most=65_535.0))


def megabytes(text: str) -> int:
    """Of a file; 0: none. Raises argparse.ArgumentTypeError."""
    return int(_number(str(count(text)), least=0.0, most=65_536.0, unit=" megabytes"))


def admission_plugins(text: str) -> str:
    """Names with commas between them. Raises argparse.ArgumentTypeError."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if wrong := [name for name in found if name not in resources.OPTIONAL]:
        known = ", ".join(resources.OPTIONAL)
        raise argparse.ArgumentTypeError(f'"{wrong[0]}" is not an optional admission plugin ({known})')
    return ",".join(found)


def host(text: str) -> str:
    """A host name or an address that others can dial, IPv6 with or without brackets. Raises argparse.ArgumentTypeError."""
    bare = text.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        if ":" in bare:
            raise argparse.ArgumentTypeError(f'"{text[:80]}" is neither a host name nor an address') from None
        return bare
    if address.is_unspecified:
        raise argparse.ArgumentTypeError(f"agents cannot connect to {address}: use an address of this host")
    return str(address)


def networks(text: str) -> str:
    """An IPv4 or IPv6 network in CIDR notation, one of each with a comma between them, or nothing. Raises
    argparse.ArgumentTypeError."""
    if not text:
        return ""
    try:
        found = [str(ipaddress.ip_network(item.strip())) for item in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if len(families_of(found)) != len(found):
        raise argparse.ArgumentTypeError("only one range of each IP family is supported: IPv4,IPv6 or IPv6,IPv4")
    return ",".join(found)


def service_addresses(text: str) -> str:
    """The ranges of Services, one of each address family at most. Raises argparse.ArgumentTypeError."""
    found = networks(text)
    if not found:
        raise argparse.ArgumentTypeError("a range is required, such as 10.96.0.0/12")
    for network in map(ipaddress.ip_network, found.split(",")):
        if network.prefixlen > LONGEST[network.version]:
            raise argparse.ArgumentTypeError(f"{network} is too small: at most /{LONGEST[network.version]}")
    return found


def ports(text: str) -> str:
    """A range of ports, as in 30000-32767. Raises argparse.ArgumentTypeError."""
    try:
        return str(PortRange.parse(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def pool(text: str) -> str:
    """CIDRs and ranges of addresses, as in 192.0.2.0/28,192.0.2.32-192.0.2.40, or nothing. Raises ArgumentTypeError."""
    try:
        for item in filter(None, text.split(",")):
            pool_range(item)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return ",".join(item.strip() for item in text.split(",") if item.strip())


def domain(text: str) -> str:
    """A DNS domain without a dot at its end. Raises argparse.ArgumentTypeError."""
    name = text.removesuffix(".")
    for error in formats.dns_subdomain(name):
        raise argparse.ArgumentTypeError(f'"{text[:80]}": {error}')
    return name


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(filter(None, (name.strip() for name in text.split(","))))
