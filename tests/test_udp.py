"""
Tests for `rootstream.transport.udp`, with doubles for socket and reactor.
"""

from __future__ import annotations

import errno
import itertools
import socket
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost, MessageLengthError
from twisted.internet.interfaces import IListeningPort, IReadDescriptor
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from rootstream.errors import AddressRefused
from rootstream.interfaces import IPath, Transport
from rootstream.protocol.constants import MAX_PACKET
from rootstream.transport import udp
from rootstream.transport.udp import (
    MAX_PEER_SOCKETS,
    READ_AT_ONCE,
    PacketDatagrams,
    UDPPort,
)
from tests.doubles import RecordingSink

A = ("192.0.2.1", 1111)
B = ("192.0.2.2", 2222)

#: Each errno that Linux documents for recvfrom, sendto or a pending ICMP error.
NETWORK_ERRNOS = [
    errno.EACCES,
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.EINVAL,
    errno.EIO,
    errno.EMSGSIZE,
    errno.ENETDOWN,
    errno.ENETRESET,
    errno.ENETUNREACH,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EPROTO,
    errno.ETIMEDOUT,
]


_NUMBERS = itertools.count(99)


#: Of linux/udp.h.
UDP_SEGMENT, UDP_GRO = 103, 104


class FakeSocket:
    """
    A socket whose datagrams and errors are told beforehand.

    @ivar calls: how many datagrams each call sent that the socket took.
    """

    def __init__(self, family: int = socket.AF_INET, offload: bool = False) -> None:
        self.family = family
        self.offload = offload
        self.calls: list[int] = []
        self.incoming: deque[Any] = deque()
        self.refusals: deque[OSError | None] = deque()
        self.sent: list[tuple[bytes, Any]] = []
        self.number = next(_NUMBERS)
        self.closed = False
        self.pending = 0

    def recvfrom(self, size: int) -> tuple[bytes, Any]:
        if not self.incoming:
            raise BlockingIOError(errno.EAGAIN, "would block")
        item = self.incoming.popleft()
        if isinstance(item, OSError):
            raise item
        return item[0][:size], item[1]

    def setsockopt(self, level: int, option: int, value: int) -> None:
        assert (level, option, value) == (socket.SOL_UDP, UDP_GRO, 1)
        if not self.offload:
            raise OSError(errno.ENOPROTOOPT, "not here")

    def recvmsg(self, size: int, ancillary: int) -> tuple[bytes, Any, int, Any]:
        if not self.incoming or isinstance(self.incoming[0], OSError):
            self.recvfrom(size)
        train, address = self.incoming.popleft()
        if isinstance(train, bytes):
            return train, [], 0, address
        segment = len(train[0]).to_bytes(4, sys.byteorder)
        return b"".join(train), [(socket.SOL_UDP, UDP_GRO, segment)], 0, address

    def sendmsg(
        self, train: list[bytes], ancillary: Any, flags: int = 0, to: Any = None
    ) -> None:
        [(level, kind, size)] = ancillary
        assert (level, kind) == (socket.SOL_UDP, UDP_SEGMENT)
        assert size == len(train[0]).to_bytes(2, sys.byteorder)
        self._take(train, to)

    def sendto(self, packet: bytes, destination: Any) -> None:
        self._take([packet], destination)

    def _take(self, packets: list[bytes], destination: Any) -> None:
        refusal = self.refusals.popleft() if self.refusals else None
        if refusal is not None:
            raise refusal
        self.calls.append(len(packets))
        self.sent.extend((packet, destination) for packet in packets)

    def send(self, packet: bytes) -> None:
        self.sendto(packet, None)

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR)
        pending, self.pending = self.pending, 0
        return pending

    def getsockname(self) -> tuple[Any, ...]:
        if self.family == socket.AF_INET6:
            return ("::", 9876, 0, 0)
        return ("0.0.0.0", 9876)

    def fileno(self) -> int:
        return self.number

    def close(self) -> None:
        self.closed = True


