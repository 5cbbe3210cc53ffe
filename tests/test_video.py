"""
Tests for `rootstream.protocol.video`.
"""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import BadPacket, LocalError
from rootstream.protocol.constants import (
    MAX_CHUNK,
    MAX_FRAMES,
    MAX_PARTIAL_FRAMES,
    MAX_REASSEMBLY_BYTES,
    MAX_WAITING_FRAMES,
)
from rootstream.protocol.events import VideoFrame, VideoLost, VideoReceived
from rootstream.protocol.frames import FrameType, parseFrames
from rootstream.protocol.video import Reassembler, chunk

Outcome = list[VideoReceived | VideoLost]

#: The same examples each time, and nothing written to the disk.
property_ = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def picture(frameId: int, chunks: int = 1) -> VideoFrame:
    """
    A frame that differs from all others and fills so many chunks, the last halfway.
    """
    size = (chunks - 1) * MAX_CHUNK + 700
    return VideoFrame(random.Random(frameId).randbytes(size), frameId & 0xFFFF)


def bodies(frameId: int, frame: VideoFrame) -> list[bytes]:
    """
    The frame bodies that a receiver gets.
    """
    return [plain[1:] for plain in chunk(frameId, frame)]


def body(
    frameId: int,
    index: int = 0,
    count: int = 1,
    data: bytes = b"data",
    flags: int = 0,
    stamp: int = 0,
) -> bytes:
    """
    A VIDEO body made by hand.
    """
    return (
        struct.pack("<IHHB", frameId, index, count, flags)
        + stamp.to_bytes(6, "little")
        + data
    )


class ChunkTests(SynchronousTestCase):
    """
    Cutting a frame into packets.
    """

    def test_header(self) -> None:
        """
        A packet begins with the type and a header of 15 bytes, little-endian.
        """
        frame = VideoFrame(b"\0\0\0\1", 0x060504030201, keyFrame=True, reorder=2)
        self.assertEqual(
            chunk(0x0D0C0B0A, frame),
            [bytes.fromhex("02 0a0b0c0d 0000 0100 05 010203040506 00000001")],
        )

    def test_sizes(self) -> None:
        """
        All packets but the last are full.
        """
        plains = chunk(7, VideoFrame(bytes(3 * 1355 + 1), 0))
        self.assertEqual([len(plain) for plain in plains], [MAX_FRAMES] * 3 + [17])
        self.assertEqual(
            [struct.unpack_from("<BIHH", plain) for plain in plains],
            [(2, 7, index, 4) for index in range(4)],
        )
        self.assertEqual(len(chunk(7, VideoFrame(bytes(2 * 1355), 0))), 2)

    def test_smaller(self) -> None:
        """
        For a narrow path a frame is cut into smaller chunks, all but the last equal,
        and there are no more of them than for a wide one.
        """
        data = bytes(range(250)) * 10
        chunks = chunk(7, VideoFrame(data, 5), 1155)
        self.assertEqual([len(each) for each in chunks], [1171, 1171, 206])
        reassembler = Reassembler()
        outcome = [reassembler.receive(each[1:], 0.0) for each in chunks]
        self.assertEqual(outcome, [[], [], [VideoReceived(VideoFrame(data, 5))]])
        chunk(7, VideoFrame(bytes(2048 * 1155), 5), 1155)
        large = VideoFrame(bytes(2048 * 1155 + 1), 5)
        refused = self.assertRaises(LocalError, chunk, 7, large, 1155)
        self.assertIn(str(2048 * 1155), str(refused))

    def test_isAFrame(self) -> None:
        """
        A packet parses as one VIDEO frame.
        """
        (plain,) = chunk(0, VideoFrame(b"x", 0))
        self.assertEqual(parseFrames(plain), [(FrameType.VIDEO, plain[1:])])

    def test_limits(self) -> None:
        """
        A frame may need 2048 packets; one that is larger or empty is refused.
        """
        self.assertEqual(len(chunk(0, VideoFrame(bytes(2048 * 1355), 0))), 2048)
        for size in (0, 2048 * 1355 + 1):
            self.assertRaises(LocalError, chunk, 0, VideoFrame(bytes(size), 0))

    def test_ranges(self) -> None:
        """
        Timestamps of more than 48 bits and reorder depths past 16 are refused.
        """
        chunk(0, VideoFrame(b"x", 2**48 - 1, reorder=16))
        for bad in (
            VideoFrame(b"x", -1),
            VideoFrame(b"x", 2**48),
            VideoFrame(b"x", 0, reorder=-1),
            VideoFrame(b"x", 0, reorder=17),
        ):
            self.assertRaises(LocalError, chunk, 0, bad)

    @property_
    @given(
        st.integers(0, 2**32 - 1),
        st.builds(
            VideoFrame,
            st.integers(1, 5000).map(lambda size: random.Random(size).randbytes(size)),
            st.integers(0, 2**48 - 1),
            st.booleans(),
            st.integers(0, 16),
        ),
        st.randoms(use_true_random=False),
    )
    def test_roundTrip(
        self, frameId: int, frame: VideoFrame, chance: random.Random
    ) -> None:
        """
        A frame arrives as it was sent, in whatever order its chunks come.
        """
        parts = bodies(frameId, frame)
        chance.shuffle(parts)
        reassembler = Reassembler()
        events = [event for part in parts for event in reassembler.receive(part, 0.0)]
        self.assertEqual(events, [VideoReceived(frame)])


