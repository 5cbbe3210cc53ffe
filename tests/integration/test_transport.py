"""
The transports over real sockets on loopback.
"""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SkipTest, TestCase

from rootstream.errors import AddressRefused, LocalError, PortInUse
from rootstream.interfaces import IPath, Transport
from rootstream.peer import Peer
from rootstream.protocol.events import Command, Control
from rootstream.station import Station
from rootstream.transport import listen
from rootstream.transport.dial import DualConnector
from rootstream.transport.listen import HostPorts, listenBoth
from rootstream.transport.reconnect import PeerReconnector
from rootstream.transport.tcp import PacketClientFactory, PacketStream
from rootstream.transport.udp import PacketDatagrams, UDPPort, listenPackets
from tests.doubles import RecordingSink
from tests.virtual import identity

reactor: Any = globalReactor


#: What a host lets into Python: it looks like DATA.
PACKET = b"\x24" + bytes(29)


class Echo(RecordingSink):
    """
    Sends each batch back, and treats everybody as known.
    """

    def packetsReceived(self, packets: Sequence[bytes], path: IPath) -> None:
        super().packetsReceived(packets, path)
        path.authenticated()
        path.sendPackets(packets)


class Hello:
    """
    A handshake of one packet each way, told apart by the path it came by.
    """

    def __init__(self) -> None:
        self.open: dict[IPath, Deferred[None]] = {}

    def handshake(self, path: IPath) -> Deferred[None]:
        answer: Deferred[None] = Deferred(lambda _: self.open.pop(path, None))
        self.open[path] = answer
        path.sendPackets([b"\x24" * 30])
        return answer

    def packetsReceived(self, packets: Sequence[bytes], path: IPath) -> None:
        answer = self.open.pop(path, None)
        if answer is not None:
            answer.callback(None)

    def pathLost(self, path: IPath, reason: str) -> None:
        pass


class TransportTestCase(TestCase):
    """
    Ports that are closed at the end of the test.
    """

    timeout = 20

    def until(self, true: Callable[[], object]) -> Deferred[Any]:
        """
        Fires when ``true`` is.
        """
        looping = LoopingCall(lambda: looping.stop() if true() else None)
        looping.clock = reactor
        return looping.start(0.005)

    def host(self, sink: Any, interface: str = "127.0.0.1", port: int = 0) -> HostPorts:
        ports = listenBoth(reactor, sink, reactor, port, interface)
        self.addCleanup(ports.close)
        return ports

    def udp(self, sink: Any, interface: str = "127.0.0.1") -> UDPPort:
        port = listenPackets(reactor, sink, 0, interface)
        self.addCleanup(port.stopListening)
        return port

    async def tcp(self, sink: Any, port: int) -> PacketStream:
        """
        A connection to 127.0.0.1.
        """
        factory = PacketClientFactory(sink)
        streams: list[PacketStream] = []
        build = factory.buildProtocol

        def kept(addr: Any) -> PacketStream:
            streams.append(build(addr))
            return streams[0]

        factory.buildProtocol = kept  # type: ignore[method-assign]
        connector = reactor.connectTCP("127.0.0.1", port, ClientAdapter(factory))
        self.addCleanup(connector.disconnect)
        await self.until(lambda: streams and streams[0].path)
        return streams[0]


class ClientAdapter:
    """
    What ``connectTCP`` asks of a factory, over one that only builds protocols.
    """

    def __init__(self, factory: PacketClientFactory) -> None:
        self.buildProtocol = factory.buildProtocol

    def doStart(self) -> None:
        pass

    doStop = doStart

    def startedConnecting(self, connector: Any) -> None:
        pass

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        pass

    clientConnectionLost = clientConnectionFailed


def needIPv6() -> None:
    """
    Skip where loopback has no IPv6.
    """
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        raise SkipTest("no IPv6 loopback here") from None


