"""
A peer that we dial, and dial again when it is gone.

The reconnect factory waits, the dual connector dials, the peer shakes hands; here
they are put together, and told apart when a peer is *impaired* (nothing heard for
a moment: dial at once and quietly, the session may yet go on) and when it is
*lost* (disconnected: the schedule begins, and ends).
"""

from __future__ import annotations

from collections.abc import Callable
from socket import AF_INET6
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConnector, IDelayedCall
from twisted.python.failure import Failure

from rootstream.errors import GaveUp, HandshakeTimeout, LocalError
from rootstream.interfaces import IPacketSink, IPath
from rootstream.networks import NetworkMemory
from rootstream.peer import Peer
from rootstream.protocol.constants import HEAD_START
from rootstream.standby import Standby
from rootstream.transport.dial import DualConnector
from rootstream.transport.netwatch import NetworkChange, watchNetwork
from rootstream.transport.reconnect import PeerReconnector
from rootstream.transport.udp import UDPPort, listenPackets

__all__ = ["DialledPeer"]

#: Seconds between two quick attempts while a peer is impaired: the first wait, after
#: an attempt that failed at once, and what doubling ends at.
REDIAL_FIRST = 0.1
REDIAL_INTERVAL = 1.0


class _Schedule(PeerReconnector):
    """
    The reconnect schedule, with the peer told of each attempt.
    """

    def __init__(self, sink: IPacketSink, clock: Any, owner: DialledPeer) -> None:
        super().__init__(sink, clock, owner.attemptScheduled, owner.gaveUp)
        self._owner = owner

    def startedConnecting(self, connector: IConnector) -> None:
        super().startedConnecting(connector)
        self._owner.attemptStarted(self.retries)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        if self._owner.attemptFailed(reason):
            super().clientConnectionFailed(connector, reason)


