"""
Media that waits to be sent: little, not for long, and in order.

What bounds the delay is dropping, and it drops whole frames: a frame that lost
one chunk to a full queue costs the network as much as a whole one and shows
nothing.  After a video frame was dropped the ones that refer to it are of no use
either, so all wait for the next key frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rootstream.protocol.constants import (
    AUDIO_DEADLINE,
    BURST_PACKETS,
    MAX_BACKLOG,
    PACED_PACKETS_PER_SECOND,
    VIDEO_DEADLINE,
)


class Outbox:
    """
    A queue of plaintexts, each ready to be sealed into one packet.

    @ivar needKey: video frames are refused until a key frame comes.
    @ivar dropped: video frames refused or given up.
    """

    def __init__(self) -> None:
        self._queue: deque[tuple[bytes, float, int]] = deque()
        self._frame = 0
        self._pacedUntil = 0.0
        self.needKey = False
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._queue)

    def admitVideo(self, keyFrame: bool, backlog: int) -> bool:
        """
        Whether a video frame may be queued, with ``backlog`` bytes still waiting
        in the transport.  Say so before chunking it.
        """
        if backlog > MAX_BACKLOG or (self.needKey and not keyFrame):
            self.needKey = True
            self.dropped += 1
            return False
        self.needKey = False
        return True

    def addVideo(self, chunks: Sequence[bytes], now: float) -> None:
        """
        Queue the chunks of one video frame.
        """
        self._frame += 1
        deadline = now + VIDEO_DEADLINE
        frame = self._frame
        self._queue.extend([(chunk, deadline, frame) for chunk in chunks])

    def addAudio(self, plain: bytes, now: float) -> None:
        """
        Queue one audio frame.
        """
        self._queue.append((plain, now + AUDIO_DEADLINE, 0))

    def expire(self, now: float) -> None:
        """
        Drop what is too late, while nothing is taken.
        """
        queue = self._queue
        while queue and now >= queue[0][1]:
            _, _, frame = queue.popleft()
            if frame:
                self._dropFrame(frame)

    def clear(self) -> None:
        """
        Drop everything: the peer that it was for is gone.
        """
        self._queue.clear()
        self.needKey = False

    def take(self, now: float, paced: bool) -> list[tuple[bytes, float]]:
        """
        What may be sent now, each with its deadline.  ``paced`` limits it to
        what a receive buffer of the default size takes.
        """
        queue = self._queue
        taken: list[tuple[bytes, float]] = []
        limit = len(queue)
        if paced:
            start = max(
                self._pacedUntil, now - BURST_PACKETS / PACED_PACKETS_PER_SECOND
            )
            limit = round((now - start) * PACED_PACKETS_PER_SECOND)
        while queue and len(taken) < limit:
            plain, deadline, frame = queue.popleft()
            if now < deadline:
                taken.append((plain, deadline))
            elif frame:
                self._dropFrame(frame)
        if paced and taken:
            self._pacedUntil = start + len(taken) / PACED_PACKETS_PER_SECOND
        return taken

    def _dropFrame(self, frame: int) -> None:
        while self._queue and self._queue[0][2] == frame:
            self._queue.popleft()
        # All that is queued behind it refers to it; a key frame will come.
        self.dropped += 1
        self.needKey = True

    def nextTimer(self) -> float | None:
        """
        When `take` will give more, if there is more.
        """
        # A quarter of a burst is worth waking up for; one packet is not.
        wait = BURST_PACKETS / 4 / PACED_PACKETS_PER_SECOND
        return self._pacedUntil + wait if self._queue else None
