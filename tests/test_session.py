"""
Tests for `rootstream.protocol.session`.
"""

from __future__ import annotations

import gc
import types
from random import Random
from struct import pack

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rootstream.protocol.session import Session, SessionExhausted
from tests.test_noise import flips

KEYS = (bytes(range(32)), bytes(range(32, 64)))


def pair(
    indexes: tuple[int, int] = (11, 22), keys: tuple[bytes, bytes] = KEYS
) -> tuple[Session, Session]:
    """
    An initiator and a responder with one set of keys.
    """
    return (
        Session(keys[0], keys[1], indexes[0], indexes[1], 0.0, True),
        Session(keys[1], keys[0], indexes[1], indexes[0], 0.0, False),
    )


def snapshot(session: Session) -> tuple[object, ...]:
    """
    All that an authentic packet may change and no other.
    """
    window = session.replay
    return (
        window.largest,
        window.received(window.largest + 1, 1024),
        session.bytesReceived,
        session.sendCounter,
        session.bytesSent,
    )


def reachable(root: object) -> list[object]:
    """
    Every object that ``root`` keeps alive, leaving out code and modules.
    """
    code = (type, types.ModuleType, types.FunctionType)
    found: dict[int, object] = {}
    rest = [root]
    while rest:
        each = rest.pop()
        if id(each) not in found and not isinstance(each, code):
            found[id(each)] = each
            rest.extend(gc.get_referents(each))
    return list(found.values())


class SealTests(SynchronousTestCase):
    """
    Packets that go out.
    """

    def test_layout(self) -> None:
        """
        A packet is type, the receiver's index and the counter in the clear, then
        the sealed frames and their tag: 29 bytes more than the frames.
        """
        initiator, _ = pair()
        initiator.sendCounter = 0x0102030405
        packet = initiator.seal(b"frames")
        self.assertEqual(packet[:13], pack("<BIQ", 0x24, 22, 0x0102030405))
        self.assertEqual(len(packet), 29 + 6)
        nonce = bytes(4) + pack("<Q", 0x0102030405)
        frames = ChaCha20Poly1305(KEYS[0]).decrypt(nonce, packet[13:], packet[:13])
        self.assertEqual(frames, b"frames")

    def test_counts(self) -> None:
        """
        Every packet has the next counter, alone or in a batch, and is counted.
        """
        initiator, responder = pair()
        packets = [initiator.seal(b"a"), *initiator.sealMany([b"b", b"c"])]
        self.assertEqual(initiator.sealMany([]), [])
        packets.append(initiator.seal(b"d"))
        opened = responder.openMany(packets)
        self.assertEqual(opened, [(0, b"a"), (1, b"b"), (2, b"c"), (3, b"d")])
        self.assertEqual((initiator.sendCounter, initiator.packetsSent), (4, 4))
        self.assertEqual(initiator.bytesSent, 4 * 30)
        self.assertEqual(responder.bytesReceived, 4 * 30)

    def test_limit(self) -> None:
        """
        The packet with counter 2^40 - 1 is the last: sending stops and does not
        wrap (F33).
        """
        initiator, responder = pair()
        initiator.sendCounter = (1 << 40) - 1
        self.assertFalse(initiator.dead(0.0))
        self.assertEqual(responder.open(initiator.seal(b"last")), b"last")
        self.assertRaises(SessionExhausted, initiator.seal, b"more")
        self.assertEqual(initiator.sendCounter, 1 << 40)
        self.assertTrue(initiator.dead(0.0))

    def test_limitInBatch(self) -> None:
        """
        A batch that would pass the limit is not sent in part (F33).
        """
        initiator, _ = pair()
        initiator.sendCounter = (1 << 40) - 2
        self.assertRaises(SessionExhausted, initiator.sealMany, [b"x"] * 3)
        self.assertEqual(initiator.bytesSent, 0)
        self.assertEqual(len(initiator.sealMany([b"x"] * 2)), 2)


