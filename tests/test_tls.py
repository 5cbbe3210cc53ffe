"""
Tests for `rootstream.transport.tls`, without sockets: real TLS between two transports
that take what is written when they are told to.
"""

from __future__ import annotations

import contextlib
import random
import socket
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ISystemHandle, ITCPTransport, ITransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides
from zope.interface.verify import verifyObject

from rootstream.interfaces import IPath, Transport
from rootstream.protocol.constants import MAX_STRANGERS_PER_SOURCE, STRANGER_TIMEOUT
from rootstream.transport.tcp import MAX_UNSENT, PacketServerFactory, Strangers
from rootstream.transport.tls import TLSClientFactory, TLSServerFactory, TLSStream
from tests.doubles import RecordingSink
from tests.test_tcp import Wire, record

#: What TLS adds to a record of its own: header, content type, tag.
OVERHEAD = 5 + 1 + 16
#: The most that one of its records holds.
TLS_RECORD = 1 << 14


class TLSTestCase(SynchronousTestCase):
    """
    A listening port, and whoever connects to it.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.strangers = Strangers(self.clock)
        self.theirs = RecordingSink()
        self.servers = TLSServerFactory(self.theirs, self.strangers, self.clock)

    def tearDown(self) -> None:
        self.assertEqual(self.flushLoggedErrors(), [])

    def accept(self, host: str = "192.0.2.1") -> tuple[Any, Wire]:
        """
        A connection is made to the port: its protocol and its transport.
        """
        wire = Wire(host)
        protocol = self.servers.buildProtocol(wire.getPeer())
        protocol.makeConnection(wire)
        return protocol, wire


class PairTests(TLSTestCase):
    """
    Both ends are ours.
    """

    def setUp(self) -> None:
        super().setUp()
        self.mine = RecordingSink()
        self.begin()

    def begin(self, name: str = "") -> None:
        """
        Connect; nothing has been said yet.
        """
        self.server, self.serverWire = self.accept()
        self.stream: TLSStream = self.server.wrappedProtocol
        self.clientWire = Wire()
        self.client = TLSClientFactory(self.mine, name, self.clock).buildProtocol(
            IPv4Address("TCP", "192.0.2.2", 443)
        )
        self.client.makeConnection(self.clientWire)
        self.dialled: TLSStream = self.client.wrappedProtocol
        assert self.stream.path is not None and self.dialled.path is not None
        self.path = self.dialled.path

    def exchange(self) -> None:
        """
        Carry what either end writes, until neither does.
        """
        while True:
            there = self.clientWire.drain()
            if there:
                self.server.dataReceived(there)
            back = self.serverWire.drain()
            if back:
                self.client.dataReceived(back)
            if not there and not back:
                return

    def lose(self, why: Exception) -> None:
        self.client.connectionLost(Failure(why))

    def test_interfaces(self) -> None:
        """
        The path is a path, and what TLS writes to is a transport.
        """
        verifyObject(IPath, self.path)
        verifyObject(ITransport, self.client.beneath)
        self.assertEqual(self.path.transport, Transport.TLS)
        self.assertEqual(self.path.address, ("192.0.2.1", 1111))
        self.assertIn("TLSPath to 192.0.2.1", repr(self.path))
        self.assertEqual(self.client.getHost(), self.clientWire.getHost())
        self.client.beneath.writeSequence([b""])

    def test_carries(self) -> None:
        """
        Packets go both ways, as batches of whole ones.
        """
        self.exchange()
        self.path.sendPackets([b"a" * 30, b"b" * 1400])
        self.exchange()
        [(packets, path)] = self.theirs.batches
        self.assertEqual(packets, [b"a" * 30, b"b" * 1400])
        path.sendPackets([b"c" * 50])
        self.exchange()
        self.assertEqual(self.mine.batches, [([b"c" * 50], self.path)])

    def test_hidden(self) -> None:
        """
        What goes over the wire is TLS 1.3, and shows neither packets nor their lengths
        in the clear.
        """
        self.path.sendPackets([b"a" * 1000])
        self.exchange()
        self.path.sendPackets([b"a" * 1000])
        sent = self.clientWire.drainAll()
        self.assertEqual(sent[:3], b"\x17\x03\x03")
        self.assertNotIn(b"aaaa", sent)
        self.assertEqual(len(sent), 1002 + OVERHEAD)
        self.assertEqual(self.client.getHandle().get_protocol_version_name(), "TLSv1.3")

    def test_early(self) -> None:
        """
        What is sent before TLS is ready counts as backlog, and is sent when it is.
        """
        before = self.path.backlog
        self.path.sendPackets([b"x" * 98] * 10)
        self.assertEqual(self.path.backlog, before + 1000)
        self.exchange()
        self.assertEqual(self.theirs.packets, [b"x" * 98] * 10)
        self.assertEqual(self.path.backlog, 0)

    def test_backlog(self) -> None:
        """
        The backlog is what the kernel has not taken, as ciphertext; it falls as the
        kernel takes chunks, to nothing.
        """
        self.exchange()
        self.path.sendPackets([b"x" * 998] * 100)
        records = -(-100_000 // TLS_RECORD)
        size = 100_000 + records * OVERHEAD
        self.assertEqual(self.path.backlog, size)
        taken = b""
        while self.path.backlog:
            taken += self.clientWire.drain()
            self.assertEqual(self.path.backlog, size - len(taken))
        self.server.dataReceived(taken)
        self.assertEqual(len(self.theirs.packets), 100)

    def test_anyCut(self) -> None:
        """
        However the ciphertext is cut into reads, the same packets come out.
        """
        packets = [bytes([n]) * (30 + n) for n in range(20)]
        for seed in range(5):
            self.setUp()
            self.exchange()
            rng = random.Random(seed)
            self.path.sendPackets(packets)
            data = self.clientWire.drainAll()
            while data:
                size = rng.choice([1, 2, 3, 31, 500])
                self.server.dataReceived(data[:size])
                data = data[size:]
            self.assertEqual(self.theirs.packets, packets)

    def test_closeFlushes(self) -> None:
        """
        Closing sends what was accepted before, TLS's own goodbye, and nothing after;
        it waits for no answer.
        """
        self.exchange()
        self.path.sendPackets([b"x" * 1400] * 30)
        self.path.close()
        self.path.close()
        self.path.sendPackets([b"late" * 10])
        self.assertTrue(self.clientWire.disconnecting)
        self.server.dataReceived(self.clientWire.drainAll())
        self.assertEqual(self.theirs.packets, [b"x" * 1400] * 30)
        self.assertIsNone(self.clientWire.producer)
        self.lose(ConnectionDone())
        self.assertEqual(self.mine.lost, [(self.path, "closed by this side")])
        self.assertTrue(self.serverWire.disconnecting)
        # By the answer to TLS's goodbye, which nobody reads any more.
        self.server.connectionLost(Failure(ConnectionLost()))
        [(_, reason)] = self.theirs.lost
        self.assertEqual(reason, "the peer closed the connection")

    def test_closedEarly(self) -> None:
        """
        A connection that is closed before TLS is ready ends at once, whatever waits:
        the other end may never say a word.
        """
        self.path.sendPackets([b"x" * 1400])
        self.path.close()
        self.assertTrue(self.clientWire.aborting)
        self.lose(ConnectionLost())
        self.assertEqual(self.path.backlog, 0)
        self.assertEqual(self.mine.lost, [(self.path, "closed by this side")])

    def test_unreadPeer(self) -> None:
        """
        A peer that does not read loses the connection at 4 MiB, and the bytes are
        freed; so does one that never speaks TLS.
        """
        for speaks in (True, False):
            self.begin()
            if speaks:
                self.exchange()
            sent = 0
            while not self.clientWire.aborting:
                self.path.sendPackets([b"x" * 1398] * 64)
                sent += 64 * 1400
                self.assertLess(sent, MAX_UNSENT + 64 * 1400 + 1)
            self.assertEqual(self.path.backlog, 0)
            self.lose(ConnectionLost())
            self.assertIn("does not read", self.mine.lost[-1][1])

    def test_reasons(self) -> None:
        """
        The end of a connection is told in words, once, on the stream as well.
        """
        for failure in (ConnectionDone(), ConnectionLost()):
            self.begin()
            self.exchange()
            self.path.sendPackets([b"x" * 30])
            self.lose(failure)
            # Without TLS's own goodbye even an orderly end may be somebody else's.
            words = "the connection was reset or timed out"
            self.assertEqual(self.mine.lost[-1], (self.path, words))
            self.assertEqual(self.successResultOf(self.dialled.ended), words)
            self.assertEqual(self.path.backlog, 0)
            self.path.sendPackets([b"x" * 30])
            self.path.close()
            self.assertEqual(self.path.backlog, 0)

    def test_noTLSThere(self) -> None:
        """
        Something that answers, but not in TLS, is told from silence.
        """
        self.client.dataReceived(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertTrue(self.clientWire.disconnecting)
        self.lose(ConnectionDone())
        [(path, reason)] = self.mine.lost
        self.assertIs(path, self.path)
        # What OpenSSL calls it depends on its version.
        self.assertRegex(reason, r"^no valid TLS \([a-z0-9 ]+\)$")

    def test_broken(self) -> None:
        """
        A byte changed on the way ends the connection; what came before is delivered.
        """
        self.exchange()
        self.path.sendPackets([b"x" * 30])
        self.exchange()
        self.path.sendPackets([b"y" * 30])
        sent = bytearray(self.clientWire.drainAll())
        sent[20] ^= 1
        self.server.dataReceived(bytes(sent))
        self.assertTrue(self.serverWire.disconnecting)
        self.server.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.theirs.packets, [b"x" * 30])
        [(_, reason)] = self.theirs.lost
        self.assertRegex(reason, r"^no valid TLS \([a-z0-9 ]+\)$")

    def test_unnamedError(self) -> None:
        """
        An error that OpenSSL has no words for is one all the same.
        """
        for error in (SSL.Error([]), SSL.Error(), SSL.SysCallError(5, "x")):
            self.setUp()
            self.dialled.connectionLost(Failure(error))
            self.assertEqual(self.mine.lost[0][1], "no valid TLS (unknown error)")

    def test_badLength(self) -> None:
        """
        A length that no packet has ends the connection at once (F56).
        """
        self.exchange()
        self.client.write(b"\xff\xff" + b"x" * 5000)
        self.server.dataReceived(self.clientWire.drainAll())
        self.assertTrue(self.serverWire.aborting)
        self.server.connectionLost(Failure(ConnectionLost()))
        self.assertIn("65535 bytes", self.theirs.lost[0][1])

    def test_serverName(self) -> None:
        """
        The host's name is sent as a browser would; an address has none.
        """
        for name, expected in (
            ("host.example.com", b"host.example.com"),
            ("bücher.example", b"xn--bcher-kva.example"),
            ("", None),
        ):
            self.begin(name)
            self.exchange()
            self.assertEqual(self.server.getHandle().get_servername(), expected)

    def test_certificate(self) -> None:
        """
        The certificate is of the moment: another one for each start, signed by itself,
        telling nothing of anybody.
        """
        self.exchange()
        handle = self.client.getHandle()
        first = handle.get_peer_certificate(as_cryptography=True)
        self.assertEqual(first.issuer, first.subject)
        [common] = first.subject
        self.assertEqual(common.oid, x509.NameOID.COMMON_NAME)
        self.assertRegex(str(common.value), "^[0-9a-f]{16}$")
        self.assertEqual(first.public_key().curve.name, "secp256r1")
        self.assertEqual(len(list(first.extensions)), 0)
        self.assertEqual(first.not_valid_after_utc.year, 9999)
        self.setUp()
        self.exchange()
        handle = self.client.getHandle()
        second = handle.get_peer_certificate(as_cryptography=True)
        self.assertNotEqual(first.subject, second.subject)
        self.assertNotEqual(first.public_key(), second.public_key())

    def test_tuned(self) -> None:
        """
        The options of the socket are set as for TCP (F58).
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
        self.servers.buildProtocol(wire.getPeer()).makeConnection(wire)
        self.assertTrue(wire.noDelay and wire.keepAlive)
        level = socket.IPPROTO_TCP
        self.assertEqual(wire.skt.getsockopt(level, socket.TCP_USER_TIMEOUT), 10_000)
        self.assertEqual(wire.skt.getsockopt(level, socket.TCP_NOTSENT_LOWAT), 16384)


