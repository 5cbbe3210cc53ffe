"""
Video frames cut into packets, and put together again.

A VIDEO frame's body is ``frame_id u32 · index u16 · count u16 · flags u8 ·
ts_us u48`` and a chunk of the access unit; bit 0 of the flags marks a key frame,
bits 1 to 5 hold the reorder depth (0 to 16), the others are 0 and not looked at.
All chunks of a frame have the same header but for the index, and all but the last
the same size, so one cannot be laid over another (PROTOCOL, section 3).

Frames are numbered without gaps and delivered in that order: a decoder has no use
for a frame whose reference is still to come.  A hole is waited for, since a sender
that suspects its path sends again, but only for so long and in so much memory.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from rootstream.errors import BadPacket, LocalError
from rootstream.protocol.constants import (
    MAX_CHUNK,
    MAX_CHUNKS,
    MAX_PARTIAL_FRAMES,
    MAX_REASSEMBLY_BYTES,
    MAX_REORDER,
    MAX_WAITING_FRAMES,
    VIDEO_DEADLINE,
    VIDEO_HEADER,
)
from rootstream.protocol.events import VideoFrame, VideoLost, VideoReceived
from rootstream.protocol.frames import FrameType

_KEY_FRAME: Final = 0x01
_REORDER: Final = 0x3E
_MASK: Final = 0xFFFFFFFF
_HALF: Final = 1 << 31
#: Before anything was delivered, an id this far below the first one seen is taken
#: for an earlier frame that was overtaken.
_START_SLACK: Final = 64
_NEVER: Final = float("-inf")

_PLACE = struct.Struct("<IH9s")
_COUNT = struct.Struct("<H")
_ABOUT = struct.Struct("<BIH")
#: Both, with the type in front.
_HEADER = struct.Struct("<BIHHBIH")
_KIND: Final = int(FrameType.VIDEO)
# Where in a chunk, type included, its flags are, the part of its header that all chunks
# of a frame share, and its data.
_FLAGS: Final = 9
_DATA: Final = 1 + VIDEO_HEADER
_SHARED: Final = slice(7, _DATA)


def chunk(frameId: int, frame: VideoFrame, size: int = MAX_CHUNK) -> list[bytes]:
    """
    Cut a frame into the plaintexts of packets, ready to seal, with at most ``size``
    bytes of it each.
    """
    count = -(-len(frame.data) // size)
    if not 0 < count <= MAX_CHUNKS:
        raise LocalError(
            f"a video frame of {len(frame.data)} bytes; 1 to {MAX_CHUNKS * size} can "
            "be sent: lower the bitrate or the quality"
        )
    if not (0 <= frame.timestamp < 1 << 48 and 0 <= frame.reorder <= MAX_REORDER):
        raise LocalError("a video frame's timestamp or reorder depth is out of range")
    flags = frame.keyFrame | frame.reorder << 1
    low, high = frame.timestamp & _MASK, frame.timestamp >> 32
    pack = _HEADER.pack
    data = frame.data
    return [
        pack(_KIND, frameId, index, count, flags, low, high) + data[at : at + size]
        for index, at in enumerate(range(0, len(data), size))
    ]


@dataclass(slots=True)
class _Frame:
    """
    A frame of which something has arrived.

    ``chunks`` while it is incomplete, then ``video``; a frame that contradicted
    itself has neither, and stays only so that the rest of it is not taken for a
    new frame.  ``size`` is that of all chunks but the last, 0 until one is here.
    """

    shared: bytes
    firstAt: float
    chunks: dict[int, bytes] | None = field(default_factory=dict)
    video: VideoFrame | None = None
    size: int = 0


class Reassembler:
    """
    The receiving half: chunks in, whole frames out, in order.

    Delivery.  A frame goes out as soon as it and all before it are complete.  What
    blocks the next one, a frame that is incomplete or of which nothing came, is
    given up ``deadline`` seconds after the first chunk of it or of any later frame
    came.  A `VideoLost` counts what was given up, ahead of the `VideoReceived` that
    follows.  Key frames wait like all others: delivering one early saves half a
    second at best, and throws away what was about to be mended.  Only after a
    silence (`resume`) the first whole frame goes out at once: what is missing before
    it is too old to be sent again.

    Start.  The first chunk ever received sets the first id.  Until a frame was
    delivered or given up, an id up to 64 below moves the start back, so that
    reordering in the first packets loses nothing that is still incomplete there.

    Memory.  At most `MAX_PARTIAL_FRAMES` incomplete frames, `MAX_WAITING_FRAMES`
    in all, and `MAX_REASSEMBLY_BYTES`, counted as they arrive and not as a header
    promises.  Past a limit, the oldest goes first: an incomplete frame is dropped,
    and complete ones that waited behind it are delivered, not dropped.

    ``bytesHeld`` is the sum of the chunks kept; ``dropped`` counts the frames that
    came in part and were thrown away.
    """

    def __init__(self, deadline: float = VIDEO_DEADLINE) -> None:
        self._deadline = deadline
        self.dropped = 0
        self.reset()

    def reset(self) -> None:
        """
        Forget all: the peer is a new one, and numbers its frames from anywhere.
        """
        self._frames: dict[int, _Frame] = {}
        self._next = 0
        self._seen = False
        self._settled = False
        self._resuming = False
        self._partial = 0
        self.bytesHeld = 0

    def receive(self, body: bytes, now: float) -> list[VideoReceived | VideoLost]:
        """
        Take the body of one VIDEO frame, and say what came of it.
        """
        delivered: list[VideoReceived | VideoLost] = []
        self.receiveMany((bytes((_KIND,)) + body,), delivered, now)
        return delivered

    def receiveMany(
        self,
        chunks: Sequence[bytes],
        delivered: list[VideoReceived | VideoLost],
        now: float,
    ) -> None:
        """
        Take VIDEO frames, types included, and add to ``delivered`` what came of them,
        also if `BadPacket` is raised for one of them.
        """
        place = _PLACE.unpack_from
        frameId = last = missing = size = 0
        shared = b""
        held: dict[int, bytes] = {}
        for chunk in chunks:
            if missing > 1 and len(chunk) == size:
                number, index, its = place(chunk, 1)
                if (
                    number == frameId
                    and its == shared
                    and index < last
                    and index not in held
                ):
                    # As almost always: one more of the same frame, and not the last.
                    # The limits are looked at with the first chunk of the next batch.
                    held[index] = chunk[_DATA:]
                    self.bytesHeld += size - _DATA
                    missing -= 1
                    continue
            frame = self._receive(chunk, delivered, now)
            missing = 0
            if frame is not None and frame.chunks is not None and frame.size:
                held = frame.chunks
                frameId, _, shared = place(chunk, 1)
                (count,) = _COUNT.unpack_from(shared)
                last = count - 1
                missing = count - len(held)
                size = frame.size + _DATA

    def _receive(
        self, chunk: bytes, delivered: list[VideoReceived | VideoLost], now: float
    ) -> _Frame | None:
        """
        Take one of them; returns the frame that waits for more like it, if any.
        """
        size = len(chunk) - _DATA
        if size <= 0:
            raise BadPacket("a video chunk without data")
        frameId, index, shared = _PLACE.unpack_from(chunk, 1)
        (count,) = _COUNT.unpack_from(shared)
        if index >= count or count > MAX_CHUNKS:
            raise BadPacket("a video chunk outside its frame")
        frame = self._frames.get(frameId) or self._begin(frameId, chunk, now)
        if frame is None or (held := frame.chunks) is None:
            return None
        last = index + 1 == count
        odd = not last and size != frame.size
        if shared != frame.shared or (odd and frame.size):
            self._spoil(frame)
        elif index in held:
            return frame
        else:
            if odd:
                frame.size = size
            held[index] = chunk[_DATA:]
            self.bytesHeld += size
            if len(held) == count:
                self._complete(frame, held)
            elif self._partial > MAX_PARTIAL_FRAMES:
                self._spoilOldest()
            elif not self._isFull():
                return frame
        delivered += self._drain(_NEVER)
        return None

    def timerFired(self, now: float) -> list[VideoReceived | VideoLost]:
        """
        Give up what has been waited for long enough.
        """
        return self._drain(now)

    def resume(self) -> None:
        """
        The peer is heard again, after a silence longer than the deadline.
        """
        self._resuming = True

    def nextTimer(self) -> float | None:
        """
        When `timerFired` must be called, if ever.
        """
        return self._givenUpAt() if self._frames else None

    def _givenUpAt(self) -> float:
        # Everything that is here is at or past the hole, so whichever of it came
        # first was the first sign of the hole.
        return min(frame.firstAt for frame in self._frames.values()) + self._deadline

    def _isFull(self) -> bool:
        return (
            self.bytesHeld > MAX_REASSEMBLY_BYTES
            or len(self._frames) > MAX_WAITING_FRAMES
        )

    def _ahead(self, frameId: int) -> int:
        return (frameId - self._next) & _MASK

    def _begin(self, frameId: int, body: bytes, now: float) -> _Frame | None:
        """
        Make room for a frame of which this is the first chunk, unless it is late.
        """
        if (body[_FLAGS] & _REORDER) >> 1 > MAX_REORDER:
            raise BadPacket("a video frame's reorder depth is out of range")
        if not self._seen:
            self._seen = True
            self._next = frameId
        elif self._ahead(frameId) >= _HALF:
            behind = (self._next - frameId) & _MASK
            if self._settled or behind > _START_SLACK:
                return None
            self._next = frameId
        frame = self._frames[frameId] = _Frame(body[_SHARED], now)
        self._partial += 1
        return frame

    def _complete(self, frame: _Frame, chunks: dict[int, bytes]) -> None:
        flags, low, high = _ABOUT.unpack_from(frame.shared, 2)
        data = b"".join([chunks[index] for index in range(len(chunks))])
        frame.video = VideoFrame(
            data,
            low | high << 32,
            bool(flags & _KEY_FRAME),
            (flags & _REORDER) >> 1,
        )
        frame.chunks = None
        self._partial -= 1

    def _spoil(self, frame: _Frame) -> None:
        assert frame.chunks is not None
        self.bytesHeld -= sum(map(len, frame.chunks.values()))
        frame.chunks = None
        self._partial -= 1
        self.dropped += 1

    def _spoilOldest(self) -> None:
        oldest = min(
            (i for i, frame in self._frames.items() if frame.chunks is not None),
            key=self._ahead,
        )
        self._spoil(self._frames[oldest])

    def _mayJump(self) -> bool:
        if not self._resuming:
            return False
        return self._frames[min(self._frames, key=self._ahead)].video is not None

    def _drain(self, now: float) -> list[VideoReceived | VideoLost]:
        """
        Deliver from the front for as long as it can be done, giving up what is
        overdue at ``now`` or must go for the limits' sake.
        """
        events: list[VideoReceived | VideoLost] = []
        lost = 0
        frames = self._frames
        while frames:
            frame = frames.get(self._next)
            if frame is None or frame.chunks is not None:
                waits = self._givenUpAt() > now and not self._isFull()
                if waits and not self._mayJump():
                    break
                # The hole ends at the first frame that is here, or after it.
                first = min(frames, key=self._ahead)
                lost += self._ahead(first)
                self._next = first
                frame = frames[first]
                if frame.chunks is not None:
                    self._spoil(frame)
            del frames[self._next]
            self._next = (self._next + 1) & _MASK
            self._settled = True
            if frame.video is None:
                lost += 1
                continue
            self.bytesHeld -= len(frame.video.data)
            if lost:
                events.append(VideoLost(lost))
                lost = 0
            events.append(VideoReceived(frame.video))
            self._resuming = False
        if lost:
            events.append(VideoLost(lost))
        return events
