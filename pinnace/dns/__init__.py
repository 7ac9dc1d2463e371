"""DNS servers' common parts: a lab's forwarder and the nodes' resolver are made of them. asyncio and the standard library only.

messages   the few fields of a message that a server must read before it knows anything else
reporting  exceptions in the log, once in a while
serving    queries over UDP and TCP on bound sockets, with bounds and turns, so that no client starves others
turns      whose query is next, by the processor time that clients have used
upstream   one exchange with another name server
"""