class ReassemblerTestCase(SynchronousTestCase):
    """
    A reassembler, and short ways to feed it.
    """

    def setUp(self) -> None:
        self.reassembler = Reassembler()

    def receive(self, parts: Iterable[bytes], now: float = 0.0) -> Outcome:
        """
        Give it one body after another.
        """
        events: Outcome = []
        for part in parts:
            events += self.reassembler.receive(part, now)
        return events

    def whole(self, frameId: int, now: float = 0.0, chunks: int = 1) -> Outcome:
        """
        Give it the whole of `picture`.
        """
        return self.receive(bodies(frameId, picture(frameId, chunks)), now)

    def received(self, *frameIds: int, chunks: int = 1) -> Outcome:
        """
        What it should say when these pictures are delivered.
        """
        return [VideoReceived(picture(frameId, chunks)) for frameId in frameIds]

    def assertEmpty(self) -> None:
        """
        It keeps nothing and waits for nothing.
        """
        self.assertEqual(self.reassembler.bytesHeld, 0)
        self.assertIsNone(self.reassembler.nextTimer())


class ReassemblerTests(ReassemblerTestCase):
    """
    Putting frames together again.
    """

    def test_nothing(self) -> None:
        """
        At first there is nothing to keep or to wait for.
        """
        self.assertEmpty()
        self.assertEqual(self.reassembler.timerFired(1000.0), [])

    def test_inOrder(self) -> None:
        """
        A frame is delivered with its last chunk, and then leaves nothing behind.
        """
        for frameId in range(5, 9):
            parts = bodies(frameId, picture(frameId, 3))
            self.assertEqual(self.receive(parts[:2]), [])
            self.assertEqual(self.reassembler.bytesHeld, 2 * MAX_CHUNK)
            self.assertEqual(self.receive(parts[2:]), self.received(frameId, chunks=3))
            self.assertEmpty()
        self.assertEqual(self.reassembler.dropped, 0)

    def test_doubles(self) -> None:
        """
        A chunk that comes twice counts once, before its frame is complete and
        after.
        """
        parts = bodies(0, picture(0, 3))
        self.assertEqual(self.receive([parts[0], parts[0], parts[1], parts[0]]), [])
        self.assertEqual(self.reassembler.bytesHeld, 2 * MAX_CHUNK)
        self.assertEqual(self.receive(parts[2:]), self.received(0, chunks=3))
        self.assertEqual(self.receive(parts * 2), [])
        self.assertEmpty()

    def test_waitsForTheHole(self) -> None:
        """
        Whole frames behind a missing one wait for it, and all go out in order as
        soon as it is there.
        """
        self.whole(0)
        self.assertEqual(self.whole(2), [])
        self.assertEqual(self.whole(3), [])
        self.assertEqual(self.whole(1), self.received(1, 2, 3))
        self.assertEmpty()

    def test_waitsForTheRest(self) -> None:
        """
        Whole frames behind an incomplete one wait for the rest of it.
        """
        parts = bodies(0, picture(0, 2))
        self.receive(parts[:1])
        self.assertEqual(self.whole(1), [])
        self.assertEqual(
            self.receive(parts[1:]),
            self.received(0, chunks=2) + self.received(1),
        )

    def test_deadlineOfAHole(self) -> None:
        """
        A missing frame is given up half a second after the first later one came,
        and what was given up is counted ahead of what follows.
        """
        self.whole(0, now=10.0)
        self.whole(3, now=11.0)
        self.whole(4, now=11.25)
        self.assertEqual(self.reassembler.nextTimer(), 11.5)
        self.assertEqual(self.reassembler.timerFired(11.49), [])
        self.assertEqual(
            self.reassembler.timerFired(11.5), [VideoLost(2), *self.received(3, 4)]
        )
        self.assertEmpty()
        self.assertEqual(self.reassembler.dropped, 0)

    def test_deadlineOfAPart(self) -> None:
        """
        An incomplete frame is given up half a second after its first chunk, even
        when nothing follows it.
        """
        parts = bodies(0, picture(0, 3))
        self.receive(parts[:1], now=1.0)
        self.receive(parts[1:2], now=1.25)
        self.assertEqual(self.reassembler.nextTimer(), 1.5)
        self.assertEqual(self.reassembler.timerFired(1.5), [VideoLost(1)])
        self.assertEqual(self.reassembler.dropped, 1)
        self.assertEmpty()
        self.assertEqual(self.receive(parts, now=1.5), [])
        self.assertEqual(self.whole(1, now=1.5), self.received(1))

    def test_eachHoleItsOwn(self) -> None:
        """
        Each hole has its own deadline.
        """
        self.whole(0)
        self.whole(2, now=1.0)
        self.whole(4, now=1.25)
        self.assertEqual(
            self.reassembler.timerFired(1.5), [VideoLost(1), *self.received(2)]
        )
        self.assertEqual(self.reassembler.nextTimer(), 1.75)
        self.assertEqual(
            self.reassembler.timerFired(1.75), [VideoLost(1), *self.received(4)]
        )

    def test_lateTimer(self) -> None:
        """
        When the timer comes late, each loss is counted where it happened.
        """
        self.whole(0)
        for frameId in (2, 3, 6):
            self.whole(frameId)
        self.assertEqual(
            self.reassembler.timerFired(99.0),
            [VideoLost(1), *self.received(2, 3), VideoLost(2), *self.received(6)],
        )

    def test_holeNoticedByALaterFrame(self) -> None:
        """
        The wait begins with the first sign of a frame, not with its own first
        chunk: that a later one came.
        """
        self.whole(0)
        self.whole(2, now=1.0)
        self.receive(bodies(1, picture(1, 2))[:1], now=1.4)
        self.assertEqual(
            self.reassembler.timerFired(1.5), [VideoLost(1), *self.received(2)]
        )

    def test_keyFramesWaitToo(self) -> None:
        """
        A key frame does not overtake what may still be mended.
        """
        self.whole(0)
        self.assertEqual(self.receive([body(2, flags=1)], now=1.0), [])
        self.assertEqual(
            self.reassembler.timerFired(1.5),
            [VideoLost(1), VideoReceived(VideoFrame(b"data", 0, keyFrame=True))],
        )

    def test_deadlineIsGiven(self) -> None:
        """
        The deadline is the one asked for.
        """
        reassembler = Reassembler(deadline=2.0)
        reassembler.receive(body(0, count=2), 1.0)
        self.assertEqual(reassembler.nextTimer(), 3.0)

    def test_old(self) -> None:
        """
        A frame older than the last delivered one is dropped (F71).
        """
        self.whole(1000)
        for frameId in (1000, 999, 1000 - 64, 0, 1001 + 2**31):
            self.assertEqual(self.whole(frameId), [])
            self.assertEmpty()

    def test_rollback(self) -> None:
        """
        A peer that starts its ids again is not followed until a reset (F71).
        """
        self.whole(5000)
        self.assertEqual(self.whole(0), [])
        self.reassembler.reset()
        self.assertEqual(self.whole(0), self.received(0))

    def test_wrap(self) -> None:
        """
        After id 2^32 - 1 comes 0, in order and out of it (F71).
        """
        last = 2**32 - 1
        self.assertEqual(self.whole(last - 1), self.received(last - 1))
        self.assertEqual(self.whole(1), [])
        self.assertEqual(self.whole(0), [])
        self.assertEqual(self.whole(last), self.received(last, 0, 1))
        self.assertEqual(self.whole(last), [])
        self.assertEqual(self.whole(4), [])
        self.assertEqual(
            self.reassembler.timerFired(0.5), [VideoLost(2), *self.received(4)]
        )

    def test_startReordered(self) -> None:
        """
        Earlier frames that are overtaken before the first delivery are not lost.
        """
        late = bodies(101, picture(101, 2))
        self.receive(late[:1])
        self.assertEqual(self.receive(bodies(100, picture(100))), self.received(100))
        self.assertEqual(self.receive(late[1:]), self.received(101, chunks=2))

    def test_startFarBack(self) -> None:
        """
        An id more than 64 below the first one seen is not part of the start.
        """
        self.receive(bodies(1000, picture(1000, 2))[:1])
        self.assertEqual(self.whole(1000 - 65), [])
        self.assertEqual(self.whole(1000 - 64), self.received(1000 - 64))

    def test_startIsOver(self) -> None:
        """
        Once a frame was given up, the start does not move back.
        """
        self.receive(bodies(100, picture(100, 2))[:1])
        self.reassembler.timerFired(1.0)
        self.assertEqual(self.whole(99), [])

    def test_reset(self) -> None:
        """
        A reset forgets all that was kept.
        """
        self.receive(bodies(0, picture(0, 2))[:1])
        self.whole(1)
        self.reassembler.reset()
        self.assertEmpty()
        self.assertEqual(self.whole(1), self.received(1))


