"""NetworkPolicies on a node: the pods' traffic as policies allow it, in nftables."""
