"""
A picture and a tone that need no camera: for demonstrations and measurements.

Each picture bears its number and the time of day it was made at, so that a
photograph of two screens shows what was lost between them and how late it came; the
blocks in the corner say the same to a program (`rootstream.media.mark`).
A box runs across, so that a stutter is seen.  Once a second, for a tenth of it,
the tone grows loud and the box turns white: sound and picture can be compared.
"""

from __future__ import annotations

import time
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from rootstream.media.encode import AudioEncoder, VideoEncoder
from rootstream.media.mark import BLACK, LINES, WHITE, blockSize, writeMark
from rootstream.media.opus import FRAME_SAMPLES, SAMPLE_RATE
from rootstream.media.outlet import Outlet
from rootstream.protocol.events import Command, Control

__all__ = ["TestPicture", "TestSource", "toneSecond"]

SECOND: Final = 1_000_000
#: A packet of sound, in microseconds.
SOUND_STEP: Final = SECOND * FRAME_SAMPLES // SAMPLE_RATE
BEEP_SHARE: Final = 10
TONE_HZ: Final = 440
LOUD: Final = 0.25
SOFT: Final = 0.02

#: Digits as rows of three pixels, top to bottom.
GLYPHS: Final = {
    "0": "111101101101111",
    "1": "010110010010111",
    "2": "111001111100111",
    "3": "111001111001111",
    "4": "101101111001001",
    "5": "111100111001111",
    "6": "111100111101111",
    "7": "111001001001001",
    "8": "111101111101111",
    "9": "111101111001111",
    ":": "000010000010000",
    ".": "000000000000010",
}
GLYPH_WIDTH: Final = 3
GLYPH_HEIGHT: Final = 5
#: No colour.
GREY: Final = 128
#: One pixel of a digit is this share of the picture's width: the clock of 12
#: characters then takes three quarters of it.
TEXT_SHARE: Final = 64


def toneSecond() -> NDArray[np.int16]:
    """
    One second of stereo sound that can be repeated without a seam.
    """
    times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    volume = np.where(times < 1 / BEEP_SHARE, LOUD, SOFT)
    wave = np.sin(2 * np.pi * TONE_HZ * times) * volume * 32767
    return np.repeat(wave.astype(np.int16), 2)


class TestPicture:
    """
    The picture, drawn in place: only what changed since the last one.
    """

    def __init__(self, width: int, height: int) -> None:
        self.frame = av.VideoFrame(width, height, "yuv420p")
        planes = [
            np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
                : plane.height, : plane.width
            ]
            for plane in self.frame.planes
        ]
        luma, blue, red = planes
        luma[:] = np.linspace(BLACK, WHITE, width, dtype=np.uint8)
        blue[:] = np.linspace(64, 192, blue.shape[0], dtype=np.uint8)[:, None]
        red[:] = np.linspace(192, 64, red.shape[1], dtype=np.uint8)
        self.scale = max(1, width // TEXT_SHARE)
        line = self.scale * (GLYPH_HEIGHT + 2)
        middle = height // 2
        #: Where the two lines of text start.
        self.numberTop = max(0, middle - line)
        self.clockTop = min(middle, height - line)
        self._luma = luma
        text = slice(self.numberTop // 2, (self.clockTop + line) // 2)
        mark = slice(0, blockSize(width) * LINES // 2)
        for part in (text, mark):
            blue[part] = GREY
            red[part] = GREY
        self._box = max(2, height // 8)
        self._strip = luma[height - self._box :]
        self._behind = self._strip.copy()

    def draw(self, number: int, clock: float, flash: bool) -> av.VideoFrame:
        """
        The picture of that number at ``clock`` seconds since 1970.
        """
        millis = int(clock * 1000) % 1000
        day = time.strftime("%H:%M:%S", time.gmtime(clock))
        writeMark(self._luma, number, int(clock * 1000))
        self._write(self.numberTop, f"{number:08d}")
        self._write(self.clockTop, f"{day}.{millis:03d}")
        self._strip[:] = self._behind
        width = self._strip.shape[1]
        left = number * self._box // 8 % max(1, width - self._box)
        self._strip[:, left : left + self._box] = WHITE if flash else BLACK
        return self.frame

    def _write(self, top: int, text: str) -> None:
        rows = np.zeros((GLYPH_HEIGHT + 2, len(text) * (GLYPH_WIDTH + 1) + 1), np.uint8)
        for place, character in enumerate(text):
            glyph = np.array(list(map(int, GLYPHS[character])), np.uint8)
            left = place * (GLYPH_WIDTH + 1) + 1
            rows[1:-1, left : left + GLYPH_WIDTH] = glyph.reshape(-1, GLYPH_WIDTH)
        pixels = np.kron(
            rows * (WHITE - BLACK) + BLACK, np.ones((self.scale, self.scale), np.uint8)
        )
        height, width = self._luma[top : top + pixels.shape[0]].shape
        shown = pixels[:height, :width]
        self._luma[top : top + height, : shown.shape[1]] = shown


class TestSource:
    """
    Draws and encodes in step with the clock.
    """

    live = True

    def __init__(self, width: int, height: int, fps: int) -> None:
        self._picture = TestPicture(width, height)
        self._encoder = VideoEncoder(width, height, fps)
        self._sound = AudioEncoder()
        self._tone = toneSecond()

    def open(self, outlet: Outlet) -> None:
        """
        There is nothing to wait for.
        """

    def run(self, outlet: Outlet) -> None:
        """
        Until told to stop.
        """
        start = soundDue = videoDue = outlet.now()
        number = 0
        while True:
            for control in outlet.commands():
                self._encoder.obey(control)
                if control.command is Command.RESUME:
                    # What would have been sent meanwhile is not sent late.
                    soundDue = videoDue = outlet.now()
            now = outlet.now()
            while soundDue <= now:
                self._sendSound(outlet, start, soundDue)
                soundDue += SOUND_STEP
            if videoDue <= now:
                self._sendPicture(outlet, start, number, videoDue)
                number += 1
                step = SECOND // self._encoder.fps
                # Late by more than a picture: those are left out, not hurried.
                videoDue += step * max(1, (now - videoDue) // step)
            outlet.sleep(min(soundDue, videoDue) - outlet.now())

    def _sendSound(self, outlet: Outlet, start: int, due: int) -> None:
        position = (due - start) // SOUND_STEP * FRAME_SAMPLES % SAMPLE_RATE * 2
        samples = self._tone[position : position + FRAME_SAMPLES * 2]
        sound = av.AudioFrame.from_ndarray(
            samples.reshape(1, -1), format="s16", layout="stereo"
        )
        sound.sample_rate = SAMPLE_RATE
        for packet in self._sound.encode(sound, due):
            outlet.audio(packet)

    def _sendPicture(self, outlet: Outlet, start: int, number: int, due: int) -> None:
        flash = (due - start) % SECOND < SECOND // BEEP_SHARE
        picture = self._picture.draw(number, outlet.wall(), flash)
        for frame in self._encoder.encode(picture, due):
            if not outlet.video(frame):
                self._encoder.obey(Control(Command.REQUEST_KEYFRAME))

    def close(self) -> None:
        """
        Nothing is held outside the process.
        """