class UDPPortTests(SynchronousTestCase):
    """
    Tests for `UDPPort` and `PacketDatagrams` upon it.
    """

    def setUp(self) -> None:
        self.open(socket.AF_INET)

    def open(self, family: int) -> None:
        self.reactor = MemoryReactorClock()
        self.sink = RecordingSink()
        self.socket = FakeSocket(family)
        self.datagrams = PacketDatagrams(self.sink, self.reactor)
        self.port = UDPPort(
            self.reactor,
            self.datagrams,
            self.socket,  # type: ignore[arg-type]  # a double
        )
        self.port.startListening()

    def isReading(self) -> bool:
        return self.port in self.reactor.readers and not self.socket.closed

    def test_interfaces(self) -> None:
        """
        The port is what a reactor reads and what a service stops.
        """
        verifyObject(IReadDescriptor, self.port)
        verifyObject(IListeningPort, self.port)
        verifyObject(IPath, self.port.pathTo(A))
        self.assertEqual(self.port.fileno(), self.socket.number)
        self.assertEqual(self.port.logPrefix(), "UDP")
        self.assertEqual(self.port.getHost().port, 9876)

    def test_batches(self) -> None:
        """
        Consecutive datagrams of one source are one batch; a change of source ends
        it, and the order stays.
        """
        self.socket.incoming.extend([(b"1", A), (b"2", A), (b"3", B), (b"4", A)])
        self.port.doRead()
        self.assertEqual(
            self.sink.batches,
            [
                ([b"1", b"2"], self.port.pathTo(A)),
                ([b"3"], self.port.pathTo(B)),
                ([b"4"], self.port.pathTo(A)),
            ],
        )

    def test_readsBounded(self) -> None:
        """
        A flood gets no more than 64 datagrams before others have their turn.
        """
        self.socket.incoming.extend([(b"x", A)] * (READ_AT_ONCE + 10))
        self.port.doRead()
        self.assertEqual(len(self.sink.packets), READ_AT_ONCE)
        self.assertEqual(len(self.socket.incoming), 10)

    def test_nothingToRead(self) -> None:
        """
        A read that finds nothing delivers nothing.
        """
        self.port.doRead()
        self.assertEqual(self.sink.batches, [])

    def test_impossiblePackets(self) -> None:
        """
        Empty and oversized datagrams are dropped and counted; those around them
        arrive.
        """
        self.socket.incoming.extend(
            [
                (b"", A),
                (b"x" * MAX_PACKET, A),
                (b"y" * (MAX_PACKET + 1), A),
                (b"", B),
            ]
        )
        self.port.doRead()
        self.assertEqual(self.sink.packets, [b"x" * MAX_PACKET])
        self.assertEqual(self.datagrams.dropped, {"empty": 2, "oversized": 1})

    def test_readErrors(self) -> None:
        """
        No error of the network ends the port or loses what came after it (F52,
        F63).
        """
        for number in NETWORK_ERRNOS:
            self.socket.incoming.extend([OSError(number, "said"), (b"after", A)])
            self.assertIsNone(self.port.doRead())
            self.assertTrue(self.isReading())
            self.assertEqual(self.datagrams.errors[errno.errorcode[number]], 1)
        self.assertEqual(self.sink.packets, [b"after"] * len(NETWORK_ERRNOS))

    def test_writeErrors(self) -> None:
        """
        A packet that the socket refuses is lost and counted, the next one goes
        out (F63).
        """
        path = self.port.pathTo(A)
        for number in [*NETWORK_ERRNOS, errno.EAGAIN]:
            self.socket.sent.clear()
            self.socket.refusals.extend([None, OSError(number, "said"), None])
            path.sendPackets([b"1", b"2", b"3"])
            self.assertEqual(self.socket.sent, [(b"1", A), (b"3", A)])
            self.assertEqual(self.datagrams.errors[errno.errorcode[number]], 1)
            self.assertTrue(self.isReading())

    def test_epollError(self) -> None:
        """
        An error that the reactor reports as the end of a connection is fetched and
        counted, and the port goes on reading (F52).
        """
        self.reactor.removeReader(self.port)
        self.socket.pending = errno.ECONNREFUSED
        self.port.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.isReading())
        self.assertEqual(self.datagrams.errors, {"ECONNREFUSED": 1})

    def test_errorsLoggedOnceASecond(self) -> None:
        """
        However many errors there are, a second has one log line (F63).
        """
        path = self.port.pathTo(A)
        with capturedLogs() as logged:
            for _ in range(25):
                self.socket.refusals.append(OSError(errno.ENETUNREACH, "unreachable"))
                path.sendPackets([b"x"])
                self.reactor.advance(0.1)
        mine = [event for event in logged if "count" in event]
        self.assertEqual(len(mine), 3)
        self.assertEqual(self.datagrams.errors["ENETUNREACH"], 25)

    def test_refusedByNobody(self) -> None:
        """
        That nobody listens at a peer's port any more, or that somebody says so, is
        counted and not worth a line.
        """
        path = self.port.pathTo(A)
        self.socket.refusals.append(OSError(errno.ECONNREFUSED, "refused"))
        with capturedLogs() as logged:
            path.sendPackets([b"x"])
        self.assertEqual(logged, [])
        self.assertEqual(self.datagrams.errors, {"ECONNREFUSED": 1})

    def test_sinkBug(self) -> None:
        """
        An exception out of the sink is logged and does not end the port.
        """

        def broken(packets: Sequence[bytes], path: IPath) -> None:
            raise ZeroDivisionError

        self.sink.packetsReceived = broken  # type: ignore[method-assign]
        self.socket.incoming.append((b"x", A))
        self.port.doRead()
        self.assertTrue(self.isReading())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop(self) -> None:
        """
        A stopped port is closed, sends nothing, and can be stopped again.
        """
        path = self.port.pathTo(A)
        self.successResultOf(self.port.stopListening())
        self.successResultOf(self.port.stopListening())
        self.assertTrue(self.socket.closed)
        self.assertNotIn(self.port, self.reactor.readers)
        path.sendPackets([b"x"])
        self.port.doRead()
        self.assertEqual(self.socket.sent, [])
        self.assertEqual(self.port.fileno(), -1)

    def test_stopWhileReading(self) -> None:
        """
        The sink may close the port in the middle of a read.
        """

        def stop(packets: Sequence[bytes], path: IPath) -> None:
            self.port.stopListening()

        self.sink.packetsReceived = stop  # type: ignore[method-assign]
        self.socket.incoming.extend([(b"1", A), (b"2", B), (b"3", A)])
        self.port.doRead()
        self.assertEqual(list(self.socket.incoming), [(b"3", A)])

    def test_reactorStops(self) -> None:
        """
        The port closes when the reactor disconnects all at its end.
        """
        self.port.connectionLost(Failure(ConnectionLost()))
        self.assertTrue(self.socket.closed)

    def test_ipv6(self) -> None:
        """
        An IPv6 source is answered in its zone, whatever its flow label; a zone is
        part of a path's identity, in whichever way it is written.
        """
        self.open(socket.AF_INET6)
        self.assertEqual(self.port.getHost().host, "::")
        self.socket.incoming.append((b"x", ("fe80::1", 5, 77, 1)))
        self.port.doRead()
        [(_, path)] = self.sink.batches
        self.assertEqual(path.address, ("fe80::1%1", 5))
        self.assertEqual(path, self.port.pathTo(("fe80::1%lo", 5)))
        self.assertEqual(path, self.port.pathTo(("fe80:0::1%1", 5)))
        self.assertNotEqual(path, self.port.pathTo(("fe80::1", 5)))
        path.sendPackets([b"y"])
        self.assertEqual(self.socket.sent, [(b"y", ("fe80::1", 5, 0, 1))])

    def test_unknownZone(self) -> None:
        """
        An address in a zone that this machine does not have is refused in words.
        """
        refused = self.assertRaises(
            AddressRefused, self.port.pathTo, ("fe80::1%nosuch0", 5)
        )
        self.assertIn("nosuch0", str(refused))


