"""
TLS over real sockets on loopback: our own streams, and TLS clients of another make.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import ssl
import struct
import termios
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.threads import deferToThread

from rootstream.errors import LocalError, PortInUse
from rootstream.protocol.constants import STRANGER_TIMEOUT
from rootstream.transport.listen import HostPorts, listenBoth
from rootstream.transport.tcp import CHUNK, LARGE_CHUNK
from rootstream.transport.tls import TLSClientFactory, TLSStream
from tests.doubles import RecordingSink
from tests.integration.test_transport import Echo, TransportTestCase, needIPv6
from tests.test_tcp import record

reactor: Any = globalReactor

#: What waits in a socket: sent and not acknowledged, or received and not read.
SIOCOUTQ = termios.TIOCOUTQ
SIOCINQ = termios.FIONREAD


def waiting(skt: socket.socket, which: int) -> int:
    """
    How many bytes wait in the kernel.
    """
    (size,) = struct.unpack("i", fcntl.ioctl(skt.fileno(), which, bytes(4)))
    return int(size)


def anyone() -> ssl.SSLContext:
    """
    What a client needs to talk to whoever is there.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class TLSTestCase(TransportTestCase):
    """
    Hosts that listen for TLS.
    """

    def tlsHost(
        self, sink: Any, interface: str = "127.0.0.1", port: int = 0, tlsPort: int = 0
    ) -> HostPorts:
        ports = listenBoth(reactor, sink, reactor, port, interface, tlsPort)
        self.addCleanup(ports.close)
        return ports


class ListenTests(TLSTestCase):
    """
    TLS ports beside the others.
    """

    def test_twoNumbers(self) -> None:
        """
        TLS has a number of its own, the same for both families.
        """
        needIPv6()
        ports = self.tlsHost(RecordingSink(), "")
        hosts = [port.getHost() for port in ports.tls]
        self.assertEqual([host.host for host in hosts], ["0.0.0.0", "::"])
        self.assertEqual({host.port for host in hosts}, {ports.tlsPort})
        self.assertNotEqual(ports.port, ports.tlsPort)

    async def test_allOrNothing(self) -> None:
        """
        Where the TLS port cannot be had, the others are not kept either; which one it
        was is said.
        """
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = other.getsockname()[1]
            ports = self.tlsHost(RecordingSink())
            port = ports.port
            await ports.close()
            with self.assertRaises(PortInUse) as refused:
                self.tlsHost(RecordingSink(), port=port, tlsPort=taken)
            self.assertIn(f"port {taken} ", str(refused.exception))
        self.assertEqual(self.tlsHost(RecordingSink(), port=port).port, port)

    def test_onePortForTwo(self) -> None:
        """
        One number for TCP and TLS is refused as what it is.
        """
        with self.assertRaises(LocalError) as refused:
            self.tlsHost(RecordingSink(), port=9, tlsPort=9)
        self.assertIn("a port of its own", str(refused.exception))

    async def test_again(self) -> None:
        """
        Closed ports can be had again at once.
        """
        ports = self.tlsHost(RecordingSink())
        assert ports.tlsPort is not None
        await ports.close()
        again = self.tlsHost(RecordingSink(), tlsPort=ports.tlsPort)
        self.assertEqual(again.tlsPort, ports.tlsPort)