class DialledPeer:
    """
    Keeps one peer connected, until it says goodbye or the schedule ends.

    An error of this side (`LocalError`: the name does not resolve, no transport is
    allowed) ends the first attempt for good; later it is one failed attempt of many,
    because a laptop without a network can resolve nothing.
    """

    def __init__(
        self,
        reactor: Any,
        peer: Peer,
        sink: IPacketSink,
        host: str,
        port: int,
        *,
        udp: bool = True,
        tcp: bool = True,
        tlsPort: int | None = None,
        standby: bool = True,
        memory: NetworkMemory | None = None,
    ) -> None:
        self._reactor = reactor
        self._peer = peer
        self._sink = sink
        self._memory = memory
        self._sockets: dict[int, UDPPort] = {}
        self._schedule = _Schedule(sink, reactor, self)
        self._connector = DualConnector(
            reactor,
            host,
            port,
            self._schedule,
            peer,
            sink,
            self._openUDP,
            udp=udp,
            tcp=tcp,
            tlsPort=tlsPort,
            preferred=memory.preferred if memory is not None else lambda: None,
        )
        self._standby: Standby | None = None
        if tcp:
            dial = self._connector.dialStandby
            self._standby = Standby(reactor, peer, dial, warm=standby)
        self._first = True
        self._unwatch: Callable[[], None] | None = None
        self._over = False
        self._impaired = False
        self._redial: Deferred[IPath] | None = None
        self._redialLater: IDelayedCall | None = None
        self._redialWait = REDIAL_FIRST
        peer.redialler = self

    def start(self) -> None:
        """
        Dial, and again whenever the network changes.
        """
        self._unwatch = watchNetwork(self._reactor, self.networkChanged)
        self._connector.connect()

    def _openUDP(self, family: int) -> UDPPort:
        """
        Our one socket for an address family, opened when it is first needed.
        """
        socket = self._sockets.get(family)
        if socket is None:
            interface = "::" if family == AF_INET6 else "0.0.0.0"
            socket = listenPackets(self._reactor, self._sink, 0, interface)
            self._sockets[family] = socket
        return socket

    def networkChanged(self, change: NetworkChange) -> None:
        """
        There may be a way where there was none: attempt at once, schedule reset.
        What was tried on the network before is tried again.
        """
        self._first = False
        self._connector.startOver()
        self._schedule.tryNow()
        self._peer.networkChanged(change)
        if self._standby is not None:
            self._standby.networkChanged()
        if self._impaired:
            self._stopRedialling()
            self._redialWait = REDIAL_FIRST
            self.impaired()

    # --- what the schedule tells ---

    def attemptStarted(self, retries: int) -> None:
        """
        An attempt begins; 0 is one before anything has failed, or since the network
        has changed.
        """
        cause = f"attempt {retries} of {self._schedule.maxRetries}"
        if not retries:
            cause = "first attempt" if self._first else "the network changed"
        self._peer.dialled(cause)

    def attemptFailed(self, reason: Failure) -> bool:
        """
        An attempt failed.  Returns whether there may be another.
        """
        if self._over:
            # Not failed, but ended by us.
            return False
        error = reason.value
        self._peer.attemptFailed(str(error))
        first, self._first = self._first, False
        if first and isinstance(error, LocalError):
            self._peer.gaveUp(error)
            return False
        return True

    def attemptScheduled(self, attempt: int, of: int, wait: float) -> None:
        """
        The next attempt comes after ``wait`` seconds.
        """
        self._peer.attemptScheduled(attempt, of, wait)

    def gaveUp(self) -> None:
        """
        All attempts have failed.
        """
        last = self._schedule.lastError
        self._peer.gaveUp(
            GaveUp(f"gave up after {self._schedule.maxRetries} attempts: {last}")
        )

    # --- what the peer tells ---

    def suspect(self) -> None:
        if self._standby is not None:
            self._standby.needed()

    def pathsChanged(self) -> None:
        path = self._peer.status().path
        if self._memory is not None and path is not None:
            self._memory.worked(path.transport)
        if self._standby is not None:
            self._standby.pathsChanged()

    def pathLost(self, path: IPath) -> None:
        if self._standby is not None:
            self._standby.lost(path)

    def impaired(self) -> None:
        self._impaired = True
        self.suspect()
        if self._standby is None or self._peer.status().path is not None:
            self._redialNow()
        elif self._redial is None:
            # A new connection carries the session that there is sooner than a
            # handshake makes another.
            self._redialLater = self._reactor.callLater(HEAD_START, self._redialNow)

    def recovered(self) -> None:
        self._first = False
        self._impaired = False
        self._redialWait = REDIAL_FIRST
        self._stopRedialling()
        self._connector.reached()
        self.pathsChanged()

    def lost(self, cause: str) -> None:
        self._impaired = False
        self._stopRedialling()
        self._connector.lost(Failure(HandshakeTimeout(cause)))

    def over(self) -> None:
        self._over = True
        self._impaired = False
        if self._unwatch is not None:
            self._unwatch()
        self._stopRedialling()
        if self._standby is not None:
            self._standby.stop()
        self._schedule.stopTrying()
        self._connector.disconnect()
        for socket in self._sockets.values():
            socket.stopListening()
        self._sockets.clear()

    # --- quick attempts ---

    def _redialNow(self) -> None:
        self._redialLater = None
        if self._redial is None:
            redial = self._redial = self._connector.dialOnce()
            # After it is set: it may have failed already.
            redial.addCallbacks(self._redialled, self._redialFailed)

    def _redialled(self, path: IPath) -> None:
        self._redial = None

    def _redialFailed(self, reason: Failure) -> None:
        self._redial = None
        if self._impaired and not reason.check(CancelledError):
            self._redialLater = self._reactor.callLater(
                self._redialWait, self._redialNow
            )
            self._redialWait = min(2 * self._redialWait, REDIAL_INTERVAL)

    def _stopRedialling(self) -> None:
        if self._redialLater is not None:
            self._redialLater.cancel()
            self._redialLater = None
        redial, self._redial = self._redial, None
        if redial is not None:
            redial.cancel()
