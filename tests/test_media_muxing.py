"""
Tests for `rootstream.media.muxing` and `rootstream.media.mp4`.
"""

from __future__ import annotations

import io

import av
from twisted.trial.unittest import SynchronousTestCase

from rootstream.media.filesource import FileSource
from rootstream.media.h264 import nalUnits
from rootstream.media.mp4 import Mp4Muxer
from rootstream.media.muxing import SOUND_WAIT, AvMuxer, Recorder
from rootstream.protocol.events import AudioFrame, VideoFrame
from tests.mediasamples import (
    VirtualOutlet,
    encodedFrames,
    readBack,
    silence,
    writeSample,
)


class Spy:
    """
    A muxer that keeps what it is given.
    """

    def __init__(self, opening):
        self.opening = opening
        self.pictures = []
        self.sounds = []
        self.closed = False

    def video(self, data, pts, dts, duration, key):
        self.pictures.append((data, pts, dts))

    def audio(self, data, pts, samples):
        self.sounds.append((pts, samples))

    def close(self):
        self.closed = True


class RecorderTests(SynchronousTestCase):
    """
    Tests for `Recorder`.
    """

    def setUp(self):
        self.opened = []
        self.recorder = Recorder(self.open)
        self.frames = encodedFrames(4)

    def open(self, opening):
        self.opened.append(Spy(opening))
        return self.opened[-1]

    def test_waitsForKeyFrame(self):
        """
        A recording starts with a key frame; what came before is left out.
        """
        self.recorder.write(self.frames[1], 0.0)
        self.assertFalse(self.recorder.waiting)
        self.recorder.write(silence(1_000_000), 0.0)
        self.recorder.write(self.frames[0], 0.0)
        [muxer] = self.opened
        self.assertEqual([data for data, _, _ in muxer.pictures], [self.frames[0].data])

    def test_waitsForSound(self):
        """
        Without sound the container is opened half a second later, without a
        place for sound, and nothing of the wait is lost.
        """
        self.recorder.write(self.frames[0], 10.0)
        self.recorder.tick(10.0 + SOUND_WAIT - 0.01)
        self.assertEqual(self.opened, [])
        self.assertTrue(self.recorder.waiting)
        self.recorder.write(self.frames[1], 10.0 + SOUND_WAIT)
        [muxer] = self.opened
        self.assertIsNone(muxer.opening.channels)
        self.assertEqual(len(muxer.pictures), 2)
        self.recorder.write(silence(1_000_000), 11.0)
        self.assertEqual(muxer.sounds, [])
        self.assertEqual(self.recorder.soundDropped, 1)

    def test_opensWithSound(self):
        """
        The first sound opens the container, with its number of channels.
        """
        self.recorder.write(self.frames[0], 0.0)
        self.recorder.write(silence(1_010_000, channels=1), 0.0)
        [muxer] = self.opened
        self.assertEqual(muxer.opening.channels, 1)
        self.assertEqual(muxer.sounds, [(10_000, 960)])

    def test_soundJustBefore(self):
        """
        Sound of the half second before the key frame belongs to it, older sound
        does not.
        """
        self.recorder.write(silence(100_000), 0.0)
        self.recorder.write(silence(980_000), 0.0)
        self.recorder.write(self.frames[0], 0.0)
        [muxer] = self.opened
        self.assertEqual(muxer.sounds, [(0, 960)])
        self.assertEqual(muxer.pictures[0][1], 20_000)

    def test_waitsForReordering(self):
        """
        With B frames, as many pictures are awaited as tell how far they are
        apart.
        """
        times = [0, 133_333, 66_666, 33_333, 100_000]
        self.recorder.write(silence(0), 0.0)
        for time in times:
            self.assertEqual(self.opened, [])
            frame = VideoFrame(self.frames[0].data, time, time == 0, reorder=2)
            self.recorder.write(frame, 0.0)
        [muxer] = self.opened
        self.assertEqual(len(muxer.pictures), 5)
        self.assertEqual(muxer.pictures[0][1] - muxer.pictures[0][2], 66_666)

    def test_closedWhileWaiting(self):
        """
        A recording closed while it waits is written all the same.
        """
        self.recorder.write(self.frames[0], 0.0)
        self.recorder.close()
        [muxer] = self.opened
        self.assertEqual(len(muxer.pictures), 1)
        self.assertTrue(muxer.closed)

    def test_closedBeforeAnything(self):
        """
        Without a key frame nothing is ever opened.
        """
        self.recorder.write(self.frames[1], 0.0)
        self.recorder.close()
        self.assertEqual(self.opened, [])

    def test_notOpus(self):
        """
        Sound from the peer that is no Opus is left out and counted.
        """
        self.recorder.write(self.frames[0], 0.0)
        self.recorder.write(silence(1_010_000), 0.0)
        self.recorder.write(AudioFrame(b"", 1_030_000), 0.0)
        self.assertEqual(self.recorder.soundDropped, 1)


