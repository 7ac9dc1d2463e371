"""The sessions that are open: what each has to send, and which agents were heard."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field

from controlplane import metrics
from controlplane.dispatcher import podtokens
from controlplane.dispatcher.assignment import NodeAssignment
from controlplane.dispatcher.podtokens import Issue
from controlplane.dispatcher.router import Router
from pinnace import protowire
from pinnace.api.v1 import nodes_pb2
from pinnace.errors import ApiError, Unauthenticated

log = logging.getLogger("pinnace.dispatcher")
MAX_OFFERS = 100
# The tag of ControlMessage.assignment, whose length and bytes follow it.
_ASSIGNMENT = nodes_pb2.ControlMessage.ASSIGNMENT_FIELD_NUMBER


@dataclass(slots=True, eq=False)
class AgentSession:
    """One agent's session. `heard` since its lease was last renewed; `expires`: when its certificate does; `issue` makes the
    tokens that its pods come with."""

    node: str
    expires: float
    issue: Issue = podtokens.none
    # Namespaces of the node's static pods, as its agent names them.
    static_namespaces: frozenset[str] = frozenset()
    heard: bool = True
    # Whether the agent has yet to learn that the clock was advanced, and to give a sign of life then.
    to_tell: bool = False
    asked: bool = False
    ended: bool = False
    failure: ApiError | None = None
    assignment: NodeAssignment | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _offers: deque[nodes_pb2.StreamOffer] = field(default_factory=deque)

    def offer(self, offer: nodes_pb2.StreamOffer) -> bool:
        """Send a stream offer before anything else; False when too many wait."""
        if len(self._offers) >= MAX_OFFERS:
            return False
        self._offers.append(offer)
        self.wake.set()
        return True

    def end(self, failure: ApiError | None = None) -> None:
        """End the session once the offers that wait are sent."""
        if not self.ended:
            self.ended, self.failure = True, failure
            self.wake.set()

    def next(self) -> bytes | None:
        """The next message, a serialized ControlMessage; None when there is nothing to send."""
        if self.to_tell:
            self.to_tell = False
            return nodes_pb2.ControlMessage(clock=nodes_pb2.ClockAdvanced()).SerializeToString()
        if self._offers:
            return nodes_pb2.ControlMessage(stream=self._offers.popleft()).SerializeToString()
        found = self.assignment.next() if self.assignment is not None and not self.ended else None
        return protowire.field(_ASSIGNMENT, found) if found is not None else None


class Sessions:
    """At most one session of a node counts: the latest."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._by_node: dict[str, AgentSession] = {}
        self._closing = False

    def open(self, session: AgentSession) -> None:
        """The node's session from now on; one from before ends."""
        earlier = self._by_node.get(session.node)
        self._by_node[session.node] = session
        if earlier is not None:
            earlier.end()
        if self._closing:
            session.end()
        metrics.sessions.set(len(self._by_node))

    def start(self, session: AgentSession) -> None:
        """Begin the complete assignment."""
        session.assignment = self._router.open(
            session.node, session.wake.set, session.issue, static_namespaces=session.static_namespaces
        )

    def name(self, session: AgentSession, static_namespaces: frozenset[str]) -> None:
        """The agent has static pods in these namespaces from now on."""
        if static_namespaces == session.static_namespaces:
            return
        session.static_namespaces = static_namespaces
        log.info("static_pods node=%s namespaces=%s", session.node, ",".join(sorted(static_namespaces)))
        if session.assignment is not None and not session.ended:
            self._router.name(session.assignment, static_namespaces)

    def close(self, session: AgentSession) -> None:
        if session.assignment is not None:
            self._router.close(session.assignment)
        if self._by_node.get(session.node) is session:
            del self._by_node[session.node]
        metrics.sessions.set(len(self._by_node))

    def close_all(self) -> None:
        """End every session, so that a stopping server does not wait for them."""
        self._closing = True
        for session in self._by_node.values():
            session.end()

    def offer(self, node: str, offer: nodes_pb2.StreamOffer) -> bool:
        """False when the node's agent is not connected, or takes no more."""
        session = self._by_node.get(node)
        return session is not None and session.offer(offer)

    def renew(self, node: str) -> None:
        """End a node's session: its agent begins another, with a new welcome."""
        if (session := self._by_node.get(node)) is not None:
            session.end()

    def expire(self, now: float) -> None:
        """End the sessions whose certificate has expired."""
        for session in self._by_node.values():
            if session.expires <= now:
                session.end(Unauthenticated("the certificate of this session has expired"))

    def tell_of_clock(self) -> list[AgentSession]:
        """Tell every agent that the clock was advanced; the sessions that are asked for a sign of life."""
        told = [session for session in self._by_node.values() if not session.ended]
        for session in told:
            session.to_tell = session.asked = True
            session.wake.set()
        return told

    def heard(self, *, everyone: bool = False) -> list[AgentSession]:
        """Sessions whose agent was heard since their lease was renewed, or all."""
        return [session for session in self._by_node.values() if everyone or session.heard]
