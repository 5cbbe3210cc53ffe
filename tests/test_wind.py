"""
Tests for `rootstream.wind` and `rootstream.forwarding`, without sockets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import rootstream.forwarding
from rootstream.errors import LocalError
from rootstream.forwarding import MAX_FLOWS, MAX_WAITING
from rootstream.interfaces import IPacketSink
from rootstream.weather import Forecast, parseScript
from rootstream.wind import MAX_CONNECTIONS, Wind
from tests.doubles import FakePath

HOST_PORT = 9000
HOST = ("127.0.0.1", HOST_PORT)


class Socket:
    """
    A UDP socket of a flow: one path, and a sink that can be given packets.
    """

    def __init__(self, sink: IPacketSink) -> None:
        self.sink = sink
        self.path = FakePath(address=HOST)
        self.closed = False

    def pathTo(self, address: tuple[str, int]) -> FakePath:
        assert address == HOST
        return self.path

    def stopListening(self) -> None:
        self.closed = True


class WindCase(SynchronousTestCase):
    """
    A wind on a clock, that does not listen.
    """

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.sockets: list[Socket] = []
        self.patch(rootstream.forwarding, "listenPackets", self.listenPackets)
        self.words: list[str] = []
        self.chances: Iterator[float] = iter(())
        self.wind = self.blow()

    def tearDown(self) -> None:
        self.wind._flows.close()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def blow(self, forecast: Forecast | None = None) -> Wind:
        """
        A wind.
        """
        return Wind(
            self.reactor,
            HOST_PORT,
            forecast or Forecast(),
            self.words.append,
            lambda: next(self.chances),
        )

    def listenPackets(self, reactor: object, sink: IPacketSink, *_: object) -> Socket:
        self.sockets.append(Socket(sink))
        return self.sockets[-1]


class WeatherTests(WindCase):
    """
    Tests for how the weather changes.
    """

    def test_words(self) -> None:
        """
        A change is told in words, to who asked and to who listens; no change is not.
        """
        self.assertEqual(self.wind.change("block udp"), "UDP blocked")
        self.assertEqual(self.wind.change("block udp"), "UDP blocked")
        self.assertEqual(self.wind.change("clear"), "clear")
        self.assertEqual(self.words, ["UDP blocked", "clear"])

    def test_wrong(self) -> None:
        """
        A text that means nothing changes nothing.
        """
        self.wind.change("loss 5%")
        self.assertRaises(LocalError, self.wind.change, "rain")
        self.assertEqual(str(self.wind.weather), "UDP loss 5%")

    def test_cutEnds(self) -> None:
        """
        A cut ends by itself.
        """
        self.wind.change("cut 5s")
        self.reactor.advance(4.9)
        self.assertEqual(self.words, ["network cut for 5 s"])
        self.reactor.advance(0.1)
        self.assertEqual(self.words[1:], ["clear"])

    def test_script(self) -> None:
        """
        A script is followed, while other changes come between.
        """
        forecast = Forecast(parseScript("1s: block udp; 3s: loss 5%"))
        self.wind = self.blow(forecast)
        self.wind._adapt()
        self.reactor.advance(1.0)
        self.wind.change("block tcp")
        self.reactor.advance(1.9)
        self.assertEqual(self.words, ["UDP blocked", "UDP blocked, TCP blocked"])
        self.reactor.advance(0.1)
        self.assertEqual(self.words[2:], ["UDP blocked, TCP blocked, UDP loss 5%"])


class DatagramTests(WindCase):
    """
    Tests for what becomes of datagrams.
    """

    def setUp(self) -> None:
        super().setUp()
        self.viewer = FakePath(address=("127.0.0.1", 5000))

    def send(self, *packets: bytes) -> None:
        """
        Send from the viewer.
        """
        self.wind._flows.packetsReceived(packets, self.viewer)

    def answer(self, *packets: bytes) -> None:
        """
        Send from the host.
        """
        [flow] = self.sockets
        flow.sink.packetsReceived(packets, flow.path)

    @property
    def arrived(self) -> list[bytes]:
        """
        What the host got.
        """
        return self.sockets[-1].path.sent

    def test_bothWays(self) -> None:
        """
        In clear weather packets arrive at once, on one socket for each address.
        """
        self.send(b"a", b"b")
        self.send(b"c")
        self.answer(b"d")
        self.assertEqual(self.arrived, [b"a", b"b", b"c"])
        self.assertEqual(self.viewer.sent, [b"d"])
        other = FakePath(address=("127.0.0.1", 5001))
        self.wind._flows.packetsReceived([b"e"], other)
        self.assertEqual(len(self.sockets), 2)
        self.assertEqual(self.arrived, [b"e"])

    def test_onlyTheHostAnswers(self) -> None:
        """
        What others send to a flow's socket goes nowhere.
        """
        self.send(b"a")
        stranger = FakePath(address=("127.0.0.1", 6000))
        self.sockets[0].sink.packetsReceived([b"x"], stranger)
        self.assertEqual(self.viewer.sent, [])

    def test_silence(self) -> None:
        """
        While nothing passes, packets are lost both ways; those after are not.
        """
        for text in ("block udp", "cut 5s", "host offline"):
            self.send(b"first")
            before = len(self.arrived), len(self.viewer.sent)
            self.wind.change(text)
            self.send(b"lost")
            self.answer(b"lost")
            self.assertEqual((len(self.arrived), len(self.viewer.sent)), before)
            self.wind.change("clear")
        self.send(b"second")
        self.assertEqual(self.arrived[-1], b"second")
        self.assertNotIn(b"lost", self.arrived + self.viewer.sent)

    def test_tcpBlocked(self) -> None:
        """
        A block of TCP leaves datagrams alone.
        """
        self.wind.change("block tcp")
        self.send(b"a")
        self.assertEqual(self.arrived, [b"a"])

    def test_loss(self) -> None:
        """
        Each packet has its own chance, either way.
        """
        self.send(b"a")
        self.wind.change("loss 50%")
        self.chances = iter([0.2, 0.5, 0.49, 0.9, 0.1, 0.7])
        self.send(b"b", b"c", b"d")
        self.answer(b"e", b"f", b"g")
        self.assertEqual(self.arrived, [b"a", b"c"])
        self.assertEqual(self.viewer.sent, [b"e", b"g"])

    def test_delay(self) -> None:
        """
        A delay counts each way, and nothing overtakes when it becomes shorter.
        """
        self.wind.change("delay 100ms")
        self.send(b"a")
        self.answer(b"b")
        self.reactor.advance(0.06)
        self.wind.change("clear")
        self.send(b"c")
        self.assertEqual((self.arrived, self.viewer.sent), ([], []))
        self.reactor.advance(0.04)
        self.assertEqual((self.arrived, self.viewer.sent), ([b"a", b"c"], [b"b"]))
        self.send(b"d")
        self.assertEqual(self.arrived[-1], b"d")

    def test_jitter(self) -> None:
        """
        Jitter is another wait each time, and what is late holds up what comes after.
        """
        self.wind.change("jitter 100ms")
        self.chances = iter([0.9, 0.1, 0.3])
        self.send(b"a")
        self.send(b"b")
        self.reactor.advance(0.08)
        self.assertEqual(self.arrived, [])
        self.reactor.advance(0.02)
        self.assertEqual(self.arrived, [b"a", b"b"])
        self.send(b"c")
        self.reactor.advance(0.04)
        self.assertEqual(self.arrived[2:], [b"c"])

    def test_cutWhileUnderWay(self) -> None:
        """
        What was delayed when the cable was cut does not arrive.
        """
        self.wind.change("delay 100ms")
        self.send(b"a")
        self.reactor.advance(0.05)
        self.wind.change("cut 1s")
        self.reactor.advance(0.1)
        self.assertEqual(self.arrived, [])
        self.wind.change("clear")

    def test_waitingIsBounded(self) -> None:
        """
        More than so many bytes do not wait; what is too much is lost.
        """
        self.wind.change("delay 5s")
        for _ in range(6):
            self.send(bytes(MAX_WAITING // 4))
        self.reactor.advance(5.0)
        self.assertEqual(len(self.arrived), 5)

    def test_flowsAreBounded(self) -> None:
        """
        Past so many addresses, the one that has been quiet longest is forgotten.
        """
        paths = [FakePath(address=("127.0.0.1", 5000 + n)) for n in range(MAX_FLOWS)]
        for path in paths:
            self.wind._flows.packetsReceived([b"a"], path)
        self.wind.change("delay 1s")
        for path in paths[:2]:
            self.wind._flows.packetsReceived([b"b"], path)
        self.send(b"c")
        self.assertEqual(
            [number for number, each in enumerate(self.sockets) if each.closed], [2]
        )


class Wire(StringTransport):
    """
    A connection's transport, that remembers how it was ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        assert enabled

    def abortConnection(self) -> None:
        self.aborted = True

    def pauseProducing(self) -> None:
        # Unlike a double, a connection may be told so at its end.
        if not self.disconnecting:
            super().pauseProducing()

    def resumeProducing(self) -> None:
        if not self.disconnecting:
            super().resumeProducing()

    def stop(self) -> None:
        """
        The other end does not read.
        """
        assert self.producer is not None
        self.producer.pauseProducing()

    def go(self) -> None:
        """
        The other end reads again.
        """
        assert self.producer is not None
        self.producer.resumeProducing()

    @property
    def reads(self) -> bool:
        """
        Whether what comes here is read.
        """
        return self.producerState == "producing"


