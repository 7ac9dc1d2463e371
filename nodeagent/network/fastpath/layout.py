"""The records that the fast path's programs and the agent share, and how packets are marked. Pure.

Numbers are in the machine's byte order, which is little-endian on every architecture that Pinnace runs on; what is copied from
packets is in theirs.
"""

from __future__ import annotations

import socket
import struct

# A bit of a packet's mark between the rule that sets it and the device's program, which clears it. None that kube-proxy, Calico
# or Tailscale use, and none of `services.skeleton` and `guard`.
MARK = 0x1000
# Seconds that a flow counts: then a packet has to take the slow path, where rules see it and connection tracking too, whose
# shortest timeout of such connections is 30 s.
MAX_AGE = 5
FLOWS = 16384
# Pods of a node with addresses of both families.
PORTS = 4096

# The key of a flow: device that its packets arrive at, protocol, IP family, both ports, source, destination. IPv4 addresses
# have zeros behind them.
KEY = struct.Struct("=IBBxx4s4x16s16s")
DEVICE, PROTOCOL, FAMILY, L4_PORTS, SOURCE, TARGET = 0, 4, 5, 8, 16, 32
# A flow begins with its key. Then: device that it leaves by, priority of its packets, nanoseconds of when it was learnt,
# generation, and the Ethernet header that its packets get.
FLOW = struct.Struct("=48sIIQI6x14s")
OUT, PRIORITY, LEARNT, GENERATION, ETHERNET = 48, 52, 56, 64, 74

# Generation; indexes of the VXLAN device and the bridge; bytes of the longest frame.
CONFIG = struct.Struct("=IIII")
CONFIG_GENERATION, CONFIG_VXLAN, CONFIG_BRIDGE, CONFIG_LIMIT = 0, 4, 8, 12

# Counters of packets; a packet that the kernel has not divided into segments yet counts once.
RESULTS = ("forwarded", "learned", "passed")
FORWARDED, LEARNED, PASSED = range(3)


def packed(address: str) -> bytes:
    """An IP address as in a key."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address).ljust(16, b"\0")
