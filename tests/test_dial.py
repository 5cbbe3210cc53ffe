"""
Tests for `rootstream.transport.dial`, on virtual time.
"""

from __future__ import annotations

import gc
import socket
import weakref
from collections.abc import Callable
from typing import Any

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, FailureGroup, fail, succeed
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    NotConnectingError,
    UserError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IConnector
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from rootstream.errors import AddressRefused, HandshakeTimeout, LocalError, NoTransport
from rootstream.interfaces import IPath, Transport
from rootstream.protocol.constants import DIAL_TIMEOUT, HEAD_START, TLS_HEAD_START
from rootstream.transport.dial import ADDRESS_INTERVAL, DualConnector
from rootstream.transport.reconnect import PeerReconnector
from tests.doubles import FakePath, RecordingSink

HOST = "192.0.2.1"


class FakeHandshaker:
    """
    Leaves each handshake open until a test answers it.

    @ivar joined: the paths that were to join a session.
    """

    def __init__(self) -> None:
        self.open: dict[IPath, Deferred[None]] = {}
        self.joined: list[IPath] = []

    def join(self, path: IPath) -> Deferred[None]:
        self.joined.append(path)
        return self.handshake(path)

    def handshake(self, path: IPath) -> Deferred[None]:
        answer: Deferred[None] = Deferred(lambda _: self.open.pop(path))
        self.open[path] = answer
        return answer

    def answer(self, path: IPath) -> None:
        self.open.pop(path).callback(None)

    def over(self, transport: Transport) -> list[IPath]:
        """
        The paths of open handshakes over one transport.
        """
        return [path for path in self.open if path.transport == transport]


class FakeUDPPort:
    """
    One path an address.
    """

    def __init__(self) -> None:
        self.paths: dict[tuple[str, int], FakePath] = {}

    def pathTo(self, address: tuple[str, int]) -> FakePath:
        return self.paths.setdefault(address, FakePath(Transport.UDP, address))


