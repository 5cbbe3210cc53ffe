"""
Tests for `rootstream.media.timeline`.
"""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from rootstream.media.timeline import Timeline

#: I P B B P B B in decoding order, with two frames of reordering at most.
PYRAMID = [0, 133_333, 66_666, 33_333, 100_000, 266_666, 200_000, 166_666, 233_333]


def feed(timeline, times, start=0, keys=(0,)):
    return [
        timeline.video(start + time, index in keys, time / 1e6)
        for index, time in enumerate(times)
    ]


class TimelineTests(SynchronousTestCase):
    """
    Tests for `Timeline`.
    """

    def test_withoutReordering(self):
        """
        Without B frames both times are the same and start at zero.
        """
        timeline = Timeline(0, [5_000_000], None)
        times = feed(timeline, [0, 33_333, 66_666], 5_000_000)
        self.assertEqual(times, [(0, 0), (33_333, 33_333), (66_666, 66_666)])

    def test_withReordering(self):
        """
        With B frames decoding times strictly increase, start at zero, are never
        late, and the distances between pictures are those sent.
        """
        timeline = Timeline(2, PYRAMID[:5], None)
        times = feed(timeline, PYRAMID)
        dts = [time for _, time in times]
        self.assertEqual(dts[0], 0)
        self.assertEqual(dts, sorted(set(dts)))
        self.assertTrue(all(d <= p for p, d in times))
        self.assertEqual([p - times[0][0] for p, _ in times], PYRAMID)
        self.assertEqual(timeline.step, 33_333)

    def test_soundBeforePicture(self):
        """
        Sound that starts before the picture starts the recording; the offset
        between the two is kept to the microsecond.
        """
        timeline = Timeline(0, [1_000_000], 976_543)
        self.assertEqual(timeline.audio(976_543), 0)
        pts, _ = timeline.video(1_000_000, True, 0.0)
        self.assertEqual(pts, 1_000_000 - 976_543)

    def test_soundAfterPicture(self):
        """
        Sound that starts later starts later in the recording.
        """
        timeline = Timeline(0, [1_000_000], 1_250_000)
        self.assertEqual(timeline.video(1_000_000, True, 0.0), (0, 0))
        self.assertEqual(timeline.audio(1_250_000), 250_000)

    def test_equalTimes(self):
        """
        Two pictures of one time are put apart, so that containers take them.
        """
        timeline = Timeline(0, [0], None)
        times = feed(timeline, [0, 0, 0])
        dts = [d for _, d in times]
        self.assertEqual(dts, sorted(set(dts)))

    def test_senderStartedAnew(self):
        """
        F27: when the sender's clock starts anew with a key frame, the recording
        goes on one picture later, and so does the sound.
        """
        timeline = Timeline(0, [9_000_000, 9_033_333], 9_000_000)
        feed(timeline, [0, 33_333], 9_000_000)
        pts, dts = timeline.video(50_000, True, 1.0)
        self.assertEqual((pts, dts), (66_666, 66_666))
        self.assertEqual(timeline.audio(60_000), 76_666)

    def test_clockJumpedAhead(self):
        """
        A jump that no time passed for is taken out; a pause is left in.
        """
        timeline = Timeline(0, [0], None)
        timeline.video(0, True, 0.0)
        paused, _ = timeline.video(60_000_000, False, 60.0)
        self.assertEqual(paused, 60_000_000)
        jumped, _ = timeline.video(600_000_000, True, 60.1)
        self.assertEqual(jumped, 60_000_000 + timeline.step)

    def test_soundOutOfPlace(self):
        """
        Sound before the start, out of order or of another clock has no place.
        """
        timeline = Timeline(0, [1_000_000], 1_000_000)
        timeline.video(1_000_000, True, 0.0)
        self.assertIsNone(timeline.audio(999_999))
        self.assertEqual(timeline.audio(1_020_000), 20_000)
        self.assertIsNone(timeline.audio(1_020_000))
        self.assertIsNone(timeline.audio(1_010_000))
        self.assertIsNone(timeline.audio(500_000_000))

    def test_anyTimes(self):
        """
        Whatever times a peer sends, decoding times strictly increase, are never
        after their picture's, and neither is negative.
        """
        for seed in range(50):
            chance = random.Random(seed)
            timeline = Timeline(chance.randrange(17), [chance.randrange(1 << 48)], None)
            last = -1
            for _ in range(100):
                pts, dts = timeline.video(
                    chance.randrange(1 << 48), chance.random() < 0.2, chance.random()
                )
                self.assertLess(last, dts)
                self.assertLessEqual(dts, pts)
                last = dts
