"""The backend that a control plane's settings name. Modules of backends are imported when one is opened."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from controlplane.config import Config
from controlplane.store import Backend

if TYPE_CHECKING:
    from controlplane.store.etcdtls import Credentials

log = logging.getLogger("pinnace.controlplane")


def open_backend(config: Config) -> Backend:
    """Raises Unavailable when the state is in use by another process or a file of etcd's TLS cannot be used,
    sqlitefile.Damaged when the state cannot be trusted."""
    if config.store == "memory":
        from controlplane.store.memory import MemoryBackend

        return MemoryBackend()
    if config.store.startswith("etcd://"):
        from controlplane.store.etcd import EtcdBackend

        return EtcdBackend(config.store.removeprefix("etcd://").split(","), credentials=_etcd_credentials(config))
    return _open_sqlite(config)


def _etcd_credentials(config: Config) -> Credentials | None:
    from controlplane.store import etcdtls

    if not (config.etcd_cafile or config.etcd_certfile):
        return None
    return etcdtls.Credentials(etcdtls.Files(config.etcd_cafile, config.etcd_certfile, config.etcd_keyfile))


def _open_sqlite(config: Config) -> Backend:
    from controlplane.store import sqlitefile
    from controlplane.store.sqlite import SQLiteBackend

    path = config.state_dir / "store.db"
    try:
        # The server's certificate is issued once the store holds objects.
        return SQLiteBackend(path, used=(config.state_dir / "pki/server.crt").exists())
    except sqlitefile.Damaged as error:
        if not config.force_new:
            raise
        log.warning("store_set_aside error=%s", error)
        sqlitefile.set_aside(path)
        return SQLiteBackend(path)
