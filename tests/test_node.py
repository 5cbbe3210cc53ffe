"""
Tests for `rootstream.protocol.node`.
"""

from __future__ import annotations

from random import Random
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import Transport
from rootstream.protocol.constants import (
    MAX_LINKS,
    MAX_REMEMBERED_PEERS,
    TYPE_INIT,
    TYPE_RESP,
    TYPE_RETRY,
)
from rootstream.protocol.events import InputEvent, InputReceived, SessionEstablished
from rootstream.protocol.link import Link
from rootstream.protocol.node import Node, _Freshness
from tests.forgery import initOf, junkInit
from tests.wire import EPOCH, Wire, WirePath, credentials

HOST = WirePath(Transport.UDP, ("192.0.2.2", 9876))


def exchange(here: Node, there: Node, path: WirePath, now: float) -> None:
    """
    Carry what two nodes have to say to each other until both are silent.
    """
    busy = True
    while busy:
        busy = False
        for one, other, source in ((here, there, path), (there, here, HOST)):
            batches = one.packetsToSend()
            for link in one.links:
                batches += link.packetsToSend(now)
            for to, packets in batches:
                if to in (path, HOST):
                    other.receive(packets, source, now)
                    busy = True


class Guests:
    """
    A host and two peers with sessions to it.
    """

    def __init__(self) -> None:
        keys = [credentials(number) for number in (2, 5, 6)]
        publics = [each.public for each in keys]
        self.host, *self.peers = [Node(each, publics.__contains__) for each in keys]
        self.paths = [
            WirePath(Transport.UDP, ("192.0.2.1", port)) for port in (1111, 2222)
        ]
        self.now = 1000.0
        for peer, path in zip(self.peers, self.paths, strict=True):
            peer.link(publics[0], self.now).connect(HOST, self.now)
            exchange(peer, self.host, path, self.now)
        self.links = [self.host.link(each, self.now) for each in publics[1:]]

    def say(self, number: int, value: int) -> bytes:
        """
        A packet of a peer with one input event in it.
        """
        [link] = self.peers[number].links
        link.send([InputEvent(1, 2, value)], self.now)
        [(_, [packet])] = link.packetsToSend(self.now)
        return packet


def heard(link: Link) -> list[int]:
    """
    The values of the input events that a link received.
    """
    values = []
    while (event := link.nextEvent()) is not None:
        if isinstance(event, InputReceived):
            values += [each.value for each in event.events]
    return values


class LinksTests(SynchronousTestCase):
    """
    The links of a node.
    """

    def test_one(self) -> None:
        """
        There is one link a peer, made when it is first asked for.
        """
        wire = Wire()
        link = wire.a.linkTo(wire.b)
        self.assertIs(wire.a.linkTo(wire.b), link)
        self.assertEqual(wire.a.node.links, (link,))
        self.assertEqual(len(wire.a.node), 1)

    def test_forgotten(self) -> None:
        """
        A link that is forgotten makes room for another, which forgetting the old
        one again does not touch.
        """
        wire = Wire()
        link = wire.a.linkTo(wire.b)
        wire.a.node.forget(link)
        self.assertEqual(len(wire.a.node), 0)
        other = wire.a.linkTo(wire.b)
        self.assertIsNot(other, link)
        wire.a.node.forget(link)
        self.assertEqual(wire.a.node.links, (other,))

    def test_replayAfterForgetting(self) -> None:
        """
        What tells a replay outlives the link (F5).
        """
        wire = Wire()
        wire.connect()
        [init] = wire.a.packets(TYPE_INIT)
        wire.b.node.forget(wire.b.linkTo(wire.a))
        wire.b.sent.clear()
        wire.deliver(wire.b, init, WirePath(Transport.UDP, wire.a.address))
        self.assertEqual(wire.b.sent, [])
        self.assertEqual(wire.b.node.refused["replay"], 1)

    def test_redial(self) -> None:
        """
        A peer whose link was forgotten and made anew connects as a new instance,
        and so does one that is not forgotten at the other side.
        """
        wire = Wire()
        wire.connect()
        for side, restarted in ((wire.a, True), (wire.b, False)):
            wire.b.events.clear()
            side.node.forget(side.linkTo(wire.other(side)))
            wire.a.dial(wire.b)
            wire.run(1)
            [event] = wire.b.eventsOf(SessionEstablished)
            self.assertEqual(event.restarted, restarted)
            self.assertTrue(wire.a.linkTo(wire.b).established)

    def test_mixedBatch(self) -> None:
        """
        A batch with packets of several peers is taken apart, and tells which links
        have something to do.
        """
        guests = Guests()
        batch = [
            guests.say(0, 1),
            guests.say(0, 2),
            b"",
            guests.say(1, 3),
            guests.say(0, 4),
            junkInit(credentials(2).public, Random(1)),
        ]
        touched = guests.host.receive(batch, guests.paths[0], guests.now)
        self.assertEqual(touched, guests.links)
        self.assertEqual([heard(link) for link in guests.links], [[1, 2, 4], [3]])
        self.assertEqual(guests.host.receive([], guests.paths[0], guests.now), [])

    def test_invited(self) -> None:
        """
        The link that an INIT is for has something to do; one that is not welcome
        touches nobody.
        """
        wire = Wire()
        path = WirePath(Transport.UDP, wire.a.address)
        init = initOf(wire.a.keys, wire.b.keys.public, EPOCH).packet
        stranger = initOf(credentials(7), wire.b.keys.public, EPOCH).packet
        self.assertEqual(wire.b.node.receive([stranger], path, wire.now), [])
        touched = wire.b.node.receive([init], path, wire.now)
        self.assertEqual(touched, [wire.b.linkTo(wire.a)])

    def test_dialledPeerMayCall(self) -> None:
        """
        A peer that we dialled may dial us, listed or not.
        """
        wire = Wire()
        wire.b.admitted.clear()
        wire.b.linkTo(wire.a)
        wire.connect()
        self.assertTrue(wire.b.linkTo(wire.a).established)


