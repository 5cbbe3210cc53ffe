"""
Tests for the timers of `rootstream.protocol.link`: that they all end.

A shell sleeps until `Link.nextTimer` and then does what is due.  If a part of the
link asks to be woken and then does nothing, the shell spins: the process is busy and
no packet shows it.  So these tests count how often a link wakes up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import Transport
from rootstream.protocol.constants import REJECT_AFTER_TIME, TYPE_DATA
from rootstream.protocol.events import Command, Control, Expired, Silent, VideoFrame
from rootstream.protocol.link import Link
from tests.wire import Side, Wire, WirePath

#: Wake-ups a second.  Streaming, 40 Mbit/s leave in quarters of a burst.
STREAMING, IDLE = 2500, 10


class CountedWire(Wire):
    """
    A wire that counts how often the links of both sides wake up.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.wakeUps: Counter[Link] = Counter()

    def count(self, *links: Link) -> None:
        """
        Count the wake-ups of these links from now on.
        """
        for link in links:
            vars(link)["timerFired"] = self._counting(link, link.timerFired)

    def _counting(
        self, link: Link, timerFired: Callable[[float], None]
    ) -> Callable[[float], None]:
        def fired(now: float) -> None:
            self.wakeUps[link] += 1
            if self.wakeUps[link] > 20_000:
                # Or else a link that spins would hang the test.
                raise AssertionError("the link spins")
            timerFired(now)

        return fired

    def worst(self) -> int:
        """
        The wake-ups of the busier link since the last call.
        """
        most = max(self.wakeUps.values(), default=0)
        self.wakeUps.clear()
        return most


