"""
Tests for `rootstream.transport.udp`, with doubles for socket and reactor.
"""

from __future__ import annotations

import errno
import socket
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

from rootstream.errors import AddressRefused, LocalError, PortInUse
from rootstream.interfaces import IPath, Transport
from rootstream.protocol.constants import MAX_PACKET
from rootstream.transport.udp import (
    READ_AT_ONCE,
    PacketDatagrams,
    UDPPort,
    bindSocket,
    familyOf,
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


class FakeSocket:
    """
    A socket whose datagrams and errors are told beforehand.
    """

    def __init__(self, family: int = socket.AF_INET) -> None:
        self.family = family
        self.incoming: deque[Any] = deque()
        self.refusals: deque[OSError | None] = deque()
        self.sent: list[tuple[bytes, Any]] = []
        self.closed = False
        self.pending = 0

    def recvfrom(self, size: int) -> tuple[bytes, Any]:
        if not self.incoming:
            raise BlockingIOError(errno.EAGAIN, "would block")
        item = self.incoming.popleft()
        if isinstance(item, OSError):
            raise item
        return item[0][:size], item[1]

    def sendto(self, packet: bytes, destination: Any) -> None:
        refusal = self.refusals.popleft() if self.refusals else None
        if refusal is not None:
            raise refusal
        self.sent.append((packet, destination))

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR)
        pending, self.pending = self.pending, 0
        return pending

    def getsockname(self) -> tuple[Any, ...]:
        if self.family == socket.AF_INET6:
            return ("::", 9876, 0, 0)
        return ("0.0.0.0", 9876)

    def fileno(self) -> int:
        return 99

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
        self.assertEqual(self.port.fileno(), 99)
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
        self.port.write(b"x", A)
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
        A UDP path never holds bytes back, and has nothing to close.
        """
        path = self.datagrams.pathTo(A)
        path.authenticated()
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


class BindSocketTests(SynchronousTestCase):
    """
    Tests for `bindSocket`, with real sockets that nothing is sent to.
    """

    def bind(self, interface: str, port: int = 0) -> socket.socket:
        skt = bindSocket(socket.SOCK_DGRAM, interface, port)
        self.addCleanup(skt.close)
        return skt

    def test_portInUse(self) -> None:
        """
        A port that is taken is refused with what to do about it.
        """
        port = self.bind("127.0.0.1").getsockname()[1]
        refused = self.assertRaises(PortInUse, self.bind, "127.0.0.1", port)
        self.assertIn(str(port), str(refused))
        self.assertIn("choose another port", str(refused))

    def test_badInterfaces(self) -> None:
        """
        An address of another machine, and a name, are refused in words.
        """
        for interface in ("192.0.2.77", "no.such.name.invalid"):
            refused = self.assertRaises(AddressRefused, self.bind, interface)
            self.assertIn(interface, str(refused))

    def test_badPort(self) -> None:
        """
        A port number that cannot be is a local error, not an OverflowError.
        """
        self.assertRaises(LocalError, self.bind, "127.0.0.1", 65536)

    def test_forbidden(self) -> None:
        """
        A privileged port that is not allowed is refused with what to do.
        """

        def forbidden(*args: object) -> socket.socket:
            raise PermissionError(errno.EACCES, "Permission denied")

        self.patch(socket, "socket", forbidden)
        refused = self.assertRaises(LocalError, self.bind, "127.0.0.1", 80)
        self.assertIn("above 1023", str(refused))

    def test_options(self) -> None:
        """
        Sockets never fragment, ignore ICMP's idea of the MTU (F52), have large
        buffers, and do not share their port.
        """
        ipv4 = self.bind("127.0.0.1")
        self.assertEqual(ipv4.getsockopt(socket.IPPROTO_IP, 10), 3)
        self.assertFalse(ipv4.getblocking())
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            self.assertEqual(ipv4.getsockopt(socket.SOL_SOCKET, option), 0)
        plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(plain.close)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.assertGreater(
                ipv4.getsockopt(socket.SOL_SOCKET, option),
                plain.getsockopt(socket.SOL_SOCKET, option),
            )

    def test_ipv6Options(self) -> None:
        """
        IPv6 sockets take IPv6 only, and do not fragment either.
        """
        if not socket.has_ipv6:
            self.skipTest("no IPv6 here")
        try:
            ipv6 = self.bind("::1")
        except AddressRefused:
            self.skipTest("no IPv6 loopback here")
        self.assertEqual(ipv6.getsockopt(socket.IPPROTO_IPV6, 23), 3)
        self.assertEqual(ipv6.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), 1)

    def test_withoutPrivilege(self) -> None:
        """
        Where large buffers need a privilege we lack, what is allowed is taken.
        """

        class Unprivileged(socket.socket):
            """
            Refuses SO_SNDBUFFORCE and SO_RCVBUFFORCE.
            """

            def setsockopt(self, level: int, option: int, value: Any) -> None:
                if level == socket.SOL_SOCKET and option in (32, 33):
                    raise PermissionError(errno.EPERM, "no")
                super().setsockopt(level, option, value)

        default = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(default.close)
        self.patch(socket, "socket", Unprivileged)
        skt = self.bind("127.0.0.1")
        self.assertGreaterEqual(
            skt.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
            default.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
        )

    def test_families(self) -> None:
        """
        An empty interface is all of IPv4, as in Twisted.
        """
        self.assertEqual(familyOf(""), socket.AF_INET)
        self.assertEqual(familyOf("127.0.0.1"), socket.AF_INET)
        self.assertEqual(familyOf("::"), socket.AF_INET6)
