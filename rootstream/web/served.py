"""
What the page asks of a program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from rootstream.eventlog import EventLog
from rootstream.protocol.events import AudioFrame, InputEvent, VideoFrame
from rootstream.status import ProgramStatus
from rootstream.tee import Tee

__all__ = ["Served"]


class Served(Protocol):
    """
    A program with a page.
    """

    @property
    def events(self) -> EventLog:
        """
        What happens.
        """

    @property
    def tee(self) -> Tee:
        """
        The stream.
        """

    @property
    def commands(self) -> Mapping[str, Callable[[Mapping[str, Any]], Deferred[Any]]]:
        """
        What can be asked, by name.
        """

    def status(self) -> ProgramStatus:
        """
        What it is doing now.
        """

    def wantKeyFrame(self) -> None:
        """
        Somebody can take the stream only from a key frame on.
        """

    def latencyOf(self, frame: VideoFrame | AudioFrame) -> float | None:
        """
        Seconds since a frame of the tee was captured, where that is known.
        """

    def sendInput(self, events: Sequence[InputEvent]) -> None:
        """
        Keys and the like, for the host.
        """

    def releaseInput(self) -> None:
        """
        Let go of all keys that were sent down.
        """
