"""
Tests for `rootstream.protocol.slots`.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import Transport
from rootstream.protocol.constants import (
    ACK_EVERY_PACKETS,
    FAILED_OPENS_KILL,
    HALF_OPEN_LIFE,
    MAX_OUTSTANDING_INITS,
    PREVIOUS_KEY_LIFE,
    REJECT_AFTER_TIME,
    REKEY_AFTER_TIME,
)
from rootstream.protocol.handshakes import Indices
from rootstream.protocol.session import Session, SessionExhausted
from rootstream.protocol.slots import Slot, Slots
from tests.wire import WirePath

START = 1000.0
PATH = WirePath(Transport.UDP, ("192.0.2.1", 1))


class SlotTestCase(SynchronousTestCase):
    """
    The sessions of one peer.
    """

    def setUp(self) -> None:
        self.indices = Indices(Random(1).randbytes)
        self.slots = Slots(self.indices)

    def slot(self, now: float = START, initiator: bool = False) -> Slot:
        """
        A new session.
        """
        index = self.indices.claim(self)
        session = Session(bytes(32), bytes(32), index, 7, now, initiator)
        return Slot(session, PATH, 1, 0.0)

    def offered(self, now: float = START) -> Slot:
        """
        A session that the peer began.
        """
        slot = self.slot(now)
        self.slots.offer(slot, now)
        return slot

    def established(self, now: float = START, initiator: bool = False) -> Slot:
        """
        A session that is confirmed.
        """
        slot = self.slot(now, initiator)
        self.slots.establish(slot, now)
        return slot

    def assertGone(self, slot: Slot) -> None:
        """
        Neither its index nor its keys are left.
        """
        index = slot.session.localIndex
        self.assertIsNone(self.slots.get(index))
        self.assertIsNone(self.indices.owner(index))
        self.assertFalse(self.slots.isHalfOpen(slot))
        self.assertRaises(SessionExhausted, slot.session.seal, b"")


class HalfOpenTests(SlotTestCase):
    """
    Sessions that the peer began and has not confirmed.
    """

    def test_nothing(self) -> None:
        """
        At first there is no session, and nothing to expire.
        """
        self.assertEqual(len(self.slots), 0)
        self.assertEqual(list(self.slots), [])
        self.assertFalse(self.slots.keyed)
        self.assertIsNone(self.slots.get(1))
        self.assertIsNone(self.slots.nextTimer())
        self.assertEqual(self.slots.expire(START), [])

    def test_receives(self) -> None:
        """
        F18: a half-open session receives, and is neither current nor a key of ours.
        """
        slot = self.offered()
        self.assertIs(self.slots.get(slot.session.localIndex), slot)
        self.assertTrue(self.slots.isHalfOpen(slot))
        self.assertEqual(self.slots.halfOpen, 1)
        self.assertIsNone(self.slots.current)
        self.assertFalse(self.slots.keyed)

    def test_lapses(self) -> None:
        """
        F5: a half-open session that nothing confirms lives 5 s.
        """
        slot = self.offered()
        self.assertEqual(self.slots.nextTimer(), START + HALF_OPEN_LIFE)
        self.assertEqual(self.slots.expire(START + HALF_OPEN_LIFE - 0.01), [])
        self.assertEqual(self.slots.expire(START + HALF_OPEN_LIFE), [slot])
        self.assertGone(slot)
        self.assertIsNone(self.slots.nextTimer())

    def test_few(self) -> None:
        """
        F5: of nine half-open sessions the oldest is forgotten.
        """
        slots = [self.offered() for _ in range(MAX_OUTSTANDING_INITS + 1)]
        self.assertEqual(self.slots.halfOpen, MAX_OUTSTANDING_INITS)
        self.assertEqual(len(self.indices), MAX_OUTSTANDING_INITS)
        self.assertGone(slots[0])
        self.assertEqual(list(self.slots), slots[1:])

    def test_leaveTheCurrentAlone(self) -> None:
        """
        F18: however many sessions are begun, the current one stays what it is.
        """
        current = self.established()
        for _ in range(20):
            self.offered()
        self.assertIs(self.slots.current, current)
        self.slots.expire(START + HALF_OPEN_LIFE)
        self.assertEqual(list(self.slots), [current])


class EstablishTests(SlotTestCase):
    """
    Sessions that are confirmed, and those that they replace.
    """

    def test_confirmed(self) -> None:
        """
        The half-open session that is confirmed becomes the current one, and those
        begun before it are forgotten; the peer may have gone on to a later one.
        """
        one, two, three = (self.offered() for _ in range(3))
        self.slots.establish(two, START + 1)
        self.assertIs(self.slots.current, two)
        self.assertFalse(self.slots.isHalfOpen(two))
        self.assertTrue(self.slots.keyed)
        self.assertIs(self.slots.get(two.session.localIndex), two)
        self.assertGone(one)
        self.assertTrue(self.slots.isHalfOpen(three))
        self.assertEqual(self.slots.nextTimer(), START + HALF_OPEN_LIFE)
        self.slots.establish(three, START + 2)
        self.assertIs(self.slots.current, three)
        self.assertIs(self.slots.previous, two)

    def test_ours(self) -> None:
        """
        A session that we began and that is answered ends all that the peer began.
        """
        slots = [self.offered() for _ in range(3)]
        self.established(START + 1, initiator=True)
        for slot in slots:
            self.assertGone(slot)

    def test_anotherInstance(self) -> None:
        """
        The keys of an instance of the peer that is gone go at once.
        """
        old = self.established()
        new = self.slot()
        new.instance = old.instance + 1
        self.slots.establish(new, START + 1)
        self.assertGone(old)
        self.assertEqual(list(self.slots), [new])

    def test_previous(self) -> None:
        """
        The session before receives for 15 s more.
        """
        old = self.established()
        new = self.established(START + 100)
        self.assertIs(self.slots.current, new)
        self.assertIs(self.slots.previous, old)
        end = START + 100 + PREVIOUS_KEY_LIFE
        self.assertEqual(self.slots.nextTimer(), end)
        self.assertEqual(self.slots.expire(end - 0.01), [])
        self.assertIs(self.slots.get(old.session.localIndex), old)
        self.assertEqual(self.slots.expire(end), [old])
        self.assertIsNone(self.slots.previous)
        self.assertGone(old)

    def test_previousDiesOfAge(self) -> None:
        """
        F41: the 15 s do not make a key older than 180 s.
        """
        old = self.established()
        self.established(START + 175)
        self.assertEqual(self.slots.nextTimer(), START + REJECT_AFTER_TIME)
        self.assertEqual(self.slots.expire(START + REJECT_AFTER_TIME), [old])

    def test_onePrevious(self) -> None:
        """
        The session before the previous one is forgotten at once.
        """
        first, second, third = (self.established(START + each) for each in range(3))
        self.assertGone(first)
        self.assertIs(self.slots.previous, second)
        self.assertIs(self.slots.current, third)
        self.assertEqual(len(self.indices), 2)

    def test_confirms(self) -> None:
        """
        The initiator confirms at once and 100, 250 and 500 ms later; the responder,
        who was confirmed, never.
        """
        self.assertEqual(self.established().confirmsAt, [])
        self.assertEqual(
            self.established(initiator=True).confirmsAt,
            [START, START + 0.1, START + 0.25, START + 0.5],
        )

    def test_replacedConfirmsNoMore(self) -> None:
        """
        F20: a session that was replaced before anything came under it has nothing
        left to confirm.
        """
        old = self.established(initiator=True)
        self.established(START + 0.05)
        self.assertEqual(old.confirmsAt, [])

    def test_age(self) -> None:
        """
        F41: the current keys die at 180 s.
        """
        slot = self.established()
        self.assertEqual(self.slots.expire(START + REJECT_AFTER_TIME - 0.01), [])
        self.assertEqual(self.slots.expire(START + REJECT_AFTER_TIME), [slot])
        self.assertGone(slot)
        self.assertIsNone(self.slots.current)
        self.assertFalse(self.slots.keyed)

    def test_currentTakesThePreviousAlong(self) -> None:
        """
        F35: when the current keys are killed, the previous ones go too: there would
        be nothing to answer with.
        """
        old, new = self.established(), self.established(START + 1)
        new.session.failedOpens = FAILED_OPENS_KILL
        self.assertEqual(self.slots.expire(START + 2), [new, old])
        self.assertGone(old)
        self.assertEqual(len(self.slots), 0)

    def test_bothDieOfAge(self) -> None:
        """
        Keys that die together are told once each.
        """
        old, new = self.established(), self.established(START + 1)
        over = self.slots.expire(START + 1000)
        self.assertEqual(over, [old, new])
        self.assertEqual(len(self.indices), 0)

    def test_clear(self) -> None:
        """
        `clear` forgets every key and every index.
        """
        slots = [self.established(), self.established(), self.offered()]
        self.slots.clear()
        for slot in slots:
            self.assertGone(slot)
        self.assertEqual(len(self.indices), 0)
        self.assertIsNone(self.slots.current)
        self.assertIsNone(self.slots.previous)

    def test_rekey(self) -> None:
        """
        Keys are to be replaced at their age, or when the link says so.
        """
        slot = self.established(initiator=True)
        self.assertFalse(slot.wantsRekey(START + REKEY_AFTER_TIME - 0.01))
        self.assertTrue(slot.wantsRekey(START + REKEY_AFTER_TIME))
        slot.stale = True
        self.assertTrue(slot.wantsRekey(START))


class AckTests(SlotTestCase):
    """
    When an acknowledgement is owed.
    """

    def test_everyInterval(self) -> None:
        """
        An ACK goes out 50 ms after the first packet that it answers.
        """
        slot = self.slot()
        self.assertIsNone(slot.ackAt)
        slot.owesAck(START, 1, False)
        slot.owesAck(START + 0.02, 1, False)
        self.assertEqual(slot.ackAt, START + 0.05)

    def test_hole(self) -> None:
        """
        A hole is told within 5 ms, and packets after it do not delay that.
        """
        slot = self.slot()
        slot.owesAck(START, 1, False)
        slot.owesAck(START + 0.01, 1, True)
        slot.owesAck(START + 0.011, 1, False)
        slot.owesAck(START + 0.012, 1, True)
        self.assertEqual(slot.ackAt, START + 0.01 + 0.005)

    def test_manyPackets(self) -> None:
        """
        The 64th packet is answered at once.
        """
        slot = self.slot()
        for _ in range(ACK_EVERY_PACKETS - 1):
            slot.owesAck(START, 1, False)
        self.assertEqual(slot.ackAt, START + 0.05)
        slot.owesAck(START + 0.001, 1, False)
        self.assertEqual(slot.ackAt, START + 0.001)