class UDPTests(TransportTestCase):
    """
    UDP over loopback.
    """

    async def echoed(self, interface: str) -> None:
        echo = Echo()
        mine = RecordingSink()
        server = self.udp(echo, interface)
        client = self.udp(mine, interface)
        packets = [bytes([n]) * (1 + 20 * n) for n in range(70)]
        client.pathTo((interface, server.getHost().port)).sendPackets(packets)
        await self.until(lambda: len(mine.packets) >= len(packets))
        self.assertEqual(mine.packets, packets)
        # A read takes several at a time.
        self.assertLess(len(mine.batches), len(packets))
        [(_, path), *_] = mine.batches
        self.assertEqual(path, client.pathTo((interface, server.getHost().port)))

    async def test_ipv4(self) -> None:
        """
        Packets go there and back in order, in batches, on equal paths.
        """
        await self.echoed("127.0.0.1")

    async def test_ipv6(self) -> None:
        """
        So they do over IPv6.
        """
        needIPv6()
        await self.echoed("::1")

    async def test_stockPort(self) -> None:
        """
        The same protocol works under ``reactor.listenUDP``.
        """
        mine = RecordingSink()
        server = self.udp(Echo())
        datagrams = PacketDatagrams(mine, reactor)
        stock = reactor.listenUDP(0, datagrams, "127.0.0.1", 2048)
        self.addCleanup(stock.stopListening)
        path = datagrams.pathTo(("127.0.0.1", server.getHost().port))
        path.sendPackets([b"x", b"y"])
        await self.until(lambda: len(mine.packets) == 2)
        self.assertEqual(mine.packets, [b"x", b"y"])
        self.assertEqual(mine.batches[0][1], path)

    async def test_closedPeer(self) -> None:
        """
        A peer whose port is closed costs nothing but the packets (F52).
        """
        echo = Echo()
        mine = RecordingSink()
        server = self.udp(echo)
        client = self.udp(mine)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            address = gone.getsockname()
        for _ in range(20):
            client.pathTo(address).sendPackets([b"x"])
        client.pathTo(("127.0.0.1", server.getHost().port)).sendPackets([b"y"])
        await self.until(lambda: mine.packets)
        self.assertEqual(mine.packets, [b"y"])

    async def test_unreachable(self) -> None:
        """
        What the kernel refuses at once is counted, and the port goes on (F63).
        """
        mine = RecordingSink()
        server = self.udp(Echo())
        client = self.udp(mine)
        # A socket bound to loopback cannot reach another network.
        client.pathTo(("192.0.2.1", 9)).sendPackets([b"x"] * 3)
        self.assertEqual(sum(client.datagrams.errors.values()), 3)
        client.pathTo(("127.0.0.1", server.getHost().port)).sendPackets([b"y"])
        await self.until(lambda: mine.packets)
        self.assertEqual(mine.packets, [b"y"])

    async def test_pendingError(self) -> None:
        """
        An error that epoll reports on the socket does not end the port: here a
        refusal, as for a socket that asked to hear of them (F52).
        """
        mine = RecordingSink()
        server = self.udp(Echo())
        client = self.udp(mine)
        skt = client._socket
        assert skt is not None
        skt.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            address = gone.getsockname()
        client.pathTo(address).sendPackets([b"x"])
        await self.until(lambda: client.datagrams.errors)
        self.assertEqual(client.datagrams.errors["ECONNREFUSED"], 1)
        skt.setsockopt(socket.IPPROTO_IP, 11, 0)
        client.pathTo(("127.0.0.1", server.getHost().port)).sendPackets([b"y"])
        await self.until(lambda: mine.packets)
        self.assertEqual(mine.packets, [b"y"])


def openSockets(port: int) -> int:
    """
    How many UDP sockets of this machine have a port.
    """
    rows = Path("/proc/net/udp").read_text().splitlines()[1:]
    return sum(row.split()[1].endswith(f":{port:04X}") for row in rows)