class ContradictionTests(ReassemblerTestCase):
    """
    Chunks that do not belong together.
    """

    def test_empty(self) -> None:
        """
        A body that is cut in its header, or carries no data, is refused.
        """
        whole = body(0)
        for size in range(16):
            self.assertRaises(BadPacket, self.reassembler.receive, whole[:size], 0.0)
        self.assertEmpty()

    def test_outside(self) -> None:
        """
        An index outside the frame, and more chunks than allowed, are refused.
        """
        for index, count in ((0, 0), (1, 1), (5, 2), (0, 2049), (65535, 65535)):
            self.assertRaises(
                BadPacket, self.reassembler.receive, body(0, index, count), 0.0
            )
        self.assertEmpty()

    def test_reorderDepth(self) -> None:
        """
        A reorder depth past 16 is refused, and the bits above it are not looked at.
        """
        self.assertRaises(
            BadPacket, self.reassembler.receive, body(0, flags=17 << 1), 0.0
        )
        self.assertEqual(
            self.receive([body(0, flags=0xC0 | 16 << 1)]),
            [VideoReceived(VideoFrame(b"data", 0, False, 16))],
        )

    def test_firstWins(self) -> None:
        """
        Of two chunks for the same place the first is kept (F70).
        """
        self.receive([body(0, 0, 2, b"aaaa"), body(0, 0, 2, b"bbbb")])
        self.assertEqual(
            self.receive([body(0, 1, 2, b"c")]),
            [VideoReceived(VideoFrame(b"aaaac", 0))],
        )
        self.assertEqual(self.reassembler.dropped, 0)

    def test_headerChanges(self) -> None:
        """
        A frame whose count, flags or timestamp change is dropped whole and
        counted, and the rest of it starts no new one (F70).
        """
        changes = (
            body(1, 1, 4),
            body(1, 1, 3, flags=1),
            body(1, 1, 3, flags=2),
            body(1, 1, 3, stamp=1),
            body(1, 1, 3, stamp=1 << 47),
        )
        for dropped, change in enumerate(changes, 1):
            self.reassembler.reset()
            self.receive([body(0)])
            self.assertEqual(self.receive([body(1, 0, 3)]), [])
            self.assertEqual(self.receive([change]), [VideoLost(1)])
            self.assertEqual(self.reassembler.dropped, dropped)
            rest = [body(1, index, 3) for index in range(3)]
            self.assertEqual(self.receive(rest), [])
            self.assertEmpty()

    def test_sizesDiffer(self) -> None:
        """
        All chunks but the last have the same size, or the frame is dropped; the
        last may be of any, whenever it comes (F70).
        """
        self.receive([body(0, 2, 3, b"longer"), body(0, 0, 3, b"ab")])
        self.assertEqual(
            self.receive([body(0, 1, 3, b"cd")]),
            [VideoReceived(VideoFrame(b"abcdlonger", 0))],
        )
        self.receive([body(1, 0, 3, b"ab")])
        self.assertEqual(self.receive([body(1, 1, 3, b"c")]), [VideoLost(1)])
        self.assertEqual(self.reassembler.dropped, 1)

    def test_spoiledBehindAHole(self) -> None:
        """
        A frame that contradicts itself behind a hole stays dropped, whatever comes
        of it later, and is counted as lost when its turn comes.
        """
        self.receive([body(0)])
        self.receive([body(2, 0, 2), body(2, 1, 2, flags=1)])
        self.assertEqual(self.reassembler.bytesHeld, 0)
        self.assertEqual(self.receive([body(2, 0, 2), body(2, 1, 2)]), [])
        self.assertEqual(self.receive([body(3)]), [])
        data = VideoReceived(VideoFrame(b"data", 0))
        self.assertEqual(self.receive([body(1)]), [data, VideoLost(1), data])
        self.assertEqual(self.reassembler.dropped, 1)

    def test_completeIsLeftAlone(self) -> None:
        """
        A contradiction that comes after a frame is complete changes nothing (F70).
        """
        self.receive([body(0), body(2), body(2, 0, 2), body(2, flags=1)])
        self.assertEqual(len(self.receive([body(1)])), 2)
        self.assertEqual(self.reassembler.dropped, 0)


