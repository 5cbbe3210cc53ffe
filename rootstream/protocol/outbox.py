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
from dataclasses import dataclass

from rootstream.protocol.constants import (
    AUDIO_DEADLINE,
    BACKLOG_LOOK,
    VIDEO_DEADLINE,
)


@dataclass(slots=True, eq=False)
class _Waiting:
    """
    What is left of a frame that waits.
    """

    plains: Sequence[bytes]
    deadline: float
    isVideo: bool


class Outbox:
    """
    A queue of frames, in plaintexts each ready to be sealed into one packet.  Its
    length is the number of these.

    @ivar needKey: video frames are refused until a key frame comes.
    @ivar dropped: video frames refused or given up.
    @ivar lookAt: when to look whether the path has room for a key frame again.
    """

    def __init__(self) -> None:
        self._queue: deque[_Waiting] = deque()
        self._length = 0
        self.needKey = False
        self.dropped = 0
        self.lookAt: float | None = None

    def __len__(self) -> int:
        return self._length

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
        self._queue.append(_Waiting(chunks, now + VIDEO_DEADLINE, True))
        self._length += len(chunks)

    def addAudio(self, plain: bytes, now: float) -> None:
        """
        Queue one audio frame.
        """
        self._queue.append(_Waiting((plain,), now + AUDIO_DEADLINE, False))
        self._length += 1

    def expire(self, now: float) -> None:
        """
        Drop what is too late, while nothing is taken.
        """
        queue = self._queue
        while queue and now >= queue[0].deadline:
            late = queue.popleft()
            self._length -= len(late.plains)
            if late.isVideo:
                # All that is queued behind it refers to it; a key frame will come.
                self.dropped += 1
                self.needKey = True

    def giveUpVideo(self) -> None:
        """
        Drop all video: it is cut into packets that do not get through.
        """
        rest = [each for each in self._queue if not each.isVideo]
        self.dropped += len(self._queue) - len(rest)
        self._queue = deque(rest)
        self._length = len(rest)
        self.needKey = True

    def clear(self) -> None:
        """
        Drop everything: the peer that it was for is gone.
        """
        self._queue.clear()
        self._length = 0
        self.needKey = False
        self.lookAt = None

    def take(self, limit: int, now: float) -> list[tuple[Sequence[bytes], float]]:
        """
        What is to be sent now, of at most ``limit`` packets: pieces of frames, each
        with its deadline.
        """
        taken: list[tuple[Sequence[bytes], float]] = []
        queue = self._queue
        while limit > 0:
            self.expire(now)
            if not queue:
                break
            first = queue[0]
            plains = first.plains
            if len(plains) <= limit:
                queue.popleft()
            else:
                plains, first.plains = plains[:limit], plains[limit:]
            taken.append((plains, first.deadline))
            limit -= len(plains)
            self._length -= len(plains)
        return taken
