"""
The way from a source's thread to the reactor: bounded, stoppable, paced.

A source makes frames in a thread of its own and hands them over here.  When the
reactor falls behind, a live source loses frames, whole and up to the next key
frame; any other source is held back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from rootstream.errors import SourceError
from rootstream.protocol.events import AudioFrame, Command, Control, VideoFrame

__all__ = ["MediaDelivery", "Outlet", "Stopped"]

#: Frames on their way to the reactor; half a second of 60 frames/s.
MAX_WAITING: Final = 30


class MediaDelivery(Protocol):
    """
    Where a source's frames go, in the reactor thread.
    """

    def video(self, frame: VideoFrame) -> None: ...

    def audio(self, frame: AudioFrame) -> None: ...

    def ended(self, error: SourceError | None) -> None:
        """
        The source is over: it came to its end, or ``error`` befell it.  Not
        called after it was told to stop.
        """


class Stopped(Exception):
    """
    The source was told to stop: leave the thread.
    """


class Outlet:
    """
    What a source's thread and the reactor share.
    """

    def __init__(
        self,
        reactor: Any,
        live: bool,
        clock: Callable[[], int],
        wall: Callable[[], float] = time.time,
    ) -> None:
        """
        :param clock: The media clock, in microseconds; called in the thread.
        :param wall: Seconds since 1970, for people to read.
        """
        self._reactor = reactor
        self._live = live
        self.now = clock
        self.wall = wall
        self._changed = threading.Condition()
        self._deliver: MediaDelivery | None = None
        self._commands: deque[Control] = deque()
        self._waiting = 0
        self._stopped = False
        self._gap = False
        #: Frames that a live source lost because the reactor was behind.
        self.framesDropped = 0

    # In the reactor thread.

    def attach(self, deliver: MediaDelivery) -> None:
        """
        Let the frames go to ``deliver``.
        """
        with self._changed:
            self._deliver = deliver
            self._changed.notify()

    def command(self, control: Control) -> None:
        """
        Pass a command on to the thread.
        """
        with self._changed:
            self._commands.append(control)
            self._changed.notify()

    def stop(self) -> None:
        """
        Make the thread's next call here raise `Stopped`.
        """
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _arrived(self, frame: VideoFrame | AudioFrame) -> None:
        with self._changed:
            self._waiting -= 1
            deliver = None if self._stopped else self._deliver
            self._changed.notify()
        if deliver is None:
            return
        if isinstance(frame, VideoFrame):
            deliver.video(frame)
        else:
            deliver.audio(frame)

    # In the source's thread.

    @property
    def stopped(self) -> bool:
        """
        Whether it is time to leave.
        """
        return self._stopped

    def _wait(self, ready: Callable[[], bool], seconds: float | None = None) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or ready(), seconds)
            if self._stopped:
                raise Stopped

    def awaitStart(self) -> None:
        """
        Wait until there is somebody to deliver to.
        """
        self._wait(lambda: self._deliver is not None)

    def sleep(self, microseconds: int) -> None:
        """
        Wait so long, but no longer than until a command comes.
        """
        self._wait(lambda: bool(self._commands), max(0, microseconds) / 1e6)

    def commands(self) -> list[Control]:
        """
        What was asked for since the last call.  While the source is paused this
        call does not come back; its last control is then the RESUME.
        """
        taken: list[Control] = []
        paused = False
        while self._commands or paused:
            self._wait(lambda: bool(self._commands))
            control = self._commands.popleft()
            if control.command is Command.PAUSE:
                paused = True
            elif control.command is not Command.RESUME:
                taken.append(control)
            elif paused:
                paused = False
                taken.append(control)
        return taken

    def video(self, frame: VideoFrame) -> bool:
        """
        Hand over a frame.  False when it was lost and a key frame should follow.
        """
        if self._live:
            self._gap = (self._gap and not frame.keyFrame) or self._full()
            if self._gap:
                self.framesDropped += 1
                return False
        self._send(frame)
        return True

    def audio(self, frame: AudioFrame) -> None:
        """
        Hand over a packet of sound.
        """
        if not (self._live and self._full()):
            self._send(frame)

    def _full(self) -> bool:
        return self._waiting >= MAX_WAITING

    def _send(self, frame: VideoFrame | AudioFrame) -> None:
        self._wait(lambda: not self._full())
        with self._changed:
            self._waiting += 1
        self._reactor.callFromThread(self._arrived, frame)
