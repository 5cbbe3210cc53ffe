"""
Tests for `rootstream.transport.tcp`, without sockets.
"""

from __future__ import annotations

import errno
import random
import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IPullProducer,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides
from zope.interface.verify import verifyObject

from rootstream.interfaces import IPath, Transport
from rootstream.protocol.constants import (
    MAX_PACKET,
    MAX_STRANGERS,
    MAX_STRANGERS_PER_SOURCE,
    MIN_RECORD,
    STRANGER_TIMEOUT,
)
from rootstream.transport.tcp import (
    CHUNK,
    LARGE_CHUNK,
    MAX_UNSENT,
    PROMPT,
    PacketClientFactory,
    PacketServerFactory,
    PacketStream,
    Strangers,
    Unsent,
)
from tests.doubles import RecordingSink


def record(packet: bytes) -> bytes:
    """
    ``packet`` as it goes over TCP.
    """
    return len(packet).to_bytes(2, "big") + packet


class Wire(StringTransport):
    """
    A transport that takes what is written only when it is `drained`, as a kernel
    does, and tells its pull producer then.
    """

    def __init__(self, host: str = "192.0.2.1") -> None:
        kind: Any = IPv6Address if ":" in host else IPv4Address
        super().__init__(peerAddress=kind("TCP", host, 1111))
        self.aborting = False

    def abortConnection(self) -> None:
        self.aborting = True

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        super().registerProducer(producer, streaming)
        producer.resumeProducing()

    def drain(self) -> bytes:
        """
        The kernel takes all that was written, and is written to again.
        """
        taken: bytes = self.value()
        self.clear()
        if self.producer is not None:
            self.producer.resumeProducing()
        return taken

    def drainAll(self) -> bytes:
        """
        Drain until nothing comes any more.
        """
        taken = b""
        while more := self.drain():
            taken += more
        return taken


