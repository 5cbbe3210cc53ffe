"""
Tests for `rootstream.station`: one identity on the network.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from rootstream.authorized import INPUT, AuthorizedPeer
from rootstream.errors import LocalError
from rootstream.interfaces import IPacketSink
from rootstream.peer import Peer
from rootstream.protocol.constants import HALF_OPEN_LIFE, TYPE_INIT, TYPE_RETRY
from rootstream.station import Station
from tests.doubles import FakePath, MemoryNet
from tests.virtual import Recorder, identity, picture

HERE = ("192.0.2.1", 9876)
THERE = ("192.0.2.2", 40000)


class StationCase(SynchronousTestCase):
    """
    A station that admits one key, and one that dials.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.net = MemoryNet(self.clock, delay=0.001)
        self.arrived: list[Peer] = []
        self.admitted = {identity(2).key.x25519}
        self.host = self.station(
            1,
            admits=lambda remote: remote in self.admitted,
            introduce=lambda remote: AuthorizedPeer(
                remote, "of-the-list", "friend", INPUT
            ),
            arrived=self.arrived.append,
        )
        self.client = self.station(2)
        self.net.port(HERE, self.host)
        self.way = self.net.port(THERE, self.client).pathTo(HERE)

    def station(self, number: int, **options: Any) -> Station:
        return Station(self.clock, identity(number), now=self.clock.seconds, **options)

    def elapse(self, seconds: float = 0.1) -> None:
        for _ in range(round(seconds * 100)):
            self.clock.advance(0.01)

    def dial(self) -> Peer:
        """
        Dial the host.
        """
        key = identity(1).key
        peer = self.client.peer(key.x25519, key.fingerprint)
        peer.handshake(self.way).addErrback(lambda _: None)
        return peer


class StationTests(StationCase):
    """
    Tests for `Station`.
    """

    def test_interface(self) -> None:
        """
        It is what transports deliver to.
        """
        verifyObject(IPacketSink, self.host)

    def test_arrived(self) -> None:
        """
        Whoever dials us and may is introduced, announced once, and kept.
        """
        there = self.dial()
        self.elapse()
        [peer] = self.arrived
        self.assertEqual((peer.fingerprint, peer.name), ("of-the-list", "friend"))
        self.assertEqual(peer.rights, INPUT)
        self.assertTrue(peer.connected)
        self.assertEqual(self.host.peers, (peer,))
        receiver = Recorder()
        peer.setReceiver(receiver)
        there.sendVideo(picture())
        self.elapse()
        self.assertEqual(receiver.video, [picture()])
        self.assertEqual(len(self.arrived), 1)

    def test_unauthorised(self) -> None:
        """
        Whoever may not come in gets no byte and leaves no trace (F13).
        """
        self.admitted.clear()
        self.dial()
        sentTo: list[object] = []
        carry = self.net.carry

        def watch(packet: bytes, source: Any, destination: Any) -> None:
            sentTo.append(destination)
            carry(packet, source, destination)

        self.net.carry = watch  # type: ignore[method-assign]
        self.elapse(2.0)
        self.assertIn(HERE, sentTo)
        self.assertNotIn(THERE, sentTo)
        self.assertEqual(self.arrived, [])
        self.assertEqual(self.host.peers, ())
        self.assertEqual(len(self.host.node), 0)

    def test_nobodyIsAdmittedByDefault(self) -> None:
        """
        A station that was not told whom to admit admits nobody.
        """
        del self.net.ports[HERE]
        plain = self.station(1)
        self.net.port(HERE, plain)
        self.dial()
        self.elapse(1.0)
        self.assertEqual(plain.peers, ())
        self.assertGreater(plain.node.refused["unauthorised"], 0)

    def test_defaultsForArrivals(self) -> None:
        """
        Arrivals need neither a name nor anybody to announce them to.
        """
        del self.net.ports[HERE]
        plain = self.station(1, admits=lambda remote: True)
        self.net.port(HERE, plain)
        self.dial()
        self.elapse(1.0)
        [peer] = plain.peers
        self.assertEqual((peer.fingerprint, peer.name), ("", ""))

    def test_retry(self) -> None:
        """
        The node's own answers go out too: a replayed INIT gets a RETRY at most (F5).
        """
        packets: list[bytes] = []
        carry = self.net.carry

        def watch(packet: bytes, source: Any, destination: Any) -> None:
            packets.append(packet)
            carry(packet, source, destination)

        self.net.carry = watch  # type: ignore[method-assign]
        self.dial()
        self.elapse()
        first = next(packet for packet in packets if packet[0] == TYPE_INIT)
        self.host.node._fresh[identity(2).key.x25519].ephemerals.clear()
        path = FakePath()
        self.host.packetsReceived([first], path)
        self.assertEqual([packet[0] for packet in path.sent], [TYPE_RETRY])

    def test_forgotten(self) -> None:
        """
        A peer that is forgotten is gone from the list, and its key makes a new one.
        """
        self.dial()
        self.elapse()
        [peer] = self.arrived
        peer.abandon()
        self.assertEqual(self.host.peers, ())
        self.assertEqual(len(self.host.node), 0)
        self.assertIsNot(self.host.peer(identity(2).key.x25519, "again"), peer)

    def test_unconfirmed(self) -> None:
        """
        A handshake that is not confirmed holds a peer for five seconds (F5).
        """
        self.net.blocked.add((HERE, THERE))
        peer = self.dial()
        self.elapse(0.05)
        peer.abandon()
        self.assertEqual(len(self.host.peers), 1)
        self.elapse(HALF_OPEN_LIFE + 0.5)
        self.assertEqual(self.host.peers, ())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_samePeer(self) -> None:
        """
        One key is one peer.
        """
        key = identity(1).key.x25519
        self.assertIs(self.client.peer(key, "x"), self.client.peer(key, "y"))

    def test_pathLost(self) -> None:
        """
        The end of a connection is told to every peer.
        """
        peer = self.dial()
        self.elapse()
        self.assertTrue(peer.connected)
        self.client.pathLost(self.way, "pulled out")
        self.assertTrue(peer.status().impaired)

    def test_bugIsLogged(self) -> None:
        """
        A bug met while taking a packet is logged and does not reach the transport.
        """

        def broken(*_: Any) -> Any:
            raise ZeroDivisionError

        self.patch(self.host.node, "receive", broken)
        self.host.packetsReceived([b"anything"], FakePath())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_garbage(self) -> None:
        """
        Whatever comes, nothing is raised, answered or logged (F11).
        """
        path = FakePath()
        with capturedLogs() as logs:
            for size in range(200):
                for kind in range(0x20, 0x26):
                    self.host.packetsReceived([bytes([kind]) * size], path)
        self.assertEqual(path.sent, [])
        self.assertEqual(logs, [])

    def test_pskOfWrongSize(self) -> None:
        """
        A pre-shared key of another size than 32 bytes is refused in words.
        """
        with self.assertRaises(LocalError) as caught:
            self.station(1, psk=b"1234")
        self.assertIn("32 bytes, not 4", str(caught.exception))
