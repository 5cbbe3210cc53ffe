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
    BACKLOG_LOOK,
    BURST_PACKETS,
    PACED_PACKETS_PER_SECOND,
    VIDEO_DEADLINE,
)


class Outbox:
    """
    A queue of plaintexts, each ready to be sealed into one packet.

    @ivar needKey: video frames are refused until a key frame comes.
    @ivar dropped: video frames refused or given up.
    @ivar lookAt: when to look whether the path has room for a key frame again.
    """

    def __init__(self) -> None:
        self._queue: deque[tuple[bytes, float, int]] = deque()
        self._frame = 0
        self._pacedUntil = 0.0
        self.needKey = False
        self.dropped = 0
        self.lookAt: float | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def admitVideo(self, keyFrame: bool, congested: bool, now: float) -> bool:
        """
        Whether a video frame may be queued, on a path that is ``congested`` or not.
        """
        if congested or (self.needKey and not keyFrame):
            if congested and self.lookAt is None:
                self.lookAt = now + BACKLOG_LOOK
            self.needKey = True
            self.dropped += 1
            return False
        self.needKey = False
        self.lookAt = None
        return True

    def looks(self, congested: bool, now: float) -> bool:
        """
        Whether to ask for a key frame now: video was refused, and it need not be any
        more.
        """
        if self.lookAt is None or now < self.lookAt:
            return False
        self.lookAt = now + BACKLOG_LOOK if congested else None
        return not congested

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

    def giveUpVideo(self) -> None:
        """
        Drop all video: it is cut into packets that do not get through.
        """
        frames = {frame for _, _, frame in self._queue if frame}
        self._queue = deque(each for each in self._queue if not each[2])
        self.dropped += len(frames)
        self.needKey = True

    def clear(self) -> None:
        """
        Drop everything: the peer that it was for is gone.
        """
        self._queue.clear()
        self.needKey = False
        self.lookAt = None

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
        When `take` will give more, or `looks` has something to say, if ever.
        """
        # A quarter of a burst is worth waking up for; one packet is not.
        wait = BURST_PACKETS / 4 / PACED_PACKETS_PER_SECOND
        times = [self._pacedUntil + wait if self._queue else None, self.lookAt]
        return min((at for at in times if at is not None), default=None)
