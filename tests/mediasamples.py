"""
Media files made with PyAV, and stand-ins for the reactor and the outlet.
"""

from __future__ import annotations

import io
import queue
import time
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from rootstream.media.encode import VideoEncoder
from rootstream.media.outlet import Stopped
from rootstream.media.testsource import TestPicture
from rootstream.protocol.events import AudioFrame, Command, Control, VideoFrame

OPUS_SILENCE = b"\xf8\xff\xfe"


def writeSample(
    target,
    *,
    form=None,
    video="libx264",
    audio="aac",
    frames=30,
    bFrames=2,
    size=(320, 180),
    audioShift=0.0,
    fps=30,
    keyInterval=15,
):
    """
    Write moving pictures and a tone, of ``frames`` pictures' length.
    """
    with av.open(target, "w", format=form) as container:
        picture = TestPicture(*size)
        streamV = None
        if video is not None:
            streamV = container.add_stream(video, rate=fps)
            streamV.width, streamV.height = size
            streamV.pix_fmt = "yuv420p"
            if video == "libx264":
                streamV.options = {
                    "bf": str(bFrames),
                    "g": str(keyInterval),
                    "b-pyramid": "none",
                    "b_strategy": "0",
                }
        streamA = None
        if audio is not None:
            streamA = container.add_stream(audio, rate=48000)
            streamA.layout = "stereo"
            streamA.time_base = Fraction(1, 48000)
        for number in range(frames if streamV else 0):
            frame = picture.draw(number, number / fps, False)
            # The encoder looks ahead, so it needs pictures of its own.
            frame = av.VideoFrame.from_ndarray(frame.to_ndarray(), "yuv420p")
            frame.pts = number
            frame.time_base = Fraction(1, fps)
            container.mux(streamV.encode(frame))
        if streamV is not None:
            container.mux(streamV.encode())
        if streamA is not None:
            for index in range(frames * 48000 // fps // 960):
                sound = av.AudioFrame.from_ndarray(
                    np.full((1, 1920), 1000, np.int16), "s16", "stereo"
                )
                sound.sample_rate = 48000
                sound.time_base = Fraction(1, 48000)
                sound.pts = index * 960 + round(audioShift * 48000)
                container.mux(streamA.encode(sound))
            container.mux(streamA.encode())


def readBack(source):
    """
    The access units in Annex B form and the sound packets of a file, each with
    its time in seconds.
    """
    with av.open(source, "r") as container:
        streamV = container.streams.best("video")
        streamA = container.streams.best("audio")
        annexB = BitStreamFilterContext("h264_mp4toannexb", streamV)
        pictures, sounds = [], []
        chosen = [stream for stream in (streamV, streamA) if stream is not None]
        for packet in container.demux(chosen):
            if not packet.size:
                continue
            when = float(packet.pts * packet.time_base)
            if packet.stream is streamV:
                data = b"".join(bytes(unit) for unit in annexB.filter(packet))
                pictures.append((when, data))
            else:
                sounds.append((when, bytes(packet)))
    return pictures, sounds


def encodedFrames(count, size=(320, 180), start=1_000_000, fps=30):
    """
    Access units of our own encoder, with no B frames.
    """
    encoder = VideoEncoder(*size, fps)
    picture = TestPicture(*size)
    made: list[VideoFrame] = []
    for number in range(count):
        frame = picture.draw(number, number / fps, False)
        made += encoder.encode(frame, start + number * 1_000_000 // fps)
    return made


def silence(timestamp, channels=2):
    """
    20 ms of Opus.
    """
    return AudioFrame(OPUS_SILENCE, timestamp, channels=channels)


def sampleBytes(form="matroska", **options):
    """
    A sample in memory.
    """
    target = io.BytesIO()
    writeSample(target, form=form, **options)
    return target.getvalue()


class VirtualOutlet:
    """
    An outlet without threads: time passes when the source sleeps.
    """

    def __init__(self, until=60_000_000, start=5_000_000, sound=True):
        self.time = start
        self.until = start + until
        self.pictures: list[VideoFrame] = []
        self.sounds: list[AudioFrame] = []
        self.arrivals: list[int] = []
        #: Commands by the time at which they come.
        self.script: list[tuple[int, Control]] = []
        self.accept: Callable[[VideoFrame], bool] = lambda frame: True
        self.stopped = False

    def now(self):
        return self.time

    def wall(self):
        return 12 * 3600 + self.time / 1e6

    def sleep(self, microseconds):
        if self.time >= self.until:
            self.stopped = True
            raise Stopped
        self.time += max(0, min(microseconds, self.until - self.time))

    def commands(self):
        due = [c for at, c in self.script if at <= self.time]
        self.script = [(at, c) for at, c in self.script if at > self.time]
        for control in due:
            # The real outlet blocks while it is paused.
            if control.command is Command.PAUSE:
                self.time += control.value
        return [
            Control(Command.RESUME) if c.command is Command.PAUSE else c for c in due
        ]

    def video(self, frame):
        if not self.accept(frame):
            return False
        self.pictures.append(frame)
        self.arrivals.append(self.time)
        return True

    def audio(self, frame):
        self.sounds.append(frame)


class PumpedReactor:
    """
    Runs what threads send it, in the thread of the test.
    """

    def __init__(self):
        self._calls = queue.Queue()
        self.later = []

    def callFromThread(self, function, *arguments, **named):
        self._calls.put((function, arguments, named))

    def callLater(self, seconds, function, *arguments):
        call = _Later(function, arguments)
        self.later.append((seconds, call))
        return call

    def pump(self, until, seconds=20.0):
        """
        Run calls until ``until()`` is true, which must come to pass.
        """
        limit = time.monotonic() + seconds
        while not until():
            left = limit - time.monotonic()
            if left <= 0:
                raise AssertionError("it did not come to pass in time")
            try:
                function, arguments, named = self._calls.get(timeout=min(left, 0.1))
            except queue.Empty:
                continue
            function(*arguments, **named)


class _Later:
    def __init__(self, function, arguments):
        self.function = function
        self.arguments = arguments
        self._active = True

    def active(self):
        return self._active

    def cancel(self):
        self._active = False

    def fire(self):
        self._active = False
        self.function(*self.arguments)


class Collected:
    """
    A delivery that keeps everything.
    """

    def __init__(self):
        self.pictures = []
        self.sounds = []
        self.endings = []

    def video(self, frame):
        self.pictures.append(frame)

    def audio(self, frame):
        self.sounds.append(frame)

    def ended(self, error):
        self.endings.append(error)
