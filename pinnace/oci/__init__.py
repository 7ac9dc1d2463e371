"""Images as documents and bytes, for their readers: the agent from a registry, kctl from an archive.

reference    names them
manifest     indexes, manifests and configs, with their bounds
compression  a layer's bytes to a plain tar
archive      OCI layouts, docker archives and bare root filesystems, as files or folders

Nothing here writes, unpacks or talks to a network.
"""


class BadImage(Exception):
    """Not an image, or not one to trust; the text names the place."""
