"""
From the word after ``--source`` to something that gives frames.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

import av
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from rootstream.errors import SourceError
from rootstream.media.encode import MAX_FPS, MIN_FPS
from rootstream.media.filesource import FileSource
from rootstream.media.outlet import MediaDelivery, Outlet, Stopped
from rootstream.media.screen import ScreenSource
from rootstream.media.testsource import TestSource
from rootstream.protocol.events import Command, Control

__all__ = ["MediaSource", "Production", "openSource"]

TEST_SPEC: Final = re.compile(r"test(?::(\d{1,5})x(\d{1,5})(?:@(\d{1,3}))?)?")
DEFAULT_TEST: Final = (1280, 720, 30)
MIN_SIZE: Final = 64
MAX_SIZE: Final = 4096
#: A read from the network cannot be interrupted; after this many seconds its
#: thread is left to end by itself.
STOP_WAIT: Final = 1.0


class Production(Protocol):
    """
    What happens in a source's thread.  Tests call it without one.
    """

    live: bool

    def open(self, outlet: Outlet) -> None: ...

    def run(self, outlet: Outlet) -> None: ...

    def close(self) -> None: ...


def openSource(spec: str, *, reactor: Any, clock: Callable[[], int]) -> MediaSource:
    """
    The source that ``spec`` names: ``test[:WxH[@FPS]]``, ``screen[:DISPLAY]``,
    ``-`` for standard input, or a file or URL.

    :param clock: The media clock, microseconds; it is called in any thread.
    :raise SourceError: when that is nothing.
    """
    return MediaSource(_production(spec), reactor, clock)


def _production(spec: str) -> Production:
    if not spec:
        raise SourceError("no source is named; use test, screen, a file, a URL or -")
    if spec == "test" or spec.startswith("test:"):
        return _testSource(spec)
    if spec == "screen" or spec.startswith("screen:"):
        return ScreenSource(spec.partition(":")[2] or None)
    return FileSource(spec)


def _testSource(spec: str) -> TestSource:
    match = TEST_SPEC.fullmatch(spec)
    if match is None:
        raise SourceError(f"cannot read {spec!r}; write it as test:1280x720@30")
    width, height, fps = (
        int(group) if group else default
        for group, default in zip(match.groups(), DEFAULT_TEST, strict=True)
    )
    if not all(
        MIN_SIZE <= side <= MAX_SIZE and side % 2 == 0 for side in (width, height)
    ):
        raise SourceError(
            f"the test picture cannot be {width}x{height}; use even numbers "
            f"from {MIN_SIZE} to {MAX_SIZE}"
        )
    if not MIN_FPS <= fps <= MAX_FPS:
        raise SourceError(
            f"the test picture cannot have {fps} frames a second; "
            f"use {MIN_FPS} to {MAX_FPS}"
        )
    return TestSource(width, height, fps)


class MediaSource:
    """
    The reactor's side of a source: a thread, and what is asked of it.
    """

    _log = Logger()

    def __init__(
        self, production: Production, reactor: Any, clock: Callable[[], int]
    ) -> None:
        self._production = production
        self._reactor = reactor
        self._outlet = Outlet(reactor, production.live, clock)
        self._opened: Deferred[None] | None = None
        self._deliver: MediaDelivery | None = None
        self._stopping: list[Deferred[None]] = []
        self._running = False

    @property
    def live(self) -> bool:
        """
        Whether frames that nobody takes in time are lost.
        """
        return self._production.live

    def open(self) -> Deferred[None]:
        """
        Fires when the source can be started, or fails with `SourceError`.
        """
        assert self._opened is None, "a source is opened once"
        self._opened = opened = Deferred[None]()
        self._running = True
        threading.Thread(target=self._run, name="source", daemon=True).start()
        return opened

    def start(self, deliver: MediaDelivery) -> None:
        """
        Let the frames of an opened source flow to ``deliver``.
        """
        self._deliver = deliver
        self._outlet.attach(deliver)

    def control(self, command: Command, value: int = 0) -> None:
        """
        Ask the source for something, as the other side did.
        """
        self._outlet.command(Control(command, value))

    def stop(self) -> Deferred[None]:
        """
        Fires when the source's thread is gone.  Nothing is delivered any more.
        """
        self._outlet.stop()
        if not self._running:
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        if not self._stopping:
            self._giveUp = self._reactor.callLater(STOP_WAIT, self._fireStopped)
        self._stopping.append(stopped)
        return stopped

    def _fireStopped(self) -> None:
        stopping, self._stopping = self._stopping, []
        for stopped in stopping:
            stopped.callback(None)

    def _isOpen(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.callback(None)

    def _threadGone(self, error: SourceError | None) -> None:
        self._running = False
        if self._stopping:
            if self._giveUp.active():
                self._giveUp.cancel()
            self._fireStopped()
        oversized = getattr(self._production, "oversized", 0)
        if oversized:
            self._log.warn(
                "{count} Opus packets were too large to be sent.", count=oversized
            )
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.errback(error or SourceError("the source was stopped"))
        elif self._deliver is not None and not self._outlet.stopped:
            self._deliver.ended(error)

    # In the source's own thread.

    def _run(self) -> None:
        error = self._attempt(self._produce)
        ending = self._attempt(self._production.close)
        with contextlib.suppress(RuntimeError):  # the reactor is gone before us
            self._reactor.callFromThread(self._threadGone, error or ending)

    def _produce(self) -> None:
        self._production.open(self._outlet)
        self._reactor.callFromThread(self._isOpen)
        self._outlet.awaitStart()
        self._production.run(self._outlet)

    def _attempt(self, step: Callable[[], None]) -> SourceError | None:
        try:
            step()
        except Stopped:
            pass
        except SourceError as error:
            return error
        except (av.FFmpegError, OSError) as error:
            return SourceError(f"the source failed: {error}")
        except Exception:
            failure = Failure()
            self._reactor.callFromThread(
                self._log.failure, "A source has a bug.", failure
            )
            return SourceError("the source failed: a bug in RootStream, see the log")
        return None
