"""
A file, a URL or standard input as a source, at the pace of its timestamps.

H.264 and Opus pass untouched, access unit by access unit; all else is decoded and
encoded again.  Sound and picture are placed on the media clock by one and the
same shift, so their offset stays what it was.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import av
from av.audio.resampler import AudioResampler
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.stream import Disposition, Stream

from rootstream.errors import SourceError
from rootstream.media.encode import AudioEncoder, VideoEncoder
from rootstream.media.opus import FRAME_SAMPLES, MAX_OPUS, SAMPLE_RATE, opusSamples
from rootstream.media.outlet import Outlet, Stopped
from rootstream.protocol.events import AudioFrame, Command, Control, VideoFrame

__all__ = ["FileSource"]

SECOND: Final = 1_000_000
#: Seconds to open a network URL, and to wait for its next packet.
OPEN_TIMEOUT: Final = 10.0
READ_TIMEOUT: Final = 10.0
#: A timestamp this far from the one before starts a new count, as after a splice.
SPLICE: Final = 10 * SECOND
#: Pictures this late are not hurried after: a pipe that stalled goes on from now.
LATE: Final = 2 * SECOND
DEFAULT_FPS: Final = 30
#: How often a silent pipe looks whether the source was told to stop.
POLL_MS: Final = 100
STDIN: Final = "-"


class _Pipe:
    """
    Standard input, whose silence does not keep the source from stopping.
    """

    name = "standard input"

    def __init__(self, outlet: Outlet, file: int = 0) -> None:
        self._outlet = outlet
        self._file = file
        self._poll = select.poll()
        self._poll.register(file, select.POLLIN)

    def read(self, size: int) -> bytes:
        while not self._poll.poll(POLL_MS):
            if self._outlet.stopped:
                raise Stopped
        return os.read(self._file, size)


class FileSource:
    """
    Anything that libavformat reads.
    """

    live = False

    def __init__(self, spec: str) -> None:
        self._spec = spec
        self._name = "standard input" if spec == STDIN else spec
        self._container: InputContainer | None = None
        self._video: _Copy | _TranscodeVideo | None = None
        self._audio: _CopyOpus | _TranscodeAudio | None = None
        self._shift: int | None = None
        self._last: dict[int, int] = {}
        #: Opus packets too large for a packet of ours.
        self.oversized = 0

    def open(self, outlet: Outlet) -> None:
        """
        Find the streams.

        :raise SourceError: when there is no video to be had.
        """
        self._container = container = self._connect(outlet)
        pictures: list[av.VideoStream] = [
            stream
            for stream in container.streams.video
            if isinstance(stream, av.VideoStream)
            and not stream.disposition & Disposition.attached_pic
            and stream.codec_context is not None
        ]
        if not pictures:
            raise SourceError(
                f"{self._name} has no video; choose a source that has a picture"
            )
        best = container.streams.best("video")
        video = best if best in pictures else pictures[0]
        assert isinstance(video, av.VideoStream)
        copied = video.codec_context.name == "h264"
        self._video = _Copy(video) if copied else _TranscodeVideo(video)
        audio = container.streams.best("audio", related=video)
        if isinstance(audio, av.AudioStream) and audio.codec_context is not None:
            # More than two channels come with a table that we do not carry.
            simple = audio.codec_context.channels <= 2
            copied = audio.codec_context.name in ("opus", "libopus") and simple
            self._audio = _CopyOpus(audio) if copied else _TranscodeAudio(audio)

    def _connect(self, outlet: Outlet) -> InputContainer:
        target: Any = self._spec
        if self._spec == STDIN:
            # Closed before we started, its number may be anything's by now; Python
            # remembers.
            if sys.__stdin__ is None:
                raise SourceError("standard input is closed; pipe a stream into it")
            if os.isatty(0):
                raise SourceError("standard input is a terminal; pipe a stream into it")
            target = _Pipe(outlet)
        elif "://" not in self._spec and os.path.isdir(self._spec):
            raise SourceError(f"{self._spec} is a directory; name a file in it")
        try:
            container: InputContainer = av.open(
                target, "r", timeout=(OPEN_TIMEOUT, READ_TIMEOUT)
            )
            return container
        except FileNotFoundError:
            raise SourceError(
                f"there is no file {self._name}; check the name, or use test, "
                "screen, a URL or -"
            ) from None
        except (av.FFmpegError, OSError, ValueError) as error:
            raise SourceError(
                f"cannot read {self._name}: {_reason(error)}; give it a video file "
                "or stream, such as MPEG-TS or Matroska"
            ) from None

    def run(self, outlet: Outlet) -> None:
        """
        Until the end, or told to stop.
        """
        assert self._container is not None and self._video is not None
        chosen: list[Stream] = [self._video.stream]
        if self._audio is not None:
            chosen.append(self._audio.stream)
        try:
            for packet in self._container.demux(chosen):
                self._obey(outlet)
                if packet.size:
                    self._pace(outlet, packet)
                self._pass(outlet, packet)
        except (av.FFmpegError, OSError) as error:
            raise SourceError(
                f"cannot read on in {self._name}: {_reason(error)}"
            ) from None

    def _obey(self, outlet: Outlet) -> None:
        before = outlet.now()
        for control in outlet.commands():
            if control.command is Command.RESUME and self._shift is not None:
                self._shift += outlet.now() - before
            if self._video is not None:
                self._video.obey(control)

    def _pace(self, outlet: Outlet, packet: av.Packet[Any]) -> None:
        """
        Wait until the time of ``packet`` has come.
        """
        if packet.dts is None:
            return
        due = _micros(packet.dts, packet.time_base)
        if self._shift is None:
            self._shift = outlet.now() - due
        before = self._last.get(packet.stream_index)
        if before is not None and abs(due - before) > SPLICE:
            self._shift = outlet.now() - due
            self._last.clear()
        self._last[packet.stream_index] = due
        video = self._video is not None and packet.stream is self._video.stream
        if video and outlet.now() - (due + self._shift) > LATE:
            self._shift = outlet.now() - due
        while (early := due + self._shift - outlet.now()) > 0:
            outlet.sleep(early)
            self._obey(outlet)

    def _pass(self, outlet: Outlet, packet: av.Packet[Any]) -> None:
        shift = self._shift
        if shift is None:
            # Nothing had a decoding time yet: this is where time starts.
            shift = self._shift = outlet.now() - _time(packet, 0)
        if self._video is not None and packet.stream is self._video.stream:
            for frame in self._video.frames(packet, shift):
                outlet.video(frame)
        elif self._audio is not None:
            for sound in self._audio.frames(packet, shift):
                if len(sound.data) > MAX_OPUS:
                    self.oversized += 1
                else:
                    outlet.audio(sound)

    def close(self) -> None:
        """
        Close the file or connection.
        """
        if self._container is not None:
            self._container.close()
            self._container = None


class _Copy:
    """
    H.264 as it is, in Annex B form.
    """

    def __init__(self, stream: av.VideoStream) -> None:
        self.stream = stream
        # Leaves what is Annex B already alone.
        self._filter = BitStreamFilterContext("h264_mp4toannexb", stream)
        self._reorder = min(stream.codec_context.reorder_depth, 16)
        self._step = _step(stream)
        self._next = 0

    def obey(self, control: Control) -> None:
        """
        What is encoded already stays as it is.
        """

    def frames(self, packet: av.Packet[Any], shift: int) -> Iterator[VideoFrame]:
        try:
            units = self._filter.filter(packet if packet.size else None)
        except av.error.InvalidDataError:
            # Damage is for the eye to see, not a reason to end the stream.
            return
        for unit in units:
            time = _time(unit, self._next)
            self._next = time + self._step
            yield VideoFrame(
                bytes(unit), max(0, shift + time), unit.is_keyframe, self._reorder
            )


class _TranscodeVideo:
    """
    Any other picture, to H.264.
    """

    def __init__(self, stream: av.VideoStream) -> None:
        self.stream = stream
        context = stream.codec_context
        context.thread_type = "AUTO"
        rate = stream.average_rate or stream.guessed_rate or Fraction(DEFAULT_FPS)
        self._encoder = VideoEncoder(
            max(2, context.width & ~1), max(2, context.height & ~1), round(rate)
        )
        self._limited = False
        self._due = 0
        self._step = _step(stream)
        self._next = 0

    def obey(self, control: Control) -> None:
        self._limited |= control.command is Command.SET_FPS
        self._encoder.obey(control)

    def frames(self, packet: av.Packet[Any], shift: int) -> Iterator[VideoFrame]:
        for picture in _decoded(packet):
            assert isinstance(picture, av.VideoFrame)
            time = self._next
            if picture.pts is not None:
                time = _micros(picture.pts, self.stream.time_base)
            self._next = time + self._step
            if self._limited and self._leftOut(time):
                continue
            shown = picture.reformat(
                self._encoder.width, self._encoder.height, "yuv420p"
            )
            yield from self._encoder.encode(shown, max(0, shift + time))

    def _leftOut(self, time: int) -> bool:
        step = SECOND // self._encoder.fps
        # A millisecond of grace: times in files are rounded.
        if abs(time - self._due) <= SECOND * 2 and time < self._due - 1000:
            return True
        self._due = max(self._due, time - step) + step
        return False


class _CopyOpus:
    """
    Opus as it is.
    """

    def __init__(self, stream: av.AudioStream) -> None:
        self.stream = stream
        self._channels = stream.codec_context.channels
        self._next = 0

    def frames(self, packet: av.Packet[Any], shift: int) -> Iterator[AudioFrame]:
        data = bytes(packet)
        samples = opusSamples(data)
        if samples:
            time = _time(packet, self._next)
            self._next = time + samples * SECOND // SAMPLE_RATE
            yield AudioFrame(
                data, max(0, shift + time), channels=self._channels, samples=samples
            )


class _TranscodeAudio:
    """
    Any other sound, to Opus.
    """

    def __init__(self, stream: av.AudioStream) -> None:
        self.stream = stream
        self._encoder = AudioEncoder()
        self._resampler = AudioResampler(
            "s16", "stereo", SAMPLE_RATE, frame_size=FRAME_SAMPLES
        )

    def frames(self, packet: av.Packet[Any], shift: int) -> Iterator[AudioFrame]:
        for sound in _decoded(packet):
            assert isinstance(sound, av.AudioFrame)
            yield from self._encode(sound, shift)
        if not packet.size:
            yield from self._encode(None, shift)
            yield from self._encoder.flush()

    def _encode(self, sound: av.AudioFrame | None, shift: int) -> Iterator[AudioFrame]:
        for piece in self._resampler.resample(sound):
            time = _micros(piece.pts or 0, piece.time_base)
            yield from self._encoder.encode(piece, shift + time)


def _decoded(packet: av.Packet[Any]) -> list[Any]:
    try:
        return list(packet.decode())
    except (av.error.InvalidDataError, av.error.EOFError):
        return []


def _time(packet: av.Packet[Any], otherwise: int) -> int:
    stamp = packet.pts if packet.pts is not None else packet.dts
    return otherwise if stamp is None else _micros(stamp, packet.time_base)


def _micros(stamp: int, unit: Fraction | None) -> int:
    return round(stamp * (unit or Fraction(1, SECOND)) * SECOND)


def _step(stream: av.VideoStream) -> int:
    rate = stream.average_rate or stream.guessed_rate or Fraction(DEFAULT_FPS)
    return round(SECOND / rate)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