class Foreign:
    """
    A TLS client of another make, connected to one of our protocols.
    """

    def __init__(self, context: SSL.Context, protocol: Any, wire: Wire) -> None:
        self.connection = SSL.Connection(context, None)
        self.connection.set_connect_state()
        self._protocol = protocol
        self._wire = wire

    def shakeHands(self) -> None:
        """
        Shake hands, and take what the server says after that.

        :raise SSL.Error: if the server refuses.
        """
        for _ in range(3):
            try:
                self.connection.do_handshake()
            except SSL.WantReadError:
                self.exchange()
        self.receive()

    def exchange(self) -> None:
        """
        Carry what either side has to say.
        """
        while True:
            try:
                self._protocol.dataReceived(self.connection.bio_read(1 << 16))
            except SSL.WantReadError:
                break
        taken = self._wire.drainAll()
        if taken:
            self.connection.bio_write(taken)

    def receive(self) -> None:
        """
        Let TLS read what came.
        """
        self.exchange()
        with contextlib.suppress(SSL.WantReadError):
            self.connection.recv(1 << 16)

    def say(self, data: bytes) -> None:
        """
        Send ``data`` as one record.
        """
        self.connection.send(data)
        self.exchange()


def context(lowest: int = 0, highest: int = 0) -> SSL.Context:
    """
    A client's, that takes anything.
    """
    made = SSL.Context(SSL.TLS_METHOD)
    made.set_cipher_list(b"ALL:@SECLEVEL=0")
    made.set_min_proto_version(lowest)
    made.set_max_proto_version(highest)
    return made