class RefusalTests(SynchronousTestCase):
    """
    What is turned away, and how it is counted.
    """

    def setUp(self) -> None:
        self.wire = Wire()
        self.node = self.wire.b.node
        self.public = self.wire.b.keys.public
        self.path = WirePath(Transport.UDP, self.wire.a.address)

    def receive(self, *packets: bytes) -> list[tuple[int, int]]:
        """
        What the node itself answers: type and size.
        """
        self.node.receive(packets, self.path, self.wire.now)
        return [
            (packet[0], len(packet))
            for _, batch in self.node.packetsToSend()
            for packet in batch
        ]

    def test_noise(self) -> None:
        """
        Packets of no known type, also those of the protocol's first version, are
        dropped (F25).
        """
        first = b"RSTR\x01\x02" + bytes(40)
        self.assertEqual(self.receive(b"", b"\x00", first, bytes(1400)), [])
        self.assertEqual(self.node.refused, {"type": 4})

    def test_wrongSize(self) -> None:
        """
        RESP, RETRY and INIT have one size each.
        """
        packets = [bytes((kind,)) + bytes(99) for kind in (0x21, 0x22, 0x23)]
        self.assertEqual(self.receive(*packets), [])
        self.assertEqual(self.node.refused, {"handshake": 1, "type": 2})

    def test_anotherOwner(self) -> None:
        """
        An index that somebody else than a link claimed leads nowhere.
        """
        index = self.node._indices.claim(object())
        packet = b"\x24" + index.to_bytes(4, "little") + bytes(40)
        self.assertEqual(self.receive(packet), [])
        self.assertEqual(self.node.refused, {"index": 1})

    def test_load(self) -> None:
        """
        Past 100 INITs a second each gets a RETRY and nothing more, until a second
        after it calmed down.
        """
        random = Random(1)
        for _ in range(100):
            self.assertEqual(self.receive(junkInit(self.public, random)), [])
        self.assertEqual(
            self.receive(junkInit(self.public, random)), [(TYPE_RETRY, 56)]
        )
        self.assertEqual(self.node.retries, 1)
        self.wire.now += 2.1
        self.assertEqual(self.receive(junkInit(self.public, random)), [])

    def test_handshakeLimit(self) -> None:
        """
        200 handshakes a second are looked into, not more, whatever cookies are
        shown; a source that has used its burst gets 20 a second (F3).
        """
        random = Random(1)
        for _ in range(100):
            self.receive(junkInit(self.public, random))
        for number in range(150):
            self.path = WirePath(Transport.UDP, (f"10.0.0.{number}", 1))
            cookie = self.node._cookies.cookie(self.path, self.wire.now)
            self.receive(junkInit(self.public, random, cookie))
        self.assertEqual(self.node.refused, {"handshake": 200, "load": 50})
        self.node.refused.clear()
        for _ in range(100):
            self.wire.now += 0.01
            for _ in range(2):
                cookie = self.node._cookies.cookie(self.path, self.wire.now)
                self.receive(junkInit(self.public, random, cookie))
        passed = self.node.refused["handshake"] + self.node.refused["load"]
        self.assertIn(passed, (23, 24))
        self.assertEqual(self.node.refused["source"], 200 - passed)

    def test_connectsUnderLoad(self) -> None:
        """
        While a thousand forged INITs a second come from everywhere, they get RETRYs
        of a third of their size, sessions live, and a new peer connects within 3 s
        (F2).
        """
        wire = self.wire
        random = Random(2)
        wire.run(0.5)

        def flood(seconds: float) -> None:
            for _ in range(round(seconds * 100)):
                host = f"203.0.113.{random.randrange(256)}"
                path = WirePath(Transport.UDP, (host, random.randrange(1, 65536)))
                batch = [junkInit(self.public, random) for _ in range(10)]
                self.node.receive(batch, path, wire.now)
                wire.pump(wire.b)
                wire.run(0.01)

        flood(0.2)
        self.assertTrue(self.node._load.underLoad(wire.now))
        link = wire.a.dial(wire.b)
        flood(0.5)
        self.assertTrue(link.established)
        self.assertTrue(wire.b.linkTo(wire.a).established)
        self.assertEqual(len(wire.a.packets(TYPE_INIT)), 2)
        self.assertEqual(len(wire.b.packets(TYPE_RESP)), 1)
        link.send([InputEvent(1, 2, 3)], wire.now)
        wire.pump(wire.a)
        flood(0.2)
        self.assertEqual(len(wire.b.eventsOf(InputReceived)), 1)
        self.assertLessEqual(self.node.refused["handshake"], 200)

    def test_staleChallenge(self) -> None:
        """
        An INIT with an old timestamp is taken with a cookie of its own source, not
        with another's (F9, F24).
        """
        keys = self.wire.a.keys
        self.receive(initOf(keys, self.public, EPOCH + 9).packet)
        self.assertEqual(
            self.receive(initOf(keys, self.public, EPOCH).packet), [(TYPE_RETRY, 56)]
        )
        other = WirePath(Transport.TCP, self.wire.a.address)
        for path, stale in ((other, 2), (self.path, 2)):
            challenge = self.node._cookies.cookie(path, self.wire.now)
            init = initOf(keys, self.public, EPOCH, challenge=challenge)
            self.receive(init.packet)
            self.assertEqual(self.node.refused["stale"], stale)
        link = self.wire.b.linkTo(self.wire.a)
        [(_, packets)] = link.packetsToSend(self.wire.now)
        self.assertEqual([packet[0] for packet in packets], [TYPE_RESP, TYPE_RESP])

    def test_sameEphemeral(self) -> None:
        """
        An INIT that was accepted is refused again, even with a cookie that would
        make its timestamp good (F5).
        """
        keys = self.wire.a.keys
        challenge = self.node._cookies.cookie(self.path, self.wire.now)
        inits = [
            initOf(keys, self.public, EPOCH - number, challenge=challenge).packet
            for number in range(16)
        ]
        self.assertEqual(self.receive(*inits, *inits), [])
        self.assertEqual(self.node.refused, {"replay": 16})

    def test_tooManyPeers(self) -> None:
        """
        Where anybody may come in, there is an end to how many: the next one is
        refused, and those who are in are not (F72).
        """
        others = {
            number.to_bytes(32, "big"): mock.Mock() for number in range(1, MAX_LINKS)
        }
        self.node._links.update(others)
        self.wire.b.admitted.add(credentials(7).public)
        self.receive(initOf(self.wire.a.keys, self.public, EPOCH).packet)
        self.receive(initOf(credentials(7), self.public, EPOCH).packet)
        self.receive(initOf(self.wire.a.keys, self.public, EPOCH + 1).packet)
        self.assertEqual(self.node.refused, {"links": 1})
        self.assertEqual(len(self.node), MAX_LINKS)
        self.assertEqual(self.wire.b.linkTo(self.wire.a)._slots.halfOpen, 2)

    def test_rememberedPeers(self) -> None:
        """
        Timestamps of 4096 peers are remembered, the latest ones (F72).
        """
        for number in range(MAX_REMEMBERED_PEERS):
            self.node._fresh[number.to_bytes(32, "big")] = _Freshness()
        self.receive(initOf(self.wire.a.keys, self.public, EPOCH).packet)
        self.assertEqual(len(self.node._fresh), MAX_REMEMBERED_PEERS)
        self.assertNotIn(bytes(32), self.node._fresh)
        self.assertIn(self.wire.a.keys.public, self.node._fresh)