class PacketStreamTests(SynchronousTestCase):
    """
    Tests for `PacketStream` and `TCPPath`.
    """

    def setUp(self) -> None:
        self.sink = RecordingSink()
        self.stream = PacketClientFactory(self.sink).buildProtocol(None)
        self.wire = Wire()
        self.stream.makeConnection(self.wire)
        assert self.stream.path is not None
        self.path = self.stream.path

    def test_interfaces(self) -> None:
        """
        The path is a path, and what waits is what Twisted pulls bytes from.
        """
        verifyObject(IPath, self.path)
        verifyObject(IPullProducer, Unsent(self.wire))
        self.assertEqual(self.path.transport, Transport.TCP)
        self.assertEqual(self.path.address, ("192.0.2.1", 1111))
        self.assertEqual(self.path.local, self.wire.getHost().host)
        self.assertIn("192.0.2.1", repr(self.path))
        self.path.authenticated()

    def test_oneBatch(self) -> None:
        """
        The whole records of one read are one batch.
        """
        packets = [b"a" * 30, b"b" * 1400, b"c" * 31]
        self.stream.dataReceived(b"".join(map(record, packets)))
        self.assertEqual(self.sink.batches, [(packets, self.path)])

    def test_anyCut(self) -> None:
        """
        However the stream is cut into reads, the same packets come out in order.
        """
        packets = [bytes([n]) * (30 + n) for n in range(20)]
        data = b"".join(map(record, packets))
        for seed in range(50):
            rng = random.Random(seed)
            self.sink.batches.clear()
            position = 0
            while position < len(data):
                size = rng.choice([1, 2, 3, 31, 500])
                self.stream.dataReceived(data[position : position + size])
                position += size
            self.assertEqual(self.sink.packets, packets)
            self.assertEqual(self.sink.lost, [])

    def test_badLengths(self) -> None:
        """
        A length that no packet has ends the connection at once, before any of its
        bytes are kept; packets before it arrive (F56).
        """
        for length in (0, 1, MIN_RECORD - 1, MAX_PACKET + 1, 65535):
            self.setUp()
            good = record(b"g" * 30)
            self.stream.dataReceived(good + length.to_bytes(2, "big") + b"x" * 5000)
            self.assertTrue(self.wire.aborting)
            self.assertEqual(self.stream._partial, b"")
            self.assertEqual(self.sink.packets, [b"g" * 30])
            self.stream.dataReceived(good)
            self.assertEqual(self.sink.packets, [b"g" * 30])
            self.stream.connectionLost(Failure(ConnectionLost()))
            [(path, reason)] = self.sink.lost
            self.assertIs(path, self.path)
            self.assertIn(f"{length} bytes", reason)

    def test_extremeLengths(self) -> None:
        """
        The smallest and the largest packet pass.
        """
        packets = [b"x" * MIN_RECORD, b"y" * MAX_PACKET]
        self.stream.dataReceived(b"".join(map(record, packets)))
        self.assertEqual(self.sink.packets, packets)

    def test_heldBytes(self) -> None:
        """
        At most one incomplete record is held (F56).
        """
        data = record(b"x" * MAX_PACKET)
        for _ in range(10):
            self.stream.dataReceived(data + data[:-1])
            self.assertLessEqual(len(self.stream._partial), MAX_PACKET + 1)
            self.stream.dataReceived(data[-1:])
            self.assertEqual(self.stream._partial, b"")

    def test_sends(self) -> None:
        """
        Packets go out as records, in one write.
        """
        self.path.sendPackets([b"a" * 30, b"b" * 40])
        self.assertEqual(self.wire.value(), record(b"a" * 30) + record(b"b" * 40))

    def test_nothing(self) -> None:
        """
        Sending no packets does nothing.
        """
        self.path.sendPackets([])
        self.assertIsNone(self.wire.producer)

    def test_backlog(self) -> None:
        """
        The backlog is what the kernel has not taken; it falls as the kernel takes
        chunks, to nothing.
        """
        packets = [b"x" * 998] * 50
        self.path.sendPackets(packets)
        self.assertEqual(self.path.backlog, 50_000)
        taken = b""
        while self.path.backlog:
            taken += self.wire.drain()
            self.assertEqual(self.path.backlog, 50_000 - len(taken))
        self.assertEqual(taken, b"".join(map(record, packets)))
        self.assertIsNone(self.wire.producer)
        self.path.sendPackets([b"y" * 30])
        self.assertEqual(self.path.backlog, 32)

    def test_closeFlushes(self) -> None:
        """
        Closing sends what was accepted before, and nothing after.
        """
        self.path.sendPackets([b"x" * 1400] * 30)
        self.path.close()
        self.path.close()
        self.path.sendPackets([b"late" * 10])
        self.assertTrue(self.wire.disconnecting)
        self.assertEqual(self.wire.drainAll(), record(b"x" * 1400) * 30)
        self.assertIsNone(self.wire.producer)
        self.stream.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.sink.lost, [(self.path, "closed by this side")])

    def test_unreadPeer(self) -> None:
        """
        A peer that does not read loses the connection at 4 MiB, and the bytes are
        freed.
        """
        batch = [b"x" * 1398] * 64
        sent = 0
        while not self.wire.aborting:
            self.path.sendPackets(batch)
            sent += 64 * 1400
            self.assertLess(sent, MAX_UNSENT + 64 * 1400 + 1)
        self.assertGreater(sent, MAX_UNSENT)
        self.assertEqual(self.path.backlog, 0)
        self.stream.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(
            self.sink.lost, [(self.path, "the peer does not read what it is sent")]
        )

    def test_reasons(self) -> None:
        """
        The end of a connection is told in words, once, on the stream as well.
        """
        for failure, words in (
            (ConnectionDone(), "the peer closed the connection"),
            (ConnectionLost(), "the connection was reset or timed out"),
        ):
            self.setUp()
            self.path.sendPackets([b"x" * 30])
            self.stream.connectionLost(Failure(failure))
            self.assertEqual(self.sink.lost, [(self.path, words)])
            self.assertEqual(self.successResultOf(self.stream.ended), words)
            self.assertEqual(self.path.backlog, 0)
            self.path.sendPackets([b"x" * 30])
            self.path.close()
            self.assertEqual(self.path.backlog, 0)

    def test_tuned(self) -> None:
        """
        A vanished peer is noticed in 10 s, and neither Nagle nor the kernel's
        queue delays packets (F58).
        """

        class TCPWire(Wire):
            """
            A transport over a socket.
            """

            def __init__(self) -> None:
                super().__init__()
                self.skt = socket.socket()
                self.noDelay = self.keepAlive = False
                alsoProvides(self, ITCPTransport, ISystemHandle)

            def getHandle(self) -> socket.socket:
                return self.skt

            def setTcpNoDelay(self, on: bool) -> None:
                self.noDelay = on

            def setTcpKeepAlive(self, on: bool) -> None:
                self.keepAlive = on

        wire = TCPWire()
        self.addCleanup(wire.skt.close)
        PacketStream(self.sink).makeConnection(wire)
        self.assertTrue(wire.noDelay)
        self.assertTrue(wire.keepAlive)
        level = socket.IPPROTO_TCP
        self.assertEqual(wire.skt.getsockopt(level, socket.TCP_USER_TIMEOUT), 10_000)
        self.assertEqual(wire.skt.getsockopt(level, socket.TCP_NOTSENT_LOWAT), 16384)

        class Gone:
            """
            A socket whose connection is over.
            """

            def setsockopt(self, *args: object) -> None:
                raise OSError(errno.EINVAL, "over")

        gone = TCPWire()
        gone.skt.close()
        gone.skt = Gone()  # type: ignore[assignment]
        PacketStream(self.sink).makeConnection(gone)


