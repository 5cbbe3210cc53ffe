"""
The encoders: H.264 without delay, and Opus.

x264 runs with ``tune=zerolatency``: one picture in, one access unit out, no B
frames, SPS and PPS in front of every key frame.  A change of rate opens it anew,
which costs a few milliseconds and gives the key frame that is wanted then anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import av
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from rootstream.media.opus import FRAME_SAMPLES, SAMPLE_RATE
from rootstream.protocol.events import AudioFrame, Command, Control, VideoFrame

__all__ = ["AudioEncoder", "VideoEncoder", "defaultBitrate"]

MICROSECONDS: Final = Fraction(1, 1_000_000)
SAMPLES: Final = Fraction(1, SAMPLE_RATE)

#: 8 Mbit/s for 1280x720 at 30 frames/s; other sizes in proportion.
BITS_PER_PIXEL: Final = 8_000_000 / (1280 * 720 * 30)
MIN_BITRATE: Final = 500_000
MAX_BITRATE: Final = 100_000_000
MIN_FPS: Final = 1
MAX_FPS: Final = 240
AUDIO_BITRATE: Final = 128_000
#: Seconds between key frames, for those who join or lost one.
KEY_FRAME_INTERVAL: Final = 2
#: No frame takes longer on a line of the stream's own rate than this share of a
#: second: it is the size of the rate control's buffer.
VBV_SHARE: Final = 5
#: CRF at quality 0 and 100: unrecognisable, and visually lossless.
WORST_CRF: Final = 51
BEST_CRF: Final = 10


def defaultBitrate(width: int, height: int, fps: float) -> int:
    """
    A rate at which a picture of that size looks good.
    """
    rate = round(width * height * fps * BITS_PER_PIXEL)
    return min(max(rate, MIN_BITRATE), MAX_BITRATE)


class VideoEncoder:
    """
    Pictures to H.264 access units.
    """

    def __init__(self, width: int, height: int, fps: int) -> None:
        self.width = width
        self.height = height
        self.fps = min(max(fps, MIN_FPS), MAX_FPS)
        self.bitrate = defaultBitrate(width, height, self.fps)
        self.quality: int | None = None
        self._context: VideoCodecContext | None = None
        self._keyFrameWanted = False
        self._base = 0
        self._last = -1

    def requestKeyFrame(self) -> None:
        """
        Make the next access unit a key frame.
        """
        self._keyFrameWanted = True

    def obey(self, control: Control) -> None:
        """
        Act on a command from the other side.
        """
        match control.command:
            case Command.SET_BITRATE:
                self.bitrate = min(max(control.value, MIN_BITRATE), MAX_BITRATE)
                self.quality = None
                self._context = None
            case Command.SET_QUALITY:
                self.quality = min(max(control.value, 0), 100)
                self._context = None
            case Command.SET_FPS:
                self.fps = min(max(control.value, MIN_FPS), MAX_FPS)
                self._context = None
            case Command.REQUEST_KEYFRAME | Command.RESUME:
                self.requestKeyFrame()
            case _:
                pass

    def encode(self, picture: av.VideoFrame, timestamp: int) -> Iterator[VideoFrame]:
        """
        Encode a picture of the right size in yuv420p, shown at ``timestamp``.
        """
        if self._context is None:
            self._context = self._open()
            self._base = timestamp
            self._last = -1
        # x264 refuses a time that does not increase.
        self._last = max(timestamp - self._base, self._last + 1)
        picture.pts = self._last
        picture.time_base = MICROSECONDS
        picture.pict_type = PictureType.I if self._keyFrameWanted else PictureType.NONE
        self._keyFrameWanted = False
        for packet in self._context.encode(picture):
            assert packet.pts is not None
            yield VideoFrame(bytes(packet), self._base + packet.pts, packet.is_keyframe)

    def _open(self) -> VideoCodecContext:
        context = av.CodecContext.create("libx264", "w")
        context.width = self.width
        context.height = self.height
        context.pix_fmt = "yuv420p"
        context.time_base = MICROSECONDS
        context.framerate = Fraction(self.fps)
        context.gop_size = self.fps * KEY_FRAME_INTERVAL
        context.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "forced-idr": "1",
            "maxrate": str(self.bitrate),
            "bufsize": str(self.bitrate // VBV_SHARE),
            # A cut in the picture is no reason for a key frame nobody asked for.
            "x264-params": "repeat-headers=1:scenecut=0",
        }
        if self.quality is None:
            context.bit_rate = self.bitrate
        else:
            crf = WORST_CRF - (WORST_CRF - BEST_CRF) * self.quality / 100
            context.options |= {"crf": f"{crf:.1f}"}
        return context


class AudioEncoder:
    """
    Sound at 48 kHz, stereo, signed 16 bit, to Opus packets of 20 ms.
    """

    def __init__(self) -> None:
        context: AudioCodecContext = av.CodecContext.create("libopus", "w")
        context.sample_rate = SAMPLE_RATE
        context.layout = "stereo"
        context.format = "s16"
        context.bit_rate = AUDIO_BITRATE
        context.time_base = SAMPLES
        self._context = context
        self._base: int | None = None
        self._next = 0

    def encode(self, sound: av.AudioFrame, timestamp: int) -> Iterator[AudioFrame]:
        """
        Encode 960 samples, heard from ``timestamp``.
        """
        if self._base is None:
            self._base = timestamp
        position = round((timestamp - self._base) * SAMPLE_RATE / 1_000_000)
        # Within half a packet of where it should be, the sound simply goes on:
        # times rounded to microseconds or milliseconds are no gaps.
        if abs(position - self._next) <= FRAME_SAMPLES // 2:
            position = self._next
        self._next = max(position, self._next)
        sound.pts = self._next
        sound.time_base = SAMPLES
        self._next += sound.samples
        yield from self._packets(sound)

    def flush(self) -> Iterator[AudioFrame]:
        """
        The sound that the encoder still holds.
        """
        if self._base is not None:
            yield from self._packets(None)

    def _packets(self, sound: av.AudioFrame | None) -> Iterator[AudioFrame]:
        assert self._base is not None
        for packet in self._context.encode(sound):
            # libopus starts early, by the samples of its look-ahead, and says so
            # in pts: the sound in a packet is where its time says it is.
            assert packet.pts is not None
            moved = packet.pts * 1_000_000 // SAMPLE_RATE
            yield AudioFrame(bytes(packet), max(0, self._base + moved))
