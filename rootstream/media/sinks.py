"""
From the word after ``--sink`` to something that takes frames.

A sink writes in a thread of its own, behind a bounded queue: neither a slow disk
nor a paused player ever holds the reactor.  A file must get everything, so it
fails when the queue is full; a live reader wants the newest, so frames are left
out for it, up to a key frame.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import av
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from rootstream.errors import SinkError
from rootstream.media.mp4 import Mp4Muxer
from rootstream.media.muxing import AvMuxer, Muxer, Opening, Recorder
from rootstream.media.outputs import PipeOutput, WholeFile
from rootstream.protocol.events import AudioFrame, VideoFrame

__all__ = ["MediaSink", "NullSink", "ThreadedSink", "openSink"]

#: Bytes waiting for a disk before the recording is given up.
FILE_LIMIT: Final = 64 << 20
#: Bytes waiting for a live reader before frames are left out.
LIVE_LIMIT: Final = 2 << 20
#: Seconds a live reader gets to take the rest when the sink closes.
CLOSE_WAIT: Final = 1.0
#: How often a recording that waits for sound looks at the clock.
TICK: Final = 0.05

CONTAINERS: Final = {".mkv": "matroska", ".mp4": "mp4", ".ts": "mpegts"}


class MediaSink(Protocol):
    """
    What takes a stream's frames, in the reactor thread.
    """

    def video(self, frame: VideoFrame) -> None: ...

    def audio(self, frame: AudioFrame) -> None: ...

    def close(self) -> Deferred[None]:
        """
        Fires when all is written.  Trouble goes to the ``failed`` callback.
        """


class Destination(Protocol):
    """
    Where a `ThreadedSink` writes; used from its thread, but for `abandon`.
    """

    name: str
    live: bool

    def open(self, opening: Opening) -> Muxer: ...

    def commit(self) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


def openSink(
    spec: str,
    *,
    reactor: Any,
    failed: Callable[[SinkError], None],
    wantKeyFrame: Callable[[], None] = lambda: None,
) -> MediaSink:
    """
    Open what ``spec`` names: ``null``, ``-`` for standard output, a URL, or a
    file whose name ends in .mkv, .mp4 or .ts.

    :param failed: Called once, in the reactor thread, when writing has ended
        for a reason of its own.  Frames that come later are left out.
    :param wantKeyFrame: Called when frames were left out.
    :raise SinkError: when that cannot be opened.
    """
    destination: Destination
    if spec == "null":
        return NullSink()
    if spec == "-":
        destination = _Stdout()
    elif "://" in spec:
        destination = _Url(spec)
    else:
        destination = _File(spec)
    return ThreadedSink(destination, reactor, failed, wantKeyFrame)


class NullSink:
    """
    Counts what it is given.
    """

    def __init__(self) -> None:
        self.videoFrames = 0
        self.audioFrames = 0
        self.bytes = 0

    def video(self, frame: VideoFrame) -> None:
        self.videoFrames += 1
        self.bytes += len(frame.data)

    def audio(self, frame: AudioFrame) -> None:
        self.audioFrames += 1
        self.bytes += len(frame.data)

    def close(self) -> Deferred[None]:
        return succeed(None)


class _File:
    """
    A recording on disk.
    """

    live = False

    def __init__(self, path: str) -> None:
        form = CONTAINERS.get(os.path.splitext(path)[1].lower())
        if form is None:
            raise SinkError(
                f"cannot tell a container from the name {path!r}; "
                "use one that ends in .mkv, .mp4 or .ts"
            )
        self.name = path
        self._form = form
        self._file = WholeFile(path)
        self.commit = self._file.commit
        self.close = self._file.close
        self.abandon = self._file.abandon

    def open(self, opening: Opening) -> Muxer:
        if self._form == "mp4":
            return Mp4Muxer(self._file, opening.keyFrame, opening.channels)
        return AvMuxer(self._file, self._form, opening)


class _Stdout:
    """
    MPEG-TS on what was standard output.

    While it is open, descriptor 1 leads to standard error, so that whatever
    anything in the process prints cannot get between the packets.
    """

    name = "standard output"
    live = True

    def __init__(self) -> None:
        try:
            # Closed before we started, its number may be anything's by now.
            if sys.__stdout__ is None:
                raise SinkError("standard output is closed; pipe it into a player")
            if os.isatty(1):
                raise SinkError(
                    "standard output is a terminal; pipe it into a player, "
                    "as in: | ffplay -"
                )
            self._file = os.dup(1)
            os.dup2(2, 1)
        except OSError as error:
            raise SinkError(
                f"cannot use standard output: {error.strerror}; pipe it into a player"
            ) from None
        self._pipe = PipeOutput(self._file)
        self.commit = self._pipe.commit
        self.abandon = self._pipe.abandon

    def open(self, opening: Opening) -> Muxer:
        return AvMuxer(self._pipe, "mpegts", opening)

    def close(self) -> None:
        try:
            self._pipe.close()
        finally:
            os.dup2(self._file, 1)
            os.close(self._file)


class _Url:
    """
    Any place on the network that libavformat can write to.
    """

    live = True

    def __init__(self, url: str) -> None:
        self.name = url
        # RTMP carries nothing but FLV; all else that streams takes MPEG-TS.
        self._form = "flv" if url.startswith("rtmp") else "mpegts"

    def open(self, opening: Opening) -> Muxer:
        return AvMuxer(self.name, self._form, opening)

    def commit(self) -> None:
        """
        libavformat has flushed already.
        """

    def close(self) -> None:
        """
        The muxer closed the connection.
        """

    def abandon(self) -> None:
        """
        A write that blocks in libavformat cannot be interrupted; the thread is
        left behind.
        """


class ThreadedSink:
    """
    A queue, and the thread that empties it into a recording.
    """

    _log = Logger()

    def __init__(
        self,
        destination: Destination,
        reactor: Any,
        failed: Callable[[SinkError], None],
        wantKeyFrame: Callable[[], None],
    ) -> None:
        self._destination = destination
        self._reactor = reactor
        self._failed = failed
        self._wantKeyFrame = wantKeyFrame
        self._changed = threading.Condition()
        self._queue: deque[tuple[VideoFrame | AudioFrame, float]] = deque()
        self._queued = 0
        self._closing = False
        self._error: SinkError | None = None
        self._skipping = False
        self._asked = False
        self._gone = False
        self._closed: list[Deferred[None]] = []
        #: Frames left out because the reader was slow.
        self.framesSkipped = 0
        self._recorder = Recorder(destination.open)
        threading.Thread(target=self._run, name="sink", daemon=True).start()

    # In the reactor thread.

    def video(self, frame: VideoFrame) -> None:
        if self._skipping and not self._mayResume(frame):
            self.framesSkipped += 1
            return
        self._put(frame)

    def _mayResume(self, frame: VideoFrame) -> bool:
        if self._queued > LIVE_LIMIT // 2:
            return False
        if not frame.keyFrame:
            if not self._asked:
                self._asked = True
                self._wantKeyFrame()
            return False
        self._skipping = self._asked = False
        return True

    def audio(self, frame: AudioFrame) -> None:
        if not self._skipping:
            self._put(frame)

    def _put(self, frame: VideoFrame | AudioFrame) -> None:
        with self._changed:
            if self._closing:
                return
            self._queue.append((frame, time.monotonic()))
            self._queued += len(frame.data)
            if self._destination.live:
                self._skipping = self._queued > LIVE_LIMIT
            elif self._queued > FILE_LIMIT:
                self._closing = True
                self._error = SinkError(
                    f"cannot write {self._destination.name}: the disk is too slow "
                    "for this stream; choose another place"
                )
            self._changed.notify()

    def close(self) -> Deferred[None]:
        if self._gone:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._closed.append(closed)
        with self._changed:
            if not self._closing and self._destination.live:
                self._reactor.callLater(CLOSE_WAIT, self._giveUp)
            self._closing = True
            self._changed.notify()
        return closed

    def _giveUp(self) -> None:
        if not self._gone:
            self._destination.abandon()
            self._fire()

    def _threadGone(self, error: SinkError | None) -> None:
        self._gone = True
        dropped = self._recorder.soundDropped
        if dropped:
            self._log.warn(
                "{count} packets of sound had no place in {sink}.",
                count=dropped,
                sink=self._destination.name,
            )
        if error is not None:
            self._failed(error)
        self._fire()

    def _fire(self) -> None:
        closed, self._closed = self._closed, []
        for waiting in closed:
            waiting.callback(None)

    # In the sink's own thread.

    def _take(self) -> tuple[VideoFrame | AudioFrame, float] | None:
        """
        The next frame, or ``None`` when it is time to look at the clock.
        """
        with self._changed:
            if not self._queue and not self._closing:
                self._changed.wait(TICK if self._recorder.waiting else None)
            if not self._queue:
                return None
            taken = self._queue.popleft()
            self._queued -= len(taken[0].data)
            return taken

    def _record(self) -> None:
        while True:
            taken = self._take()
            if taken is not None:
                self._recorder.write(*taken)
            elif self._closing:
                break
            else:
                self._recorder.tick(time.monotonic())
            self._destination.commit()
        self._recorder.close()
        self._destination.commit()

    def _run(self) -> None:
        error = self._attempt(self._record)
        ending = self._attempt(self._destination.close)
        with self._changed:
            self._closing = True
            self._queue.clear()
        with contextlib.suppress(RuntimeError):  # the reactor is gone before us
            self._reactor.callFromThread(
                self._threadGone, self._error or error or ending
            )

    def _attempt(self, step: Callable[[], None]) -> SinkError | None:
        try:
            step()
        except SinkError as error:
            return error
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            return SinkError(f"cannot write {self._destination.name}: {reason}")
        except Exception:
            failure = Failure()
            self._reactor.callFromThread(
                self._log.failure, "A sink has a bug.", failure
            )
            return SinkError(
                f"cannot write {self._destination.name}: a bug in RootStream, "
                "see the log"
            )
        return None
