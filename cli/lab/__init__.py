"""Labs: a cluster of several nodes on this machine, each node a network and a mount namespace with its own agent.

layout     where a lab's files are, and what it is made of
hosts      namespaces as hosts, and the underlay between them
processes  starting, finding and ending what runs in them
lifecycle  up, down, stop and start
"""