class BoundsTests(ReassemblerTestCase):
    """
    What a peer can make us keep.
    """

    def test_fragmentBomb(self) -> None:
        """
        Single chunks of many frames that promise 2048 each cost what they bring:
        few frames are kept, the oldest goes first (F68).
        """
        for frameId in range(10_000):
            self.receive([body(frameId, 7, 2048, bytes(1000))])
            self.assertLessEqual(self.reassembler.bytesHeld, MAX_PARTIAL_FRAMES * 1000)
        self.assertEqual(self.reassembler.dropped, 10_000 - MAX_PARTIAL_FRAMES)
        self.assertEqual(
            self.reassembler.timerFired(0.5), [VideoLost(MAX_PARTIAL_FRAMES)]
        )
        self.assertEmpty()

    def test_oldestPartGoes(self) -> None:
        """
        One incomplete frame too many costs the oldest one, even if that is itself;
        what is whole stays (F68).
        """
        self.receive([body(0), body(2)])
        for frameId in range(4, 4 + MAX_PARTIAL_FRAMES):
            self.receive([body(frameId, 0, 2)])
        self.assertEqual(self.receive([body(3, 0, 2), body(3, 1, 2)]), [])
        self.assertEqual(self.reassembler.dropped, 1)
        data = VideoReceived(VideoFrame(b"data", 0))
        self.assertEqual(self.receive([body(1)]), [data, data, VideoLost(1)])
        double = VideoReceived(VideoFrame(b"datadata", 0))
        self.assertEqual(self.receive([body(4, 1, 2)]), [double])

    def test_oldestPartAtTheWrap(self) -> None:
        """
        The oldest is the oldest in order, not the one with the smallest id (F71).
        """
        last = 2**32 - 1
        self.assertEqual(self.receive([body(last, 0, 2)]), [])
        for frameId in range(MAX_PARTIAL_FRAMES):
            events = self.receive([body(frameId, 0, 2)])
        self.assertEqual(events, [VideoLost(1)])
        double = VideoReceived(VideoFrame(b"datadata", 0))
        self.assertEqual(self.receive([body(0, 1, 2)]), [double])

    def test_bytes(self) -> None:
        """
        At most 8 MiB are kept: past them the hole is given up at once, and what
        waited behind it is delivered rather than dropped (F68).
        """
        self.receive([body(0)])
        large = [body(0, index, 2048, bytes(1355)) for index in range(2048)]
        events: Outcome = []
        for frameId in range(2, 5):
            head = struct.pack("<I", frameId)
            events += self.receive(head + part[4:] for part in large)
        self.assertEqual(events, [])
        self.assertEqual(self.reassembler.bytesHeld, 3 * 2048 * 1355)
        head = struct.pack("<I", 5)
        for part in large:
            events += self.receive([head + part[4:]])
            self.assertLessEqual(self.reassembler.bytesHeld, MAX_REASSEMBLY_BYTES)
        self.assertEqual(events[0], VideoLost(1))
        self.assertEqual(len(events), 5)
        self.assertEmpty()
        self.assertEqual(self.reassembler.dropped, 0)

    def test_bytesOfParts(self) -> None:
        """
        Incomplete frames are given up for the limit's sake as well, oldest first.
        """
        self.receive([body(0)])
        for frameId in range(1, 5):
            parts = [body(frameId, index, 2048, bytes(1355)) for index in range(2047)]
            events = self.receive(parts)
            self.assertLessEqual(self.reassembler.bytesHeld, MAX_REASSEMBLY_BYTES)
        self.assertEqual(events, [VideoLost(1)])
        self.assertEqual(self.reassembler.dropped, 1)

    def test_waitingFrames(self) -> None:
        """
        So many tiny whole frames wait for a hole, and no more.
        """
        self.receive([body(0)])
        waiting = [body(frameId) for frameId in range(2, 2 + MAX_WAITING_FRAMES)]
        self.assertEqual(self.receive(waiting), [])
        events = self.receive([body(2 + MAX_WAITING_FRAMES)])
        self.assertEqual(events[0], VideoLost(1))
        self.assertEqual(len(events), 1 + MAX_WAITING_FRAMES + 1)
        self.assertEmpty()

    def test_farAhead(self) -> None:
        """
        A jump over two thousand million ids costs no work and no memory.
        """
        self.receive([body(0)])
        self.receive([body(2**31)])
        self.assertEqual(
            self.reassembler.timerFired(0.5),
            [VideoLost(2**31 - 1), VideoReceived(VideoFrame(b"data", 0))],
        )

    @property_
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 8),
                st.integers(0, 4),
                st.integers(0, 4),
                st.binary(max_size=3),
                st.sampled_from([0, 0, 0, 1, 40]),
                st.floats(0.0, 0.3),
            ),
            max_size=60,
        )
    )
    def test_anyChunks(
        self, chunks: list[tuple[int, int, int, bytes, int, float]]
    ) -> None:
        """
        Whatever comes, it is kept, delivered or refused; every id up to the last
        is accounted for once, and after the deadline nothing is left.
        """
        reassembler = Reassembler()
        events: Outcome = []
        now = 0.0
        for number, index, count, data, flags, wait in chunks:
            now += wait
            with contextlib.suppress(BadPacket):
                events += reassembler.receive(
                    body(2**32 - 4 + number & 0xFFFFFFFF, index, count, data, flags),
                    now,
                )
            at = reassembler.nextTimer()
            if at is not None and at <= now:
                events += reassembler.timerFired(now)
        events += reassembler.timerFired(now + 0.5)
        self.assertEqual(reassembler.bytesHeld, 0)
        self.assertIsNone(reassembler.nextTimer())
        accounted = sum(
            event.count if isinstance(event, VideoLost) else 1 for event in events
        )
        self.assertLessEqual(accounted, 9)


