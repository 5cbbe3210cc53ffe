"""
One source, many viewers.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from rootstream.errors import LocalError
from rootstream.peer import Peer
from rootstream.protocol.constants import KEYFRAME_REQUEST_INTERVAL
from rootstream.protocol.events import AudioFrame, VideoFrame
from rootstream.protocol.shared import SharedFrame

__all__ = ["Audience"]


class Audience:
    """
    Hands each frame of a source to every connected peer.

    A frame is cut into packets once for all of them.  A viewer begins with a key
    frame, and goes on from one after frames to it were dropped; sound starts with the
    picture.  One that cannot keep up hurts itself alone.  ``wantKeyFrame`` asks the
    source for a key frame, seldom however many viewers ask.

    @ivar framesSent: video frames handed to at least one viewer.
    """

    def __init__(self, clock: IReactorTime, wantKeyFrame: Callable[[], None]) -> None:
        self._clock = clock
        self._wantKeyFrame = wantKeyFrame
        #: Whether each viewer can show the next frame that is no key frame.
        self._inStep: dict[Peer, bool] = {}
        self._asked = False
        self._askAgainAt = 0.0
        self.framesSent = 0

    def __len__(self) -> int:
        return len(self._inStep)

    def add(self, peer: Peer) -> None:
        """
        A viewer came.
        """
        self._inStep[peer] = False
        self._ask()

    def remove(self, peer: Peer) -> None:
        """
        A viewer left.
        """
        self._inStep.pop(peer, None)

    def keyFrameWanted(self, peer: Peer) -> None:
        """
        A viewer lost its step: the next frame that it can show is a key frame.
        """
        if peer in self._inStep:
            self._ask()

    def _ask(self) -> None:
        now = self._clock.seconds()
        if now < self._askAgainAt:
            # Asked for already, perhaps for a viewer that had come before this one.
            self._asked = True
            return
        self._askAgainAt = now + KEYFRAME_REQUEST_INTERVAL
        self._asked = False
        self._wantKeyFrame()

    def video(self, frame: VideoFrame) -> None:
        """
        A frame of the source, for all.  Raises `rootstream.errors.LocalError` when it
        is too large for everybody.
        """
        if frame.keyFrame:
            # Whoever asked before this frame has what he wanted.
            self._asked = False
        elif self._asked:
            self._ask()
        shared = SharedFrame.of(frame)
        taken = False
        tooLarge: LocalError | None = None
        for peer, inStep in tuple(self._inStep.items()):
            if inStep or frame.keyFrame:
                try:
                    sent = peer.sendVideo(shared)
                except LocalError as error:
                    # For this one: another's path may take larger packets.
                    tooLarge = error
                    continue
                taken = taken or sent
                if peer in self._inStep:
                    self._inStep[peer] = sent
        self.framesSent += taken
        if tooLarge is not None and not taken:
            raise tooLarge

    def audio(self, frame: AudioFrame) -> None:
        """
        Sound of the source, for all who see the picture.
        """
        for peer, inStep in tuple(self._inStep.items()):
            if inStep:
                peer.sendAudio(frame)
