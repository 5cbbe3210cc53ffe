"""
Tests for `rootstream.media.encode` and `rootstream.media.testsource`.
"""

from __future__ import annotations

from itertools import pairwise

import av
import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from rootstream.media.encode import AudioEncoder, VideoEncoder, defaultBitrate
from rootstream.media.h264 import isKeyFrame, parameterSets, parseSps
from rootstream.media.opus import FRAME_SAMPLES, MAX_OPUS, opusSamples
from rootstream.media.outlet import Stopped
from rootstream.media.testsource import (
    GLYPH_HEIGHT,
    GLYPH_WIDTH,
    GLYPHS,
    TestPicture,
    TestSource,
    toneSecond,
)
from rootstream.protocol.events import Command, Control
from tests.mediasamples import VirtualOutlet


def decoded(frames):
    """
    The pictures of access units.
    """
    context = av.CodecContext.create("h264", "r")
    pictures = []
    for frame in frames:
        pictures += context.decode(av.Packet(frame.data))
    return pictures + context.decode(None)


def readText(luma, top, scale, length):
    """
    Read the digits off a picture, as one would with one's eyes.
    """
    characters = {glyph: character for character, glyph in GLYPHS.items()}
    text = ""
    for place in range(length):
        left = (place * (GLYPH_WIDTH + 1) + 1) * scale
        glyph = ""
        for row in range(GLYPH_HEIGHT):
            for column in range(GLYPH_WIDTH):
                y = top + (row + 1) * scale + scale // 2
                x = left + column * scale + scale // 2
                glyph += "1" if luma[y, x] > 128 else "0"
        text += characters.get(glyph, "?")
    return text


class VideoEncoderTests(SynchronousTestCase):
    """
    Tests for `VideoEncoder`.
    """

    def setUp(self):
        self.encoder = VideoEncoder(320, 180, 30)
        self.picture = TestPicture(320, 180)
        self.number = 0

    def encode(self, count=1, noise=False):
        frames = []
        for _ in range(count):
            picture = self.picture.draw(self.number, self.number / 30, False)
            if noise:
                chance = np.random.default_rng(self.number)
                array = chance.integers(0, 255, (270, 320), np.uint8)
                picture = av.VideoFrame.from_ndarray(array, "yuv420p")
            frames += self.encoder.encode(picture, 7_000_000 + self.number * 33_333)
            self.number += 1
        return frames

    def command(self, command, value=0):
        self.encoder.obey(Control(command, value))

    def test_noDelay(self):
        """
        Each picture gives one access unit at once, with its own time and
        nothing to reorder.
        """
        for number in range(5):
            [frame] = self.encode()
            self.assertEqual(frame.timestamp, 7_000_000 + number * 33_333)
            self.assertEqual(frame.reorder, 0)
            info = parseSps(parameterSets(frame.data)[0]) if frame.keyFrame else None
            if info is not None:
                self.assertEqual((info.width, info.height, info.reorder), (320, 180, 0))

    def test_keyFrames(self):
        """
        Key frames come every two seconds, and with SPS and PPS.
        """
        frames = self.encode(121)
        keys = [index for index, frame in enumerate(frames) if frame.keyFrame]
        self.assertEqual(keys, [0, 60, 120])
        for frame in frames:
            self.assertEqual(isKeyFrame(frame.data), frame.keyFrame)
            self.assertEqual(parameterSets(frame.data) is not None, frame.keyFrame)

    def test_requestKeyFrame(self):
        """
        A key frame asked for is the next access unit, and only that one.
        """
        self.encode(3)
        self.command(Command.REQUEST_KEYFRAME)
        self.assertEqual([f.keyFrame for f in self.encode(2)], [True, False])

    def test_bitrate(self):
        """
        SET_BITRATE bounds what noise, the worst of pictures, costs.
        """
        self.command(Command.SET_BITRATE, 1_000_000)
        size = sum(len(frame.data) for frame in self.encode(60, noise=True)[30:])
        self.assertLess(size * 8, 1_300_000)
        self.command(Command.SET_BITRATE, 4_000_000)
        larger = sum(len(frame.data) for frame in self.encode(60, noise=True)[30:])
        self.assertGreater(larger, 2 * size)

    def test_framesBounded(self):
        """
        No frame is larger than a fifth of a second of the stream, by much.
        """
        self.command(Command.SET_BITRATE, 2_000_000)
        largest = max(len(frame.data) for frame in self.encode(60, noise=True))
        self.assertLess(largest * 8, 1.5 * 2_000_000 / 5)

    def test_quality(self):
        """
        A better quality costs more bytes.
        """
        sizes = []
        self.command(Command.SET_BITRATE, 100_000_000)
        for quality in (0, 50, 100):
            self.command(Command.SET_QUALITY, quality)
            sizes.append(sum(len(frame.data) for frame in self.encode(5, noise=True)))
        self.assertEqual(sizes, sorted(sizes))
        self.assertGreater(sizes[2], 3 * sizes[0])

    def test_limits(self):
        """
        Values out of range are brought into it.
        """
        for value, rate in ((0, 500_000), (2**32 - 1, 100_000_000)):
            self.command(Command.SET_BITRATE, value)
            self.assertEqual(self.encoder.bitrate, rate)
        for value, fps in ((0, 1), (2**32 - 1, 240)):
            self.command(Command.SET_FPS, value)
            self.assertEqual(self.encoder.fps, fps)
            self.assertTrue(self.encode()[0].keyFrame)
        self.command(Command.SET_QUALITY, 2**32 - 1)
        self.assertEqual(self.encoder.quality, 100)
        self.command(Command.PAUSE)
        self.assertEqual(len(self.encode(2)), 2)

    def test_timeStandsStill(self):
        """
        Two pictures of one time are encoded all the same.
        """
        picture = self.picture.draw(0, 0, False)
        for _ in range(3):
            self.assertEqual(len(list(self.encoder.encode(picture, 5))), 1)

    def test_defaultBitrate(self):
        """
        The rate grows with the pixels a second, within the protocol's limits.
        """
        self.assertEqual(defaultBitrate(1280, 720, 30), 8_000_000)
        self.assertEqual(defaultBitrate(1920, 1080, 60), 36_000_000)
        self.assertEqual(defaultBitrate(64, 64, 1), 500_000)
        self.assertEqual(defaultBitrate(7680, 4320, 240), 100_000_000)