class UnsentTests(SynchronousTestCase):
    """
    Tests for `Unsent`.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.wire = Wire()
        self.unsent = Unsent(self.wire, self.clock.seconds)

    def chunks(self, wait: float) -> list[int]:
        """
        The sizes of what the kernel takes, ``wait`` seconds apart.
        """
        sizes = []
        while size := len(self.wire.value()):
            sizes.append(size)
            self.clock.advance(wait)
            self.wire.drain()
        return sizes

    def test_slow(self) -> None:
        """
        A connection that takes its time is handed little at a time, so that what waits
        is known to that little.
        """
        self.unsent.write(bytes(20 * CHUNK))
        self.assertEqual(self.chunks(2 * PROMPT), [CHUNK] * 20)

    def test_prompt(self) -> None:
        """
        One that takes all at once is handed more and more, up to a limit, and what
        waits counts whole until it is gone.
        """
        self.unsent.write(bytes(20 * CHUNK))
        sizes = self.chunks(PROMPT / 2)
        self.assertEqual(sizes[:5], [n * CHUNK for n in (1, 2, 3, 4, 4)])
        self.assertEqual(max(sizes), LARGE_CHUNK)
        self.assertEqual(sum(sizes), 20 * CHUNK)
        self.assertEqual(self.unsent.size, 0)

    def test_slowsDown(self) -> None:
        """
        One that was fast is not trusted with more than the chunk that it stalls on.
        """
        self.unsent.write(bytes(20 * CHUNK))
        for _ in range(5):
            self.wire.drain()
        self.assertEqual(len(self.wire.value()), LARGE_CHUNK)
        self.assertEqual(self.chunks(2 * PROMPT)[1:3], [CHUNK, CHUNK])

    def test_littleProvesNothing(self) -> None:
        """
        Writes that fit one chunk make the next no larger, however promptly taken.
        """
        for _ in range(10):
            self.unsent.write(bytes(CHUNK - 1))
            self.wire.drainAll()
        self.unsent.write(bytes(2 * CHUNK))
        self.assertEqual(self.chunks(0.0), [CHUNK, CHUNK])

    def test_stopped(self) -> None:
        """
        Nothing waits in a connection that is over, and nothing is added.
        """
        self.unsent.write(bytes(2 * CHUNK))
        self.unsent.stopProducing()
        self.unsent.write(b"late")
        self.assertEqual(self.unsent.size, 0)


class StrangersTests(SynchronousTestCase):
    """
    Tests for the limits of a listening port (F57).
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.sink = RecordingSink()
        self.strangers = Strangers(self.clock)
        self.factory = PacketServerFactory(self.sink, self.strangers)

    def connect(self, host: str) -> tuple[Any, Wire]:
        wire = Wire(host)
        protocol = self.factory.buildProtocol(wire.getPeer())
        protocol.makeConnection(wire)
        return protocol, wire

    def lose(self, protocol: Any) -> None:
        protocol.connectionLost(Failure(ConnectionDone()))

    def test_slowLoris(self) -> None:
        """
        A connection that sends a byte a second ends five seconds after it began,
        like a silent one.
        """
        slow, slowWire = self.connect("192.0.2.1")
        _, silentWire = self.connect("192.0.2.2")
        for byte in record(b"x" * 30)[:4]:
            self.clock.advance(1)
            slow.dataReceived(bytes([byte]))
        self.clock.advance(STRANGER_TIMEOUT - 4 - 0.01)
        self.assertFalse(slowWire.aborting or silentWire.aborting)
        self.clock.advance(0.01)
        self.assertTrue(slowWire.aborting and silentWire.aborting)
        self.assertEqual(self.strangers.lapsed, 2)
        self.lose(slow)
        self.assertIn("in time", self.sink.lost[0][1])

    def test_authenticated(self) -> None:
        """
        A known peer's connection lives on and counts no more.
        """
        stream, wire = self.connect("192.0.2.1")
        stream.path.authenticated()
        stream.path.authenticated()
        self.assertEqual(len(self.strangers), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(60)
        self.assertFalse(wire.aborting)
        self.lose(stream)

    def test_lost(self) -> None:
        """
        A stranger that goes makes room and leaves no timer.
        """
        streams = [self.connect("192.0.2.1")[0] for _ in range(4)]
        for stream in streams:
            self.lose(stream)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.strangers), 0)
        _, wire = self.connect("192.0.2.1")
        self.assertFalse(wire.aborting)

    def test_perSource(self) -> None:
        """
        The fifth connection of a source address is reset; others still get in.
        """
        for _ in range(MAX_STRANGERS_PER_SOURCE):
            self.assertFalse(self.connect("192.0.2.1")[1].aborting)
        self.assertTrue(self.connect("192.0.2.1")[1].aborting)
        self.assertFalse(self.connect("192.0.2.2")[1].aborting)
        self.assertEqual(self.strangers.refused, {"source": 1})

    def test_perNetwork(self) -> None:
        """
        An IPv6 /64 is one source, its neighbour another.
        """
        for n in range(MAX_STRANGERS_PER_SOURCE):
            self.assertFalse(self.connect(f"2001:db8::{n + 1}")[1].aborting)
        self.assertTrue(self.connect("2001:db8::ffff:1")[1].aborting)
        self.assertFalse(self.connect("2001:db8:0:1::1")[1].aborting)

    def test_all(self) -> None:
        """
        There are never more than 64 strangers, and accepting goes on when their
        time is over.
        """
        accepted = []
        for n in range(10_000):
            stream, wire = self.connect(f"10.0.{n >> 8}.{n & 255}")
            if not wire.aborting:
                accepted.append(stream)
        self.assertEqual(len(accepted), MAX_STRANGERS)
        self.assertEqual(self.strangers.refused, {"all": 10_000 - 64})
        self.clock.advance(STRANGER_TIMEOUT)
        for stream in accepted:
            self.lose(stream)
        self.assertFalse(self.connect("192.0.2.1")[1].aborting)
