"""
Tests of two peers that dial each other at the same time.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import Transport
from rootstream.protocol.constants import SIMULTANEOUS_GRACE, TYPE_INIT, TYPE_RESP
from rootstream.protocol.events import InputEvent, InputReceived, SessionEstablished
from tests.wire import Side, Wire, WirePath

DELAY = 0.01
ROUND_TRIP = 2 * DELAY


def sessions(side: Side, other: Side) -> list[tuple[int, int]]:
    """
    The index pairs, ours first, of the sessions that were confirmed.
    """
    slots = side.linkTo(other)._slots
    return [
        (slot.session.localIndex, slot.session.remoteIndex)
        for slot in (slots.current, slots.previous)
        if slot is not None
    ]


class SimultaneousTests(SynchronousTestCase):
    """
    Both dial at once: there must be one session in the end, and soon.
    """

    def checkAgreement(self, wire: Wire) -> None:
        """
        Both have one session, and it is the same.
        """
        [(a, b)] = sessions(wire.a, wire.b)
        self.assertEqual(sessions(wire.b, wire.a), [(b, a)])

    def test_anyOffset(self) -> None:
        """
        Whichever side dials up to a round trip after the other, both hold the same
        session, and no other, two round trips after the second began (F20).  The twin
        begins three thousand of its runs like this.
        """
        for seed in range(7_000):
            wire = Wire(seed)
            sides = [wire.a, wire.b]
            wire.random.shuffle(sides)
            first, second = sides
            first.dial(second)
            wire.run(wire.random.random() * ROUND_TRIP)
            second.dial(first)
            wire.run(2 * ROUND_TRIP)
            self.checkAgreement(wire)

    def test_offsetsUnderLoss(self) -> None:
        """
        The same under 30 % loss, if later: one session in the end, and what was
        sent on it arrives (F20).
        """
        for seed in range(300):
            wire = Wire(seed)
            for side in (wire.a, wire.b):
                side.weather.loss = 0.3
                side.weather.jitter = wire.random.random() * 0.05
            wire.a.dial(wire.b)
            wire.run(wire.random.random() * 0.1)
            wire.b.dial(wire.a)
            wire.run(6)
            [a, *_] = sessions(wire.a, wire.b)
            [b, *_] = sessions(wire.b, wire.a)
            self.assertEqual(a, b[::-1])
            wire.a.linkTo(wire.b).send([InputEvent(1, 2, 3)], wire.now)
            wire.b.linkTo(wire.a).send([InputEvent(1, 2, 4)], wire.now)
            for side in (wire.a, wire.b):
                wire.pump(side)
            wire.run(6)
            for side in (wire.a, wire.b):
                self.assertEqual(len(side.eventsOf(InputReceived)), 1, seed)

    def test_roles(self) -> None:
        """
        The side with the larger key keeps its INIT, the other answers it and is
        not answered.
        """
        wire = Wire()
        small, large = sorted((wire.a, wire.b), key=lambda side: side.keys.public)
        small.dial(large)
        large.dial(small)
        wire.run(1)
        self.assertEqual(len(small.packets(TYPE_RESP)), 1)
        self.assertEqual(large.packets(TYPE_RESP), [])
        self.assertEqual(len(small.packets(TYPE_INIT)), 1)
        self.assertTrue(large.session(small).isInitiator)
        for side in (small, large):
            self.assertEqual(len(side.eventsOf(SessionEstablished)), 1)

    def test_initsAreLost(self) -> None:
        """
        When the larger side's INITs do not get through for a second, it answers the
        other's after all.
        """
        wire = Wire()
        small, large = sorted((wire.a, wire.b), key=lambda side: side.keys.public)
        large.weather.filter = lambda packet: packet[0] != TYPE_INIT
        small.dial(large)
        large.dial(small)
        wire.run(SIMULTANEOUS_GRACE - 0.01)
        self.assertEqual(large.packets(TYPE_RESP), [])
        wire.run(0.3)
        self.checkAgreement(wire)
        self.assertTrue(small.session(large).isInitiator)

    def test_initsHeldBack(self) -> None:
        """
        The smaller side sends no INIT for a second after it answered one: the two
        would cross, and each side could end up with another session.
        """
        wire = Wire()
        small, large = sorted((wire.a, wire.b), key=lambda side: side.keys.public)
        small.dial(large)
        large.dial(small)
        small.weather.loss = 1.0
        wire.run(2)
        large.linkTo(small).abandon(WirePath(Transport.UDP, small.address))
        self.assertEqual(len(small.packets(TYPE_INIT)), 1)
        wire.run(1.1)
        self.assertGreater(len(small.packets(TYPE_INIT)), 1)

    def test_longSilence(self) -> None:
        """
        Two that dialled each other for seconds while nothing came through agree on
        one session within a second and a half of the network's return.
        """
        for seed in range(300):
            wire = Wire(seed)
            for side in (wire.a, wire.b):
                side.weather.loss = 1.0
            wire.a.dial(wire.b)
            wire.run(wire.random.random() * 0.5)
            wire.b.dial(wire.a)
            wire.run(wire.random.random() * 4)
            for side in (wire.a, wire.b):
                side.weather.loss = 0.0
            wire.run(1.5)
            self.checkAgreement(wire)

    def test_oneIsBlocked(self) -> None:
        """
        When the larger side cannot be reached where the smaller one dials, that
        does not keep the larger side's own INITs from being answered; and the
        other way round.
        """
        for number in range(2):
            wire = Wire()
            sides = sorted((wire.a, wire.b), key=lambda side: side.keys.public)
            blocked, free = sides[number], sides[1 - number]
            nowhere = WirePath(Transport.UDP, ("203.0.113.9", 9))
            blocked.linkTo(free).connect(nowhere, wire.now)
            wire.pump(blocked)
            free.dial(blocked)
            wire.run(2)
            self.checkAgreement(wire)