class PeerSocketTests(TransportTestCase):
    """
    A host's port when strangers fill it (FAULTS, "a wildcard UDP socket's buffer").
    """

    async def flooded(self, chosen: bool) -> int:
        """
        How many of 100 packets of a peer arrive, when 20 000 of a stranger's came
        before them and the reactor had no time.
        """
        sink = RecordingSink()
        udp = self.host(sink, "").udp[0]
        to = "127.0.0.1", udp.getHost().port
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        ):
            peer.bind(("127.0.0.1", 0))
            if chosen:
                udp.pathTo(peer.getsockname()).chosen()
            for _ in range(20_000):
                stranger.sendto(b"\x24" * 100, to)
            for _ in range(100):
                peer.sendto(PACKET, to)
            # Nothing more comes, so what is not here after this was lost.
            stranger.sendto(b"\x24" * 100, to)
            count = -1
            while count < len(sink.packets):
                count = len(sink.packets)
                pause: Deferred[None] = Deferred()
                reactor.callLater(0.2, pause.callback, None)
                await pause
        self.assertLess(len(sink.packets), 20_000)
        return sink.packets.count(PACKET)

    async def test_flood(self) -> None:
        """
        A flood to the shared socket costs a peer that has its own not one packet.
        """
        self.assertEqual(await self.flooded(chosen=True), 100)

    async def test_floodOfTheSharedSocket(self) -> None:
        """
        Without its own, the same flood costs it all.
        """
        self.assertEqual(await self.flooded(chosen=False), 0)

    async def test_descriptors(self) -> None:
        """
        F78: closed paths, renewed sockets and a closed port leave no descriptor.
        """
        ports = self.host(RecordingSink())
        self.assertEqual(openSockets(ports.port), 1)
        paths = [ports.udp[0].pathTo(("127.0.0.1", 1000 + n)) for n in range(300)]
        for path in paths:
            path.chosen()
        self.assertEqual(openSockets(ports.port), 1 + 256)
        ports.renew()
        self.assertEqual(openSockets(ports.port), 1 + 256)
        for path in paths[:200]:
            path.close()
        self.assertEqual(openSockets(ports.port), 1 + 56)
        await ports.close()
        self.assertEqual(openSockets(ports.port), 0)

    async def test_session(self) -> None:
        """
        A host's peer has its own socket from the handshake to the goodbye.
        """
        arrived: list[Peer] = []
        keys = [identity(1).key, identity(2).key]
        host = Station(
            reactor,
            identity(1),
            admits=lambda remote: remote == keys[1].x25519,
            arrived=arrived.append,
        )
        client = Station(reactor, identity(2))
        ports = self.host(host)
        udp = ports.udp[0]
        way = self.udp(client).pathTo(("127.0.0.1", udp.getHost().port))
        peer = client.peer(keys[0].x25519, keys[0].fingerprint)
        shake = peer.handshake(way)
        await shake
        await self.until(lambda: arrived and arrived[0].connected)
        self.assertEqual(openSockets(ports.port), 2)
        peer.sendControl(Control(Command.PAUSE))
        await peer.whenDrained()
        await peer.close()
        await self.until(lambda: not host.peers)
        self.assertEqual(openSockets(ports.port), 1)
        self.assertEqual(dict(udp.datagrams.errors), {})