class ConnectionTests(WindCase):
    """
    Tests for what becomes of connections.
    """

    def dial(self) -> tuple[Any, Wire]:
        """
        The protocol and transport of a viewer who has connected.
        """
        protocol = self.wind.accept()
        assert protocol is not None
        wire = Wire()
        protocol.makeConnection(wire)
        return protocol, wire

    def answer(self) -> tuple[Any, Wire]:
        """
        The protocol and transport of the connection to the host, now that it stands.
        """
        [(host, port, factory, _, _)] = self.reactor.tcpClients
        self.reactor.tcpClients.clear()
        self.assertEqual((host, port), HOST)
        protocol = factory.buildProtocol(IPv4Address("TCP", host, port))
        wire = Wire()
        protocol.makeConnection(wire)
        return protocol, wire

    def join(self) -> tuple[Any, Wire, Any, Wire]:
        """
        Both.
        """
        return (*self.dial(), *self.answer())

    def lose(self, protocol: Any, why: Exception) -> None:
        """
        One end is lost.
        """
        protocol.connectionLost(Failure(why))

    def end(self, *protocols: Any) -> None:
        """
        All ends are lost, and nothing is left of them.
        """
        for protocol in protocols:
            self.lose(protocol, ConnectionDone())
        self.assertEqual(self.wind._connections, set())

    def test_bothWays(self) -> None:
        """
        In clear weather bytes go on at once; a viewer is not read before the host has
        answered.
        """
        viewer, viewerWire = self.dial()
        self.assertFalse(viewerWire.reads)
        host, hostWire = self.answer()
        self.assertTrue(viewerWire.reads)
        viewer.dataReceived(b"question")
        host.dataReceived(b"answer")
        self.assertEqual(hostWire.value(), b"question")
        self.assertEqual(viewerWire.value(), b"answer")
        self.end(viewer, host)

    def test_backPressure(self) -> None:
        """
        While one end does not read, the other is not read either; nothing is lost.
        """
        viewer, viewerWire, host, hostWire = self.join()
        hostWire.stop()
        self.assertEqual((viewerWire.reads, hostWire.reads), (False, True))
        viewer.dataReceived(b"late")
        hostWire.go()
        self.assertTrue(viewerWire.reads)
        self.assertEqual(hostWire.value(), b"late")
        self.end(viewer, host)

    def test_silence(self) -> None:
        """
        While nothing passes, nothing is read, and what had been read waits; afterwards
        all arrives in order.
        """
        viewer, viewerWire, host, hostWire = self.join()
        for text in ("block tcp", "cut 5s"):
            hostWire.clear()
            self.wind.change(text)
            viewer.dataReceived(b"one ")
            viewer.dataReceived(b"two")
            self.assertEqual((viewerWire.reads, hostWire.reads), (False, False))
            hostWire.stop()
            hostWire.go()
            self.assertEqual((viewerWire.reads, hostWire.value()), (False, b""))
            self.wind.change("clear")
            self.assertEqual((viewerWire.reads, hostWire.reads), (True, True))
            self.assertEqual(hostWire.value(), b"one two")
        self.wind.change("block udp")
        viewer.dataReceived(b" three")
        self.assertEqual(hostWire.value(), b"one two three")
        self.end(viewer, host)

    def test_dialledInSilence(self) -> None:
        """
        A connection that is begun while nothing passes reaches the host afterwards.
        """
        self.wind.change("cut 1s")
        viewer, wire = self.dial()
        self.wind.change("block udp")
        self.assertEqual(self.reactor.tcpClients, [])
        self.reactor.advance(1.0)
        host, _ = self.answer()
        self.assertTrue(wire.reads)
        self.end(viewer, host)

    def test_delay(self) -> None:
        """
        A delay counts each way, for the end of a connection as for its bytes.
        """
        viewer, viewerWire, host, hostWire = self.join()
        self.wind.change("delay 100ms")
        viewer.dataReceived(b"a")
        host.dataReceived(b"b")
        self.reactor.advance(0.05)
        self.lose(viewer, ConnectionDone())
        self.reactor.advance(0.05)
        self.assertEqual((hostWire.value(), hostWire.disconnecting), (b"a", False))
        self.assertEqual(viewerWire.value(), b"")
        self.reactor.advance(0.05)
        self.assertTrue(hostWire.disconnecting)
        self.end(host)

    def test_waitingIsBounded(self) -> None:
        """
        While too many bytes are delayed, no more are read.
        """
        viewer, viewerWire, host, hostWire = self.join()
        self.wind.change("delay 1s")
        viewer.dataReceived(bytes(MAX_WAITING))
        self.assertTrue(viewerWire.reads)
        self.reactor.advance(0.5)
        viewer.dataReceived(b"more")
        self.assertFalse(viewerWire.reads)
        self.reactor.advance(0.5)
        self.assertTrue(viewerWire.reads)
        self.assertEqual(len(hostWire.value()), MAX_WAITING)
        self.end(viewer, host)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_ends(self) -> None:
        """
        When one end is lost so is the other: closed or reset, as the first was.
        """
        for why, aborted in ((ConnectionDone(), False), (ConnectionLost(), True)):
            for first in (0, 2):
                ends = self.join()
                other = 2 - first
                self.lose(ends[first], why)
                wire = ends[other + 1]
                self.assertEqual(
                    (wire.disconnecting, wire.aborted), (not aborted, aborted)
                )
                self.assertIsNone(wire.producer)
                self.end(ends[other])

    def test_endsInSilence(self) -> None:
        """
        That one end is lost, too, is told only when something passes again.
        """
        viewer, _, host, hostWire = self.join()
        self.wind.change("block tcp")
        self.lose(viewer, ConnectionDone())
        self.assertFalse(hostWire.disconnecting)
        self.wind.change("unblock tcp")
        self.assertTrue(hostWire.disconnecting)
        self.end(host)

    def test_noHost(self) -> None:
        """
        When the host takes no connection, the viewer's is reset.
        """
        viewer, wire = self.dial()
        [(_, _, factory, _, _)] = self.reactor.tcpClients
        [connector] = self.reactor.connectors
        factory.clientConnectionFailed(connector, Failure(ConnectionLost()))
        self.assertTrue(wire.aborted)
        self.end(viewer)

    def test_viewerGivesUp(self) -> None:
        """
        A viewer who goes while the host is dialled takes that along.
        """
        viewer, wire = self.dial()
        [connector] = self.reactor.connectors
        self.end(viewer)
        self.assertTrue(connector.stoppedConnecting)
        self.assertFalse(wire.aborted)

    def test_connectionsAreBounded(self) -> None:
        """
        Past so many connections a viewer gets none, until one is lost.
        """
        viewers = [self.dial()[0] for _ in range(MAX_CONNECTIONS)]
        self.assertIsNone(self.wind.accept())
        self.lose(viewers.pop(), ConnectionDone())
        viewers.append(self.dial()[0])
        self.end(*viewers)
