"""
An X11 screen as a source.
"""

from __future__ import annotations

import os
from typing import Final

import av
from av.container import InputContainer

from rootstream.errors import SourceError
from rootstream.media.encode import MAX_FPS, MIN_FPS, VideoEncoder
from rootstream.media.outlet import Outlet
from rootstream.protocol.events import Command, Control

__all__ = ["ScreenSource"]

DEFAULT_FPS: Final = 30


class ScreenSource:
    """
    Grabs the whole screen, pointer included, and encodes it.

    A screen of an odd size loses a row or column: H.264 in 4:2:0 has even sizes.
    """

    live = True

    def __init__(self, display: str | None) -> None:
        display = display or os.environ.get("DISPLAY")
        if not display:
            raise SourceError(
                "there is no screen to show: DISPLAY is not set; "
                "name one, as in screen::0"
            )
        self._display = display if ":" in display else f":{display}"
        self._fps = DEFAULT_FPS
        self._encoder: VideoEncoder | None = None
        self._grab: InputContainer | None = None

    def open(self, outlet: Outlet) -> None:
        """
        Connect to the X server.
        """
        self._grab = grab = self._connect({})
        context = grab.streams.video[0].codec_context
        if context.width % 2 or context.height % 2:
            # Grab less, since to scale by so little would blur all text.
            size = f"{context.width & ~1}x{context.height & ~1}"
            self._grab = self._connect({"video_size": size})
            grab.close()

    def _connect(self, options: dict[str, str]) -> InputContainer:
        try:
            grab: InputContainer = av.open(
                self._display,
                "r",
                format="x11grab",
                options={
                    "framerate": str(self._fps),
                    # Or libavformat gathers half a second of pictures to guess
                    # their rate, and then gives them all at once.
                    "fpsprobesize": "0",
                    **options,
                },
            )
        except (av.FFmpegError, OSError):
            raise SourceError(
                f"cannot grab the screen {self._display}; "
                "see that an X server runs there and lets you in"
            ) from None
        return grab

    def run(self, outlet: Outlet) -> None:
        """
        Until told to stop.
        """
        while True:
            # The grabber makes up for all the pictures it was not asked for,
            # before anybody watched or during a pause, and cannot change its
            # rate: a new one does neither.  The old one goes last, because an X
            # server may start over when its only client leaves.
            old = self._grab
            self.open(outlet)
            if old is not None:
                old.close()
            self._show(outlet)

    def _show(self, outlet: Outlet) -> None:
        assert self._grab is not None
        for packet in self._grab.demux(video=0):
            captured = outlet.now()
            for picture in packet.decode():
                assert isinstance(picture, av.VideoFrame)
                self._send(outlet, picture, captured)
            outlet.sleep(0)
            anew = False
            for control in outlet.commands():
                if control.command is Command.SET_FPS:
                    self._fps = min(max(control.value, MIN_FPS), MAX_FPS)
                if self._encoder is not None:
                    self._encoder.obey(control)
                anew |= control.command in (Command.SET_FPS, Command.RESUME)
            if anew:
                return
        raise SourceError(f"the screen {self._display} went away; start its X server")

    def _send(self, outlet: Outlet, picture: av.VideoFrame, captured: int) -> None:
        if self._encoder is None:
            self._encoder = VideoEncoder(picture.width, picture.height, self._fps)
        shown = picture.reformat(format="yuv420p")
        for frame in self._encoder.encode(shown, captured):
            if not outlet.video(frame):
                self._encoder.obey(Control(Command.REQUEST_KEYFRAME))

    def close(self) -> None:
        """
        Leave the X server.
        """
        if self._grab is not None:
            self._grab.close()
            self._grab = None