class TrainTests(SynchronousTestCase):
    """
    A port on a kernel with segmentation and receive offload.
    """

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.sink = RecordingSink()
        self.socket = FakeSocket(offload=True)
        self.datagrams = PacketDatagrams(self.sink, self.reactor)
        self.port = UDPPort(
            self.reactor,
            self.datagrams,
            self.socket,  # type: ignore[arg-type]  # a double
        )
        self.port.startListening()
        self.path = self.port.pathTo(A)
        self.packets = [bytes([number]) * 1400 for number in range(60)]

    def test_sends(self) -> None:
        """
        Packets of one size leave in few calls, in their order; a single one leaves as
        it always did.
        """
        self.path.sendPackets([*self.packets, b"end", b"x" * 1400])
        self.assertEqual(self.socket.calls, [46, 15, 1])
        sent = [packet for packet, _ in self.socket.sent]
        self.assertEqual(sent, [*self.packets, b"end", b"x" * 1400])

    def test_noOffloadThere(self) -> None:
        """
        When the way has no offload, which shows with the first train, nothing is lost
        and no more trains are tried.
        """
        self.socket.refusals.append(OSError(errno.EIO, "no checksums"))
        self.path.sendPackets(self.packets)
        self.path.sendPackets(self.packets[:3])
        self.assertEqual(self.socket.calls, [1] * 63)
        self.assertEqual([packet for packet, _ in self.socket.sent[:60]], self.packets)
        self.assertEqual(self.datagrams.errors, {})

    def test_refusedForAnotherReason(self) -> None:
        """
        A train that the kernel refuses as it refuses each of its packets says nothing
        against trains.
        """
        unreachable = OSError(errno.ENETUNREACH, "no route")
        self.socket.refusals.extend([unreachable] * 4)
        self.path.sendPackets(self.packets[:3])
        invalid = OSError(errno.EINVAL, "too large for the interface")
        large = OSError(errno.EMSGSIZE, "too large for the interface")
        self.socket.refusals.extend([invalid, large, large, large])
        self.path.sendPackets(self.packets[:3])
        self.assertEqual(self.datagrams.errors, {"ENETUNREACH": 3, "EMSGSIZE": 3})
        self.path.sendPackets(self.packets[:3])
        self.assertEqual(self.socket.calls, [3])

    def test_full(self) -> None:
        """
        A train for which there is no room is lost whole, and counted whole.
        """
        self.socket.refusals.append(BlockingIOError(errno.EAGAIN, "would block"))
        self.path.sendPackets(self.packets)
        self.assertEqual(self.socket.calls, [14])
        self.assertEqual(self.datagrams.errors, {"EAGAIN": 46})

    def test_receives(self) -> None:
        """
        A train is a batch; trains of one source in a row are one batch.
        """
        self.socket.incoming.append((self.packets[:5], A))
        self.socket.incoming.append(([b"a" * 700, b"b" * 700, b"end"], A))
        self.socket.incoming.append((b"alone", B))
        self.port.doRead()
        self.assertEqual(
            self.sink.batches,
            [
                ([*self.packets[:5], b"a" * 700, b"b" * 700, b"end"], self.path),
                ([b"alone"], self.port.pathTo(B)),
            ],
        )

    def test_bounded(self) -> None:
        """
        One read takes as many datagrams as without trains, and the rest of the last
        train.
        """
        for _ in range(3):
            self.socket.incoming.append((self.packets[:46], A))
        self.port.doRead()
        self.assertEqual(len(self.sink.packets), 92)
        self.assertEqual(len(self.socket.incoming), 1)

    def test_oversized(self) -> None:
        """
        Datagrams too large to be packets are counted, alone or in a train.
        """
        self.socket.incoming.append((b"x" * 1401, A))
        self.socket.incoming.append(([b"x" * 9000, b"x" * 9000, b"y"], A))
        self.socket.incoming.append((b"", A))
        self.port.doRead()
        self.assertEqual(self.sink.packets, [b"y"])
        self.assertEqual(self.datagrams.dropped, {"oversized": 3, "empty": 1})

    def test_peerSocket(self) -> None:
        """
        A peer's own socket sends trains too; what it cannot send any more, the shared
        one does.
        """
        own = FakeSocket(offload=True)
        self.patch(udp, "connectSocket", lambda listening, destination: own)
        datagrams = PacketDatagrams(self.sink, self.reactor)
        port = UDPPort(
            self.reactor,
            datagrams,
            self.socket,  # type: ignore[arg-type]  # a double
            connects=True,
        )
        port.startListening()
        path = port.pathTo(A)
        path.chosen()
        path.sendPackets(self.packets[:10])
        self.assertEqual(own.calls, [10])
        own.refusals.extend([OSError(errno.EINVAL, "no such address")] * 21)
        path.sendPackets(self.packets[:10])
        self.assertTrue(own.closed)
        self.assertEqual(self.socket.calls, [10])
        self.assertEqual(datagrams.errors, {"EINVAL": 1})