class TimerTests(SynchronousTestCase):
    """
    How often a link wakes up.
    """

    def wire(self, seed: int) -> tuple[CountedWire, Link, Link]:
        """
        Two sides with a session, counted.
        """
        wire = CountedWire(seed)
        a, b = wire.connect()
        wire.count(a, b)
        return wire, a, b

    def stream(self, wire: Wire, side: Side, link: Link, seconds: int) -> None:
        """
        Send 40 Mbit/s, 30 frames a second.
        """
        for number in range(seconds * 30):
            link.send(VideoFrame(bytes(166_000), number * 33_333, True), wire.now)
            wire.pump(side)
            wire.run(1 / 30)

    def weather(self, wire: Wire, random: Random) -> None:
        """
        Another network, in both directions.
        """
        for side in (wire.a, wire.b):
            side.weather.loss = random.choice((0.0, 0.05, 0.3, 1.0))
            side.weather.delay = random.choice((0.0001, 0.02, 0.3))
            side.weather.jitter = random.choice((0.0, 0.001))
            side.weather.duplication = random.choice((0.0, 0.05))

    def test_idle(self) -> None:
        """
        An idle link wakes up a few times a second at most, on any network, from its
        first session to the death of its keys.
        """
        for seed in range(5):
            random = Random(seed)
            wire, _, _ = self.wire(seed)
            # What the handshake left to do is done once the peers know each other.
            wire.run(2)
            wire.worst()
            for _ in range(8):
                self.weather(wire, random)
                wire.run(30)
                self.assertLess(wire.worst(), 30 * IDLE)

    def test_streaming(self) -> None:
        """
        A link that streams 40 Mbit/s wakes up less often than it sends packets,
        whatever the network does to them.
        """
        for seed in range(3):
            random = Random(seed)
            wire, a, b = self.wire(seed)
            self.weather(wire, random)
            self.stream(wire, wire.b, b, 1)
            self.assertLess(wire.worst(), STREAMING)
            a.send(Control(Command.PAUSE), wire.now)
            wire.pump(wire.a)
            wire.run(2)
            self.assertLess(wire.worst(), STREAMING)

    def test_gone(self) -> None:
        """
        F54: a stream to a peer that is gone ends in one PING a second, and in
        nothing once the keys are dead.
        """
        wire, _, b = self.wire(1)
        self.stream(wire, wire.b, b, 1)
        wire.a.weather.loss = wire.b.weather.loss = 1.0
        self.stream(wire, wire.b, b, 1)
        wire.run(40)
        self.assertEqual(len(wire.b.eventsOf(Silent)), 1)
        wire.worst()
        wire.run(30)
        self.assertLess(wire.worst(), 30 * IDLE)
        wire.run(150)
        self.assertEqual(len(wire.b.eventsOf(Expired)), 1)
        self.assertIsNone(b.nextTimer())
        wire.worst()
        wire.run(60)
        self.assertEqual(wire.worst(), 0)

    def test_withoutAPath(self) -> None:
        """
        F59: a link whose only connection ended waits quietly, with packets and
        acknowledgements still owed.
        """
        wire = CountedWire(2)
        wire.a.dial(wire.b, Transport.TCP)
        wire.run(0.3)
        a, b = wire.a.linkTo(wire.b), wire.b.linkTo(wire.a)
        wire.count(a, b)
        self.stream(wire, wire.b, b, 1)
        a.send(Control(Command.PAUSE), wire.now)
        a.pathLost(WirePath(Transport.TCP, wire.b.address), "it broke", wire.now)
        b.pathLost(WirePath(Transport.TCP, wire.a.address), "it broke", wire.now)
        wire.worst()
        wire.run(20)
        self.assertLess(wire.worst(), 20 * IDLE)

    def test_silentStream(self) -> None:
        """
        F58: packets that a silent connection swallowed keep nobody awake.
        """
        wire = CountedWire(3)
        wire.a.dial(wire.b, Transport.TCP)
        wire.run(0.3)
        b = wire.b.linkTo(wire.a)
        wire.count(b)
        wire.b.weather.loss = wire.a.weather.loss = 1.0
        self.stream(wire, wire.b, b, 1)
        wire.worst()
        wire.run(10)
        self.assertLess(wire.worst(), 10 * IDLE)

    def test_bothDial(self) -> None:
        """
        F20: a session that was replaced before it was confirmed wakes nobody.
        """
        for seed in range(20):
            wire = CountedWire(seed)
            wire.a.weather.delay, wire.b.weather.delay = 0.05, 0.02
            a, b = wire.a.dial(wire.b), wire.b.linkTo(wire.a)
            wire.count(a, b)
            wire.run(Random(seed).random() / 10)
            wire.b.dial(wire.a)
            wire.run(2)
            self.assertLess(wire.worst(), 100)

    def test_questionWhenTheKeysDie(self) -> None:
        """
        F41: a question about paths does not outlive the keys that it was asked
        under.
        """
        wire, a, b = self.wire(5)
        for side in (wire.a, wire.b):
            side.weather.filter = lambda packet: packet[0] == TYPE_DATA
        wire.run(1000.0 + REJECT_AFTER_TIME - 0.15 - wire.now)
        self.assertTrue(b.established)
        wire.a.address = ("192.0.2.77", 7)
        a.send(Control(Command.PAUSE), wire.now)
        wire.pump(wire.a)
        wire.run(0.05)
        wire.a.weather.loss = 1.0
        wire.worst()
        wire.run(60)
        self.assertLess(wire.worst(), 60 * IDLE)
        self.assertFalse(b.established)
        self.assertIsNone(b.nextTimer())

    def test_movedToAStream(self) -> None:
        """
        F48: media that was lost on UDP is sent again on the connection that the
        session moved to, and keeps nobody awake for longer than it is of use.
        """
        wire, a, b = self.wire(6)
        wire.a.weather.blocked = wire.b.weather.blocked = {Transport.UDP}
        b.send(VideoFrame(bytes(100_000), 1, True), wire.now)
        wire.pump(wire.b)
        self.assertEqual(a.status().framesReceived, 0)
        wire.a.dial(wire.b, Transport.TCP)
        wire.run(0.45)
        self.assertEqual(a.status().framesReceived, 1)
        wire.worst()
        wire.run(10)
        self.assertLess(wire.worst(), 10 * IDLE)
