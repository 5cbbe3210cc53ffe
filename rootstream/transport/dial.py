"""
Dialling: UDP first, then TCP, then TLS, and the first to carry a handshake wins.

The rule of `firstOf` serves at each level.  Applied to the addresses of a host it is
happy eyeballs (RFC 8305), applied to the transports it is the head start of UDP over
TCP, and of both over TLS.

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
from twisted.internet.defer import CancelledError, Deferred, FailureGroup, fail
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    NotConnectingError,
    UserError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IAddress, IConnector
from twisted.python.failure import Failure
from zope.interface import implementer

from rootstream.errors import HandshakeTimeout, LocalError, NoTransport
from rootstream.interfaces import IPacketSink, IPath, Transport
from rootstream.protocol.constants import (
    DIAL_TIMEOUT,
    HEAD_START,
    TCP_CONNECT_TIMEOUT,
    TLS_HEAD_START,
)
from rootstream.transport.race import Way, firstOf
from rootstream.transport.reconnect import PeerReconnector
from rootstream.transport.resolve import Candidate, LookUp, lookUpInThread, resolve
from rootstream.transport.tcp import PacketClientFactory, PacketStream
from rootstream.transport.tls import TLSClientFactory

__all__ = ["DualConnector", "IHandshaker"]

#: Seconds between two addresses of one host (RFC 8305, section 8).
ADDRESS_INTERVAL = 0.25

#: When each transport is dialled, in seconds from the beginning of an attempt.
STARTS = {Transport.UDP: 0.0, Transport.TCP: HEAD_START, Transport.TLS: TLS_HEAD_START}


class IHandshaker(Protocol):
    """
    Finds out whether the peer answers on a path.
    """

    def handshake(self, path: IPath) -> Deferred[None]:
        """
        Send INITs on ``path`` until the session is confirmed there.  Cancelling
        stops sending on that path.
        """

    def join(self, path: IPath) -> Deferred[None]:
        """
        Make ``path`` one of the session that there is; fires when the peer has answered
        on it.
        """


class IDatagramPort(Protocol):
    """
    A UDP socket: `rootstream.transport.udp.UDPPort`, or a double.
    """

    def pathTo(self, address: tuple[str, int]) -> IPath:
        """
        The path to an IP address and port.
        """


@implementer(IConnector)
class DualConnector:
    """
    Connects one peer, over whichever of UDP, TCP and TLS reaches it.

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
        tlsPort: int | None = None,
        preferred: Callable[[], Transport | None] = lambda: None,
        lookUp: LookUp = lookUpInThread,
    ) -> None:
        """
        :param sink: gets the packets of TCP and TLS connections.
        :param openUDP: our UDP socket for an address family; its own sink gets the
            packets.  May raise `LocalError`.
        :param tlsPort: where the host may listen for TLS; None never dials it.
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
        self._tlsPort = tlsPort
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
        if not (self._udp or self._tcp or self._tlsPort):
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
        ways = self._overStreams(candidates, self._handshaker.handshake)
        if self._udp:
            ways[Transport.UDP] = lambda: self._dialUDP(candidates)
        timed = self._timed(ways)

        def failed(reason: Failure) -> Failure:
            failures = _each(reason)
            if not failures:
                return reason
            local = [failure for each in failures for failure in _localErrors(each)]
            if len(local) == len(failures):
                return local[-1]
            causes = "; ".join(
                f"{way.name}: {_cause(failure)}"
                for way, failure in zip(timed, failures, strict=True)
            )
            return Failure(
                HandshakeTimeout(f"no answer, or not authorised there ({causes})")
            )

        return firstOf(self._reactor, list(timed.values())).addErrback(failed)

    def _timed(
        self, ways: dict[Transport, Callable[[], Deferred[IPath]]]
    ) -> dict[Transport, Way]:
        """
        When each way starts, in the order that they do.
        """
        preferred = self._preferred()
        timed = {
            way: (0.0 if way == preferred else STARTS[way], begin)
            for way, begin in ways.items()
        }
        return dict(sorted(timed.items(), key=lambda each: (each[1][0], each[0])))

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
        A connection without a handshake, for a session that there is: TCP, and TLS as
        long after it as in any attempt.  One that somebody on the way accepts in the
        peer's place is none.
        """

        def dial(candidates: Sequence[Candidate]) -> Deferred[IPath]:
            ways = self._timed(self._overStreams(candidates, self._handshaker.join))
            return firstOf(self._reactor, list(ways.values()))

        return resolve(self._reactor, self._host, self._port, self._lookUp).addCallback(
            dial
        )

    def _overStreams(
        self,
        candidates: Sequence[Candidate],
        ask: Callable[[IPath], Deferred[None]],
    ) -> dict[Transport, Callable[[], Deferred[IPath]]]:
        """
        The ways by TCP and by TLS, as far as they are allowed, that end when the peer
        has answered to what ``ask`` does on the connection.
        """

        def tcp(candidate: Candidate) -> Deferred[IPath]:
            return self._connectTCP(candidate).addCallback(self._answered, ask)

        def tls(candidate: Candidate) -> Deferred[IPath]:
            return self._connectTLS(candidate).addCallback(self._answered, ask)

        ways: dict[Transport, Callable[[], Deferred[IPath]]] = {}
        if self._tcp:
            ways[Transport.TCP] = lambda: self._overAddresses(candidates, tcp)
        if self._tlsPort:
            ways[Transport.TLS] = lambda: self._overAddresses(candidates, tls)
        return ways

    def _connectTCP(self, candidate: Candidate) -> Deferred[PacketStream]:
        return self._connect(candidate, candidate.port, PacketClientFactory(self._sink))

    def _connectTLS(self, candidate: Candidate) -> Deferred[PacketStream]:
        assert self._tlsPort is not None
        named = isinstance(self.getDestination(), HostnameAddress)
        factory = TLSClientFactory(
            self._sink, self._host if named else "", self._reactor
        )
        return self._connect(candidate, self._tlsPort, factory).addCallback(
            lambda tls: tls.wrappedProtocol
        )

    def _connect(self, candidate: Candidate, port: int, factory: Any) -> Deferred[Any]:
        ipv6 = candidate.family == socket.AF_INET6
        endpoint: Any = (TCP6ClientEndpoint if ipv6 else TCP4ClientEndpoint)(
            self._reactor, candidate.host, port, timeout=TCP_CONNECT_TIMEOUT
        )
        connected: Deferred[Any] = endpoint.connect(factory)
        return connected

    def _overAddresses(
        self,
        candidates: Sequence[Candidate],
        dial: Callable[[Candidate], Deferred[IPath]],
    ) -> Deferred[IPath]:
        ways = [
            (number * ADDRESS_INTERVAL, lambda candidate=each: dial(candidate))
            for number, each in enumerate(candidates)
        ]
        return firstOf(self._reactor, ways)

    def _answered(
        self, stream: PacketStream, ask: Callable[[IPath], Deferred[None]]
    ) -> Deferred[IPath]:
        path = stream.path
        assert path is not None
        lostBecause = ""
        answer = ask(path)

        def lost(reason: str) -> str:
            nonlocal lostBecause
            lostBecause = reason
            answer.cancel()
            return reason

        def failed(reason: Failure) -> Failure:
            path.close()
            return Failure(HandshakeTimeout(lostBecause)) if lostBecause else reason

        stream.ended.addCallback(lost)
        return (
            answer.addTimeout(DIAL_TIMEOUT, self._reactor, onTimeoutCancel=_silent)
            .addErrback(failed)
            .addCallback(lambda _: path)
        )


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
