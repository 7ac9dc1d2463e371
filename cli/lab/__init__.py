"""Labs: a cluster of several nodes on this machine, each node a network and a mount namespace with its own agent.

layout     where a lab's files are, and its record
naming     which lab is meant
hosts      namespaces as hosts, and the underlay between them
cgroups    of the nodes
processes  starting, finding and ending what runs in the hosts
lifecycle  up and start; waiting, and removal: stop and down
nodes      one node added, stopped, started, removed; images: what a new one gets from the others

uplink     the way out: links (addresses), firewall (nftables), forwarding (sysctls), resolvconf and dns (names), proxies
obstacles  other firewalls of this machine that are in its way
"""
