"""
Tests for `rootstream.protocol.backlog`, alone and in a stream over a slow connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from rootstream.interfaces import IPath, Transport
from rootstream.protocol.backlog import Backlog
from rootstream.protocol.constants import MAX_BACKLOG_DELAY, MAX_BACKLOG_MARKS
from rootstream.protocol.events import (
    AudioFrame,
    AudioReceived,
    InputEvent,
    InputReceived,
    KeyFrameWanted,
    VideoFrame,
    VideoLost,
    VideoReceived,
)
from tests.wire import Side, Wire

START = 1000.0
#: Bytes a second of 1 Mbit/s.
MEGABIT = 125_000
FRAME = 1 / 30
#: What the kernel holds that is not sent yet, and what it is handed at a time.
LOWAT = CHUNK = 16 << 10


class BacklogTests(SynchronousTestCase):
    """
    Seconds for bytes.
    """

    def setUp(self) -> None:
        self.backlog = Backlog()

    def test_nothing(self) -> None:
        """
        Where nothing waits there is no delay, also when more had gone out than was
        noted.
        """
        self.assertEqual(self.backlog.delay(0, START), 0.0)
        self.backlog.give(100, 0, START)
        self.assertEqual(self.backlog.delay(0, START + 1), 0.0)
        self.assertEqual(self.backlog.delay(0, START + 2), 0.0)

    def test_stalled(self) -> None:
        """
        Where nothing is taken, the delay is the age of the oldest byte.
        """
        self.backlog.give(100, 0, START)
        self.backlog.give(100, 100, START + 1)
        self.assertEqual(self.backlog.delay(200, START + 3), 3.0)

    def test_oldestLeaves(self) -> None:
        """
        What the kernel has taken waits no more, and the next is the oldest.
        """
        for second in range(3):
            self.backlog.give(100, 100 * second, START + second)
        self.assertEqual(self.backlog.delay(201, START + 3), 201 * 3 / 99)
        self.assertEqual(self.backlog.delay(200, START + 3), 200 * 2 / 100)
        self.assertEqual(self.backlog.delay(50, START + 3), 1.0)

    def test_foretold(self) -> None:
        """
        A stream that is given twice what it takes has a delay that its oldest byte has
        not seen yet: that of the newest.
        """
        given = taken = 0
        for tick in range(100):
            self.backlog.give(2000, given - taken, START + tick / 100)
            given, taken = given + 2000, taken + 1000
        waiting = given - taken
        self.assertAlmostEqual(
            self.backlog.delay(waiting, START + 1), waiting / MEGABIT * 1.25, delta=0.05
        )

    def test_tooSoonToTell(self) -> None:
        """
        In the first moments one bite of the kernel's proves nothing.
        """
        self.backlog.give(200_000, 0, START)
        self.assertAlmostEqual(self.backlog.delay(199_000, START + 0.04), 0.04)
        self.assertGreater(self.backlog.delay(199_000, START + 0.06), 10.0)

    def test_bounded(self) -> None:
        """
        The books of a stream that takes nothing have an end, and it stays the oldest
        byte that counts.
        """
        for each in range(10 * MAX_BACKLOG_MARKS):
            self.backlog.give(10, 10 * each, START + each / 10)
        self.assertEqual(len(self.backlog._marks), MAX_BACKLOG_MARKS)
        self.assertEqual(self.backlog.delay(25600, START + 300), 300.0)
        self.assertLess(self.backlog.delay(10, START + 300), 300.0)

    def test_fewMarks(self) -> None:
        """
        Packets that leave together are one mark.
        """
        for each in range(100):
            self.backlog.give(10, 10 * each, START + each / 100_000)
        self.assertEqual(len(self.backlog._marks), 1)


@dataclass(eq=False)
class Line:
    """
    One direction of a TCP connection, as slow as its ``rate`` in bytes a second.
    """

    wire: SlowWire
    rate: float
    freeAt: float = 0.0

    def backlog(self) -> int:
        """
        What our end holds, exact but for the last bite.
        """
        waiting = (self.freeAt - self.wire.now) * self.rate - LOWAT
        return max(0, -int(-waiting // CHUNK) * CHUNK)


@implementer(IPath)
@dataclass(frozen=True)
class LinePath:
    """
    A path on a `Line`.
    """

    address: tuple[str, int]
    line: Line = field(compare=False)
    transport = Transport.TCP

    @property
    def backlog(self) -> int:
        return self.line.backlog()

    def sendPackets(self, packets: Sequence[bytes]) -> None:
        """
        The wire sends.
        """

    def authenticated(self) -> None:
        """
        There are no limits to lift.
        """

    def chosen(self) -> None:
        """
        There is no socket to open.
        """

    def close(self) -> None:
        """
        There is nothing to close.
        """


class SlowWire(Wire):
    """
    ``b`` shows a stream to ``a`` over TCP that is slow in that direction.

    @ivar latencies: seconds from sending to delivery, a picture each.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.lines = {self.a: Line(self, 1e9), self.b: Line(self, rate)}
        self.latencies: list[float] = []
        self.taken = 0
        self.keyFrames: list[float] = []
        self._wanted = True
        link = self.a.linkTo(self.b)
        link.connect(LinePath(self.b.address, self.lines[self.a]), self.now)
        self.pump(self.a)
        self.run(0.5)
        self.link = self.b.linkTo(self.a)

    def _carry(self, side: Side, path: IPath, packet: bytes) -> None:
        line, other = self.lines[side], self.other(side)
        line.freeAt = max(line.freeAt, self.now) + (len(packet) + 2) / line.rate
        delay = line.freeAt - self.now + side.weather.delay
        self.inject(other, packet, LinePath(side.address, self.lines[other]), delay)

    def stream(self, seconds: float, size: int, keySize: int) -> None:
        """
        Thirty pictures a second, and a key frame when one is asked for.
        """
        for _ in range(round(seconds * 30)):
            keyFrame = self._wanted
            frame = VideoFrame(
                bytes(keySize if keyFrame else size), int(self.now * 1e6), keyFrame
            )
            taken = self.link.send(frame, self.now)
            self.taken += taken
            if taken and keyFrame:
                self._wanted = False
                self.keyFrames.append(self.now)
            self.pump(self.b)
            end = self.now + FRAME
            while self.now < end:
                self.run(0.001)
                self._listen()

    def _listen(self) -> None:
        for event in self.a.eventsOf(VideoReceived):
            self.latencies.append(self.now - event.frame.timestamp / 1e6)
        if self.b.eventsOf(KeyFrameWanted):
            self._wanted = True
        assert not self.a.eventsOf(VideoLost), "a frame was cut in two"
        self.a.events.clear()
        self.b.events.clear()


