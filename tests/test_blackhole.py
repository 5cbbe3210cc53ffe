"""
Tests for `rootstream.protocol.blackhole`, alone and in a stream on virtual time.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import Transport
from rootstream.protocol.blackhole import BlackHole
from rootstream.protocol.constants import (
    BLACK_HOLE_LOSSES,
    MAX_PACKET,
    SMALL_PACKET,
)
from rootstream.protocol.events import (
    Command,
    ControlReceived,
    InputEvent,
    InputReceived,
    KeyFrameWanted,
    PathMoved,
    PathNarrow,
    VideoFrame,
    VideoReceived,
)
from tests.wire import Wire, WirePath

UDP, TCP = Transport.UDP, Transport.TCP
#: What a tunnel may leave of 1500 bytes, as the size of a packet of ours.
NARROW = 1300


class BlackHoleTests(SynchronousTestCase):
    """
    When the evidence suffices.
    """

    def setUp(self) -> None:
        self.hole = BlackHole()
        self.counter = 0

    def lose(self, count: int) -> None:
        """
        Large packets go out and are missed, a small one after them arrives.
        """
        small = self.counter + count + 1
        self.hole.smallArrived(small)
        for counter in range(small - count, small):
            self.hole.largeMissed(counter)
        self.counter = small

    def test_found(self) -> None:
        """
        Sixteen large packets lost, and small ones that arrive, are a black hole.
        """
        for _ in range(BLACK_HOLE_LOSSES - 1):
            self.lose(1)
            self.assertFalse(self.hole.found)
        self.lose(1)
        self.assertTrue(self.hole.found)

    def test_arrived(self) -> None:
        """
        One large packet that arrived refutes all that was lost before it, also what
        is reported later.
        """
        for _ in range(BLACK_HOLE_LOSSES - 1):
            self.lose(1)
        self.hole.largeArrived(self.counter + 20)
        for _ in range(BLACK_HOLE_LOSSES - 1):
            self.lose(1)
        self.assertFalse(self.hole.found)

    def test_latePackets(self) -> None:
        """
        A large packet sent long ago refutes no more than was lost before it.
        """
        self.hole.largeArrived(1000)
        self.hole.largeArrived(3)
        self.counter = 500
        for _ in range(BLACK_HOLE_LOSSES):
            self.lose(1)
        self.assertFalse(self.hole.found)

    def test_outage(self) -> None:
        """
        However many were lost at once, one moment is not enough.
        """
        self.lose(1000)
        self.assertFalse(self.hole.found)
        self.lose(1)
        self.lose(1)
        self.assertFalse(self.hole.found)

    def test_largePicture(self) -> None:
        """
        Three pictures of many packets are enough.
        """
        for _ in range(2):
            self.lose(20)
            self.assertFalse(self.hole.found)
        self.lose(20)
        self.assertTrue(self.hole.found)

    def test_nothingArrives(self) -> None:
        """
        Without small packets that arrive it is silence, which is another matter.
        """
        for counter in range(1000):
            self.hole.largeMissed(counter)
        self.assertFalse(self.hole.found)

    def test_restart(self) -> None:
        """
        Another path starts without a past.
        """
        for _ in range(BLACK_HOLE_LOSSES):
            self.lose(1)
        self.hole.restart(self.counter)
        self.assertFalse(self.hole.found)

    def test_chance(self) -> None:
        """
        F55: two packets in five lost by chance, one after the other, half of them
        large: 200 000 of them find no black hole.
        """
        random = Random(1)
        for counter in range(200_000):
            lost = random.random() < 0.4
            if random.random() < 0.5:
                if lost:
                    self.hole.largeMissed(counter)
                else:
                    self.hole.largeArrived(counter)
            elif not lost:
                self.hole.smallArrived(counter)
            self.assertFalse(self.hole.found)


class NarrowWire(Wire):
    """
    A wire on which ``b`` sends pictures, a key frame whenever it is told to.

    @ivar narrow: when a path was found to be narrow.
    @ivar pictures: when pictures arrived.
    """

    def __init__(self, delay: float = 0.01, seed: int = 1) -> None:
        super().__init__(seed)
        for side in (self.a, self.b):
            side.weather.delay = delay
        self.narrow: list[float] = []
        self.pictures: list[float] = []
        self._keyFrame = True

    def pass_(self, fits: Callable[[bytes], bool] | None) -> None:
        """
        Let only those packets through that ``fits``, both ways.
        """
        for side in (self.a, self.b):
            side.weather.filter = fits

    def shrink(self) -> None:
        """
        Let only small packets through from now on.
        """
        self.pass_(lambda packet: len(packet) <= NARROW)

    def stream(self, seconds: float, size: int, keySize: int = 30_000) -> None:
        """
        Thirty pictures a second.
        """
        link = self.b.linkTo(self.a)
        for _ in range(round(30 * seconds)):
            frame = VideoFrame(
                bytes(keySize if self._keyFrame else size),
                int(self.now * 1e6),
                self._keyFrame,
            )
            if link.send(frame, self.now):
                self._keyFrame = False
            self.pump(self.b)
            self.run(1 / 30)
            self._listen()

    def _listen(self) -> None:
        for event in self.b.events:
            match event:
                case KeyFrameWanted():
                    self._keyFrame = True
                case ControlReceived(control):
                    if control.command is Command.REQUEST_KEYFRAME:
                        self._keyFrame = True
                case PathNarrow():
                    self.narrow.append(self.now)
                case _:
                    pass
        self.pictures += [self.now] * len(self.a.eventsOf(VideoReceived))
        self.b.events.clear()
        self.a.events.clear()

    def size(self) -> int:
        """
        How large the packets are that ``b`` sends where it sends.
        """
        current = self.b.linkTo(self.a)._paths.current
        assert current is not None
        return current.size


class NarrowPathTests(SynchronousTestCase):
    """
    A stream on a path that passes no large packets, from the start or suddenly.
    """

    def test_fromTheStart(self) -> None:
        """
        Pictures come within a second, whatever their size, and all of them after that.
        """
        for delay, size in ((0.01, 500), (0.01, 5000), (0.05, 2000), (0.05, 50_000)):
            wire = NarrowWire(delay)
            wire.shrink()
            wire.connect()
            start = wire.now
            wire.stream(2, size)
            self.assertEqual(len(wire.narrow), 1)
            self.assertEqual(wire.size(), SMALL_PACKET)
            self.assertLess(wire.pictures[0] - start, 1.0)
            before = len(wire.pictures)
            wire.stream(1, size)
            self.assertEqual(len(wire.pictures) - before, 30)
            self.assertEqual(len(wire.narrow), 1)

    def test_midStream(self) -> None:
        """
        A path that becomes narrow interrupts the picture for less than a second; until
        then packets have their full size.
        """
        for delay, size in ((0.01, 5000), (0.05, 2000)):
            wire = NarrowWire(delay)
            wire.connect()
            wire.stream(2, size)
            self.assertEqual(wire.size(), MAX_PACKET)
            self.assertIn(MAX_PACKET, map(len, wire.b.packets(0x24)))
            wire.shrink()
            changed = wire.now
            wire.pictures = [changed]
            wire.stream(3, size)
            gaps = [
                after - before
                for before, after in zip(wire.pictures, wire.pictures[1:], strict=False)
            ]
            self.assertEqual(len(wire.narrow), 1)
            self.assertLess(max(gaps), 1.0)

    def test_notSentAgain(self) -> None:
        """
        Once the path is known to be narrow, no large packet goes out on it any more.
        """
        wire = NarrowWire()
        wire.shrink()
        wire.connect()
        wire.stream(1, 5000)
        [found] = wire.narrow
        late = [packet for at, _, packet in wire.b.sent if at > found]
        self.assertLessEqual(max(map(len, late)), SMALL_PACKET)

    def test_smallPicturesNeverNotice(self) -> None:
        """
        Where nothing large is sent, nothing is found, and nothing is missing.
        """
        wire = NarrowWire()
        wire.shrink()
        wire.connect()
        wire.stream(2, 500, keySize=1000)
        self.assertEqual(wire.narrow, [])
        self.assertEqual(len(wire.pictures), 60)

    def test_loss(self) -> None:
        """
        F55: one packet in five lost for two minutes, or one in four in bursts of 40,
        does not make a path narrow.
        """

        def bursts(random: Random) -> Callable[[bytes], bool]:
            left = 0

            def fits(packet: bytes) -> bool:
                nonlocal left
                if not left and random.random() < 1 / 120:
                    left = 40
                if left:
                    left -= 1
                    return False
                return True

            return fits

        for size in (1500, 4000):
            chance, gusts = NarrowWire(0.02), NarrowWire(0.02)
            for wire in (chance, gusts):
                wire.connect()
            for side in (chance.a, chance.b):
                side.weather.loss = 0.2
            gusts.pass_(bursts(Random(2)))
            chance.stream(120, size)
            gusts.stream(30, size)
            for wire, least in ((chance, 3500), (gusts, 750)):
                self.assertEqual((wire.narrow, wire.size()), ([], MAX_PACKET))
                self.assertGreater(len(wire.pictures), least)

    def test_interruptions(self) -> None:
        """
        F53: neither do interruptions of 0.3 s every two seconds, and one packet in five
        lost between them.
        """
        wire = NarrowWire(0.02)
        wire.connect()
        wire.pass_(lambda packet: wire.now % 2 > 0.3)
        for side in (wire.a, wire.b):
            side.weather.loss = 0.2
        wire.stream(30, 3000)
        self.assertEqual((wire.narrow, wire.size()), ([], MAX_PACKET))

    def test_input(self) -> None:
        """
        Input that had to wait goes out together, and gets through although nobody has
        found out that the path is narrow: its packets are never large.
        """
        wire = NarrowWire()
        wire.connect()
        wire.pass_(lambda packet: False)
        link = wire.b.linkTo(wire.a)
        events = [InputEvent(1, number, 1) for number in range(200)]
        for event in events:
            link.send([event], wire.now)
        wire.pump(wire.b)
        wire.run(0.1)
        wire.shrink()
        wire.run(2)
        arrived = [
            event for each in wire.a.eventsOf(InputReceived) for event in each.events
        ]
        self.assertEqual(arrived, events)
        self.assertEqual(wire.size(), MAX_PACKET)

    def test_anotherPath(self) -> None:
        """
        A path is narrow for itself: on the connection that the session moves to,
        packets have their full size, and back on UDP they are small at once.
        """
        wire = NarrowWire()
        wire.pass_(lambda packet: len(packet) <= NARROW)
        wire.connect()
        wire.stream(1, 5000)
        self.assertEqual(wire.size(), SMALL_PACKET)
        link = wire.b.linkTo(wire.a)
        wire.a.linkTo(wire.b).addPath(WirePath(TCP, wire.b.address), wire.now)
        wire.pump(wire.a)
        wire.run(0.5)
        wire.pass_(None)
        for side in (wire.a, wire.b):
            side.weather.blocked.add(UDP)
        wire.stream(2, 5000)
        path = link.status().path
        assert path is not None
        self.assertEqual((path.transport, wire.size()), (TCP, MAX_PACKET))
        for side in (wire.a, wire.b):
            side.weather.blocked.clear()
        self.assertEqual(len(wire.narrow), 1)
        wire.b.sent.clear()
        wire.stream(5, 5000)
        self.assertEqual(wire.size(), SMALL_PACKET)
        onUDP = [len(each) for _, way, each in wire.b.sent if way.transport == UDP]
        self.assertLessEqual(max(onUDP), SMALL_PACKET)

    def test_otherDirection(self) -> None:
        """
        Each side finds out for what it sends.
        """
        wire = NarrowWire()
        wire.shrink()
        link, _ = wire.connect()
        wire.stream(1, 5000)
        current = link._paths.current
        assert current is not None
        self.assertEqual((current.size, wire.size()), (MAX_PACKET, SMALL_PACKET))
        self.assertEqual(wire.a.eventsOf(PathMoved), [])
