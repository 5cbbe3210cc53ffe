"""
Tests for `rootstream.keys`: which events are any good, and what is held.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from rootstream.keys import REPORT, Held, isFit
from rootstream.protocol.events import EV_ABS, EV_KEY, EV_REL, EV_SYN, InputEvent

A, S = 30, 31
BTN_LEFT, BTN_SOUTH = 0x110, 0x130


def down(code: int) -> InputEvent:
    """
    A key that is pressed.
    """
    return InputEvent(EV_KEY, code, 1)


def up(code: int) -> InputEvent:
    """
    A key that is let go of.
    """
    return InputEvent(EV_KEY, code, 0)


def again(code: int) -> InputEvent:
    """
    A key that repeats.
    """
    return InputEvent(EV_KEY, code, 2)


class FitTests(SynchronousTestCase):
    """
    Tests for `isFit`.
    """

    def test_fit(self) -> None:
        """
        Keys, buttons, motion, wheels, the axes of a gamepad and the end of a group are
        fit, up to the ends of their ranges.
        """
        for kind, code, values in (
            (EV_KEY, 1, (0, 1, 2)),
            (EV_KEY, 248, (0, 1, 2)),
            (EV_KEY, BTN_LEFT, (0, 1)),
            (EV_KEY, BTN_SOUTH, (0, 1)),
            (EV_KEY, 0x223, (0, 1)),
            (EV_REL, 0, (-32767, 0, 32767)),
            (EV_REL, 8, (-1, 1)),
            (EV_ABS, 0, (-32767, 32767)),
            (EV_ABS, 5, (0, 255)),
            (EV_ABS, 0x10, (-1, 1)),
            (EV_SYN, 0, (0,)),
        ):
            for value in values:
                event = InputEvent(kind, code, value)
                self.assertTrue(isFit(event), event)

    def test_unfit(self) -> None:
        """
        Other kinds, codes and values are not, and neither are the keys that switch the
        machine off, send it to sleep, silence its radio or speak to its kernel.
        """
        for kind, code, value in (
            *((EV_KEY, code, 1) for code in (0, 99, 116, 142, 205, 247, 0x198)),
            *((EV_KEY, code, 1) for code in (249, 0x118, 0x224, 0x2FF, 65535)),
            (EV_KEY, A, 3),
            (EV_KEY, A, -1),
            (EV_REL, 2, 1),
            (EV_REL, 0, 32768),
            (EV_REL, 0, -(1 << 31)),
            (EV_ABS, 0, 32768),
            (EV_ABS, 5, -1),
            (EV_ABS, 0x12, 0),
            (EV_SYN, 3, 0),
            (EV_SYN, 0, 1),
            (4, 4, 1),
            (0x11, 0, 1),
            (0x14, 0, 500),
            (0x15, 0, 1),
            (255, 65535, 1),
        ):
            event = InputEvent(kind, code, value)
            self.assertFalse(isFit(event), event)


class HeldTests(SynchronousTestCase):
    """
    Tests for `Held`.
    """

    def test_release(self) -> None:
        """
        What is down goes up and what is off its centre returns to it, in one group, and
        once.
        """
        held = Held()
        self.assertEqual(held.release(), [])
        stick = InputEvent(EV_ABS, 0, -500)
        move = InputEvent(EV_REL, 0, 9)
        group = [down(A), down(BTN_LEFT), stick, move, REPORT]
        self.assertEqual(held.take(group), group)
        self.assertEqual(len(held), 3)
        self.assertIn(up(A), held)
        self.assertNotIn(up(S), held)
        self.assertEqual(
            held.release(),
            [up(A), up(BTN_LEFT), InputEvent(EV_ABS, 0, 0), REPORT],
        )
        self.assertFalse(held)
        self.assertEqual(held.release(), [])

    def test_ofNoEffect(self) -> None:
        """
        A key that is not down goes neither up nor on, and one that is down does not go
        down again; motion and axes always pass.
        """
        held = Held()
        self.assertEqual(held.take([up(A), again(A)]), [])
        self.assertEqual(held.take([down(A), down(A), again(A)]), [down(A), again(A)])
        self.assertEqual(held.take([up(A), up(A)]), [up(A)])
        centre = InputEvent(EV_ABS, 0, 0)
        self.assertEqual(held.take([centre, centre]), [centre, centre])
        self.assertFalse(held)

    def test_never(self) -> None:
        """
        Whatever comes, what was passed on and not released is what is released.
        """
        random = Random(7)
        held = Held()
        pressed: set[int] = set()
        for _ in range(2000):
            code, value = random.randrange(8), random.randrange(3)
            for event in held.take([InputEvent(EV_KEY, code, value)]):
                if event.value == 1:
                    self.assertNotIn(event.code, pressed)
                    pressed.add(event.code)
                else:
                    self.assertIn(event.code, pressed)
                if not event.value:
                    pressed.remove(event.code)
            self.assertEqual(len(held), len(pressed))
        self.assertEqual({each.code for each in held.release()[:-1]}, pressed)
