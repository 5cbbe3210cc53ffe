"""
Tests for `rootstream.protocol.replay`.
"""

from __future__ import annotations

from random import Random
from sys import getsizeof

from twisted.trial.unittest import SynchronousTestCase

from rootstream.protocol.replay import ReplayWindow

#: How far WireGuard's list looks back, plus one; and where its counters end.
WINDOW = 8128
LIMIT = WINDOW + 1
REJECT = 1 << 40

#: The list of WireGuard's counter self-test (Linux ``selftest/counter.c``,
#: wireguard-go ``replay/replay_test.go``), with our own number for the end.
WIREGUARD = [
    (0, True),
    (1, True),
    (1, False),
    (9, True),
    (8, True),
    (7, True),
    (7, False),
    (LIMIT, True),
    (LIMIT - 1, True),
    (LIMIT - 1, False),
    (LIMIT - 2, True),
    (2, True),
    (2, False),
    (LIMIT + 16, True),
    (3, False),
    (LIMIT + 16, False),
    (LIMIT * 4, True),
    (LIMIT * 4 - (LIMIT - 1), True),
    (10, False),
    (LIMIT * 4 - LIMIT, False),
    (LIMIT * 4 - (LIMIT + 1), False),
    (LIMIT * 4 - (LIMIT - 2), True),
    (LIMIT * 4 + 1 - LIMIT, False),
    (0, False),
    (REJECT, False),
    (REJECT - 1, True),
    (REJECT, False),
    (REJECT - 1, False),
    (REJECT - 2, True),
    (REJECT + 1, False),
    (REJECT + 2, False),
    (REJECT - 2, False),
    (REJECT - 3, True),
    (0, False),
]

#: The bulk tests after that list: counters to accept, then single verdicts.
BULK: list[tuple[range, list[tuple[int, bool]]]] = [
    (range(1, WINDOW + 1), [(0, True), (0, False)]),
    (range(2, WINDOW + 2), [(1, True), (0, False)]),
    (range(WINDOW + 1, 0, -1), []),
    (range(WINDOW + 2, 1, -1), [(0, False)]),
    (range(WINDOW, 0, -1), [(WINDOW + 1, True), (0, False)]),
    (range(WINDOW, 0, -1), [(0, True), (WINDOW + 1, True)]),
]


class SlowWindow:
    """
    The same window as a plain set: slow, and easy to believe.
    """

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.largest = -1

    def mark(self, counter: int) -> bool:
        """
        As `ReplayWindow.mark`.
        """
        if counter >= REJECT or self.largest - counter > WINDOW or counter in self.seen:
            return False
        self.seen.add(counter)
        self.largest = max(self.largest, counter)
        return True

    def received(self, base: int, count: int) -> int:
        """
        As `ReplayWindow.received`: whole words leave the window at once.
        """
        oldest = (self.largest >> 6) - 127 << 6
        return sum(
            1 << place
            for place in range(count)
            if base - 1 - place >= oldest and base - 1 - place in self.seen
        )