class TCPTests(TransportTestCase):
    """
    TCP over loopback.
    """

    async def test_echo(self) -> None:
        """
        A megabyte goes there and back in order, and the backlog ends at nothing.
        """
        mine = RecordingSink()
        ports = self.host(Echo())
        stream = await self.tcp(mine, ports.port)
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
        ports = self.host(theirs)
        stream = await self.tcp(RecordingSink(), ports.port)
        stream.path.sendPackets([b"x" * 1000] * 500)
        stream.path.close()
        await self.until(lambda: theirs.lost)
        self.assertEqual(len(theirs.packets), 500)
        self.assertEqual(theirs.lost[0][1], "the peer closed the connection")

    async def test_reset(self) -> None:
        """
        A reset ends the path, in words, with no traceback (F59).
        """
        theirs = RecordingSink()
        ports = self.host(theirs)
        stream = await self.tcp(RecordingSink(), ports.port)
        await self.until(lambda: len(ports.strangers))
        stream.abort("enough")
        await self.until(lambda: theirs.lost)
        self.assertEqual(theirs.lost[0][1], "the connection was reset or timed out")
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_badLength(self) -> None:
        """
        A stranger with a bad length is cut off (F56), without holding bytes.
        """
        ports = self.host(RecordingSink())
        with socket.create_connection(("127.0.0.1", ports.port)) as raw:
            raw.setblocking(False)
            raw.send(b"\xff\xff" + b"x" * 1000)
            ends: list[object] = []

            def ended() -> bool:
                try:
                    ends.append(raw.recv(10))
                except BlockingIOError:
                    return False
                except ConnectionResetError as error:
                    ends.append(error)
                return True

            await self.until(ended)
            self.assertIsInstance(ends[0], ConnectionResetError)

    async def test_strangers(self) -> None:
        """
        A fifth stranger from one address is reset (F57), and leaving makes room.
        """
        ports = self.host(RecordingSink())
        raws = []
        for _ in range(5):
            raw = socket.create_connection(("127.0.0.1", ports.port))
            self.addCleanup(raw.close)
            raws.append(raw)
        await self.until(lambda: ports.strangers.refused)
        self.assertEqual(ports.strangers.refused, {"source": 1})
        self.assertEqual(len(ports.strangers), 4)
        for raw in raws:
            raw.close()
        await self.until(lambda: not len(ports.strangers))