class OpenTests(SynchronousTestCase):
    """
    Packets that come in.
    """

    def setUp(self) -> None:
        self.initiator, self.responder = pair()

    def refused(self, packet: bytes, reason: str) -> None:
        """
        The responder refuses ``packet`` for ``reason``, counts it, and is
        otherwise as it was.
        """
        before, count = snapshot(self.responder), self.responder.refused[reason]
        total = sum(self.responder.refused.values())
        self.assertIsNone(self.responder.open(packet))
        self.assertEqual(snapshot(self.responder), before)
        self.assertEqual(self.responder.refused[reason], count + 1)
        self.assertEqual(sum(self.responder.refused.values()), total + 1)

    def test_bothWays(self) -> None:
        """
        Each side opens what the other sealed, empty frames included.
        """
        for frames in (b"", b"x", bytes(1371)):
            packet = self.initiator.seal(frames)
            self.assertEqual(self.responder.open(packet), frames)
            packet = self.responder.seal(frames)
            self.assertEqual(self.initiator.open(packet), frames)

    def test_bits(self) -> None:
        """
        A packet with any bit flipped is refused (F10): what was sent as VIDEO cannot
        become INPUT (F38).
        """
        self.responder.open(self.initiator.seal(b"first"))
        packet = self.initiator.seal(b"\x02video")
        for place, forged in enumerate(flips(packet)):
            # Counters from 2^40 on fail the look, before the AEAD.
            late = 8 * (5 + 5) <= place < 8 * 13
            reason = "index" if place < 40 else "replay" if late else "tag"
            # Counter 1 with its lowest bit flipped is counter 0, seen before.
            self.refused(forged, "replay" if place == 40 else reason)
        self.assertEqual(self.responder.open(packet), b"\x02video")

    def test_lengths(self) -> None:
        """
        A packet cut or lengthened anywhere is refused (F11).
        """
        packet = self.initiator.seal(b"frames")
        for length in range(len(packet)):
            self.refused(packet[:length], "length" if length < 29 else "tag")
        for extra in (*range(1, 50), 1400 - len(packet)):
            self.refused(packet + bytes(extra), "tag")
        self.refused(packet + bytes(1401 - len(packet)), "length")
        self.assertEqual(self.responder.open(packet), b"frames")

    def test_order(self) -> None:
        """
        Length is looked at before type and index, these before the counter, and the
        counter before the AEAD, which alone costs something.
        """
        packet = self.initiator.seal(b"")
        self.responder.open(packet)
        self.refused(bytes(28), "length")
        self.refused(b"\x22" + packet[1:], "index")
        self.refused(packet[:-1] + b"\0", "replay")
        self.assertEqual(self.responder.failedOpens, 0)

    def test_replayed(self) -> None:
        """
        A packet opens once, by whatever way its copies come: a session knows no
        paths (F29).
        """
        packets = self.initiator.sealMany([b"a", b"b"])
        self.assertEqual(len(self.responder.openMany([*packets, *packets])), 2)
        for packet in packets:
            self.refused(packet, "replay")

    def test_reordered(self) -> None:
        """
        Doubled and reordered packets are each delivered once (F30).
        """
        random = Random(30)
        sent = [pack("<I", number) for number in range(2000)]
        packets = self.initiator.sealMany(sent)
        packets += random.sample(packets, 100)
        order = sorted(
            enumerate(packets), key=lambda item: item[0] + random.randint(0, 500)
        )
        opened = self.responder.openMany([packet for _, packet in order])
        self.assertEqual(sorted(frames for _, frames in opened), sorted(sent))
        self.assertEqual(self.responder.refused["replay"], 100)

    def test_old(self) -> None:
        """
        A packet 8128 behind the newest opens, and one 8129 behind does not (F31).
        """
        packets = [self.initiator.seal(b"") for _ in range(2)]
        self.initiator.sendCounter = 8129
        self.responder.open(self.initiator.seal(b""))
        self.refused(packets[0], "replay")
        self.assertEqual(self.responder.open(packets[1]), b"")

    def test_farCounters(self) -> None:
        """
        An authentic jump by 2^39 is taken once; a forged one moves nothing; from
        2^40 on even an authentic packet is refused (F32).
        """
        self.responder.open(self.initiator.seal(b""))
        self.initiator.sendCounter = 1 << 39
        packet = self.initiator.seal(b"far")
        self.refused(packet[:-1] + bytes((packet[-1] ^ 1,)), "tag")
        self.assertEqual(self.responder.open(packet), b"far")
        self.assertEqual(self.responder.replay.largest, 1 << 39)
        self.refused(packet, "replay")
        key = ChaCha20Poly1305(KEYS[0])
        for counter in (1 << 40, (1 << 64) - 1):
            header = pack("<BIQ", 0x24, 22, counter)
            nonce = bytes(4) + header[5:]
            self.refused(header + key.encrypt(nonce, b"", header), "replay")

    def test_reflected(self) -> None:
        """
        Our own packet sent back to us does not open, nor would it if both sides had
        chosen one index (F36).
        """
        self.refused(self.responder.seal(b"frames"), "index")
        _, self.responder = pair(indexes=(7, 7))
        self.refused(self.responder.seal(b"frames"), "tag")

    def test_otherSession(self) -> None:
        """
        A packet of one session with the index of another does not open (F37).
        """
        other, _ = pair(indexes=(33, 44), keys=(bytes(32), bytes(range(1, 33))))
        packet = other.seal(b"frames")
        self.refused(packet, "index")
        self.refused(packet[:1] + pack("<I", 22) + packet[5:], "tag")

    def test_anyOrderInBatches(self) -> None:
        """
        However packets are doubled, reordered, lost and cut into batches, each opens
        once, and the window is what opening them one by one makes it (F29, F30).
        """
        for seed in range(30):
            random = Random(seed)
            self.initiator, self.responder = pair()
            _, alone = pair()
            packets = self.initiator.sealMany([b"%d" % n for n in range(400)])
            sent = [each for each in packets if random.random() < 0.9]
            sent += random.sample(sent, 40)
            width = random.choice([1, 3, 100])
            order = {n: n + random.random() * width for n in range(len(sent))}
            sent = [sent[n] for n in sorted(order, key=order.__getitem__)]
            opened: list[tuple[int, bytes]] = []
            while sent:
                size = random.choice([1, 7, 46, 64])
                opened += self.responder.openMany(sent[:size])
                for packet in sent[:size]:
                    alone.open(packet)
                del sent[:size]
            self.assertEqual(len({counter for counter, _ in opened}), len(opened))
            self.assertTrue(all(plain == b"%d" % n for n, plain in opened))
            self.assertEqual(snapshot(self.responder), snapshot(alone))
            self.assertEqual(self.responder.refused, alone.refused)

    def test_badOnesInBatch(self) -> None:
        """
        Packets that do not open cost the others of their batch nothing.
        """
        good = self.initiator.sealMany([b"a", b"b", b"c"])
        forged = good[1][:-1] + bytes((good[1][-1] ^ 1,))
        batch = [b"", forged, good[2], good[2], self.responder.seal(b""), good[0]]
        self.assertEqual(self.responder.openMany(batch), [(2, b"c"), (0, b"a")])
        self.assertEqual(self.responder.failedOpens, 1)
        self.assertEqual(
            self.responder.refused, {"length": 1, "index": 1, "replay": 1, "tag": 1}
        )
        self.assertEqual(self.responder.open(good[1]), b"b")

    @settings(deadline=None, max_examples=50)
    @given(st.binary(max_size=1500), st.binary(min_size=24, max_size=1400))
    def test_junk(self, junk: bytes, tail: bytes) -> None:
        """
        Whatever stands there, what does not open is refused without an error (F11).
        """
        self.assertIsNone(self.responder.open(junk))
        self.assertIsNone(self.responder.open(pack("<BI", 0x24, 22) + tail))