class ReplayWindowTests(SynchronousTestCase):
    """
    `ReplayWindow` against published verdicts and against a slow model.
    """

    def verdict(self, window: ReplayWindow, counter: int, expected: bool) -> None:
        """
        Both the cheap look and the mark say ``expected``.
        """
        self.assertIs(window.check(counter), expected, counter)
        self.assertIs(window.mark(counter), expected, counter)

    def test_wireguardList(self) -> None:
        """
        WireGuard's published counters get WireGuard's verdicts (F31, F32).
        """
        window = ReplayWindow()
        for counter, expected in WIREGUARD:
            self.verdict(window, counter, expected)

    def test_wireguardBulk(self) -> None:
        """
        Full windows, filled upwards and downwards, end where WireGuard's do (F31).
        """
        for accepted, verdicts in BULK:
            window = ReplayWindow()
            for counter in accepted:
                self.verdict(window, counter, True)
            for counter, expected in verdicts:
                self.verdict(window, counter, expected)

    def test_slowModel(self) -> None:
        """
        Random walks of reordered, doubled, late and jumping counters get the same
        verdicts and bitmaps as from a plain set (F30, F31, F32).
        """
        for seed in range(12):
            random = Random(seed)
            window, model = ReplayWindow(), SlowWindow()
            front = 0
            for _ in range(2000):
                step = random.choice([1, 1, 1, 64, 63, 65, 700, WINDOW - 64, 8192])
                front += step if random.random() < 0.3 else 1
                back = random.choice([0, 1, 5, 70, WINDOW - 64, WINDOW, WINDOW + 1])
                counter = max(0, front - random.randint(0, back))
                looked = window.check(counter)
                self.assertIs(looked, model.mark(counter))
                self.assertIs(window.mark(counter), looked)
                self.assertEqual(window.largest, model.largest)
                if random.random() < 0.05:
                    base = max(0, front + random.randint(-9000, 200))
                    count = random.randint(0, 1024)
                    self.assertEqual(
                        window.received(base, count), model.received(base, count)
                    )

    def test_runs(self) -> None:
        """
        A run marked at once leaves the window as marking one after the other does,
        wherever it begins, however long it is, and whatever was lost before it.
        """
        for seed in range(12):
            random = Random(seed)
            window, model = ReplayWindow(), SlowWindow()
            for _ in range(300):
                if random.random() < 0.3:
                    jump = random.choice([1, 63, 64, 65, 5000, 9000])
                    window.mark(model.largest + jump)
                    model.mark(model.largest + jump)
                first = model.largest + 1
                count = random.choice([1, 2, 46, 63, 64, 65, 128, 200, 8192, 9000])
                window.markNext(count)
                for counter in range(first, first + count):
                    model.mark(counter)
                self.assertEqual(window.largest, model.largest)
                for _ in range(20):
                    counter = max(0, window.largest - random.randint(-3, 9000))
                    refused = not window.check(counter)
                    past = model.largest - counter > WINDOW
                    self.assertIs(refused, past or counter in model.seen)
                base = window.largest + 1
                self.assertEqual(window.received(base, 300), model.received(base, 300))

    def test_jump(self) -> None:
        """
        A jump by 2^39 is taken once, and what lay before it is too old (F32).
        """
        window = ReplayWindow()
        for counter in range(200):
            window.mark(counter)
        far = 199 + (1 << 39)
        self.verdict(window, far, True)
        self.verdict(window, far, False)
        self.verdict(window, far - WINDOW, True)
        self.verdict(window, far - WINDOW - 1, False)
        self.verdict(window, 200, False)

    def test_fewCounters(self) -> None:
        """
        A window that few counters came to is small, and takes any next one: beside
        the last word that it has, in the first one that it has not, far past it, or by
        runs that begin and end anywhere.
        """
        for first in (0, 1, 200, 255):
            for jump in (1, 2, 55, 56, 57, 300, 8191, 8192, 9000):
                window, model = ReplayWindow(), SlowWindow()
                small = getsizeof(window._ring)
                for counter in (first, first + jump, first + jump - 1, first):
                    self.assertIs(window.mark(counter), model.mark(counter))
                base = first + jump + 1
                self.assertEqual(window.received(base, 600), model.received(base, 600))
                window = ReplayWindow()
                window.markNext(first + 1)
                if first < 256:
                    self.assertEqual(getsizeof(window._ring), small)
                window.markNext(jump)
                self.assertFalse(window.check(first + jump))
                self.assertTrue(window.check(first + jump + 1))
        self.assertLess(small, 200)

    def test_end(self) -> None:
        """
        2^40 and 2^64 - 1 are refused and change nothing (F32).
        """
        window = ReplayWindow()
        for counter in (1 << 40, (1 << 64) - 1):
            self.verdict(window, counter, False)
        self.assertEqual(window.largest, -1)
        self.verdict(window, 0, True)

    def test_checkChangesNothing(self) -> None:
        """
        A look alone never refuses a later packet.
        """
        window = ReplayWindow()
        for counter in (5, 5, 10**6, 5):
            self.assertTrue(window.check(counter))
        self.assertEqual(window.largest, -1)
        self.assertEqual(window.received(2000, 1024), 0)

    def test_received(self) -> None:
        """
        Bit ``i`` of the bitmap stands for counter ``base - 1 - i``.
        """
        window = ReplayWindow()
        self.assertEqual(window.received(0, 1024), 0)
        for counter in (0, 1, 3, 64, 66):
            window.mark(counter)
        self.assertEqual(window.received(4, 4), 0b1101)
        self.assertEqual(window.received(66, 3), 0b010)
        self.assertEqual(window.received(67, 1024), 1 | 4 | 1 << 63 | 3 << 65)
        self.assertEqual(window.received(67, 0), 0)
        self.assertEqual(window.received(0, 8), 0)