class ListenBothTests(TransportTestCase):
    """
    Tests for `listenBoth`.
    """

    def test_onePort(self) -> None:
        """
        UDP and TCP of both families share one number.
        """
        needIPv6()
        ports = self.host(RecordingSink(), "")
        opened = [port.getHost() for port in (*ports.udp, *ports.tcp)]
        self.assertEqual({address.port for address in opened}, {ports.port})
        self.assertEqual(
            [address.host for address in opened], ["0.0.0.0", "::", "0.0.0.0", "::"]
        )

    async def test_portInUse(self) -> None:
        """
        A second process on the port is refused in words; when the first is gone
        the port can be had at once, on all four sockets.
        """
        program = (
            "import socket, sys\n"
            "skt = socket.socket(socket.AF_INET, socket.SOCK_{kind})\n"
            "skt.bind(('127.0.0.1', 0))\n"
            "{listen}"
            "print(skt.getsockname()[1], flush=True)\n"
            "sys.stdin.read()\n"
        )
        for kind, listening in (("DGRAM", ""), ("STREAM", "skt.listen()\n")):
            with subprocess.Popen(
                [sys.executable, "-c", program.format(kind=kind, listen=listening)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            ) as other:
                assert other.stdout is not None
                port = int(other.stdout.readline())
                for interface in ("127.0.0.1", ""):
                    with self.assertRaises(PortInUse) as refused:
                        self.host(RecordingSink(), interface, port)
                    self.assertIn(f"port {port}", str(refused.exception))
                assert other.stdin is not None
                other.stdin.close()
            ports = self.host(RecordingSink(), "", port)
            await ports.close()

    async def test_again(self) -> None:
        """
        A host that closes with a connection open can listen again at once (F27).
        """
        ports = self.host(Echo())
        mine = RecordingSink()
        stream = await self.tcp(mine, ports.port)
        stream.path.sendPackets([b"x" * 30])
        await self.until(lambda: mine.packets)
        await ports.close()
        again = self.host(Echo(), "127.0.0.1", ports.port)
        self.assertEqual(again.port, ports.port)

    def test_withoutIPv6(self) -> None:
        """
        Where there is no IPv6, all interfaces are those of IPv4; asked for by
        address, it is refused.
        """
        real = listen.bindSocket

        def noIPv6(kind: Any, interface: str, port: int) -> socket.socket:
            if ":" in interface:
                raise AddressRefused("this machine does not have it")
            return real(kind, interface, port)

        self.patch(listen, "bindSocket", noIPv6)
        ports = self.host(RecordingSink(), "")
        self.assertEqual((len(ports.udp), len(ports.tcp)), (1, 1))
        self.assertRaises(AddressRefused, self.host, RecordingSink(), "::1")

    def test_freePort(self) -> None:
        """
        A number that is free on UDP but taken on TCP is passed over; a given one
        is not.  What was bound in vain is closed.
        """
        real = listen.bindSocket
        bound: list[socket.socket] = []
        taken = 3

        def taking(kind: Any, interface: str, port: int) -> socket.socket:
            nonlocal taken
            if kind is socket.SOCK_STREAM and taken:
                taken -= 1
                raise PortInUse("taken")
            bound.append(real(kind, interface, port))
            return bound[-1]

        self.patch(listen, "bindSocket", taking)
        self.assertTrue(self.host(RecordingSink()).port)
        self.assertEqual([skt.fileno() for skt in bound[:3]], [-1] * 3)
        taken = 1
        self.assertRaises(PortInUse, self.host, RecordingSink(), "127.0.0.1", 1)
        taken = 1_000
        self.assertRaises(PortInUse, self.host, RecordingSink())
        self.assertEqual(taken, 1_000 - listen.FREE_PORT_TRIES)

    def test_adoptionFails(self) -> None:
        """
        When the reactor cannot take a socket, none stays open.
        """

        class Full:
            """
            A reactor without descriptors to spare.
            """

            def __init__(self) -> None:
                self.readers: set[object] = set()
                self.addReader = self.readers.add
                self.removeReader = self.readers.discard

            def adoptStreamPort(self, *args: object) -> None:
                raise OSError(errno.EMFILE, "Too many open files")

        full = Full()
        error = self.assertRaises(
            LocalError, listenBoth, full, RecordingSink(), reactor, 0, "127.0.0.1"
        )
        self.assertIn("Too many open files", str(error))
        self.assertEqual(full.readers, set())


class DialTests(TransportTestCase):
    """
    `DualConnector` between real sockets.
    """

    def connector(self, port: int, host: str = "127.0.0.1", **options: Any) -> Any:
        hello = Hello()
        opened: dict[int, UDPPort] = {}

        def openUDP(family: int) -> UDPPort:
            if family not in opened:
                interface = "::1" if family == socket.AF_INET6 else "127.0.0.1"
                opened[family] = self.udp(hello, interface)
            return opened[family]

        factory = PeerReconnector(
            hello,  # type: ignore[arg-type]  # a sink in all but name
            reactor,
            lambda *_: None,
            lambda: None,
        )
        return DualConnector(
            reactor,
            host,
            port,
            factory,
            hello,
            hello,  # type: ignore[arg-type]
            openUDP,
            **options,
        )

    async def test_udp(self) -> None:
        """
        A host that answers is reached over UDP.
        """
        ports = self.host(Echo())
        path = await self.connector(ports.port).dialOnce()
        self.assertEqual(path.transport, Transport.UDP)
        self.assertEqual(path.address, ("127.0.0.1", ports.port))

    async def test_tcp(self) -> None:
        """
        A host whose UDP is silent is reached over TCP.
        """
        ports = self.host(Echo())
        for udp in ports.udp:
            await udp.stopListening()
        path = await self.connector(ports.port).dialOnce()
        self.assertEqual(path.transport, Transport.TCP)
        path.close()
        await self.until(lambda: not path._stream.transport.connected)

    async def test_tls(self) -> None:
        """
        A host whose UDP and TCP are closed is reached over TLS.
        """
        ports = listenBoth(reactor, Echo(), reactor, 0, "127.0.0.1", 0)
        self.addCleanup(ports.close)
        for port in (*ports.udp, *ports.tcp):
            await port.stopListening()
        path = await self.connector(ports.port, tlsPort=ports.tlsPort).dialOnce()
        self.assertEqual(path.transport, Transport.TLS)
        self.assertEqual(path.address, ("127.0.0.1", ports.tlsPort))
        path.close()
        await self.until(lambda: not path._stream.path)

    async def test_name(self) -> None:
        """
        A host name is resolved by the system, and whichever family the host
        listens on is reached.
        """
        ports = self.host(Echo())
        path = await self.connector(ports.port, "localhost").dialOnce()
        self.assertEqual(path.address, ("127.0.0.1", ports.port))
