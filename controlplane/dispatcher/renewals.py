"""Heartbeats to leases: a few times in each heartbeat interval, the leases of the agents that were heard since.

Whether an agent was heard is a flag on its session, so no clock decides it. When this process itself was late (frozen or
busy), heartbeats wait unread, and every open session counts as heard: its silence is ours.
"""

from __future__ import annotations

import functools
import logging

from controlplane.config import RENEWALS
from controlplane.dispatcher import reports
from controlplane.dispatcher.sessions import AgentSession, Sessions
from controlplane.store import Store, origin
from pinnace import kinds, labclock
from pinnace.clock import Clock

log = logging.getLogger("pinnace.dispatcher")
# Leases in one transaction: each is one read and one write, and etcd takes 128 of either.
MAX_RENEWALS = 100


class Renewals:
    def __init__(self, store: Store, clock: Clock, sessions: Sessions, *, heartbeat: float, grace: float) -> None:
        """`heartbeat` and `grace` in seconds."""
        self._store = store
        # Agents beat in real time.
        self._clock = labclock.steady(clock)
        self._machine = labclock.machine(clock)
        self._sessions = sessions
        self._heartbeat = heartbeat
        self._grace = grace
        # The revision at which a Node was last found Ready: it is read again only when it has another.
        self._ready: dict[str, int] = {}

    async def run(self) -> None:
        """Renew until cancelled."""
        period = self._heartbeat / RENEWALS
        while True:
            due = self._clock.monotonic() + period
            await self._clock.sleep(period)
            self._sessions.expire(self._machine.now())
            late = self._clock.monotonic() - due > self._heartbeat
            try:
                with origin.acting("dispatcher"):
                    await self.renew(self._sessions.heard(everyone=late))
            except Exception:
                log.exception("renewals_failed")

    async def renew(self, heard: list[AgentSession]) -> None:
        """Renew the leases of these nodes. Raises what the store raises."""
        now = self._clock.now()
        lost: list[str] = []
        for start in range(0, len(heard), MAX_RENEWALS):
            part = heard[start : start + MAX_RENEWALS]
            for session in part:
                session.heard = False
            names = [session.node for session in part if self._exists(session.node, lost)]
            try:
                if names:
                    await self._store.update(functools.partial(reports.renew, names=names, now=now, seconds=self._grace))
            except Exception as error:
                log.warning("lease_renewal_failed nodes=%d error=%r", len(names), error)
                for session in part:
                    session.heard = True
        # Together: after an outage all nodes return at once, and the next renewals must not wait for each.
        results = await self._store.update_each(lost, lambda tx, name: reports.recover(tx, name, now=now))
        for name, result in zip(lost, results, strict=True):
            if result is not None:
                log.warning("node_recovery_failed node=%s error=%r", name, result)

    def _exists(self, name: str, lost: list[str]) -> bool:
        """Whether the Node is there; adds it to `lost` when it is not Ready. Outside of a transaction: the next round, or the
        transaction of `recover`, corrects what has changed meanwhile."""
        row = self._store.row(kinds.NODE, kinds.NODE.key("", name))
        if row is None:
            self._ready.pop(name, None)
            return False
        if self._ready.get(name) != row.revision:
            try:
                ready = reports.is_ready(row.message)
            except Exception:
                # Its lease does not depend on it.
                log.exception("node_unreadable node=%s", name)
                return True
            if ready:
                self._ready[name] = row.revision
            else:
                lost.append(name)
        return True
