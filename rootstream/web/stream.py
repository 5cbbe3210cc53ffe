"""
The stream as a page gets it: one message for each frame, made once for all pages.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, Protocol

from rootstream.eventlog import Entry
from rootstream.media.h264 import parameterSets
from rootstream.protocol.events import AudioFrame, VideoFrame
from rootstream.web.served import Served

__all__ = ["Stream", "Watcher", "codecOf", "packAudio", "packVideo"]

#: Kind, flags, the host's time and the frame's age in microseconds.
_HEAD: Final = struct.Struct("<BBQQ")
#: Rate, channels, samples a channel.
_SOUND: Final = struct.Struct("<IHH")
VIDEO: Final = 1
AUDIO: Final = 2
KEY_FRAME: Final = 1
UNKNOWN: Final = 2**64 - 1
#: Seconds between two requests for a key frame.
KEY_FRAME_WAIT: Final = 0.5


def _age(seconds: float | None) -> int:
    return UNKNOWN if seconds is None else int(seconds * 1e6)


def packVideo(frame: VideoFrame, age: float | None) -> bytes:
    """
    The message of a frame, captured ``age`` seconds ago.
    """
    flags = KEY_FRAME if frame.keyFrame else 0
    return _HEAD.pack(VIDEO, flags, frame.timestamp, _age(age)) + frame.data


def packAudio(frame: AudioFrame, age: float | None) -> bytes:
    """
    The message of a packet of sound, captured ``age`` seconds ago.
    """
    return (
        _HEAD.pack(AUDIO, 0, frame.timestamp, _age(age))
        + _SOUND.pack(frame.sampleRate, frame.channels, frame.samples)
        + frame.data
    )


def codecOf(frame: VideoFrame) -> str | None:
    """
    What browsers call the codec of a key frame (RFC 6381): its profile and level are
    the bytes after the first of the SPS.
    """
    sets = parameterSets(frame.data)
    if sets is None or len(sets[0]) < 4:
        return None
    return f"avc1.{sets[0][1:4].hex().upper()}"


class Watcher(Protocol):
    """
    A page that shows the stream.
    """

    @property
    def wantsKeyFrame(self) -> bool:
        """
        Whether it can go on only with a key frame, and has room for one.
        """

    def video(self, message: bytes, keyFrame: bool, codec: str | None) -> None:
        """
        A frame; ``codec`` is that of the stream.
        """

    def audio(self, message: bytes) -> None:
        """
        A packet of sound.
        """


class Stream:
    """
    Takes the stream of a program while somebody watches it.

    :ivar impaired: whether the host is not heard.
    """

    def __init__(self, served: Served, now: Callable[[], float]) -> None:
        self._served = served
        self._now = now
        self._watchers: dict[Watcher, None] = {}
        self._asked = 0.0
        self._codec: str | None = None
        self.impaired = False

    def add(self, watcher: Watcher) -> None:
        """
        Somebody watches from the next key frame on.
        """
        first = not self._watchers
        self._watchers[watcher] = None
        if first:
            self._asked = self._now()
            # Asks for a key frame by itself.
            self._served.tee.add(self)
        else:
            self.wantKeyFrame()

    def remove(self, watcher: Watcher) -> None:
        """
        Somebody watches no more.  Harmless when repeated.
        """
        if self._watchers.pop(watcher, self) is None and not self._watchers:
            self._served.tee.remove(self)

    def wantKeyFrame(self) -> None:
        """
        Ask for a key frame, unless that was done a moment ago.
        """
        now = self._now()
        if now - self._asked >= KEY_FRAME_WAIT:
            self._asked = now
            self._served.wantKeyFrame()

    def happened(self, entry: Entry) -> None:
        """
        An event.
        """
        if entry["event"] in ("impaired", "recovered"):
            self.impaired = entry["event"] == "impaired"
        elif entry["event"] == "state" and entry["to"] == "CONNECTED":
            # By a new session; the old one did not recover.
            self.impaired = False

    def video(self, frame: VideoFrame) -> None:
        """
        A frame of the tee.
        """
        if frame.keyFrame:
            self._codec = codecOf(frame) or self._codec
        message = packVideo(frame, self._served.latencyOf(frame))
        for watcher in tuple(self._watchers):
            watcher.video(message, frame.keyFrame, self._codec)
        if any(watcher.wantsKeyFrame for watcher in self._watchers):
            self.wantKeyFrame()

    def audio(self, frame: AudioFrame) -> None:
        """
        A packet of sound of the tee.
        """
        message = packAudio(frame, self._served.latencyOf(frame))
        for watcher in tuple(self._watchers):
            watcher.audio(message)