class RecordingFactory(PeerReconnector):
    """
    Remembers what the connector tells it, and does not retry by itself.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(RecordingSink(), clock, lambda *_: None, lambda: None)
        self.told: list[Any] = []

    def doStart(self) -> None:
        super().doStart()
        self.told.append("doStart")

    def doStop(self) -> None:
        super().doStop()
        self.told.append("doStop")

    def startedConnecting(self, connector: IConnector) -> None:
        self.told.append("startedConnecting")

    def attemptSucceeded(self, path: IPath) -> None:
        self.told.append(path)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self.told.append(("failed", reason.value))

    def clientConnectionLost(self, connector: IConnector, reason: Failure) -> None:
        self.told.append(("lost", reason.value))


class DialTestCase(SynchronousTestCase):
    """
    A connector over doubles.
    """

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.handshaker = FakeHandshaker()
        self.sink = RecordingSink()
        self.udp = FakeUDPPort()
        self.families: list[int] = []
        self.factory = RecordingFactory(self.reactor)
        self.wires: list[StringTransport] = []

    def tearDown(self) -> None:
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.handshaker.open, {})

    def openUDP(self, family: int) -> FakeUDPPort:
        self.families.append(family)
        return self.udp

    def connector(
        self,
        host: str = HOST,
        *,
        factory: PeerReconnector | None = None,
        openUDP: Callable[[int], Any] | None = None,
        **options: Any,
    ) -> DualConnector:
        return DualConnector(
            self.reactor,
            host,
            9876,
            factory or self.factory,
            self.handshaker,
            self.sink,
            openUDP or self.openUDP,
            **options,
        )

    def several(self, *addresses: str, **options: Any) -> DualConnector:
        """
        A connector to a name with these addresses.
        """
        return self.connector(
            "host.test", lookUp=lambda _, host: succeed(list(addresses)), **options
        )

    def tcpHosts(self) -> list[str]:
        """
        The hosts that were dialled over TCP.
        """
        return [client[0] for client in self.reactor.tcpClients]

    def tcpPorts(self) -> list[int]:
        """
        The ports that were dialled over TCP, for TLS too.
        """
        return [client[1] for client in self.reactor.tcpClients]

    def acceptTCP(self, index: int = -1) -> StringTransport:
        """
        Let a TCP dial connect.
        """
        host, port, factory = self.reactor.tcpClients[index][:3]
        wire = StringTransport(peerAddress=IPv4Address("TCP", host, port))
        protocol = factory.buildProtocol(wire.getPeer())
        protocol.makeConnection(wire)
        wire.protocol = protocol
        self.wires.append(wire)
        return wire

    def refuseTCP(self, error: Exception, index: int = -1) -> None:
        """
        Let a TCP dial fail.
        """
        factory = self.reactor.tcpClients[index][2]
        connector = self.reactor.connectors[index]
        factory.clientConnectionFailed(connector, Failure(error))


class DialOnceTests(DialTestCase):
    """
    Tests for `DualConnector.dialOnce`.
    """

    def test_udpFirst(self) -> None:
        """
        A peer that answers on UDP within the head start is never dialled on TCP.
        """
        dialled = self.connector().dialOnce()
        [path] = self.handshaker.over(Transport.UDP)
        self.assertEqual(path.address, (HOST, 9876))
        self.reactor.advance(HEAD_START - 0.01)
        self.handshaker.answer(path)
        self.assertIs(self.successResultOf(dialled), path)
        self.assertEqual(self.tcpHosts(), [])
        self.assertEqual(self.families, [socket.AF_INET])

    def test_headStart(self) -> None:
        """
        TCP is dialled after 300 ms, with a connect timeout of 5 s, while UDP goes
        on; UDP still wins when it answers first, and the TCP dial ends (F47).
        """
        dialled = self.connector().dialOnce()
        self.reactor.advance(HEAD_START)
        [(host, port, _, timeout, _)] = self.reactor.tcpClients
        self.assertEqual((host, port, timeout), (HOST, 9876, 5.0))
        [path] = self.handshaker.over(Transport.UDP)
        self.handshaker.answer(path)
        self.assertIs(self.successResultOf(dialled), path)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)

    def test_tcpWins(self) -> None:
        """
        When UDP is silent, TCP carries the handshake, and UDP stops trying (F47).
        """
        dialled = self.connector().dialOnce()
        self.reactor.advance(HEAD_START)
        self.acceptTCP()
        self.assertNoResult(dialled)
        [path] = self.handshaker.over(Transport.TCP)
        self.handshaker.answer(path)
        self.assertIs(self.successResultOf(dialled), path)
        self.assertEqual(self.handshaker.over(Transport.UDP), [])

    def test_losingConnection(self) -> None:
        """
        A TCP connection that loses to UDP is closed.
        """
        dialled = self.connector().dialOnce()
        self.reactor.advance(HEAD_START)
        wire = self.acceptTCP()
        [path] = self.handshaker.over(Transport.UDP)
        self.handshaker.answer(path)
        self.assertIs(self.successResultOf(dialled), path)
        self.assertTrue(wire.disconnecting)

    def test_udpImpossible(self) -> None:
        """
        When UDP fails outright, TCP is dialled at once.
        """

        def openUDP(family: int) -> FakeUDPPort:
            raise LocalError("no UDP here")

        dialled = self.connector(openUDP=openUDP).dialOnce()
        self.assertEqual(self.tcpHosts(), [HOST])
        self.refuseTCP(ConnectionRefusedError(111))
        text = str(self.failureResultOf(dialled, HandshakeTimeout).value)
        self.assertIn("UDP: no UDP here; TCP: connection refused", text)

    def test_localError(self) -> None:
        """
        When no packet could ever leave, the local error is told as it is.
        """

        def openUDP(family: int) -> FakeUDPPort:
            raise LocalError("no UDP here")

        dialled = self.connector(openUDP=openUDP, tcp=False).dialOnce()
        error = self.failureResultOf(dialled, LocalError).value
        self.assertEqual(str(error), "no UDP here")

    def test_someLocalErrors(self) -> None:
        """
        A family that this machine lacks does not hide that the other was silent.
        """

        def openUDP(family: int) -> FakeUDPPort:
            if family == socket.AF_INET6:
                raise LocalError("no IPv6 here")
            return self.udp

        dialled = self.several(
            "2001:db8::1", HOST, openUDP=openUDP, tcp=False
        ).dialOnce()
        self.assertEqual(len(self.handshaker.open), 1)
        self.reactor.advance(DIAL_TIMEOUT)
        self.failureResultOf(dialled, HandshakeTimeout)

    def test_silence(self) -> None:
        """
        A peer that is silent on both transports is given 5 s on each, then told
        of with both causes.
        """
        dialled = self.connector().dialOnce()
        self.reactor.advance(HEAD_START)
        wire = self.acceptTCP()
        self.reactor.advance(DIAL_TIMEOUT - 0.01)
        self.assertNoResult(dialled)
        self.reactor.advance(0.01)
        error = self.failureResultOf(dialled, HandshakeTimeout).value
        self.assertEqual(
            str(error),
            "no answer, or not authorised there "
            "(UDP: silent for 5 s; TCP: silent for 5 s)",
        )
        self.assertTrue(wire.disconnecting)

    def test_tcpCauses(self) -> None:
        """
        Why TCP failed is told in words.
        """
        for error, words in (
            (ConnectionRefusedError(111, "x"), "TCP: connection refused"),
            (ConnectTimeout(), "TCP: no answer for 5 s"),
            (ConnectionDone("odd"), "odd"),
        ):
            dialled = self.connector(udp=False).dialOnce()
            self.refuseTCP(error)
            text = str(self.failureResultOf(dialled, HandshakeTimeout).value)
            self.assertIn(words, text)

    def test_connectionLost(self) -> None:
        """
        A connection that ends during the handshake fails at once, with its reason.
        """
        dialled = self.connector(udp=False).dialOnce()
        wire = self.acceptTCP()
        wire.protocol.connectionLost(Failure(ConnectionLost()))
        text = str(self.failureResultOf(dialled, HandshakeTimeout).value)
        self.assertIn("reset or timed out", text)
        self.assertEqual(len(self.sink.lost), 1)

    def test_lostAfterwards(self) -> None:
        """
        The end of the winning connection is the sink's business alone.
        """
        dialled = self.connector(udp=False).dialOnce()
        wire = self.acceptTCP()
        [path] = self.handshaker.over(Transport.TCP)
        self.handshaker.answer(path)
        self.assertIs(self.successResultOf(dialled), path)
        wire.protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(len(self.sink.lost), 1)

    def test_udpOff(self) -> None:
        """
        Without UDP, TCP is dialled at once, and no UDP socket is opened.
        """
        dialled = self.connector(udp=False).dialOnce()
        self.assertEqual((self.tcpHosts(), self.families), ([HOST], []))
        dialled.cancel()
        self.failureResultOf(dialled, CancelledError)

    def test_tcpOff(self) -> None:
        """
        Without TCP, none is dialled, and the cause names UDP alone.
        """
        dialled = self.connector(tcp=False).dialOnce()
        self.reactor.advance(DIAL_TIMEOUT)
        text = str(self.failureResultOf(dialled, HandshakeTimeout).value)
        self.assertIn("(UDP: silent for 5 s)", text)
        self.assertEqual(self.tcpHosts(), [])

    def test_bothOff(self) -> None:
        """
        Without both, the user is told.
        """
        dialled = self.connector(udp=False, tcp=False).dialOnce()
        self.failureResultOf(dialled, NoTransport)

    def test_happyEyeballs(self) -> None:
        """
        The second address joins after 250 ms on either transport, and the first
        goes on (F66).
        """
        dialled = self.several("2001:db8::1", HOST).dialOnce()
        self.assertEqual(len(self.handshaker.open), 1)
        self.reactor.advance(ADDRESS_INTERVAL)
        self.assertEqual(self.families, [socket.AF_INET6, socket.AF_INET])
        self.reactor.advance(HEAD_START - ADDRESS_INTERVAL)
        self.assertEqual(self.tcpHosts(), ["2001:db8::1"])
        self.reactor.advance(ADDRESS_INTERVAL)
        self.assertEqual(self.tcpHosts(), ["2001:db8::1", HOST])
        self.acceptTCP()
        [path] = self.handshaker.over(Transport.TCP)
        self.handshaker.answer(path)
        self.assertIs(self.successResultOf(dialled), path)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)

    def test_unresolvable(self) -> None:
        """
        A name that does not resolve fails as such.
        """
        dialled = self.connector(
            "host.test", lookUp=lambda *_: fail(OSError("nothing"))
        ).dialOnce()
        self.failureResultOf(dialled, AddressRefused)

    def test_cancel(self) -> None:
        """
        An attempt can be cancelled at any time, and leaves nothing behind.
        """
        waiting = self.connector("host.test", lookUp=lambda *_: Deferred()).dialOnce()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        for wait, accept in (
            (0.0, False),
            (HEAD_START, False),
            (HEAD_START, True),
        ):
            dialled = self.connector().dialOnce()
            self.reactor.advance(wait)
            if accept:
                self.acceptTCP()
            dialled.cancel()
            self.failureResultOf(dialled, CancelledError)
            self.assertEqual(self.handshaker.open, {})
            self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertTrue(self.wires[0].disconnecting)


class TLSTests(DialTestCase):
    """
    Where TLS comes in.
    """

    def dial(self, **options: Any) -> Deferred[IPath]:
        return self.connector(tlsPort=443, **options).dialOnce()

    def end(self, dialled: Deferred[IPath]) -> None:
        """
        Give an attempt up.
        """
        dialled.cancel()
        self.failureResultOf(dialled, CancelledError)

    def test_afterASecond(self) -> None:
        """
        TLS is dialled a second after UDP, when neither it nor TCP has answered, and
        both go on (F47).
        """
        dialled = self.dial()
        self.reactor.advance(HEAD_START)
        self.acceptTCP()
        self.reactor.advance(TLS_HEAD_START - HEAD_START - 0.01)
        self.assertEqual(self.tcpPorts(), [9876])
        self.reactor.advance(0.01)
        self.assertEqual(self.tcpPorts(), [9876, 443])
        self.acceptTCP()
        self.assertEqual(len(self.handshaker.open), 3)
        [path] = self.handshaker.over(Transport.TLS)
        self.assertEqual(path.address, (HOST, 443))
        self.handshaker.answer(path)
        self.assertIs(self.successResultOf(dialled), path)
        self.assertTrue(self.wires[0].disconnecting)

    def test_notNeeded(self) -> None:
        """
        Where TCP carries within the second, TLS is never dialled.
        """
        dialled = self.dial()
        self.reactor.advance(HEAD_START)
        self.acceptTCP()
        [path] = self.handshaker.over(Transport.TCP)
        self.handshaker.answer(path)
        self.assertIs(self.successResultOf(dialled), path)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """
        Where TCP is refused, TLS is dialled at once.
        """
        dialled = self.dial()
        self.reactor.advance(HEAD_START)
        self.refuseTCP(ConnectionRefusedError(111, "x"))
        self.assertEqual(self.tcpPorts(), [9876, 443])
        self.end(dialled)

    def test_causes(self) -> None:
        """
        Why TLS failed is told beside the others.
        """
        dialled = self.dial()
        self.reactor.advance(HEAD_START)
        self.refuseTCP(ConnectionRefusedError(111, "x"))
        wire = self.acceptTCP()
        wire.protocol.dataReceived(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        wire.protocol.connectionLost(Failure(ConnectionDone()))
        self.reactor.advance(DIAL_TIMEOUT)
        error = self.failureResultOf(dialled, HandshakeTimeout).value
        self.assertIn(
            "(UDP: silent for 5 s; TCP: connection refused; TLS: no valid TLS (",
            str(error),
        )
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_silence(self) -> None:
        """
        Where nothing answers, each has its time, and all are named.
        """
        dialled = self.dial()
        self.reactor.advance(HEAD_START)
        self.reactor.advance(TLS_HEAD_START - HEAD_START)
        self.refuseTCP(ConnectTimeout(), 0)
        self.refuseTCP(ConnectTimeout(), 1)
        self.reactor.advance(DIAL_TIMEOUT - TLS_HEAD_START)
        error = self.failureResultOf(dialled, HandshakeTimeout).value
        self.assertIn("TCP: no answer for 5 s; TLS: no answer for 5 s", str(error))

    def test_alone(self) -> None:
        """
        With both of the others switched off TLS is dialled at once.
        """
        dialled = self.dial(udp=False, tcp=False)
        self.assertEqual(self.tcpPorts(), [443])
        self.end(dialled)

    def test_withoutUDP(self) -> None:
        """
        Without UDP, TLS follows TCP as it would otherwise.
        """
        dialled = self.dial(udp=False)
        self.reactor.advance(TLS_HEAD_START - HEAD_START - 0.01)
        self.assertEqual(self.tcpPorts(), [9876])
        self.reactor.advance(0.01)
        self.assertEqual(self.tcpPorts(), [9876, 443])
        self.end(dialled)

    def test_addresses(self) -> None:
        """
        The addresses of a name are tried 250 ms apart, and the name is what TLS says
        it looks for.
        """
        dialled = self.several("2001:db8::1", HOST, tlsPort=443, udp=False, tcp=False)
        attempt = dialled.dialOnce()
        self.reactor.advance(ADDRESS_INTERVAL)
        self.assertEqual(self.tcpHosts(), ["2001:db8::1", HOST])
        self.assertIn(b"host.test", self.hello())
        self.end(attempt)
        attempt = self.dial(udp=False, tcp=False)
        self.assertNotIn(HOST.encode(), self.hello())
        self.end(attempt)

    def hello(self) -> bytes:
        """
        What TLS says first on the connection dialled last.
        """
        wire = self.acceptTCP()
        wire.producer.resumeProducing()
        said: bytes = wire.value()
        return said

    def test_cancel(self) -> None:
        """
        An attempt that is given up leaves no connection, whatever it has come to.
        """
        for wait, accept in ((TLS_HEAD_START, False), (TLS_HEAD_START, True)):
            dialled = self.dial(udp=False, tcp=False)
            self.reactor.advance(wait)
            if accept:
                self.acceptTCP()
            self.end(dialled)
            self.assertEqual(self.handshaker.open, {})
        self.assertTrue(self.wires[0].disconnected)


class PreferredTests(DialTestCase):
    """
    What is known to carry on this network is dialled at once.
    """

    def setUp(self) -> None:
        super().setUp()
        self.known: Transport | None = None

    def started(self, known: Transport | None, **options: Any) -> list[list[int]]:
        """
        Which ports TCP has dialled at once, after 300 ms and after a second.
        """
        self.reactor.tcpClients.clear()
        connector = self.connector(tlsPort=443, preferred=lambda: self.known, **options)
        self.known = known
        dialled = connector.dialOnce()
        seen = []
        for wait in (0.0, HEAD_START, TLS_HEAD_START - HEAD_START):
            self.reactor.advance(wait)
            seen.append(self.tcpPorts())
        self.assertEqual(len(self.handshaker.over(Transport.UDP)), 1)
        dialled.cancel()
        self.failureResultOf(dialled, CancelledError)
        return seen

    def test_order(self) -> None:
        """
        The preferred transport starts together with UDP; the others keep their times.
        It is asked for at each attempt.
        """
        tls, tcp = 443, 9876
        for known, expected in (
            (None, [[], [tcp], [tcp, tls]]),
            (Transport.UDP, [[], [tcp], [tcp, tls]]),
            (Transport.TCP, [[tcp], [tcp], [tcp, tls]]),
            (Transport.TLS, [[tls], [tls, tcp], [tls, tcp]]),
        ):
            self.assertEqual(self.started(known), expected)

    def test_switchedOff(self) -> None:
        """
        A transport that is switched off is not dialled, whatever is known of it.
        """
        self.assertEqual(self.started(Transport.TCP, tcp=False), [[], [], [443]])

    def test_causes(self) -> None:
        """
        The causes name the right transports also in another order.
        """
        connector = self.connector(tlsPort=443, preferred=lambda: Transport.TLS)
        dialled = connector.dialOnce()
        self.reactor.advance(0.0)
        self.refuseTCP(ConnectionRefusedError(111, "x"))
        self.assertEqual(self.tcpPorts(), [443, 9876])
        self.refuseTCP(ConnectTimeout())
        self.reactor.advance(DIAL_TIMEOUT)
        error = self.failureResultOf(dialled, HandshakeTimeout).value
        self.assertIn(
            "UDP: silent for 5 s; TLS: connection refused; TCP: no answer for 5 s",
            str(error),
        )


class StandbyTests(DialTestCase):
    """
    Tests for `DualConnector.dialStandby`.
    """

    def test_TCP(self) -> None:
        """
        A TCP connection on which the peer answers is enough; TLS is not dialled.
        """
        dialled = self.connector(tlsPort=443).dialStandby()
        self.assertEqual(self.tcpPorts(), [9876])
        self.acceptTCP()
        self.assertNoResult(dialled)
        [path] = self.handshaker.joined
        self.handshaker.answer(path)
        self.assertIs(self.successResultOf(dialled), path)
        self.assertEqual(path.transport, Transport.TCP)
        self.reactor.advance(DIAL_TIMEOUT)
        self.assertEqual(self.tcpPorts(), [9876])

    def test_nobodyAnswers(self) -> None:
        """
        A connection that somebody on the way accepts and nobody answers on is closed,
        and TLS had its turn meanwhile.
        """
        dialled = self.connector(tlsPort=443).dialStandby()
        wire = self.acceptTCP()
        self.reactor.advance(TLS_HEAD_START - HEAD_START)
        self.acceptTCP(1)
        tcp, tls = self.handshaker.joined
        self.handshaker.answer(tls)
        self.assertIs(self.successResultOf(dialled), tls)
        self.assertNotIn(tcp, self.handshaker.open)
        self.assertTrue(wire.disconnecting)
        dialled = self.connector().dialStandby()
        self.acceptTCP()
        self.reactor.advance(DIAL_TIMEOUT)
        self.failureResultOf(dialled, FailureGroup)

    def test_connectionLost(self) -> None:
        """
        One that ends before the peer has answered has failed.
        """
        dialled = self.connector().dialStandby()
        wire = self.acceptTCP()
        wire.protocol.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(dialled, FailureGroup)

    def test_TLS(self) -> None:
        """
        When TCP has not connected in as long as it has in any attempt, TLS is dialled
        as well.
        """
        dialled = self.connector(tlsPort=443).dialStandby()
        self.reactor.advance(TLS_HEAD_START - HEAD_START - 0.01)
        self.assertEqual(self.tcpPorts(), [9876])
        self.reactor.advance(0.01)
        self.assertEqual(self.tcpPorts(), [9876, 443])
        self.acceptTCP()
        [path] = self.handshaker.joined
        self.handshaker.answer(path)
        self.assertEqual(self.successResultOf(dialled).transport, Transport.TLS)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)

    def test_preferred(self) -> None:
        """
        Where TLS is known to carry, it comes first.
        """
        connector = self.connector(tlsPort=443, preferred=lambda: Transport.TLS)
        dialled = connector.dialStandby()
        self.assertEqual(self.tcpPorts(), [443])
        self.acceptTCP()
        [path] = self.handshaker.joined
        self.handshaker.answer(path)
        self.assertEqual(self.successResultOf(dialled).transport, Transport.TLS)

    def test_refused(self) -> None:
        """
        When TCP is refused, it is at once; without a TLS port there is no other way.
        """
        dialled = self.connector(tlsPort=443).dialStandby()
        self.refuseTCP(ConnectionRefusedError(111, "x"))
        self.assertEqual(self.tcpPorts(), [9876, 443])
        self.refuseTCP(ConnectionRefusedError(111, "x"))
        self.failureResultOf(dialled, FailureGroup)
        dialled = self.connector().dialStandby()
        self.refuseTCP(ConnectionRefusedError(111, "x"))
        self.failureResultOf(dialled, FailureGroup)


class DualConnectorTests(DialTestCase):
    """
    Tests for `DualConnector` as a factory's connector.
    """

    def test_interface(self) -> None:
        """
        It is a connector; its destination is the peer's address or name.
        """
        verifyObject(IConnector, self.connector())
        for host, expected in (
            (HOST, IPv4Address("TCP", HOST, 9876)),
            ("2001:db8::1", IPv6Address("TCP", "2001:db8::1", 9876)),
            ("host.test", HostnameAddress(b"host.test", 9876)),
        ):
            self.assertEqual(self.connector(host).getDestination(), expected)

    def test_connects(self) -> None:
        """
        The factory hears of the start and of the path, once it is confirmed.
        """
        connector = self.connector()
        connector.connect()
        self.assertEqual(self.factory.told, ["doStart", "startedConnecting"])
        [path] = self.handshaker.open
        self.handshaker.answer(path)
        self.assertEqual(self.factory.told[2:], [path])
        self.assertRaises(RuntimeError, connector.connect)
        self.assertRaises(NotConnectingError, connector.stopConnecting)

    def test_fails(self) -> None:
        """
        The factory hears of the failure, and is stopped, since it did not retry.
        """
        connector = self.connector()
        connector.connect()
        self.reactor.advance(HEAD_START)
        self.refuseTCP(ConnectionRefusedError(111, "x"))
        self.reactor.advance(DIAL_TIMEOUT)
        [what, error] = self.factory.told[2]
        self.assertEqual(what, "failed")
        self.assertIsInstance(error, HandshakeTimeout)
        self.assertEqual(self.factory.told[3:], ["doStop"])

    def test_lost(self) -> None:
        """
        A lost peer is reported once.
        """
        connector = self.connector()
        connector.lost(Failure(ConnectionLost()))
        connector.connect()
        self.handshaker.answer(next(iter(self.handshaker.open)))
        self.factory.told.clear()
        error = HandshakeTimeout("30 s of silence")
        connector.lost(Failure(error))
        connector.lost(Failure(error))
        self.assertEqual(self.factory.told, [("lost", error), "doStop"])

    def test_stopConnecting(self) -> None:
        """
        Stopping an attempt fails it by the user's wish, with no timer left.
        """
        for stop in ("stopConnecting", "disconnect"):
            self.factory.told.clear()
            connector = self.connector()
            connector.connect()
            self.reactor.advance(HEAD_START)
            getattr(connector, stop)()
            [what, error] = self.factory.told[2]
            self.assertEqual(what, "failed")
            self.assertIsInstance(error, UserError)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_retriedAtOnce(self) -> None:
        """
        A factory that connects again inside the failure is not stopped in between.
        """
        connector = self.connector(tcp=False)

        def again(connector: IConnector, reason: Failure) -> None:
            connector.connect()

        connector.connect()
        self.factory.clientConnectionFailed = again  # type: ignore[method-assign]
        self.reactor.advance(DIAL_TIMEOUT)
        del self.factory.clientConnectionFailed
        self.assertEqual(
            self.factory.told, ["doStart", "startedConnecting", "startedConnecting"]
        )
        connector.stopConnecting()

    def test_stoppedWhileStarting(self) -> None:
        """
        An attempt that is stopped by whoever hears of its start, or by what its
        start brings about, leaves nothing behind.
        """
        connector = self.connector()

        def stop(*_: object) -> None:
            connector.disconnect()

        self.factory.startedConnecting = stop  # type: ignore[method-assign]
        connector.connect()
        self.assertEqual(self.handshaker.open, {})
        del self.factory.startedConnecting
        handshake = self.handshaker.handshake

        def stopAndShake(path: IPath) -> Deferred[None]:
            connector.disconnect()
            return handshake(path)

        self.handshaker.handshake = stopAndShake  # type: ignore[method-assign]
        connector.connect()
        failures = [told[0] for told in self.factory.told if isinstance(told, tuple)]
        self.assertEqual(failures, ["failed", "failed"])

    def test_startOver(self) -> None:
        """
        An attempt that starts over dials everything anew, with a new head start, and
        has not failed; without an attempt nothing happens.
        """
        connector = self.connector()
        connector.startOver()
        self.assertEqual(self.handshaker.open, {})
        connector.connect()
        self.reactor.advance(HEAD_START)
        self.assertEqual(self.tcpHosts(), [HOST])
        connector.startOver()
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.reactor.advance(HEAD_START - 0.01)
        self.assertEqual(self.tcpHosts(), [HOST])
        [path] = self.handshaker.over(Transport.UDP)
        self.handshaker.answer(path)
        self.assertEqual(
            self.factory.told, ["doStart", "startedConnecting", path], self.factory.told
        )
        connector.startOver()
        self.assertEqual(self.handshaker.open, {})
        connector.disconnect()

    def test_reached(self) -> None:
        """
        A peer that is heard by other means ends the attempt, silently, and the
        schedule starts over.
        """
        connector = self.connector()
        connector.connect()
        self.factory.told.clear()
        connector.reached()
        connector.reached()
        self.assertEqual(self.factory.told, [None])
        self.assertEqual(self.handshaker.open, {})
        self.factory.told.clear()
        connector.disconnect()
        self.assertEqual(self.factory.told[0][0], "lost")

    def test_reachedWhileWaiting(self) -> None:
        """
        Between two attempts it ends the wait.
        """
        factory = PeerReconnector(
            self.sink, self.reactor, lambda *_: None, lambda: None
        )
        connector = self.connector(factory=factory, tcp=False)
        connector.connect()
        self.reactor.advance(DIAL_TIMEOUT)
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        connector.reached()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        connector.lost(Failure(HandshakeTimeout("silent")))
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        factory.stopTrying()

    def test_disconnect(self) -> None:
        """
        Disconnecting closes the path and reports it lost; when there is none it
        does nothing.
        """
        connector = self.connector()
        connector.disconnect()
        connector.connect()
        [path] = self.handshaker.open
        self.handshaker.answer(path)
        connector.disconnect()
        self.assertTrue(path.closed)  # type: ignore[attr-defined]  # a double
        [what, error] = self.factory.told[3]
        self.assertEqual(what, "lost")
        self.assertIsInstance(error, ConnectionDone)

    def test_schedule(self) -> None:
        """
        Under a reconnector each attempt is UDP first, then TCP; after the tenth
        nothing refers to the connector.
        """
        attempts: list[int] = []
        waits: list[float] = []
        gaveUp: list[bool] = []

        def attempt(n: int, of: int, wait: float) -> None:
            attempts.append(n)
            waits.append(wait)

        factory = PeerReconnector(
            self.sink,
            self.reactor,
            attempt,
            lambda: gaveUp.append(True),
        )
        connector = self.connector(factory=factory)
        connector.connect()
        for _ in range(11):
            self.assertEqual(len(self.handshaker.over(Transport.UDP)), 1)
            self.reactor.advance(HEAD_START)
            self.refuseTCP(ConnectionRefusedError(111, "x"))
            self.reactor.advance(DIAL_TIMEOUT - HEAD_START + 1e-6)
            if not gaveUp:
                self.reactor.advance(waits[-1])
        self.assertEqual(attempts, list(range(1, 11)))
        self.assertEqual(gaveUp, [True])
        self.assertEqual(len(self.reactor.tcpClients), 11)
        self.reactor.tcpClients.clear()
        self.reactor.connectors.clear()
        freed = weakref.ref(connector)
        del connector
        gc.collect()
        self.assertIsNone(freed())

    def test_stopTrying(self) -> None:
        """
        A reconnector that is stopped ends the very first attempt as well.
        """
        factory = PeerReconnector(
            self.sink, self.reactor, lambda *_: None, lambda: None
        )
        connector = self.connector(factory=factory)
        connector.connect()
        factory.stopTrying()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.handshaker.open, {})