class ContainerTests(SynchronousTestCase):
    """
    What each container gives back is what was put in.
    """

    def record(self, form, frames, target=None):
        """
        Write frames to memory in a container.
        """
        target = io.BytesIO() if target is None else target

        def openMuxer(opening):
            if form == "mp4":
                return Mp4Muxer(target, opening.keyFrame, opening.channels)
            return AvMuxer(target, form, opening)

        recorder = Recorder(openMuxer)
        for index, frame in enumerate(frames):
            recorder.write(frame, index / 100)
        recorder.close()
        return io.BytesIO(target.getvalue())

    def streamOf(self, **options):
        """
        A sample with B frames and Opus, as our file source gives it.
        """
        path = self.mktemp() + ".mkv"
        writeSample(path, audio="libopus", **options)
        outlet = VirtualOutlet()
        frames = []
        outlet.video = lambda frame: frames.append(frame) or True
        outlet.audio = frames.append
        source = FileSource(path)
        source.open(outlet)
        source.run(outlet)
        source.close()
        return frames

    def check(self, form, exact=True, **options):
        frames = self.streamOf(**options)
        pictures, sounds = readBack(self.record(form, frames))
        sentP = [f for f in frames if isinstance(f, VideoFrame)]
        sentS = [f for f in frames if not isinstance(f, VideoFrame)]
        self.assertGreater(max(f.reorder for f in sentP), 0)
        if exact:
            self.assertEqual([d for _, d in pictures], [f.data for f in sentP])
        else:
            # MPEG-TS demands an access unit delimiter in front of each picture.
            self.assertEqual(
                [list(nalUnits(d))[1:] for _, d in pictures],
                [list(nalUnits(f.data)) for f in sentP],
            )
        self.assertEqual([d for _, d in sounds], [f.data for f in sentS])
        sent = sentS[0].timestamp - sentP[0].timestamp
        came = sounds[0][0] - pictures[0][0]
        self.assertApproximates(came, sent / 1e6, 0.0015)
        for (when, _), frame in zip(pictures, sentP, strict=True):
            self.assertApproximates(
                when - pictures[0][0],
                (frame.timestamp - sentP[0].timestamp) / 1e6,
                0.0015,
            )
        for (when, _), sound in zip(sounds, sentS, strict=True):
            self.assertApproximates(
                when - sounds[0][0],
                (sound.timestamp - sentS[0].timestamp) / 1e6,
                0.0015,
            )

    def test_matroska(self):
        """
        Matroska keeps every byte, and every time to a millisecond.
        """
        self.check("matroska")

    def test_mp4(self):
        """
        MP4 keeps every byte, and every time.
        """
        self.check("mp4")

    def test_mpegTs(self):
        """
        MPEG-TS keeps every NAL unit, and every time.
        """
        self.check("mpegts", exact=False)

    def test_soundLate(self):
        """
        Sound that starts a fifth of a second late stays late in all containers.
        """
        for form in ("matroska", "mp4", "mpegts"):
            self.check(form, exact=form != "mpegts", audioShift=0.2)

    def test_pictureAlone(self):
        """
        Without sound no container has an audio stream.
        """
        for form in ("matroska", "mp4", "mpegts"):
            pictures, sounds = readBack(self.record(form, encodedFrames(10)))
            self.assertEqual((len(pictures), sounds), (10, []))

    def test_channels(self):
        """
        Mono and stereo are declared as such.
        """
        for channels in (1, 2):
            for form in ("matroska", "mp4", "mpegts"):
                frames = encodedFrames(3)
                sounds = [
                    silence(1_000_000 + n * 20_000, channels=channels) for n in range(5)
                ]
                with av.open(self.record(form, [*frames, *sounds]), "r") as container:
                    context = container.streams.audio[0].codec_context
                    self.assertEqual(context.channels, channels)

    def test_wholeAtEveryMoment(self):
        """
        F84: after each access unit, all before it but the last can be played.
        """
        frames = self.streamOf()
        for form in ("matroska", "mp4", "mpegts"):
            target = io.BytesIO()
            states = []

            def openMuxer(opening, form=form, target=target):
                if form == "mp4":
                    return Mp4Muxer(target, opening.keyFrame, opening.channels)
                return AvMuxer(target, form, opening)

            recorder = Recorder(openMuxer)
            for index, frame in enumerate(frames):
                recorder.write(frame, index / 100)
                states.append(target.getvalue())
            for count in range(12, len(states), 9):
                pictures, _ = readBack(io.BytesIO(states[count]))
                sent = sum(isinstance(f, VideoFrame) for f in frames[: count + 1])
                self.assertGreaterEqual(len(pictures), sent - 1, form)
            recorder.close()

    def test_uselessParameterSets(self):
        """
        An SPS that cannot be read, from a peer gone wrong, still gives a file.
        """
        target = io.BytesIO()
        Mp4Muxer(target, b"\0\0\1\x67a\0\0\1\x68b", None)
        Mp4Muxer(target, b"", None)
        self.assertIn(b"avcC", target.getvalue())
