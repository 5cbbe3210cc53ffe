"""
Tests for `rootstream.pictures`: how long the picture stopped.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rootstream.pictures import PictureWatch

INTERVAL = 1 / 30


class PictureWatchTests(SynchronousTestCase):
    """
    Tests for `PictureWatch`.
    """

    def setUp(self) -> None:
        self.told: list[tuple[float, str]] = []
        self.watch = PictureWatch(lambda *gap: self.told.append(gap))
        self.now = 100.0

    def play(self, seconds: float) -> None:
        """
        Let pictures come for a while.
        """
        until = self.now + seconds
        while self.now < until:
            self.watch.came(self.now)
            self.watch.look(self.now)
            self.now += INTERVAL

    def test_stopped(self) -> None:
        """
        The gap around a disturbance is told once all is well again, less the interval
        between two pictures.
        """
        self.play(1.0)
        self.now += 0.2
        self.watch.disturbed("moved", self.now)
        self.play(0.9)
        self.assertEqual(self.told, [])
        self.play(0.5)
        [(gap, cause)] = self.told
        self.assertAlmostEqual(gap, 0.2)
        self.assertEqual(cause, "moved")
        self.play(2.0)
        self.assertEqual(len(self.told), 1)

    def test_noticedLate(self) -> None:
        """
        A gap that is over when this side notices the disturbance belongs to it.
        """
        self.play(1.0)
        self.now += 0.3
        self.play(0.5)
        self.watch.disturbed("suspect", self.now)
        self.play(1.5)
        self.assertAlmostEqual(self.told[0][0], 0.3)

    def test_longest(self) -> None:
        """
        One thing leads to another: it is one story, with its longest gap and its last
        words.
        """
        self.play(1.0)
        self.now += 0.5
        self.watch.disturbed("suspect", self.now)
        self.play(0.5)
        self.now += 0.2
        self.watch.disturbed("moved", self.now)
        self.play(1.5)
        [(gap, cause)] = self.told
        self.assertAlmostEqual(gap, 0.5)
        self.assertEqual(cause, "moved")

    def test_unseen(self) -> None:
        """
        What nobody sees is not told, nor is a gap without a disturbance.
        """
        self.play(1.0)
        self.now += 0.05
        self.watch.disturbed("moved", self.now)
        self.play(1.5)
        self.now += 2.0
        self.play(2.0)
        self.watch.disturbed("moved", self.now)
        self.play(1.5)
        self.assertEqual(self.told, [])

    def test_nothingYet(self) -> None:
        """
        Without a picture there is nothing to tell.
        """
        self.watch.disturbed("moved", self.now)
        self.watch.look(self.now + 5.0)
        self.assertEqual(self.told, [])
