"""
Putting a stream into a container, from whatever frame the sink joined at.

`Recorder` waits for a key frame to learn the picture from, and a moment for
sound, then opens the container and writes each access unit as it comes.  It
owns no thread and no clock: `rootstream.media.sinks` calls it from the thread
of the sink.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Protocol

import av
from av.container import OutputContainer
from av.stream import Stream

from rootstream.media.h264 import parameterSets
from rootstream.media.opus import SAMPLE_RATE, oggHeader, opusSamples
from rootstream.media.timeline import Timeline
from rootstream.protocol.events import AudioFrame, VideoFrame

__all__ = ["AvMuxer", "Muxer", "Opening", "Recorder"]

#: How long a sink waits for sound before it declares that there is none.  A
#: container names its streams once, at its start; an empty audio stream makes
#: players of a live stream wait for sound that never comes.
SOUND_WAIT: Final = 0.5
#: Packets of sound kept from before the first key frame: half a second.
EARLY_SOUND: Final = 25

MICROSECONDS: Final = Fraction(1, 1_000_000)
#: Each packet leaves as soon as the next one shows that it may.
_PROMPT: Final = {"flush_packets": "1", "max_interleave_delta": "1"}
_OPTIONS: Final = {
    # A cluster for every packet: an open cluster is held in memory.
    "matroska": {"cluster_size_limit": "1", "cluster_time_limit": "0"},
    # No gathering of several sound packets in one PES packet.
    "mpegts": {"pes_payload_size": "0"},
}


@dataclass(frozen=True, slots=True)
class Opening:
    """
    What a container must be told at its start.
    """

    keyFrame: bytes
    channels: int | None


class Muxer(Protocol):
    """
    An open container.  Times are in microseconds.
    """

    def video(
        self, data: bytes, pts: int, dts: int, duration: int, key: bool
    ) -> None: ...

    def audio(self, data: bytes, pts: int, samples: int) -> None: ...

    def close(self) -> None: ...


class AvMuxer:
    """
    Any container that libavformat writes.
    """

    def __init__(self, target: object, form: str, opening: Opening) -> None:
        """
        :param target: A URL, or an object with ``write``.
        :param form: libavformat's name of the container.
        """
        container = av.open(
            target,
            "w",
            format=form,
            container_options=_PROMPT | _OPTIONS.get(form, {}),
        )
        assert isinstance(container, OutputContainer)
        self._container = container
        # Parameters are copied from what libavformat itself reads in the first
        # access unit: it knows more of H.264 than we want to.
        with av.open(io.BytesIO(opening.keyFrame), "r", format="h264") as picture:
            self._video = container.add_stream_from_template(
                picture.streams.video[0], opaque=True
            )
        self._video.time_base = MICROSECONDS
        self._audio = None
        if opening.channels is not None:
            with av.open(io.BytesIO(oggHeader(opening.channels)), "r") as sound:
                self._audio = container.add_stream_from_template(
                    sound.streams.audio[0], opaque=True
                )
            self._audio.time_base = MICROSECONDS
        container.start_encoding()

    def video(self, data: bytes, pts: int, dts: int, duration: int, key: bool) -> None:
        packet = av.Packet(data)
        packet.stream = self._video
        self._write(packet, pts, dts, duration, key)

    def audio(self, data: bytes, pts: int, samples: int) -> None:
        assert self._audio is not None
        packet = av.Packet(data)
        packet.stream = self._audio
        self._write(packet, pts, pts, samples * 1_000_000 // SAMPLE_RATE, True)

    def _write(
        self, packet: av.Packet[Stream], pts: int, dts: int, duration: int, key: bool
    ) -> None:
        packet.time_base = MICROSECONDS
        packet.pts = pts
        packet.dts = dts
        packet.duration = duration
        packet.is_keyframe = key
        self._container.mux_one(packet)

    def close(self) -> None:
        self._container.close()


class Recorder:
    """
    One recording: waits for its opening, then writes.
    """

    def __init__(self, openMuxer: Callable[[Opening], Muxer]) -> None:
        self._openMuxer = openMuxer
        self._muxer: Muxer | None = None
        self._timeline: Timeline | None = None
        self._sound = False
        self._early: deque[AudioFrame] = deque(maxlen=EARLY_SOUND)
        self._held: list[tuple[VideoFrame | AudioFrame, float]] = []
        self._since = 0.0
        #: Sound that came when the container had no place for it.
        self.soundDropped = 0

    @property
    def waiting(self) -> bool:
        """
        Whether a key frame came and the container is not open yet.
        """
        return self._muxer is None and bool(self._held)

    def write(self, frame: VideoFrame | AudioFrame, now: float) -> None:
        """
        Take the next frame, which arrived at ``now`` seconds.
        """
        if self._muxer is not None:
            self._mux(frame, now)
        elif self._held:
            self._held.append((frame, now))
            self.tick(now)
        elif isinstance(frame, AudioFrame):
            self._early.append(frame)
        elif frame.keyFrame and parameterSets(frame.data):
            self._since = now
            self._held = [(frame, now)]
            self.tick(now)

    def tick(self, now: float) -> None:
        """
        Open the container if all is known, or if the wait is over.
        """
        if not self.waiting:
            return
        pictures = [f for f, _ in self._held if isinstance(f, VideoFrame)]
        # With as many pictures, the distance between two of them shows.
        enough = len(pictures) > 2 * pictures[0].reorder
        sound = self._early or len(pictures) < len(self._held)
        if (enough and sound) or now - self._since >= SOUND_WAIT:
            self._open()

    def _open(self) -> None:
        pictures = [f for f, _ in self._held if isinstance(f, VideoFrame)]
        first = pictures[0]
        earliest = first.timestamp - round(SOUND_WAIT * 1_000_000)
        early = [f for f in self._early if f.timestamp >= earliest]
        sounds = early + [f for f, _ in self._held if isinstance(f, AudioFrame)]
        self._sound = bool(sounds)
        self._timeline = Timeline(
            first.reorder,
            [picture.timestamp for picture in pictures],
            min((sound.timestamp for sound in sounds), default=None),
        )
        self._muxer = self._openMuxer(
            Opening(first.data, sounds[0].channels if sounds else None)
        )
        held, self._held = self._held, []
        self._early.clear()
        for sound in early:
            self._mux(sound, self._since)
        for frame, arrival in held:
            self._mux(frame, arrival)

    def _mux(self, frame: VideoFrame | AudioFrame, arrival: float) -> None:
        assert self._muxer is not None and self._timeline is not None
        if isinstance(frame, VideoFrame):
            pts, dts = self._timeline.video(frame.timestamp, frame.keyFrame, arrival)
            step = self._timeline.step
            self._muxer.video(frame.data, pts, dts, step, frame.keyFrame)
            return
        when = self._timeline.audio(frame.timestamp) if self._sound else None
        samples = opusSamples(frame.data)
        if when is None or not samples:
            self.soundDropped += 1
            return
        self._muxer.audio(frame.data, when, samples)

    def close(self) -> None:
        """
        Write what is held, and the end of the container.
        """
        if self.waiting:
            self._open()
        if self._muxer is not None:
            self._muxer.close()
