"""A lab's DNS forwarder: a process of this machine's network that answers on the lab's gateway.

The machine's resolver may be 127.0.0.53 (systemd-resolved), which a lab cannot reach; so queries are passed on from here.
`pinnace.dns` serves them, but for the name of this machine (`machine`). `__main__` is the process: it inherits its listening
sockets and gives up all privileges.
"""