class PeerSocketTests(SynchronousTestCase):
    """
    A host's port, and the sockets of the peers that sessions send to.
    """

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.sink = RecordingSink()
        self.socket = FakeSocket()
        self.made: list[FakeSocket] = []
        self.refusal: OSError | None = None
        self.patch(udp, "connectSocket", self.connectSocket)
        self.port = self.open(connects=True)

    def open(self, connects: bool) -> UDPPort:
        port = UDPPort(
            self.reactor,
            PacketDatagrams(self.sink, self.reactor),
            self.socket,  # type: ignore[arg-type]  # a double
            connects,
        )
        port.startListening()
        return port

    def connectSocket(self, listening: object, destination: object) -> FakeSocket:
        self.assertIs(listening, self.socket)
        if self.refusal is not None:
            raise self.refusal
        self.made.append(FakeSocket())
        return self.made[-1]

    def reader(self, skt: FakeSocket) -> Any:
        """
        What reads a socket in the reactor.
        """
        [reader] = [
            each for each in self.reactor.readers if each.fileno() == skt.number
        ]
        return reader

    def test_chosen(self) -> None:
        """
        A peer that a session sends to has a socket of its own, whichever path object
        says so; everybody else is sent to by the shared one.
        """
        path = self.port.pathTo(A)
        path.chosen()
        self.port.pathTo(A).chosen()
        [own] = self.made
        path.sendPackets([b"1"])
        self.port.pathTo(A).sendPackets([b"2"])
        self.port.pathTo(B).sendPackets([b"3"])
        self.assertEqual(own.sent, [(b"1", None), (b"2", None)])
        self.assertEqual(self.socket.sent, [(b"3", B)])

    def test_dialling(self) -> None:
        """
        A port that only dials keeps one socket: a connected one would keep its source
        address when the machine moves to another network.
        """
        port = self.open(connects=False)
        port.pathTo(A).chosen()
        port.pathTo(A).sendPackets([b"x"])
        self.assertEqual(self.made, [])
        self.assertEqual(self.socket.sent, [(b"x", A)])

    def test_received(self) -> None:
        """
        What comes by the peer's socket comes by the same path; what a stranger sent
        while it was not yet connected has its true source.
        """
        path = self.port.pathTo(A)
        path.chosen()
        [own] = self.made
        own.incoming.extend([(b"s", B), (b"1", A), (b"2", A)])
        self.reader(own).doRead()
        self.assertEqual(
            self.sink.batches,
            [([b"s"], self.port.pathTo(B)), ([b"1", b"2"], path)],
        )

    def test_closed(self) -> None:
        """
        A path that is given up takes its socket along, and may be chosen again.
        """
        path = self.port.pathTo(A)
        path.chosen()
        path.close()
        path.close()
        [own] = self.made
        self.assertTrue(own.closed)
        self.assertEqual(self.reactor.readers, {self.port})
        path.sendPackets([b"x"])
        self.assertEqual(self.socket.sent, [(b"x", A)])
        path.chosen()
        self.assertEqual(len(self.made), 2)

    def test_stop(self) -> None:
        """
        A stopped port leaves no socket open, and opens none.
        """
        for destination in (A, B):
            self.port.pathTo(destination).chosen()
        self.port.stopListening()
        self.port.pathTo(A).chosen()
        self.assertEqual([own.closed for own in self.made], [True, True])
        self.assertEqual(self.reactor.readers, set())

    def test_reactorStops(self) -> None:
        """
        The sockets close when the reactor disconnects all at its end, in any order.
        """
        self.port.pathTo(A).chosen()
        [own] = self.made
        reader = self.reader(own)
        reader.connectionLost(Failure(ConnectionLost()))
        self.assertTrue(own.closed)
        self.port.connectionLost(Failure(ConnectionLost()))
        reader.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.reactor.readers, set())

    def test_closedWhileSending(self) -> None:
        """
        What is sent on a socket that the reactor has closed is lost.
        """
        self.port.pathTo(A).chosen()
        [own] = self.made
        self.reader(own).connectionLost(Failure(ConnectionLost()))
        self.port.pathTo(A).sendPackets([b"x"])
        self.assertEqual(own.sent, [])

    def test_icmp(self) -> None:
        """
        What an ICMP message said of a connected socket, true or forged, is told once
        by the kernel and costs nothing, not even the packet (F52).
        """
        path = self.port.pathTo(A)
        path.chosen()
        [own] = self.made
        for number in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EMSGSIZE):
            own.sent.clear()
            own.refusals.append(OSError(number, "said"))
            path.sendPackets([b"1", b"2"])
            self.assertEqual(own.sent, [(b"1", None), (b"2", None)])
        own.pending = errno.ECONNREFUSED
        reader = self.reader(own)
        self.reactor.removeReader(reader)
        reader.connectionLost(Failure(ConnectionDone()))
        self.assertIs(self.reader(own), reader)
        self.assertEqual(self.port.datagrams.errors, {"ECONNREFUSED": 1})

    def test_packetLost(self) -> None:
        """
        A full buffer, or a packet too long for the interface, costs that packet and
        not the socket (F63).
        """
        path = self.port.pathTo(A)
        path.chosen()
        [own] = self.made
        own.refusals.append(BlockingIOError(errno.EAGAIN, "full"))
        for number in (errno.ENOBUFS, errno.EMSGSIZE, errno.ECONNREFUSED):
            own.refusals.extend([OSError(number, "said")] * 2)
        path.sendPackets([b"1", b"2", b"3", b"4", b"5"])
        self.assertEqual(own.sent, [(b"5", None)])
        self.assertEqual(
            self.port.datagrams.errors,
            {"EAGAIN": 1, "ENOBUFS": 1, "EMSGSIZE": 1, "ECONNREFUSED": 1},
        )

    def test_addressGone(self) -> None:
        """
        F64: where the socket's address or its way is gone, the packet leaves by the
        shared socket, and so do those after it.
        """
        path = self.port.pathTo(A)
        for number in (
            errno.EINVAL,
            errno.ENETUNREACH,
            errno.EHOSTUNREACH,
            errno.EADDRNOTAVAIL,
            errno.ENETDOWN,
        ):
            self.socket.sent.clear()
            path.chosen()
            own = self.made[-1]
            # Each packet is tried twice.
            own.refusals.extend([OSError(number, "gone")] * 4)
            path.sendPackets([b"1", b"2"])
            self.assertTrue(own.closed)
            self.assertEqual(self.socket.sent, [(b"1", A), (b"2", A)])
            self.assertEqual(self.port.datagrams.errors[errno.errorcode[number]], 1)

    def test_noneToBeHad(self) -> None:
        """
        F76: a peer for whom no socket can be opened shares the port's, and it is
        counted.
        """
        self.refusal = OSError(errno.EMFILE, "Too many open files")
        path = self.port.pathTo(A)
        path.chosen()
        path.sendPackets([b"x"])
        self.assertEqual(self.socket.sent, [(b"x", A)])
        self.assertEqual(self.port.datagrams.errors, {"EMFILE": 1})

    def test_bounded(self) -> None:
        """
        A port has no more than 256 sockets of peers; the peers past that share its
        own, and one that leaves makes room.
        """
        paths = [self.port.pathTo(("192.0.2.1", n)) for n in range(1, 259)]
        for path in paths:
            path.chosen()
        self.assertEqual(len(self.made), MAX_PEER_SOCKETS)
        paths[-1].sendPackets([b"x"])
        self.assertEqual(self.socket.sent, [(b"x", ("192.0.2.1", 258))])
        paths[0].close()
        paths[-1].chosen()
        self.assertEqual(len(self.made), MAX_PEER_SOCKETS + 1)

    def test_renew(self) -> None:
        """
        F64: when the addresses of this machine change, each peer gets a new socket,
        also one that had lost its own.
        """
        for destination in (A, B):
            self.port.pathTo(destination).chosen()
        self.made[1].refusals.extend([OSError(errno.ENETUNREACH, "gone")] * 2)
        self.port.pathTo(B).sendPackets([b"x"])
        self.port.renew()
        self.assertEqual([own.closed for own in self.made], [True, True, False, False])
        self.port.pathTo(A).sendPackets([b"1"])
        self.port.pathTo(B).sendPackets([b"2"])
        self.assertEqual(self.made[2].sent, [(b"1", None)])
        self.assertEqual(self.made[3].sent, [(b"2", None)])
        self.assertEqual(len(self.reactor.readers), 3)


