"""The node's DNS resolver: a process of its own that answers names of the cluster, and passes on all others.

    agent (network/resolver.py) ──(socket: Services, EndpointSlices, settings)──► control ──► index
    pods ── UDP, TCP on the cluster DNS address ──► pinnace.dns.serving ──► answers ──► zone      names of the cluster
                                                                                   └──► forwarding ──► other name servers

records      what the agent sends: plain values
index        names to records, changed by one object at a time
zone         a question about the cluster to the records that answer it; pure
wire         messages in bytes; `reading` and `writing` are its parts for records, by dnspython
answers      queries to responses, with the responses of late as bytes
forwarding   other names: stub domains, the node's name servers, a cache
loops        name servers that pass queries back to the resolver
process      sockets, privileges, the loop

It outlives the agent, has no privilege once it serves, and imports neither gRPC nor protobuf nor anything else of the agent.
"""
