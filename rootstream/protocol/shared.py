"""
A video frame that goes to many peers.

Every link numbers its frames by itself, and so the packets of one frame differ from
link to link: in four bytes.  All else is laid out once, when the first link sends it,
and costs the others a copy.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from rootstream.protocol.events import VideoFrame
from rootstream.protocol.frames import FrameType
from rootstream.protocol.video import chunk

__all__ = ["SharedFrame"]

#: In front of what is shared: the frame type and the number.
_START = struct.Struct("<BI")


@dataclass(frozen=True, slots=True)
class SharedFrame(VideoFrame):
    """
    A `VideoFrame` to hand to one peer after another.
    """

    #: What follows ``_START`` in each packet, by how much of the frame is in one.
    _rests: dict[int, list[bytes]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, frame: VideoFrame) -> SharedFrame:
        """
        The same frame, for many.
        """
        return cls(frame.data, frame.timestamp, frame.keyFrame, frame.reorder)

    def chunks(self, frameId: int, size: int) -> list[bytes]:
        """
        What `rootstream.protocol.video.chunk` makes of it.
        """
        rests = self._rests.get(size)
        if rests is None:
            rests = [plain[_START.size :] for plain in chunk(0, self, size)]
            self._rests[size] = rests
        start = _START.pack(FrameType.VIDEO, frameId)
        return [start + rest for rest in rests]