class StreamTests(TLSTestCase):
    """
    Both ends are ours.
    """

    async def tls(self, sink: Any, ports: HostPorts) -> TLSStream:
        """
        A connection to 127.0.0.1.
        """
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", ports.tlsPort)
        tls = await endpoint.connect(TLSClientFactory(sink, "localhost", reactor))
        stream: TLSStream = tls.wrappedProtocol
        self.addCleanup(self.end, stream)
        return stream

    async def end(self, stream: TLSStream) -> None:
        """
        The reactor must be left as it was.
        """
        if not stream.ended.called:
            stream.abort("the test is over")
            await stream.ended

    async def test_echo(self) -> None:
        """
        A megabyte goes there and back in order, and the backlog ends at nothing.
        """
        mine = RecordingSink()
        stream = await self.tls(mine, self.tlsHost(Echo()))
        packets = [n.to_bytes(4, "big") * 300 for n in range(900)]
        stream.path.sendPackets(packets)
        self.assertGreater(stream.path.backlog, 1_000_000)
        await self.until(lambda: len(mine.packets) == len(packets))
        self.assertEqual(mine.packets, packets)
        self.assertEqual(stream.path.backlog, 0)

    async def test_closeFlushes(self) -> None:
        """
        What was sent before closing arrives, then the end is told in words.
        """
        theirs = RecordingSink()
        mine = RecordingSink()
        stream = await self.tls(mine, self.tlsHost(theirs))
        path = stream.path
        path.sendPackets([b"x" * 1000])
        await self.until(lambda: theirs.packets)
        path.sendPackets([b"x" * 1000] * 499)
        path.close()
        await self.until(lambda: theirs.lost and mine.lost)
        self.assertEqual(len(theirs.packets), 500)
        self.assertEqual(theirs.lost[0][1], "the peer closed the connection")
        self.assertEqual(mine.lost, [(path, "closed by this side")])

    async def test_reset(self) -> None:
        """
        A reset ends the path, in words, with no traceback (F59).
        """
        theirs = RecordingSink()
        stream = await self.tls(RecordingSink(), self.tlsHost(theirs))
        stream.path.sendPackets([b"x" * 30])
        await self.until(lambda: theirs.packets)
        stream.abort("enough")
        await self.until(lambda: theirs.lost)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_noTLS(self) -> None:
        """
        A connection to what does not speak TLS ends with that reason.
        """
        ports = self.tlsHost(Echo())
        ports.tlsPort = ports.port
        mine = RecordingSink()
        stream = await self.tls(mine, ports)
        stream.path.sendPackets([b"x" * 30])
        await stream.ended
        self.assertEqual(mine.packets, [])
        self.assertEqual(self.flushLoggedErrors(), [])


