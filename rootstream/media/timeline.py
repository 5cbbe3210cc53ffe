"""
Turning the sender's media times into the times that a container wants.

A container wants times from 0, decoding times that strictly increase and never
pass the presentation time, and sound placed against the picture as it was sent.
The sender gives presentation times only, on a clock that starts anew when its
process does.  Nothing here fails: times come from the network and may be
anything.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

__all__ = ["Timeline"]

#: Microseconds between frames when there is no second frame to tell.
DEFAULT_STEP: Final = 33_333
#: A little more than one tick of MPEG-TS's 90 kHz clock, so that two times never
#: round to the same one.
LEAST_STEP: Final = 20
#: The sender's clock and ours disagree by more than this between two frames only
#: when the sender started anew.
JUMP: Final = 10_000_000


class Timeline:
    """
    The times of one recording, in microseconds.

    Decoding times come from a delay line.  Decoders show pictures in the order
    of their times and hold back at most ``reorder`` of them, so the sorted list
    of presentation times, ``reorder`` places late, is a list of decoding times
    that is never late for any picture.  The places before the first picture are
    filled with the distance between the first pictures.
    """

    def __init__(
        self, reorder: int, first: Sequence[int], soundFrom: int | None
    ) -> None:
        """
        :param first: The times of the first pictures, in decoding order.
        :param soundFrom: The time of the first sound, if there is any.
        """
        times = sorted(set(first))
        gaps = [later - earlier for earlier, later in pairwise(times)]
        self._reorder = reorder
        self.step = max(min(gaps), LEAST_STEP) if gaps else DEFAULT_STEP
        self._origin = first[0] - reorder * self.step
        if soundFrom is not None:
            self._origin = min(self._origin, soundFrom)
        self._fillDelayLine(first[0] - self._origin)
        self._lastDts = -LEAST_STEP
        self._highest = -1
        self._lastSound = -1
        self._previous: tuple[int, float] | None = None

    def _fillDelayLine(self, pts: int) -> None:
        self._delayed = [
            pts - place * self.step for place in range(self._reorder, 0, -1)
        ]

    def video(self, timestamp: int, keyFrame: bool, arrival: float) -> tuple[int, int]:
        """
        The presentation and decoding time of the next picture, which arrived
        at ``arrival`` seconds.
        """
        if self._startedAnew(timestamp, keyFrame, arrival):
            pts = max(self._highest, self._lastDts) + self.step
            self._origin = timestamp - pts
            self._fillDelayLine(pts)
        self._previous = (timestamp, arrival)
        pts = timestamp - self._origin
        bisect.insort(self._delayed, pts)
        dts = max(self._delayed.pop(0), self._lastDts + LEAST_STEP)
        pts = max(pts, dts)
        self._lastDts = dts
        self._highest = max(self._highest, pts)
        return pts, dts

    def _startedAnew(self, timestamp: int, keyFrame: bool, arrival: float) -> bool:
        """
        No picture after a key frame is shown before it, so a key frame that is
        not later than all before comes from a clock that started anew.
        """
        if self._previous is None:
            return False
        if keyFrame and timestamp - self._origin <= self._highest:
            return True
        before, arrivedBefore = self._previous
        drift = (timestamp - before) - (arrival - arrivedBefore) * 1e6
        return abs(drift) > JUMP

    def audio(self, timestamp: int) -> int | None:
        """
        The time of the next sound, or ``None`` when it has no place: before the
        start, not after the sound before it, or from another clock.
        """
        pts = timestamp - self._origin
        near = min(abs(pts - self._highest), abs(pts - self._lastSound))
        if pts < 0 or pts <= self._lastSound or near > JUMP:
            return None
        self._lastSound = pts
        return pts