class NetworkTests(SynchronousTestCase):
    """
    A stream over a bad network.
    """

    def stream(self, seed: int) -> None:
        chance = random.Random(seed)
        reassembler = Reassembler()
        first = 2**32 - 20
        frames = [picture(number, chance.randrange(1, 6)) for number in range(60)]
        arrivals: list[tuple[float, bytes]] = []
        for number, frame in enumerate(frames):
            for part in bodies((first + number) & 0xFFFFFFFF, frame):
                sent = number / 60
                # Sent again after 100 ms when lost, and at times lost for good.
                while chance.random() < 0.1:
                    sent += 0.1
                if sent < number / 60 + 0.25:
                    arrivals.append((sent + chance.uniform(0.01, 0.03), part))
                if chance.random() < 0.1:
                    arrivals.append((sent + 0.05, part))
        arrivals.sort()
        place = delivered = 0

        def check(events: Outcome) -> None:
            nonlocal place, delivered
            for event in events:
                if isinstance(event, VideoLost):
                    place += event.count
                else:
                    self.assertEqual(event.frame, frames[place], f"seed {seed}")
                    place += 1
                    delivered += 1

        for now, part in arrivals:
            at = reassembler.nextTimer()
            if at is not None and at <= now:
                check(reassembler.timerFired(now))
            check(reassembler.receive(part, now))
        check(reassembler.timerFired(now + 0.5))
        self.assertLessEqual(place, len(frames))
        self.assertGreater(delivered, len(frames) / 2, f"seed {seed}")

    def test_inOrder(self) -> None:
        """
        Under loss, doubles and reordering, each frame is delivered once, whole and
        in order, or counted as lost in its place.
        """
        for seed in range(20):
            self.stream(seed)


