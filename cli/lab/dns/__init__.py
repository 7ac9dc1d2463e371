"""A lab's DNS forwarder: a process of this machine's network that answers on the lab's gateway.

The machine's resolver may be 127.0.0.53 (systemd-resolved), which a lab cannot reach; so queries are passed on from here.

messages   the few fields of a DNS message that a forwarder needs
upstream   one query to the resolvers of this machine
server     the lab's side: UDP and TCP, bounded
__main__   the process: inherits its listening sockets and gives up all privileges
"""
