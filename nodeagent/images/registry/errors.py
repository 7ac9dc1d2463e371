"""How a registry fails: the class says whether to try again."""


class RegistryError(Exception):
    """Not to be tried again at once: the registry, or what it sent, is at fault."""


class Transient(RegistryError):
    """May go well the next time: the network, an overloaded server, a transfer that broke off."""


class Unreachable(Transient):
    """No connection at all."""


class Denied(RegistryError):
    """The registry wants credentials, or others."""


class Missing(RegistryError):
    """The registry does not have it."""


class Aborted(Exception):
    """The requester has gone."""
