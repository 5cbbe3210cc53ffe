"""
A machine of one process: a reactor on virtual time, with a network behind it.

UDP goes over a `tests.doubles.MemoryNet`, TCP over pipes; both take a millisecond a
way.  `VirtualReactor.surround` puts them, and the reactor's own time, where the shell
would take sockets and the boot clock from.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import twisted.internet
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
    UserError,
)
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import rootstream.dialled
import rootstream.host
import rootstream.service
import rootstream.transport.clock
from rootstream.errors import PortInUse
from rootstream.identity import Code, Identity
from rootstream.interfaces import IPacketSink
from rootstream.protocol.events import AudioFrame, Control, InputEvent, VideoFrame
from rootstream.receiver import PeerReceiver
from rootstream.transport.netwatch import NetworkChange
from rootstream.transport.tcp import PacketServerFactory, Strangers
from rootstream.transport.tls import TLSServerFactory
from tests.doubles import MemoryNet, MemoryPort

__all__ = [
    "CLIENT_HOST",
    "HOST",
    "HOST_PORT",
    "Recorder",
    "VirtualReactor",
    "codeOf",
    "identity",
    "installReactor",
    "picture",
]

HOST = "192.0.2.1"
HOST_PORT = 9876
CLIENT_HOST = "192.0.2.2"
DELAY = 0.001
#: More steps for a second than this are a timer that never sleeps.
STEPS_A_SECOND = 5000


def identity(number: int) -> Identity:
    """
    The same identity each time.
    """
    return Identity.fromSeed(bytes([number]) * 32, f"machine {number}")


def codeOf(owner: Identity, host: str = HOST, port: int = HOST_PORT) -> Code:
    """
    The code that a user would copy.
    """
    return Code(owner.key, host, port)


def picture(number: int = 0, keyFrame: bool = True) -> VideoFrame:
    """
    A video frame that can be told from others.
    """
    return VideoFrame(b"picture %d" % number, number * 33_333, keyFrame)


def installReactor(test: SynchronousTestCase, reactor: object) -> None:
    """
    Let ``from twisted.internet import reactor`` find this one for one test.
    """
    namespace = vars(twisted.internet)
    before = namespace.get("reactor")

    def restore() -> None:
        if before is None:
            del namespace["reactor"]
        else:
            namespace["reactor"] = before

    namespace["reactor"] = reactor
    test.addCleanup(restore)


class Recorder(PeerReceiver):
    """
    Remembers all that it is told, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.states: list[tuple[str, str, str]] = []
        self.attempts: list[tuple[int, int, float]] = []
        self.paths: list[tuple[str, str, str]] = []
        self.video: list[VideoFrame] = []
        self.audio: list[AudioFrame] = []
        self.input: list[InputEvent] = []
        self.control: list[Control] = []
        self.keyFramesWanted = 0
        self.health: list[tuple[str, str]] = []

    @property
    def route(self) -> list[str]:
        """
        The states entered.
        """
        return [new for _, new, _ in self.states]

    @property
    def waits(self) -> list[float]:
        """
        The waits announced.
        """
        return [wait for _, _, wait in self.attempts]

    def videoReceived(self, frame: VideoFrame) -> None:
        self.video.append(frame)

    def audioReceived(self, frame: AudioFrame) -> None:
        self.audio.append(frame)

    def inputReceived(self, events: Any) -> None:
        self.input.extend(events)

    def controlReceived(self, control: Control) -> None:
        self.control.append(control)

    def stateChanged(self, old: str, new: str, cause: str) -> None:
        self.states.append((old, new, cause))

    def attemptScheduled(self, attempt: int, of: int, wait: float) -> None:
        self.attempts.append((attempt, of, wait))

    def keyFrameWanted(self) -> None:
        self.keyFramesWanted += 1

    def pathChanged(self, transport: str, address: str, cause: str) -> None:
        self.paths.append((transport, address, cause))

    def pathSuspected(self, transport: str, address: str, cause: str) -> None:
        self.health.append((f"{transport} suspect", cause))

    def impaired(self, cause: str) -> None:
        self.health.append(("impaired", cause))

    def recovered(self, cause: str) -> None:
        self.health.append(("recovered", cause))


