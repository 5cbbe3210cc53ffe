"""
One stream for several who take it: a recording, a page, and the sink it is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger

from rootstream.protocol.events import AudioFrame, VideoFrame

__all__ = ["IFrames", "Tee"]


class IFrames(Protocol):
    """
    Who takes the frames of a stream.
    """

    def video(self, frame: VideoFrame) -> None:
        """
        One access unit; the first is a key frame.
        """

    def audio(self, frame: AudioFrame) -> None:
        """
        One packet of sound.
        """


class Tee:
    """
    Hands each frame to all that were added, each from a key frame on, which
    ``wantKeyFrame`` asks for.  One that raises is removed and logged, and the stream
    goes on.
    """

    _log = Logger()

    def __init__(self, wantKeyFrame: Callable[[], None]) -> None:
        self._wantKeyFrame = wantKeyFrame
        self._takers: dict[IFrames, bool] = {}

    def __len__(self) -> int:
        return len(self._takers)

    def add(self, taker: IFrames) -> None:
        """
        Hand frames to this one as well.
        """
        self._takers[taker] = False
        self._wantKeyFrame()

    def remove(self, taker: IFrames) -> None:
        """
        No more frames for this one.  Harmless when repeated.
        """
        self._takers.pop(taker, None)

    def video(self, frame: VideoFrame) -> None:
        """
        A frame of the stream.
        """
        for taker, begun in tuple(self._takers.items()):
            if begun or frame.keyFrame:
                self._takers[taker] = True
                self._hand(taker, taker.video, frame)

    def audio(self, frame: AudioFrame) -> None:
        """
        Sound of the stream.
        """
        for taker, begun in tuple(self._takers.items()):
            if begun:
                self._hand(taker, taker.audio, frame)

    def _hand(self, taker: IFrames, take: Callable[[Any], None], frame: object) -> None:
        try:
            take(frame)
        except Exception:
            self._log.failure("Somebody who takes the stream failed.")
            self.remove(taker)
