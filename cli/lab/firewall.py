"""nftables of an uplink: one table of ours on this machine for all labs, one in each lab's switch.

Both are written as a whole in one transaction. Other programs' rules are not touched, and removal is one delete.
An `accept` ends this chain only: other tables of this machine still decide (`obstacles`).
"""

from __future__ import annotations

from collections.abc import Sequence

from cli.lab.layout import SUBNET
from cli.lab.links import PREFIX

TABLE = "pinnace-labs"
SWITCH_TABLE = "pinnace-uplink"
_LINKS = f'"{PREFIX}*"'


def host(addresses: Sequence[str], opened: Sequence[str]) -> str:
    """The machine's table. `addresses` are the switches' sides of the links; `opened` the devices that forward because of
    labs: they answer labs, and are otherwise no router's. Only answers have other senders: those of pods, to this machine."""
    return f"""{_fresh(TABLE)}
table ip {TABLE} {{
    set addresses {{ type ipv4_addr; {_elements(addresses)} }}
    set opened {{ type ifname; {_elements([f'"{name}"' for name in opened])} }}
    chain forward {{
        type filter hook forward priority filter - 5; policy accept;
        iifname {_LINKS} oifname {_LINKS} drop
        iifname {_LINKS} ip saddr != @addresses drop
        iifname {_LINKS} ct state invalid drop
        iifname {_LINKS} accept
        oifname {_LINKS} ct state established,related accept
        oifname {_LINKS} drop
        iifname @opened ct state established,related accept
        iifname @opened ct status dnat accept
        iifname @opened drop
    }}
    chain input {{
        type filter hook input priority filter - 5; policy accept;
        iifname {_LINKS} ct state established,related accept
        iifname {_LINKS} ip saddr != @addresses drop
        iifname {_LINKS} ip daddr 127.0.0.0/8 drop
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr @addresses oifname != {_LINKS} masquerade
    }}
}}
"""


def switch(gateway: str, machine: str = "") -> str:
    """The switch's table: nodes get out by its address, nothing comes in, and the gateway serves names only. What comes from
    the address `machine` of the link gets in, as from the gateway, so that every node answers to here."""
    come_in = f'iifname "uplink" ip saddr {machine} accept' if machine else ""
    answer = 'oifname "uplink" ct state established,related accept' if machine else ""
    translate = f'ip saddr {machine} oifname "br0" masquerade' if machine else ""
    return f"""{_fresh(SWITCH_TABLE)}
table ip {SWITCH_TABLE} {{
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "uplink" ct state established,related accept
        {come_in}
        iifname "uplink" drop
        {answer}
        oifname "uplink" ip saddr != {SUBNET}.0/24 drop
        oifname "uplink" ct state invalid drop
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        ct state established,related accept
        iifname "uplink" drop
        iifname "br0" ip daddr {gateway} meta l4proto {{ tcp, udp }} th dport 53 accept
        iifname "br0" icmp type echo-request accept
        iifname "br0" drop
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "uplink" masquerade
        {translate}
    }}
}}
"""


def removal() -> str:
    """Delete the machine's table, whether or not it exists."""
    return _fresh(TABLE)


def _fresh(table: str) -> str:
    # Added first, so that the delete works whether or not it was there.
    return f"table ip {table}\ndelete table ip {table}"


def _elements(items: Sequence[str]) -> str:
    return f"elements = {{ {', '.join(items)} }}" if items else ""