class SlowStreamTests(SynchronousTestCase):
    """
    A stream that is more than its connection carries.
    """

    def overloaded(self, times: float, rate: float = MEGABIT) -> SlowWire:
        """
        Twenty seconds of ``times`` what the connection carries.
        """
        wire = SlowWire(rate)
        size = round(times * rate * FRAME)
        wire.stream(20, size, 3 * size)
        return wire

    def test_delay(self) -> None:
        """
        At 1 Mbit/s the delay stays at a quarter of a second, besides what the kernel
        holds and the frame itself takes, and the picture goes on.
        """
        for times in (1.2, 2, 4):
            wire = self.overloaded(times)
            kernel = (LOWAT + CHUNK) / MEGABIT
            frame = 3 * times * FRAME
            worst = max(wire.latencies)
            self.assertLess(worst, MAX_BACKLOG_DELAY + kernel + frame, times)
            self.assertGreater(len(wire.latencies), 600 / times / 3)

    def test_enough(self) -> None:
        """
        A stream that fits loses nothing, with key frames of a third of a second.
        """
        wire = SlowWire(MEGABIT)
        wire.stream(10, round(0.7 * MEGABIT * FRAME), 30_000)
        self.assertEqual(wire.taken, 300)
        self.assertEqual(len(wire.keyFrames), 1)

    def test_keyFrameWhenThereIsRoom(self) -> None:
        """
        A key frame is asked for once the backlog is gone, soon after, and so it is
        taken.
        """
        wire = SlowWire(4 * MEGABIT)
        emptyAt = wire.now
        large = VideoFrame(bytes(60_000), 0, True)
        while wire.link.send(large, wire.now):
            wire.pump(wire.b)
            wire.run(0.03)
        while not wire.b.eventsOf(KeyFrameWanted):
            self.assertFalse(wire.link.send(VideoFrame(b"x", 0), wire.now))
            wire.run(0.01)
            if wire.lines[wire.b].backlog():
                emptyAt = wire.now
        self.assertLess(wire.now - emptyAt, 0.1)
        self.assertTrue(wire.link.send(VideoFrame(b"key", 0, True), wire.now))
        self.assertTrue(wire.link.send(VideoFrame(b"x", 0), wire.now))

    def test_soundAndInput(self) -> None:
        """
        Sound waits no longer than pictures do; input is never refused.
        """
        wire = SlowWire(MEGABIT)
        while wire.link.send(VideoFrame(bytes(20_000), 0, True), wire.now):
            wire.pump(wire.b)
            wire.run(0.03)
        sound = AudioFrame(b"sound", 0, 48000, 2, 960)
        self.assertFalse(wire.link.send(sound, wire.now))
        self.assertTrue(wire.link.send([InputEvent(1, 2, 3)], wire.now))
        wire.pump(wire.b)
        wire.run(2)
        self.assertEqual(len(wire.a.eventsOf(InputReceived)), 1)
        self.assertTrue(wire.link.send(sound, wire.now))
        wire.pump(wire.b)
        wire.run(0.1)
        self.assertEqual(len(wire.a.eventsOf(AudioReceived)), 1)
