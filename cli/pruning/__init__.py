"""`kctl apply --prune`: what was applied before and is in no file any more is deleted.

By an ApplySet (`applyset`), whose parent object knows of which kinds and in which namespaces members are; or by labels
(`allowlist`), in the namespaces that are applied to and of a list of kinds.
"""