class LifeTests(SynchronousTestCase):
    """
    When keys are replaced, and when they go.
    """

    def test_age(self) -> None:
        """
        The initiator wants new keys after 120 s and its jitter; the responder
        leaves that to it.
        """
        initiator = Session(*KEYS, 11, 22, 1000.0, True, jitter=2.5)
        responder = Session(*KEYS, 22, 11, 1000.0, False)
        self.assertFalse(initiator.needsRekey(1122.4))
        self.assertTrue(initiator.needsRekey(1122.5))
        self.assertFalse(responder.needsRekey(1179.0))

    def test_use(self) -> None:
        """
        2^32 packets or 64 GiB either way make either side want new keys (F33).
        """
        for session in pair():
            for name, limit in (
                ("sendCounter", 1 << 32),
                ("bytesSent", 64 << 30),
                ("bytesReceived", 64 << 30),
            ):
                setattr(session, name, limit - 1)
                self.assertFalse(session.needsRekey(0.0), name)
                setattr(session, name, limit)
                self.assertTrue(session.needsRekey(0.0), name)
                setattr(session, name, 0)
            session.replay.mark((1 << 32) - 2)
            self.assertFalse(session.needsRekey(0.0))
            session.replay.mark((1 << 32) - 1)
            self.assertTrue(session.needsRekey(0.0))

    def test_failedOpens(self) -> None:
        """
        After 2^35 packets that did not open new keys are wanted, and after 2^36 the
        keys are dead (F35).
        """
        for session in pair():
            forged = pack("<BIQ", 0x24, session.localIndex, 5) + bytes(16)
            session.failedOpens = (1 << 35) - 1
            self.assertFalse(session.needsRekey(0.0))
            self.assertIsNone(session.open(forged))
            self.assertTrue(session.needsRekey(0.0))
            self.assertFalse(session.dead(0.0))
            session.failedOpens = (1 << 36) - 1
            self.assertFalse(session.dead(0.0))
            self.assertIsNone(session.open(forged))
            self.assertTrue(session.dead(0.0))

    def test_dead(self) -> None:
        """
        Keys are dead at 180 s, and once forgotten are refused both ways (F41).
        """
        initiator, responder = pair()
        fromInitiator, fromResponder = initiator.seal(b""), responder.seal(b"")
        for session, packet in (
            (initiator, fromResponder),
            (responder, fromInitiator),
        ):
            self.assertFalse(session.dead(179.9))
            self.assertTrue(session.dead(180.0))
            session.forget()
            self.assertTrue(session.dead(0.0))
            self.assertRaises(SessionExhausted, session.seal, b"")
            self.assertIsNone(session.open(packet))
            self.assertEqual(session.openMany([packet, packet]), [])
            self.assertEqual(session.refused["index"], 3)
            self.assertEqual(session.bytesReceived, 0)

    def test_rest(self) -> None:
        """
        A session at rest keeps its keys and no ciphers, and goes on with the next
        packet of either direction; one that was forgotten does not.
        """
        initiator, responder = pair()
        for number in range(3):
            self.assertEqual(responder.open(initiator.seal(b"there")), b"there")
            self.assertEqual(initiator.open(responder.seal(b"back")), b"back")
            self.assertEqual(initiator.sendCounter, number + 1)
            initiator.rest()
            responder.rest()
            for session in (initiator, responder):
                kept = [type(each) for each in reachable(session)]
                self.assertNotIn(ChaCha20Poly1305, kept)
                self.assertFalse(session.dead(0.0))
        packet = initiator.seal(b"late")
        responder.forget()
        responder.rest()
        self.assertIsNone(responder.open(packet))
        self.assertTrue(responder.dead(0.0))

    def test_keysAreGone(self) -> None:
        """
        A forgotten session keeps neither keys nor ciphers alive (F19).
        """

        def secrets() -> list[object]:
            return [
                each
                for each in reachable(session)
                if isinstance(each, ChaCha20Poly1305) or each in keys
            ]

        keys = (bytes(range(1, 33)), bytes(range(2, 34)))
        session = Session(*keys, 11, 22, 0.0, True)
        session.seal(b"")
        session.open(bytes(40))
        self.assertEqual(len(secrets()), 4)
        session.forget()
        self.assertEqual(secrets(), [])
