"""Who talks to the control plane, and what they may do: certificates, joining, identities, authorization.

identity        a user with groups, as a certificate names it
certificates    CA, server's and administrator's certificates, renewed while the process runs
joining         from a join token to a node, and from an old certificate of a node to a new one (pages of the HTTPS port)
nodeidentity    which certificates of a node are valid
authenticator   every call: is its certificate still good? An open call of a node that is removed ends
attributes      what an authorizer sees of a request, and the text of its refusal
authorizer      the interface of authorizers; system:masters; several together (`authorizers` has those of a control plane)
nodes           what a node may read: what its pods name
rbac            what bindings and roles in the store allow (`rules` compares, `tablecache` keeps roles as tables)
escalation      the admission plugin that keeps users from granting more than they have
defaultroles    the roles and bindings of every cluster, which `bootstraproles` writes
"""