class ForeignTests(TLSTestCase):
    """
    Whoever else connects to a TLS port (F62).
    """

    def connect(self, what: SSL.Context) -> tuple[Foreign, Any, Wire]:
        protocol, wire = self.accept()
        return Foreign(what, protocol, wire), protocol, wire

    def lose(self, protocol: Any) -> None:
        protocol.connectionLost(Failure(ConnectionDone()))

    def test_versions(self) -> None:
        """
        TLS 1.2 and 1.3 are spoken, nothing older; one refused is told so, and leaves.
        """
        for version, spoken in (
            (SSL.TLS1_VERSION, False),
            (SSL.TLS1_1_VERSION, False),
            (SSL.TLS1_2_VERSION, True),
            (SSL.TLS1_3_VERSION, True),
        ):
            foreign, protocol, wire = self.connect(context(version, version))
            if spoken:
                foreign.shakeHands()
                foreign.say(record(b"x" * 30))
                self.assertEqual(self.theirs.packets, [b"x" * 30])
                self.theirs.batches.clear()
            else:
                error = self.assertRaises(SSL.Error, foreign.shakeHands)
                self.assertIn("alert protocol version", str(error))
                self.assertTrue(wire.disconnecting)
            self.lose(protocol)
        self.assertEqual(len(self.strangers), 0)

    def test_renegotiation(self) -> None:
        """
        A client that wants to shake hands once more is told no.
        """
        foreign, protocol, _ = self.connect(
            context(SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
        )
        foreign.shakeHands()
        self.assertTrue(foreign.connection.renegotiate())
        with contextlib.suppress(SSL.WantReadError):
            foreign.connection.do_handshake()
        error = self.assertRaises(SSL.Error, foreign.receive)
        self.assertIn("no renegotiation", str(error))
        self.lose(protocol)

    def test_noResumption(self) -> None:
        """
        No session is resumed: each costs the same, and none leaves anything behind.
        """
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            certificates: list[object] = []

            def seen(connection: object, certificate: object, *_: object) -> bool:
                certificates.append(certificate)  # noqa: B023 - called at once
                return True

            both = context(version, version)
            both.set_verify(SSL.VERIFY_PEER, seen)
            first, protocol, _ = self.connect(both)
            first.shakeHands()
            second, other, _ = self.connect(both)
            session = first.connection.get_session()
            if session is not None:
                second.connection.set_session(session)
            before = len(certificates)
            second.shakeHands()
            # A session resumed needs none.
            self.assertEqual(len(certificates), 2 * before)
            self.lose(protocol)
            self.lose(other)

    def test_oneByteRecords(self) -> None:
        """
        A packet in records of a byte each is a packet; a stranger who says one so, a
        byte a second, has no more time than a silent one.
        """
        foreign, protocol, wire = self.connect(context())
        foreign.shakeHands()
        for byte in record(b"x" * 30):
            foreign.say(bytes([byte]))
        self.assertEqual(self.theirs.packets, [b"x" * 30])
        for byte in record(b"y" * 30)[:4]:
            self.clock.advance(1)
            foreign.say(bytes([byte]))
        self.clock.advance(STRANGER_TIMEOUT - 4 - 0.01)
        self.assertFalse(wire.aborting)
        self.clock.advance(0.01)
        self.assertTrue(wire.aborting)
        self.lose(protocol)
        self.assertIn("in time", self.theirs.lost[0][1])

    def test_silence(self) -> None:
        """
        A connection that never begins with TLS ends five seconds after it was made,
        and so does one that never ends to.
        """
        silent, silentWire = self.accept()
        foreign, begun, begunWire = self.connect(context())
        try:
            foreign.connection.do_handshake()
        except SSL.WantReadError:
            begun.dataReceived(foreign.connection.bio_read(1 << 16))
        self.clock.advance(STRANGER_TIMEOUT)
        for protocol, wire in ((silent, silentWire), (begun, begunWire)):
            self.assertTrue(wire.aborting)
            self.lose(protocol)
        self.assertEqual(self.strangers.lapsed, 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_junk(self) -> None:
        """
        What is no TLS ends the connection, or waits for the end of its time: bytes of
        chance, other protocols, and a good beginning with some of its bytes changed.
        """
        hello = SSL.Connection(context(), None)
        hello.set_connect_state()
        self.assertRaises(SSL.WantReadError, hello.do_handshake)
        good = hello.bio_read(1 << 16)
        rng = random.Random(62)
        samples = [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            record(b"\x21" * 176),
            b"\x80\x2e\x01\x00\x02" + bytes(60),
            b"SSH-2.0-x\r\n",
            b"\x00" * 100,
            b"\x16\x03\x01\xff\xff" + bytes(1 << 16),
        ]
        samples += [rng.randbytes(rng.randrange(1, 2000)) for _ in range(100)]
        for _ in range(200):
            changed = bytearray(good)
            for _ in range(rng.choice([1, 2, 10])):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            samples.append(bytes(changed))
        ended = 0
        for junk in samples:
            protocol, wire = self.accept()
            while junk and not wire.disconnecting:
                size = rng.choice([1, 100, 5000])
                protocol.dataReceived(junk[:size])
                junk = junk[size:]
            ended += wire.disconnecting
            self.assertLess(len(wire.drainAll()), 4096)
            self.clock.advance(STRANGER_TIMEOUT)
            self.lose(protocol)
        self.assertGreater(ended, 100)
        self.assertEqual(self.theirs.batches, [])
        self.assertEqual(len(self.strangers), 0)

    def test_endlessHello(self) -> None:
        """
        A greeting that announces 16 MiB is not waited for: little of it is kept.
        """
        protocol, wire = self.accept()
        protocol.dataReceived(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16380))
        taken = 1
        while not wire.disconnecting:
            protocol.dataReceived(b"\x16\x03\x01\x40\x00" + bytes(16384))
            taken += 1
        self.assertLess(taken, 16)
        self.lose(protocol)

    def test_aFifth(self) -> None:
        """
        Strangers count together, over TCP and over TLS; one too many is reset before
        anything is said to it (F57).
        """
        plain = PacketServerFactory(self.theirs, self.strangers)
        accepted = []
        for _ in range(MAX_STRANGERS_PER_SOURCE // 2):
            protocol, wire = self.accept()
            accepted.append(protocol)
            accepted.append(plain.buildProtocol(wire.getPeer()))
            accepted[-1].makeConnection(Wire())
        protocol, wire = self.accept()
        self.assertTrue(wire.aborting)
        self.assertEqual(wire.value(), b"")
        self.assertEqual(self.strangers.refused, {"source": 1})
        self.lose(protocol)
        for one in accepted:
            self.lose(one)
        _, wire = self.accept()
        self.assertFalse(wire.aborting)

    def test_authenticated(self) -> None:
        """
        A known peer's connection lives on.
        """
        foreign, protocol, wire = self.connect(context())
        foreign.shakeHands()
        foreign.say(record(b"x" * 30))
        [(_, path)] = self.theirs.batches
        path.authenticated()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(60)
        self.assertFalse(wire.aborting)
        self.lose(protocol)
