"""
Dialling: UDP first, then TCP, and the first to carry a handshake wins.

One rule serves at each level: start the first way; start the next when some time
has passed, or at once when all before it have failed; keep the earlier ones
going; the first to succeed ends the others.  Applied to the addresses of a host it
is happy eyeballs (RFC 8305), applied to the two transports it is the head start of
UDP over TCP.

Waiting for UDP to fail before TCP begins was the alternative.  A network that
swallows UDP never says so: that costs the whole handshake timeout, where a head
start costs 300 ms.

Who is at the other end is for the `IHandshaker` to find out.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    FailureGroup,
    fail,
    maybeDeferred,
)
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    NotConnectingError,
    UserError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IAddress, IConnector, IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from rootstream.errors import HandshakeTimeout, LocalError, NoTransport
from rootstream.interfaces import IPacketSink, IPath, Transport
from rootstream.protocol.constants import (
    DIAL_TIMEOUT,
    HEAD_START,
    TCP_CONNECT_TIMEOUT,
)
from rootstream.transport.reconnect import PeerReconnector
from rootstream.transport.resolve import Candidate, LookUp, lookUpInThread, resolve
from rootstream.transport.tcp import PacketClientFactory, PacketStream

__all__ = ["DualConnector", "IHandshaker", "firstOf"]

#: Seconds between two addresses of one host (RFC 8305, section 8).
ADDRESS_INTERVAL = 0.25


class IHandshaker(Protocol):
    """
    Finds out whether the peer answers on a path.
    """

    def handshake(self, path: IPath) -> Deferred[None]:
        """
        Send INITs on ``path`` until the session is confirmed there.  Cancelling
        stops sending on that path.
        """


class IDatagramPort(Protocol):
    """
    A UDP socket: `rootstream.transport.udp.UDPPort`, or a double.
    """

    def pathTo(self, address: tuple[str, int]) -> IPath:
        """
        The path to an IP address and port.
        """


def firstOf(
    clock: IReactorTime, interval: float, ways: Sequence[Callable[[], Deferred[IPath]]]
) -> Deferred[IPath]:
    """
    The path of the first way that succeeds; the others are cancelled.

    :param interval: seconds from the start of one way to the start of the next.  A
        failure starts the next at once.
    :return: fails with `FailureGroup`, in the order of ``ways``.
    """
    race = _Race(clock, interval, ways)
    race.startNext()
    return race.first


class _Race:
    """
    The state of one `firstOf`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        interval: float,
        ways: Sequence[Callable[[], Deferred[IPath]]],
    ) -> None:
        self._clock = clock
        self._interval = interval
        self._ways = ways
        self._started: list[Deferred[IPath]] = []
        self._failures: dict[int, Failure] = {}
        self._timer: IDelayedCall | None = None
        self._over = False
        self.first: Deferred[IPath] = Deferred(lambda _: self._end())

    def startNext(self) -> None:
        number = len(self._started)
        self._timer = None
        if number + 1 < len(self._ways):
            self._timer = self._clock.callLater(self._interval, self.startNext)
        way = maybeDeferred(self._ways[number])
        self._started.append(way)
        way.addCallbacks(self._succeeded, self._failed, errbackArgs=(number,))
        if self._over:
            # By what the start itself brought about.
            way.cancel()

    def _succeeded(self, path: IPath) -> None:
        if self._over:
            # Too late by a moment.
            path.close()
            return
        self._end()
        self.first.callback(path)

    def _failed(self, reason: Failure, number: int) -> None:
        self._failures[number] = reason
        if self._over:
            return
        if len(self._failures) == len(self._ways):
            self._end()
            failures = [self._failures[number] for number in sorted(self._failures)]
            self.first.errback(FailureGroup(failures))
        elif self._timer is not None:
            self._timer.cancel()
            self.startNext()

    def _end(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for way in self._started:
            way.cancel()


@implementer(IConnector)
class DualConnector:
    """
    Connects one peer, over whichever of UDP and TCP reaches it.

    Drives a `PeerReconnector` as ``reactor.connectTCP``'s connector would; what it
    calls connected is a confirmed handshake, not a socket.
    """

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        factory: PeerReconnector,
        handshaker: IHandshaker,
        sink: IPacketSink,
        openUDP: Callable[[int], IDatagramPort],
        *,
        udp: bool = True,
        tcp: bool = True,
        preferred: Callable[[], Transport | None] = lambda: None,
        lookUp: LookUp = lookUpInThread,
    ) -> None:
        """
        :param sink: gets the packets of TCP connections.
        :param openUDP: our UDP socket for an address family; its own sink gets the
            packets.  May raise `LocalError`.
        :param preferred: asked at each attempt: what is likely to carry, if anything
            is known.  That is dialled at once, besides UDP.
        """
        self._reactor = reactor
        self._host = host
        self._port = port
        self._factory = factory
        self._handshaker = handshaker
        self._sink = sink
        self._openUDP = openUDP
        self._udp = udp
        self._tcp = tcp
        self._preferred = preferred
        self._lookUp = lookUp
        self._state = "disconnected"
        self._factoryStarted = False
        self._attempt: Deferred[IPath] | None = None
        self._path: IPath | None = None

    def connect(self) -> None:
        if self._state != "disconnected":
            raise RuntimeError(f"cannot connect while {self._state}")
        self._state = "connecting"
        if not self._factoryStarted:
            self._factory.doStart()
            self._factoryStarted = True
        self._factory.startedConnecting(self)
        if self._state != "connecting":
            # By whatever the factory told of it.
            return
        self._begin()

    def _begin(self) -> None:
        attempt = self.dialOnce()
        if self._state == "connecting":
            self._attempt = attempt
            attempt.addCallbacks(self._connected, self._failed)
        else:
            # By what the dialling itself brought about.
            attempt.addBoth(lambda _: None)
            attempt.cancel()

    def startOver(self) -> None:
        """
        Begin the attempt anew, if there is one: its connections and addresses were
        of another network.  It counts as the same attempt.
        """
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            # What is cancelled now has not failed.
            self._state = "disconnected"
            attempt.cancel()
            self._state = "connecting"
            self._begin()

    def stopConnecting(self) -> None:
        if self._state != "connecting":
            raise NotConnectingError("not trying to connect")
        if self._attempt is None:
            # Still inside `connect`.
            self._failed(Failure(CancelledError()))
        else:
            self._attempt.cancel()

    def disconnect(self) -> None:
        if self._state == "connecting":
            self.stopConnecting()
        elif self._state == "connected":
            if self._path is not None:
                self._path.close()
            self.lost(Failure(ConnectionDone()))

    def getDestination(self) -> IAddress:
        if isIPAddress(self._host):
            return IPv4Address("TCP", self._host, self._port)
        if isIPv6Address(self._host):
            return IPv6Address("TCP", self._host, self._port)
        return HostnameAddress(self._host.encode("utf-8"), self._port)

    def reached(self) -> None:
        """
        The peer is connected by no attempt of ours: it was heard again, or dialled
        us.  Ends the attempt or the wait that there is.
        """
        if self._state == "connected":
            return
        attempt, self._attempt = self._attempt, None
        self._state = "connected"
        if attempt is not None:
            attempt.cancel()
        self._factory.attemptSucceeded(self._path)

    def lost(self, reason: Failure) -> None:
        """
        The peer is not reached any more on any path: the schedule begins.  Does
        nothing when it was not connected.
        """
        if self._state != "connected":
            return
        self._path = None
        self._state = "disconnected"
        self._factory.clientConnectionLost(self, reason)
        self._stopFactory()

    def dialOnce(self) -> Deferred[IPath]:
        """
        One attempt, outside the schedule: the path that carried the handshake.

        :return: fails with `HandshakeTimeout`, or a `LocalError` if it was never
            possible to ask.
        """
        if not (self._udp or self._tcp):
            return fail(
                NoTransport("both UDP and TCP are switched off: allow at least one")
            )
        return resolve(self._reactor, self._host, self._port, self._lookUp).addCallback(
            self._dial
        )

    def _connected(self, path: IPath) -> None:
        self._attempt = None
        self._state = "connected"
        self._path = path
        self._factory.attemptSucceeded(path)

    def _failed(self, reason: Failure) -> None:
        if self._state != "connecting":
            # `reached` ended it.
            return
        self._attempt = None
        self._state = "disconnected"
        if reason.check(CancelledError):
            reason = Failure(UserError())
        self._factory.clientConnectionFailed(self, reason)
        self._stopFactory()

    def _stopFactory(self) -> None:
        # As Twisted's connectors do, unless the factory has us connecting again.
        if self._state == "disconnected":
            self._factory.doStop()
            self._factoryStarted = False

    def _dial(self, candidates: Sequence[Candidate]) -> Deferred[IPath]:
        ways: dict[str, Callable[[], Deferred[IPath]]] = {}
        if self._udp:
            ways["UDP"] = lambda: self._dialUDP(candidates)
        if self._tcp:
            ways["TCP"] = lambda: self._dialTCP(candidates)

        def failed(reason: Failure) -> Failure:
            failures = _each(reason)
            if not failures:
                return reason
            local = [failure for each in failures for failure in _localErrors(each)]
            if len(local) == len(failures):
                return local[-1]
            causes = "; ".join(
                f"{name}: {_cause(failure)}"
                for name, failure in zip(ways, failures, strict=True)
            )
            return Failure(
                HandshakeTimeout(f"no answer, or not authorised there ({causes})")
            )

        headStart = 0.0 if self._preferred() == Transport.TCP else HEAD_START
        return firstOf(self._reactor, headStart, list(ways.values())).addErrback(failed)

    def _dialUDP(self, candidates: Sequence[Candidate]) -> Deferred[IPath]:
        def shakeHands(candidate: Candidate) -> Deferred[IPath]:
            port = self._openUDP(candidate.family)
            path = port.pathTo((candidate.host, candidate.port))
            return self._handshaker.handshake(path).addCallback(lambda _: path)

        return self._overAddresses(candidates, shakeHands).addTimeout(
            DIAL_TIMEOUT, self._reactor, onTimeoutCancel=_silent
        )

    def dialStandby(self) -> Deferred[IPath]:
        """
        A TCP connection without a handshake, for a session that there is.
        """

        def connect(candidate: Candidate) -> Deferred[IPath]:
            return self._connectTCP(candidate).addCallback(_pathOf)

        return resolve(self._reactor, self._host, self._port, self._lookUp).addCallback(
            self._overAddresses, connect
        )

    def _dialTCP(self, candidates: Sequence[Candidate]) -> Deferred[IPath]:
        def connect(candidate: Candidate) -> Deferred[IPath]:
            return self._connectTCP(candidate).addCallback(self._shakeHandsOn)

        return self._overAddresses(candidates, connect)

    def _connectTCP(self, candidate: Candidate) -> Deferred[PacketStream]:
        ipv6 = candidate.family == socket.AF_INET6
        endpoint: Any = (TCP6ClientEndpoint if ipv6 else TCP4ClientEndpoint)(
            self._reactor,
            candidate.host,
            candidate.port,
            timeout=TCP_CONNECT_TIMEOUT,
        )
        connected: Deferred[PacketStream] = endpoint.connect(
            PacketClientFactory(self._sink)
        )
        return connected

    def _overAddresses(
        self,
        candidates: Sequence[Candidate],
        dial: Callable[[Candidate], Deferred[IPath]],
    ) -> Deferred[IPath]:
        ways = [lambda candidate=each: dial(candidate) for each in candidates]
        return firstOf(self._reactor, ADDRESS_INTERVAL, ways)

    def _shakeHandsOn(self, stream: PacketStream) -> Deferred[IPath]:
        path = stream.path
        assert path is not None
        lostBecause = ""
        handshake = self._handshaker.handshake(path)

        def lost(reason: str) -> str:
            nonlocal lostBecause
            lostBecause = reason
            handshake.cancel()
            return reason

        def failed(reason: Failure) -> Failure:
            path.close()
            return Failure(HandshakeTimeout(lostBecause)) if lostBecause else reason

        stream.ended.addCallback(lost)
        return (
            handshake.addTimeout(DIAL_TIMEOUT, self._reactor, onTimeoutCancel=_silent)
            .addErrback(failed)
            .addCallback(lambda _: path)
        )


def _pathOf(stream: PacketStream) -> IPath:
    assert stream.path is not None
    return stream.path


def _silent(result: object, seconds: float) -> Failure:
    return Failure(HandshakeTimeout(f"silent for {seconds:g} s"))


def _each(failure: Failure) -> Sequence[Failure]:
    """
    Why each of several ways failed; nothing if it is not about several.
    """
    error = failure.value
    return error.failures if isinstance(error, FailureGroup) else ()


def _localErrors(failure: Failure) -> list[Failure]:
    """
    The last failure of a way that no packet left on, or nothing.
    """
    if failure.check(LocalError):
        return [failure]
    each = [_localErrors(inner) for inner in _each(failure)]
    return each[-1] if each and all(each) else []


def _cause(failure: Failure) -> str:
    """
    Why a way failed, in words.
    """
    each = _each(failure)
    if each:
        return ", ".join(dict.fromkeys(map(_cause, each)))
    error = failure.value
    if isinstance(error, ConnectTimeout):
        return f"no answer for {TCP_CONNECT_TIMEOUT:g} s"
    if isinstance(error, ConnectError) and error.osError:
        return os.strerror(error.osError).lower()
    return str(error)