class AudioEncoderTests(SynchronousTestCase):
    """
    Tests for `AudioEncoder`.
    """

    def piece(self, samples):
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", "stereo")
        frame.sample_rate = 48000
        return frame

    def test_offset(self):
        """
        A click is heard at the time it was recorded at: the encoder's own delay
        is taken out.
        """
        encoder = AudioEncoder()
        wave = np.zeros(48000 * 2, np.int16)
        wave[24000 * 2 : 24048 * 2] = 20000
        packets = []
        for index in range(50):
            part = wave[index * FRAME_SAMPLES * 2 : (index + 1) * FRAME_SAMPLES * 2]
            start = 3_000_000 + index * 20_000
            packets += encoder.encode(self.piece(part), start)
        packets += encoder.flush()
        decoder = av.CodecContext.create("libopus", "r")
        decoder.sample_rate = 48000
        heard = [
            frame.to_ndarray().reshape(-1, 2)
            for packet in packets
            for frame in decoder.decode(av.Packet(packet.data))
        ]
        loud = np.argmax(np.abs(np.concatenate(heard)[:, 0]) > 3000)
        when = packets[0].timestamp + loud * 1_000_000 / 48000
        self.assertApproximates(when, 3_500_000, 2000)

    def test_packets(self):
        """
        Each packet holds 20 ms, fits in one of ours, and follows the one before.
        """
        encoder = AudioEncoder()
        tone = toneSecond()
        packets = []
        for index in range(50):
            part = tone[index * 1920 : (index + 1) * 1920]
            packets += encoder.encode(self.piece(part), index * 20_000 + index % 3)
        self.assertTrue(all(opusSamples(p.data) == 960 for p in packets))
        self.assertLess(max(len(p.data) for p in packets), MAX_OPUS)
        steps = {b.timestamp - a.timestamp for a, b in pairwise(packets[1:])}
        self.assertEqual(steps, {20_000})

    def test_gap(self):
        """
        After a gap in the sound, as after a pause, the times have the gap too.
        """
        encoder = AudioEncoder()
        quiet = np.zeros(1920, np.int16)
        for index in range(5):
            list(encoder.encode(self.piece(quiet), 1_000_000 + index * 20_000))
        later = []
        for index in range(3):
            start = 9_000_000 + index * 20_000
            later += encoder.encode(self.piece(quiet), start)
        # The first still begins with the end of the sound before the gap.
        self.assertApproximates(later[1].timestamp, 9_020_000, 10_000)

    def test_neverStarted(self):
        """
        An encoder that got nothing has nothing to give.
        """
        self.assertEqual(list(AudioEncoder().flush()), [])


