"""
When to dial again: the schedule of PROTOCOL, section 5.

Twisted's factory does the waiting.  It gives up in silence and forgets a pending
call when it is reset; both are mended here.  How an attempt goes is for whatever
connector drives the factory: `rootstream.transport.dial.DualConnector`, or plain
``reactor.connectTCP``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, IConnector
from twisted.internet.protocol import ReconnectingClientFactory
from twisted.python.failure import Failure

from rootstream.interfaces import IPacketSink, IPath
from rootstream.protocol.constants import (
    RECONNECT_ATTEMPTS,
    RECONNECT_FACTOR,
    RECONNECT_INITIAL,
    RECONNECT_MAXIMUM,
)
from rootstream.transport.tcp import PacketStream

__all__ = ["PeerReconnector"]


class PeerReconnector(ReconnectingClientFactory):
    """
    Retries one peer: ten waits from 0.1 to 30 s, 81.1 s in all, then no more.

    :ivar lastError: why the last attempt failed, or the last connection was lost.
    """

    initialDelay = RECONNECT_INITIAL
    # The base class binds this once, to its own initialDelay.
    delay = RECONNECT_INITIAL
    factor = RECONNECT_FACTOR
    maxDelay = RECONNECT_MAXIMUM  # type: ignore[assignment]  # typed as int
    # The schedule is exact: peers that share a fate do not share a host.
    jitter = 0.0
    noisy = False
    maxRetries: int = RECONNECT_ATTEMPTS  # type: ignore[assignment]  # typed as None

    def __init__(
        self,
        sink: IPacketSink,
        clock: Any,
        attempt: Callable[[int, int, float], None],
        gaveUp: Callable[[], None],
    ) -> None:
        """
        :param clock: an `IReactorTime`.
        :param attempt: called before each wait with the number of the attempt that
            follows it, how many there will be, and the wait in seconds.
        :param gaveUp: called when the last attempt has failed.
        """
        self.clock = clock
        self.lastError: BaseException | None = None
        self._sink = sink
        self._attempt = attempt
        self._gaveUp = gaveUp

    def buildProtocol(self, addr: IAddress | None) -> PacketStream:
        return PacketStream(self._sink)

    def startedConnecting(self, connector: IConnector) -> None:
        # The base class learns of it only when it fails: too late for `stopTrying`.
        self.connector = connector

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._remember(reason)
        super().clientConnectionFailed(connector, reason)

    def clientConnectionLost(self, connector: IConnector, reason: Failure) -> None:
        self._remember(reason)
        super().clientConnectionLost(connector, reason)

    def _remember(self, reason: Failure) -> None:
        # A traceback would keep alive all that the attempt has touched.
        error = reason.value
        self.lastError = None if error is None else error.with_traceback(None)

    def attemptSucceeded(self, path: IPath | None) -> None:
        """
        The peer is authenticated, on ``path`` if an attempt reached it: the schedule
        starts over.
        """
        if self.continueTrying:
            self.resetDelay()

    def retry(self, connector: IConnector | None = None) -> None:
        if not self.continueTrying:
            return
        if self.retries >= self.maxRetries:
            self.stopTrying()
            self._gaveUp()
            return
        wait = self.delay
        super().retry(connector)
        self._attempt(self.retries, self.maxRetries, wait)

    def resetDelay(self) -> None:
        # The base class forgets a pending call, which then dials once too often.
        self._cancelWait()
        super().resetDelay()

    def stopTrying(self) -> None:
        super().stopTrying()
        # Whoever gives a peer up wants its memory back.
        self.connector = None

    def tryNow(self) -> None:
        """
        Something changed (the network, a wake-up, a packet from the peer): start the
        schedule over, and if it was waiting, dial at once.
        """
        if not self.continueTrying:
            return
        waiting = self._cancelWait()
        self.resetDelay()
        if waiting and self.connector is not None:
            self.connector.connect()

    def _cancelWait(self) -> bool:
        # The base class has no public name for its pending call.
        waiting = self._callID
        self._callID = None
        if waiting is None or not waiting.active():
            return False
        waiting.cancel()
        return True
