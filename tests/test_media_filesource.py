"""
Tests for `rootstream.media.filesource`.
"""

from __future__ import annotations

import os
import threading
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import SourceError
from rootstream.media.filesource import FileSource, _Pipe
from rootstream.media.opus import MAX_OPUS
from rootstream.media.outlet import Stopped
from rootstream.protocol.events import Command, Control
from tests.mediasamples import VirtualOutlet, readBack, writeSample


class FileSourceTests(SynchronousTestCase):
    """
    Tests for `FileSource`.
    """

    def sample(self, extension=".mkv", **options):
        path = self.mktemp() + extension
        writeSample(path, **options)
        return path

    def play(self, path, outlet=None):
        outlet = outlet or VirtualOutlet()
        self.source = source = FileSource(path)
        self.addCleanup(source.close)
        source.open(outlet)
        source.run(outlet)
        return outlet

    def refused(self, path):
        source = FileSource(path)
        self.addCleanup(source.close)
        return str(self.assertRaises(SourceError, source.open, VirtualOutlet()))

    def test_copies(self):
        """
        H.264 and Opus come through byte for byte, in decoding order, with the
        times of the file.
        """
        for extension in (".mkv", ".mp4", ".ts"):
            path = self.sample(extension, audio="libopus")
            pictures, sounds = readBack(path)
            outlet = self.play(path)
            self.assertEqual(
                [f.data for f in outlet.pictures], [d for _, d in pictures]
            )
            self.assertEqual([f.data for f in outlet.sounds], [d for _, d in sounds])
            origin = outlet.pictures[0].timestamp / 1e6 - pictures[0][0]
            for frame, (when, _) in zip(
                [*outlet.pictures, *outlet.sounds], [*pictures, *sounds], strict=True
            ):
                self.assertApproximates(frame.timestamp / 1e6, origin + when, 0.0001)

    def test_reorder(self):
        """
        Frames say how far the decoder must look ahead.
        """
        for depth in (0, 2):
            outlet = self.play(self.sample(bFrames=depth))
            self.assertEqual({f.reorder for f in outlet.pictures}, {min(depth, 1)})

    def test_keyFrames(self):
        """
        Key frames are marked, and carry the parameter sets that MP4 keeps apart.
        """
        outlet = self.play(self.sample(".mp4"))
        keys = [i for i, f in enumerate(outlet.pictures) if f.keyFrame]
        self.assertEqual(keys, [0, 15])
        for index in keys:
            self.assertIn(b"\0\0\0\1\x67", outlet.pictures[index].data)

    def test_pace(self):
        """
        Frames come at the pace of their times, neither early nor in one heap.
        """
        outlet = self.play(self.sample(frames=60))
        first = outlet.arrivals[0]
        self.assertApproximates(outlet.arrivals[-1] - first, 59 / 30 * 1e6, 70_000)
        for arrival, frame in zip(outlet.arrivals, outlet.pictures, strict=True):
            self.assertLess(arrival - frame.timestamp, 70_000)

    def test_soundTranscoded(self):
        """
        AAC becomes Opus, and keeps its offset to the picture within 20 ms.
        """
        for shift in (0.0, 0.3):
            path = self.mktemp() + ".mp4"
            self.writeClick(path, shift)
            outlet = self.play(path)
            decoder = av.CodecContext.create("libopus", "r")
            decoder.sample_rate = 48000
            loudest = None
            for sound in outlet.sounds:
                for frame in decoder.decode(av.Packet(sound.data)):
                    wave = np.abs(frame.to_ndarray().reshape(-1, 2)[:, 0].astype(int))
                    if loudest is None and wave.max() > 3000:
                        loudest = sound.timestamp + np.argmax(wave > 3000) * 1e6 / 48000
            offset = (loudest - min(f.timestamp for f in outlet.pictures)) / 1e6
            self.assertApproximates(offset, 0.5 + shift, 0.02)

    def writeClick(self, path, shift):
        """
        Pictures, and AAC that is silent but for a burst after half a second.
        """
        with av.open(path, "w") as container:
            picture = container.add_stream("libx264", rate=30)
            picture.width, picture.height = 64, 64
            sound = container.add_stream("aac", rate=44100)
            sound.layout = "stereo"
            for number in range(40):
                frame = av.VideoFrame(64, 64, "yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 30)
                container.mux(picture.encode(frame))
            container.mux(picture.encode())
            wave = np.zeros((2, 44100), np.float32)
            times = np.arange(4410) / 44100
            wave[:, 22050:26460] = 0.8 * np.sin(2 * np.pi * 1000 * times)
            frame = av.AudioFrame.from_ndarray(wave, "fltp", "stereo")
            frame.sample_rate = 44100
            frame.time_base = Fraction(1, 44100)
            frame.pts = round(shift * 44100)
            container.mux(sound.encode(frame))
            container.mux(sound.encode())

    def test_pictureTranscoded(self):
        """
        Any other picture becomes H.264 without B frames, one for one.
        """
        path = self.sample(".mkv", video="mpeg4", frames=20, size=(322, 182))
        outlet = self.play(path)
        self.assertEqual(len(outlet.pictures), 20)
        self.assertTrue(outlet.pictures[0].keyFrame)
        self.assertEqual({f.reorder for f in outlet.pictures}, {0})
        first = outlet.pictures[0].timestamp
        for number, frame in enumerate(outlet.pictures):
            self.assertApproximates(
                frame.timestamp - first, number * 1_000_000 / 30, 1000
            )

    def test_commandsWhenTranscoding(self):
        """
        REQUEST_KEYFRAME and SET_FPS act on the encoder of a transcoded picture.
        """
        path = self.sample(video="mpeg4", frames=60, keyInterval=100)
        outlet = VirtualOutlet()
        outlet.script = [
            (5_300_000, Control(Command.REQUEST_KEYFRAME)),
            (6_000_000, Control(Command.SET_FPS, 10)),
        ]
        self.play(path, outlet)
        keys = [i for i, f in enumerate(outlet.pictures) if f.keyFrame]
        self.assertEqual(keys[0], 0)
        self.assertApproximates(keys[1], 8, 3)
        self.assertApproximates(len(outlet.pictures), 40, 2)

    def test_commandsWhenCopying(self):
        """
        What is passed on untouched stays untouched by commands.
        """
        path = self.sample(frames=30)
        outlet = VirtualOutlet()
        outlet.script = [(5_200_000, Control(Command.SET_BITRATE, 500_000))]
        self.play(path, outlet)
        self.assertEqual(
            [f.data for f in outlet.pictures], [d for _, d in readBack(path)[0]]
        )

    def test_pause(self):
        """
        A pause stops the pace; afterwards sound and picture go on together.
        """
        path = self.sample(frames=30)
        outlet = VirtualOutlet()
        outlet.script = [(5_500_000, Control(Command.PAUSE, 5_000_000))]
        self.play(path, outlet)
        gaps = [b - a for a, b in pairwise(outlet.arrivals)]
        self.assertGreater(max(gaps), 4_900_000)
        self.assertEqual(sum(gap > 1_000_000 for gap in gaps), 1)
        self.assertEqual(len(outlet.pictures), 30)
        self.assertApproximates(
            outlet.sounds[-1].timestamp, outlet.pictures[-1].timestamp, 100_000
        )

    def test_stalledPipe(self):
        """
        After a stall the stream goes on from now, at its own pace.
        """
        path = self.sample(frames=60)
        outlet = VirtualOutlet()

        def stall(frame):
            if len(outlet.pictures) == 20:
                outlet.time += 10_000_000
            return True

        outlet.accept = stall
        self.play(path, outlet)
        self.assertGreater(outlet.arrivals[-1] - outlet.arrivals[25], 1_000_000)
        self.assertLess(outlet.arrivals[-1] - outlet.pictures[-1].timestamp, 2_000_000)

    def test_splice(self):
        """
        A jump in the times of a file, as after a splice, is no wait of hours.
        """
        one, two = self.sample(".ts"), self.mktemp() + ".ts"
        with av.open(two, "w") as target:
            streams = []
            for shift in (0, 3600):
                with av.open(one) as source:
                    if not streams:
                        streams = [
                            target.add_stream_from_template(stream, opaque=True)
                            for stream in source.streams
                        ]
                    for packet in source.demux():
                        if packet.size:
                            packet.pts += shift * 90000
                            packet.dts += shift * 90000
                            packet.stream = streams[packet.stream_index]
                            target.mux(packet)
        outlet = self.play(two)
        self.assertEqual(len(outlet.pictures), 60)
        self.assertLess(outlet.time, 10_000_000)

    def test_oversizedOpus(self):
        """
        Opus packets that do not fit in one of ours are left out and counted.
        """
        path = self.mktemp() + ".mkv"
        with av.open(path, "w") as container:
            picture = container.add_stream("libx264", rate=30)
            picture.width, picture.height = 64, 64
            sound = container.add_stream("libopus", rate=48000)
            sound.layout = "stereo"
            sound.bit_rate = 510_000
            sound.options = {"vbr": "off", "frame_duration": "60"}
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts, frame.time_base = 0, Fraction(1, 30)
            container.mux(picture.encode(frame))
            container.mux(picture.encode())
            noise = np.random.default_rng(1).integers(-9000, 9000, (1, 2880 * 10))
            frame = av.AudioFrame.from_ndarray(noise.astype(np.int16), "s16", "stereo")
            frame.sample_rate, frame.pts = 48000, 0
            frame.time_base = Fraction(1, 48000)
            container.mux(sound.encode(frame))
            container.mux(sound.encode())
        self.assertGreater(len(readBack(path)[1][0][1]), MAX_OPUS)
        outlet = self.play(path)
        self.assertEqual(outlet.sounds, [])
        self.assertGreater(self.source.oversized, 0)

    def test_surround(self):
        """
        Opus of more than two channels is mixed down: its channel table cannot
        be carried.
        """
        path = self.mktemp() + ".mkv"
        with av.open(path, "w") as container:
            picture = container.add_stream("libx264", rate=30)
            picture.width, picture.height = 64, 64
            sound = container.add_stream("libopus", rate=48000)
            sound.layout = "5.1"
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts, frame.time_base = 0, Fraction(1, 30)
            container.mux(picture.encode(frame))
            container.mux(picture.encode())
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 6 * 9600), np.int16), "s16", "5.1"
            )
            frame.sample_rate, frame.pts = 48000, 0
            frame.time_base = Fraction(1, 48000)
            container.mux(sound.encode(frame))
            container.mux(sound.encode())
        outlet = self.play(path)
        self.assertGreater(len(outlet.sounds), 8)
        self.assertEqual({sound.channels for sound in outlet.sounds}, {2})

    def test_missing(self):
        """
        A file that is not there is said to be so, with what to do.
        """
        self.assertIn("there is no file", self.refused(self.mktemp()))

    def test_directory(self):
        """
        A directory is no source.
        """
        self.assertIn("is a directory", self.refused("."))

    def test_noise(self):
        """
        A file that is no media is said to be unreadable.
        """
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(os.urandom(5000))
        self.assertIn("cannot read", self.refused(path))

    def test_noVideo(self):
        """
        A source without a picture is refused.
        """
        path = self.sample(".mkv", video=None)
        self.assertIn("has no video", self.refused(path))

    def test_truncated(self):
        """
        A file that was cut off plays to where it was cut.
        """
        path = self.sample(".mkv")
        os.truncate(path, os.path.getsize(path) // 2)
        outlet = self.play(path)
        self.assertGreater(len(outlet.pictures), 3)


class PipeTests(SynchronousTestCase):
    """
    Tests for `_Pipe`.
    """

    def setUp(self):
        self.reader, self.writer = os.pipe()
        self.addCleanup(os.close, self.reader)
        self.addCleanup(os.close, self.writer)
        self.outlet = VirtualOutlet()

    def test_reads(self):
        """
        What is in the pipe is read, as far as asked for.
        """
        os.write(self.writer, b"packet")
        pipe = _Pipe(self.outlet, self.reader)
        self.assertEqual(pipe.read(4), b"pack")
        self.assertEqual(pipe.read(4), b"et")

    def test_stops(self):
        """
        A pipe in which nothing comes does not keep the source from stopping.
        """
        pipe = _Pipe(self.outlet, self.reader)
        caught = []

        def read():
            try:
                pipe.read(1)
            except Stopped as error:
                caught.append(error)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        self.outlet.stopped = True
        thread.join(5)
        self.assertEqual(len(caught), 1)
