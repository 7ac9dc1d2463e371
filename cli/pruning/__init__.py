"""`kctl apply --prune`: objects that were applied before and are in no file any more are deleted.

By an ApplySet (`applyset`), whose parent object knows of which kinds and in which namespaces members are; or by labels
(`allowlist`), in the namespaces that are applied to and of a list of kinds.
"""