class BatchTests(SynchronousTestCase):
    """
    Many chunks at once.
    """

    def play(self, seed: int) -> None:
        """
        Give chunks of four frames, some doubled, cut or of another frame's header, to
        one reassembler by itself and to another in batches.
        """
        source = random.Random(seed)
        chunks = [
            bytes((FrameType.VIDEO,)) + each
            for frameId in range(4)
            for each in bodies(frameId, picture(frameId, source.choice((1, 2, 9, 40))))
        ]
        for _ in range(source.choice((0, 0, 3, 30))):
            place = source.randrange(len(chunks))
            chosen = source.choice(chunks)
            match source.randrange(12):
                case 0:
                    chosen = chosen[:-1]
                case 1:
                    chosen = chosen[:16]
                case 2:
                    at = source.randrange(1, 16)
                    chosen = chosen[:at] + bytes((chosen[at] ^ 1,)) + chosen[at + 1 :]
            chunks.insert(place, chosen)
        if source.random() < 0.5:
            source.shuffle(chunks)
        single, batched = Reassembler(), Reassembler()
        while chunks:
            size = source.choice((1, 2, 46, 64))
            batch, chunks = chunks[:size], chunks[size:]
            told: list[Outcome] = [[], []]
            failed = []
            for each, outcome, parts in (
                (single, told[0], [[one] for one in batch]),
                (batched, told[1], [batch]),
            ):
                try:
                    for part in parts:
                        each.receiveMany(part, outcome, 0.0)
                except BadPacket as error:
                    failed.append((each, str(error)))
            self.assertEqual(told[0], told[1])
            self.assertEqual(
                [text for _, text in failed[:1]] * 2, [t for _, t in failed]
            )
            self.assertEqual(single.bytesHeld, batched.bytesHeld)
            self.assertEqual(single.dropped, batched.dropped)
            self.assertEqual(single.timerFired(1.0), batched.timerFired(1.0))

    def test_asOneByOne(self) -> None:
        """
        What comes in a batch is taken as if it came chunk by chunk.
        """
        for seed in range(200):
            self.play(seed)
