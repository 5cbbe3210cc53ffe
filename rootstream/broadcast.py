"""
A source and everyone who watches it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from rootstream.errors import LocalError, SourceError
from rootstream.fanout import Audience
from rootstream.media import MediaSource
from rootstream.peer import Peer
from rootstream.protocol.events import AudioFrame, Command, Control, VideoFrame
from rootstream.tee import Tee

__all__ = ["Broadcast"]


class Broadcast:
    """
    Opens a source at once, so that a bad one is said at once, and lets it flow from
    the first viewer on, so that a file is seen from its beginning.

    ``ended`` is told when the source is over, with the error that ended it, if any;
    ``tee`` hands the stream on here, and counts as a viewer while somebody takes it.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        source: MediaSource,
        ended: Callable[[SourceError | None], None],
        tee: Tee,
    ) -> None:
        self._tee = tee
        self._source = source
        self._ended = ended
        self._audience = Audience(reactor, self._wantKeyFrame)
        self._opened = False
        self._flowing = False

    @property
    def framesSent(self) -> int:
        """
        Video frames that at least one viewer was sent.
        """
        return self._audience.framesSent

    def open(self) -> None:
        """
        Open the source.
        """
        self._source.open().addCallbacks(self._sourceOpened, self._sourceFailed)

    def stop(self) -> Deferred[None]:
        """
        Stop the source; fires when it has let go of what it read.
        """
        return self._source.stop()

    def _sourceOpened(self, _: None) -> None:
        self._opened = True
        self._flow()

    def _sourceFailed(self, reason: Failure) -> None:
        error = reason.value
        if not isinstance(error, SourceError):
            self._log.failure("The source failed.", failure=reason)
            error = SourceError(f"the source failed: {error}")
        self._ended(error)

    def _flow(self) -> None:
        wanted = len(self._audience) or len(self._tee)
        if self._opened and not self._flowing and wanted:
            self._flowing = True
            self._source.start(self)

    def _wantKeyFrame(self) -> None:
        if self._flowing:
            self._source.control(Command.REQUEST_KEYFRAME)

    def teeWantsKeyFrame(self) -> None:
        """
        Somebody takes the stream here, from its next key frame on.
        """
        self._flow()
        self._wantKeyFrame()

    # --- what the source delivers ---

    def video(self, frame: VideoFrame) -> None:
        """
        A frame of the source.
        """
        try:
            self._audience.video(frame)
        except LocalError as error:
            # One frame too large to send; the next may fit.
            self._log.warn("A video frame was not sent: {error}.", error=error)
        self._tee.video(frame)

    def audio(self, frame: AudioFrame) -> None:
        """
        Sound of the source.
        """
        try:
            self._audience.audio(frame)
        except LocalError as error:
            self._log.warn("A packet of sound was not sent: {error}.", error=error)
        self._tee.audio(frame)

    def ended(self, error: SourceError | None) -> None:
        """
        The source is over.
        """
        self._ended(error)

    # --- what the viewers do ---

    def viewerCame(self, peer: Peer) -> None:
        """
        A peer is connected.
        """
        self._audience.add(peer)
        self._flow()

    def viewerLeft(self, peer: Peer) -> None:
        """
        A peer is not connected any more.
        """
        self._audience.remove(peer)

    def keyFrameWanted(self, peer: Peer) -> None:
        """
        A peer can go on only from a key frame.
        """
        self._audience.keyFrameWanted(peer)

    def controlled(self, peer: Peer, control: Control) -> None:
        """
        A peer asks something of the source.
        """
        match control.command:
            case Command.DISCONNECT:
                peer.close("as you asked")
            case Command.REQUEST_KEYFRAME:
                # `keyFrameWanted` has come as well.
                pass
            case _:
                self._source.control(control.command, control.value)

    def ordered(self, peer: Peer, command: Command, value: int) -> None:
        """
        The user of the host asks something of the source, or that a peer goes.
        """
        if command is Command.DISCONNECT:
            peer.close("the host disconnected you")
        else:
            self._source.control(command, value)