class UDPPathTests(SynchronousTestCase):
    """
    Tests for `UDPPath`.
    """

    def setUp(self) -> None:
        self.datagrams = PacketDatagrams(RecordingSink(), MemoryReactorClock())

    def test_identity(self) -> None:
        """
        Paths are equal exactly when socket and address are.
        """
        path = self.datagrams.pathTo(A)
        other = PacketDatagrams(RecordingSink(), MemoryReactorClock())
        self.assertEqual(path, self.datagrams.pathTo(A))
        self.assertEqual(hash(path), hash(self.datagrams.pathTo(A)))
        self.assertNotEqual(path, self.datagrams.pathTo(B))
        self.assertNotEqual(path, other.pathTo(A))
        self.assertNotEqual(path, A)

    def test_attributes(self) -> None:
        """
        A UDP path never holds bytes back, and on a port of Twisted's it has nothing
        to open or to close.
        """
        path = self.datagrams.pathTo(A)
        path.authenticated()
        path.chosen()
        path.close()
        self.assertEqual((path.transport, path.address), (Transport.UDP, A))
        self.assertEqual(path.backlog, 0)
        self.assertIn("192.0.2.1", repr(path))


class StockPortTests(SynchronousTestCase):
    """
    `PacketDatagrams` as ``reactor.listenUDP`` drives it.
    """

    def setUp(self) -> None:
        self.sink = RecordingSink()
        self.datagrams = PacketDatagrams(self.sink, MemoryReactorClock())

    def test_receives(self) -> None:
        """
        One datagram is one batch.
        """
        self.datagrams.datagramReceived(b"x", A)
        self.assertEqual(self.sink.batches, [([b"x"], self.datagrams.pathTo(A))])

    def test_refusals(self) -> None:
        """
        What Twisted's port raises on writing is counted, not raised (F63).
        """
        raised = [MessageLengthError(), OSError(errno.EPERM, "no"), OSError("bare")]

        class Transport:
            """
            Raises what it is told to.
            """

            def write(self, packet: bytes, destination: Any) -> None:
                raise raised.pop(0)

        self.datagrams.makeConnection(Transport())  # type: ignore[arg-type]
        self.datagrams.pathTo(A).sendPackets([b"1", b"2", b"3"])
        self.assertEqual(
            self.datagrams.errors, {"EMSGSIZE": 1, "EPERM": 1, "unknown": 1}
        )