class ForeignTests(TLSTestCase):
    """
    Clients that Python's `ssl` makes, which blocks and so has a thread.
    """

    def setUp(self) -> None:
        self.theirs = RecordingSink()
        self.ports = self.tlsHost(self.theirs)

    def raw(self) -> socket.socket:
        """
        A connection to the TLS port that has said nothing.
        """
        raw = socket.create_connection(("127.0.0.1", self.ports.tlsPort), 10)
        self.addCleanup(raw.close)
        return raw

    def secure(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        """
        A connection with TLS on it.  Waits for the host: not in the reactor's thread.
        """
        secure = (context or anyone()).wrap_socket(self.raw())
        self.addCleanup(secure.close)
        return secure

    async def inThread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await deferToThread(function, *args)

    async def test_versions(self) -> None:
        """
        A scan of versions finds TLS 1.2 and 1.3; one that is refused leaves nothing
        behind, and nothing in the log (F62).
        """
        found = []

        def scan() -> None:
            for version in (ssl.TLSVersion.TLSv1_1, *NEW):
                context = anyone()
                context.set_ciphers("ALL:@SECLEVEL=0")
                context.minimum_version = context.maximum_version = version
                try:
                    found.append(self.secure(context).version())
                except ssl.SSLError as error:
                    found.append(error.reason)

        NEW = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
        await self.inThread(scan)
        self.assertEqual(found, ["TLSV1_ALERT_PROTOCOL_VERSION", "TLSv1.2", "TLSv1.3"])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_oneByteRecords(self) -> None:
        """
        A packet in records of a byte each arrives (F62).
        """

        def say() -> None:
            secure = self.secure()
            for byte in record(b"x" * 100):
                secure.send(bytes([byte]))

        await self.inThread(say)
        await self.until(lambda: self.theirs.packets)
        self.assertEqual(self.theirs.packets, [b"x" * 100])

    async def test_junk(self) -> None:
        """
        What speaks no TLS is told so in one alert, and left (F62).
        """
        heard = []

        def talk() -> None:
            for junk in (
                b"GET / HTTP/1.1\r\n\r\n",
                record(b"\x21" * 176),
                b"\x16\x03\x01\x00\x05junk!",
            ):
                raw = self.raw()
                raw.sendall(junk)
                answer = b""
                # A reset is an end as well: what was not read is lost by it.
                with contextlib.suppress(ConnectionResetError):
                    while more := raw.recv(4096):
                        answer += more
                heard.append(answer)

        await self.inThread(talk)
        self.assertEqual(len(heard), 3)
        for answer in heard:
            self.assertLess(len(answer), 16)
            self.assertIn(answer[:1], (b"", b"\x15"))
        await self.until(lambda: not len(self.ports.strangers))
        self.assertEqual(self.theirs.packets, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_strangers(self) -> None:
        """
        A fifth stranger of one address, over TCP and TLS together, is reset, and one
        that says nothing is after five seconds (F57).
        """
        began = reactor.seconds()
        raws = [self.raw() for _ in range(2)]
        for _ in range(2):
            plain = socket.create_connection(("127.0.0.1", self.ports.port))
            self.addCleanup(plain.close)
            raws.append(plain)
        await self.until(lambda: len(self.ports.strangers) == 4)
        self.raw()
        await self.until(lambda: self.ports.strangers.refused)
        self.assertEqual(self.ports.strangers.refused, {"source": 1})
        await self.until(lambda: not len(self.ports.strangers))
        self.assertEqual(self.ports.strangers.lapsed, 4)
        self.assertGreater(reactor.seconds() - began, STRANGER_TIMEOUT - 0.1)
        for raw in raws:
            self.assertRaises(ConnectionResetError, raw.recv, 1)

    async def test_backlog(self) -> None:
        """
        The backlog of a peer that does not read is what the kernels do not hold, to
        within a chunk, and not less; it is sent, whole, when the path is closed.
        """
        secure: Any = await self.inThread(self.secure)
        await self.inThread(secure.send, record(b"h" * 30))
        await self.until(lambda: self.theirs.batches)
        [(_, path)] = self.theirs.batches
        path.authenticated()
        wire = path._stream.transport.beneath.transport.getHandle()
        packets = [n.to_bytes(4, "big") * 350 for n in range(2000)]
        path.sendPackets(packets)
        size = path.backlog
        self.assertGreater(size, 2000 * 1402)

        held: list[int] = []

        def settled() -> bool:
            held.append(waiting(wire, SIOCOUTQ) + waiting(secure, SIOCINQ))
            return len(held) > 20 and held[-20:] == [held[-1]] * 20

        await self.until(settled)
        unseen = size - held[-1] - path.backlog
        print(
            f"\n    of {size} bytes {held[-1]} in the kernels, backlog {path.backlog}, "
            f"unseen {unseen}"
        )
        self.assertGreater(path.backlog, 0)
        # In between the kernels there may be a little that neither tells of.
        self.assertLessEqual(unseen, CHUNK)
        self.assertGreaterEqual(unseen, -LARGE_CHUNK)
        path.close()

        def drain() -> bytes:
            taken = b""
            while more := secure.recv(1 << 16):
                taken += more
            return taken

        taken = await self.inThread(drain)
        self.assertEqual(taken, b"".join(map(record, packets)))

    async def test_peerSaysNoGoodbye(self) -> None:
        """
        A path that is closed is gone, whether or not the other end answers.
        """
        secure: Any = await self.inThread(self.secure)
        await self.inThread(secure.send, record(b"h" * 30))
        await self.until(lambda: self.theirs.batches)
        [(_, path)] = self.theirs.batches
        path.close()
        await self.until(lambda: self.theirs.lost)
        self.assertEqual(self.theirs.lost, [(path, "closed by this side")])