class TestSourceTests(SynchronousTestCase):
    """
    Tests for `TestSource` and `TestPicture`.
    """

    def run_(self, source, outlet):
        source.open(outlet)
        self.assertRaises(Stopped, source.run, outlet)
        source.close()

    def test_numberAndClock(self):
        """
        The number of the picture and the time of day can be read off the decoded
        picture.
        """
        outlet = VirtualOutlet(until=1_000_000, start=5_000_000)
        self.run_(TestSource(640, 360, 10), outlet)
        layout = TestPicture(640, 360)
        pictures = decoded(outlet.pictures)
        self.assertEqual(len(pictures), 11)
        for number, picture in enumerate(pictures):
            luma = picture.to_ndarray()[:360]
            shown = readText(luma, layout.numberTop, layout.scale, 8)
            self.assertEqual(shown, f"{number:08d}")
            clock = readText(luma, layout.clockTop, layout.scale, 12)
            second, tenth = divmod(50 + number, 10)
            self.assertTrue(clock.startswith(f"12:00:{second:02d}.{tenth}"), clock)

    def test_moves(self):
        """
        No two pictures are the same, and the white box marks the second.
        """
        outlet = VirtualOutlet(until=1_100_000)
        self.run_(TestSource(320, 180, 20), outlet)
        strips = [p.to_ndarray()[170] for p in decoded(outlet.pictures)]
        for earlier, later in pairwise(strips):
            self.assertFalse(np.array_equal(earlier, later))
        self.assertGreater(strips[0][:20].mean(), 200)
        self.assertLess(strips[5].min(), 30)

    def test_pace(self):
        """
        Pictures and sound come at their rates and bear the time they were made
        at.
        """
        outlet = VirtualOutlet(until=2_000_000)
        self.run_(TestSource(64, 64, 25), outlet)
        self.assertEqual(len(outlet.pictures), 51)
        self.assertEqual([f.timestamp for f in outlet.pictures], outlet.arrivals)
        self.assertEqual(len(outlet.sounds), 101)

    def test_late(self):
        """
        A source that was kept from running leaves pictures out; it does not
        hurry after them.
        """
        outlet = VirtualOutlet(until=2_000_000)

        def slow(frame):
            if len(outlet.pictures) == 5:
                outlet.time += 1_000_000
            return True

        outlet.accept = slow
        self.run_(TestSource(64, 64, 25), outlet)
        self.assertLess(len(outlet.pictures), 30)
        gaps = [b - a for a, b in pairwise(outlet.arrivals)]
        self.assertGreaterEqual(min(gaps[7:]), 39_000)

    def test_commands(self):
        """
        SET_FPS changes the pace, and a pause is a pause, followed by a key frame.
        """
        outlet = VirtualOutlet(until=6_000_000)
        outlet.script = [
            (6_000_000, Control(Command.SET_FPS, 10)),
            (7_000_000, Control(Command.PAUSE, 2_000_000)),
        ]
        self.run_(TestSource(64, 64, 25), outlet)
        times = [t - 5_000_000 for t in outlet.arrivals]
        self.assertEqual(sum(t < 1_000_000 for t in times), 25)
        self.assertEqual(sum(1_000_000 < t < 2_000_000 for t in times), 9)
        self.assertFalse([t for t in times if 2_000_000 < t < 3_900_000])
        resumed = next(
            f for f, t in zip(outlet.pictures, times, strict=True) if t >= 3_900_000
        )
        self.assertTrue(resumed.keyFrame)
        later = [s for s in outlet.sounds if s.timestamp > 7_050_000]
        self.assertGreater(later[0].timestamp, 8_900_000)

    def test_lostFrame(self):
        """
        A frame that the reactor had no room for is followed by a key frame.
        """
        outlet = VirtualOutlet(until=1_000_000)
        offered = []

        def accept(frame):
            offered.append(frame)
            return len(offered) != 5

        outlet.accept = accept
        self.run_(TestSource(64, 64, 25), outlet)
        self.assertEqual(
            [f.keyFrame for f in offered[3:7]], [False, False, True, False]
        )

    def test_tone(self):
        """
        The tone repeats without a seam, and is louder for a tenth of a second.
        """
        tone = toneSecond()[::2].astype(int)
        self.assertEqual(len(tone), 48000)
        self.assertLess(abs(tone[0] - tone[-1]), 100)
        self.assertGreater(abs(tone[:4800]).max(), 5 * abs(tone[4800:]).max())

    def test_smallest(self):
        """
        The smallest picture holds as much of the text as has room.
        """
        TestPicture(64, 64).draw(99999999, 0.0, True)