class _PipeEnd:
    """
    The transport of one end of a TCP connection.
    """

    def __init__(self, reactor: VirtualReactor, peer: IPv4Address, port: int) -> None:
        self._reactor = reactor
        self._peer = peer
        self._port = port
        self._producer: Any = None
        self.protocol: Any = None
        self.other: _PipeEnd
        self.lost = False

    def getPeer(self) -> IPv4Address:
        return self._peer

    def getHost(self) -> IPv4Address:
        return self.other._peer

    def write(self, data: bytes) -> None:
        self._reactor.callLater(DELAY, self._carry, data)

    def _carry(self, data: bytes) -> None:
        if self._reactor.passesTCP(self._port) and not self.other.lost:
            self.other.protocol.dataReceived(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer
        while self._producer is not None:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def loseConnection(self) -> None:
        self._reactor.callLater(DELAY, self.end, ConnectionDone())
        self._reactor.callLater(2 * DELAY, self.other.end, ConnectionDone())

    def abortConnection(self) -> None:
        self._reactor.callLater(0, self.end, ConnectionLost())
        self._reactor.callLater(DELAY, self.other.end, ConnectionLost())

    def end(self, why: Exception) -> None:
        if not self.lost:
            self.lost = True
            # A reactor keeps nothing of a connection that is over.
            protocol, self.protocol = self.protocol, None
            protocol.connectionLost(Failure(why))


class _Connector:
    """
    One TCP dial.
    """

    def __init__(
        self, reactor: VirtualReactor, factory: Any, destination: IPv4Address
    ) -> None:
        self.reactor = reactor
        self.factory = factory
        self.destination = destination
        self.pending: Any = None

    def getDestination(self) -> IPv4Address:
        return self.destination

    def stopConnecting(self) -> None:
        self.pending.cancel()
        self.fail(UserError())

    def fail(self, error: Exception) -> None:
        self.factory.clientConnectionFailed(self, Failure(error))

    def succeed(self) -> None:
        reactor, there = self.reactor, self.destination
        here = IPv4Address("TCP", CLIENT_HOST, next(reactor.ephemeral))
        port = there.port
        ends = _PipeEnd(reactor, there, port), _PipeEnd(reactor, here, port)
        ends[0].other, ends[1].other = ends[1], ends[0]
        reactor.pipes.append(ends[0])
        ends[1].protocol = reactor.tcpListeners[there.host, there.port].buildProtocol(
            here
        )
        ends[0].protocol = self.factory.buildProtocol(there)
        for end in ends:
            end.protocol.makeConnection(end)


class _Ports:
    """
    What `rootstream.transport.listen.listenBoth` returns.
    """

    def __init__(
        self, reactor: VirtualReactor, udp: MemoryPort, tlsPort: int | None
    ) -> None:
        self._reactor = reactor
        self._udp = udp
        self.port = udp.address[1]
        self.tlsPort = tlsPort

    def renew(self) -> None:
        self._reactor.renewals += 1

    def close(self) -> Deferred[None]:
        for port in {self.port, self.tlsPort or self.port}:
            del self._reactor.tcpListeners[self._udp.address[0], port]
        return self._udp.stopListening()


class _BootClock:
    """
    The functions of `time` that `rootstream.transport.clock` calls.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor

    def clock_gettime(self, which: int) -> float:
        return self._reactor.seconds()

    def clock_gettime_ns(self, which: int) -> int:
        return round(self._reactor.seconds() * 1e9)


class VirtualReactor(MemoryReactorClock):
    """
    A reactor, and the only network there is.

    @ivar net: where UDP goes.
    @ivar watching: who is told when the network changes.
    @ivar tcpBlocked: connections stay open and carry nothing; new ones time out.
    @ivar tcpRefused: nobody listens: a dial fails at once.
    @ivar blockedPorts: where TCP is blocked, if not everywhere.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = MemoryNet(self, delay=DELAY)
        self.tcpBlocked = False
        self.tcpRefused = False
        self.blockedPorts: set[int] = set()
        self.tcpListeners: dict[tuple[str, int], Factory[Any]] = {}
        self.pipes: list[_PipeEnd] = []
        self.watching: dict[object, Callable[[NetworkChange], None]] = {}
        #: How often a host renewed the sockets of its peers.
        self.renewals = 0
        self.ephemeral = itertools.count(40000)
        # Numbers of zero would hide a clock that was never started.
        self.rightNow = 1000.0

    def surround(self, test: SynchronousTestCase) -> None:
        """
        Let the shell live here for one test.
        """
        test.patch(rootstream.dialled, "listenPackets", self._listenPackets)
        test.patch(rootstream.host, "listenBoth", self._listenBoth)
        for module in (rootstream.dialled, rootstream.host, rootstream.service):
            test.patch(module, "watchNetwork", self._watchNetwork)
        test.patch(rootstream.transport.clock, "time", _BootClock(self))

    def changeNetwork(self, cause: str = "a cable was plugged in", *gone: str) -> None:
        """
        Tell everybody who watches the network that it changed, and which addresses
        are gone.
        """
        for changed in list(self.watching.values()):
            changed(NetworkChange(cause, frozenset(gone)))

    def _watchNetwork(
        self, reactor: Any, changed: Callable[[NetworkChange], None]
    ) -> Callable[[], None]:
        token = object()
        self.watching[token] = changed

        def end() -> None:
            self.watching.pop(token, None)

        return end

    def _listenPackets(
        self, reactor: Any, sink: IPacketSink, port: int, interface: str
    ) -> MemoryPort:
        return self.net.port((CLIENT_HOST, next(self.ephemeral)), sink)

    def _listenBoth(
        self,
        reactor: Any,
        sink: IPacketSink,
        clock: Any,
        port: int,
        interface: str,
        tlsPort: int | None,
        bound: None,
    ) -> _Ports:
        where = interface or HOST, port or next(self.ephemeral)
        if where in self.tcpListeners:
            raise PortInUse(f"port {port} is in use")
        strangers = Strangers(clock)
        self.tcpListeners[where] = PacketServerFactory(sink, strangers)
        if tlsPort is not None:
            tlsPort = tlsPort or next(self.ephemeral)
            self.tcpListeners[where[0], tlsPort] = TLSServerFactory(
                sink, strangers, clock
            )
        return _Ports(self, self.net.port(where, sink), tlsPort)

    def passesTCP(self, port: int) -> bool:
        """
        Whether connections to ``port`` carry anything.
        """
        return not self.tcpBlocked and port not in self.blockedPorts

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30,
        bindAddress: Any = None,
    ) -> Any:
        connector = _Connector(self, factory, IPv4Address("TCP", host, port))
        factory.startedConnecting(connector)
        if self.tcpRefused:
            connector.pending = self.callLater(
                DELAY, connector.fail, ConnectionRefusedError(111)
            )
        elif (host, port) in self.tcpListeners and self.passesTCP(port):
            connector.pending = self.callLater(DELAY, connector.succeed)
        else:
            connector.pending = self.callLater(timeout, connector.fail, TimeoutError())
        return connector

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        """
        Nothing here has threads.
        """
        self.callLater(0, function, *args)

    def blockUDP(self) -> None:
        """
        No datagram arrives any more.
        """
        self.net.loss = 1.0

    def unblockUDP(self) -> None:
        """
        Datagrams arrive again.
        """
        self.net.loss = 0.0

    def cut(self) -> None:
        """
        Nothing arrives any more.
        """
        self.blockUDP()
        self.tcpBlocked = True

    def mend(self) -> None:
        """
        Everything arrives again.
        """
        self.unblockUDP()
        self.tcpBlocked = False

    def elapse(self, seconds: float = 0.1) -> None:
        """
        Let time pass, from timer to timer.
        """
        end = self.rightNow + seconds
        patience = STEPS_A_SECOND * (seconds + 1)
        while True:
            due = min((call.getTime() for call in self.getDelayedCalls()), default=end)
            if due > end:
                self.advance(max(0.0, end - self.rightNow))
                return
            # A sum of floats seldom hits a time exactly.
            self.advance(max(due - self.rightNow, 1e-9))
            patience -= 1
            assert patience > 0, "a timer never sleeps"
            if self.rightNow >= end:
                return
