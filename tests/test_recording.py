"""
Tests for `rootstream.recording`: recordings begun and ended while a stream runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from rootstream import recording
from rootstream.errors import LocalError, SinkError
from rootstream.protocol.events import AudioFrame, VideoFrame
from rootstream.recording import MAX_NAME, Recordings
from rootstream.tee import Tee

KEY = VideoFrame(b"key", 0, keyFrame=True)


class Sink:
    """
    In place of a file and its thread.
    """

    def __init__(self, path: str, failed: Callable[[SinkError], None]) -> None:
        self.path = path
        self.failed = failed
        self.frames: list[object] = []
        self.closing: Deferred[None] | None = None

    def video(self, frame: VideoFrame) -> None:
        self.frames.append(frame)

    def audio(self, frame: AudioFrame) -> None:
        self.frames.append(frame)

    def close(self) -> Deferred[None]:
        self.closing = Deferred()
        return self.closing


class RecordingsTests(SynchronousTestCase):
    """
    Tests for `Recordings`.
    """

    def setUp(self) -> None:
        self.sinks: list[Sink] = []
        self.patch(recording, "openSink", self.openSink)
        self.told: list[tuple[str, str | None, bool]] = []
        self.tee = Tee(lambda: None)
        self.recordings = Recordings(
            self.tee, None, lambda *what: self.told.append(what)
        )

    def openSink(self, path: str, *, failed: Any, **options: Any) -> Sink:
        if "taken" in path:
            raise SinkError(f"{path} exists; remove it or choose another name")
        self.sinks.append(Sink(path, failed))
        return self.sinks[-1]

    def ask(self, directory: str = "", **asked: Any) -> Any:
        return self.recordings.ask(asked, Path(directory or self.mktemp()))

    def refused(self, **asked: Any) -> str:
        return str(self.assertRaises(LocalError, self.ask, **asked))

    def test_startAndStop(self) -> None:
        """
        What is recorded begins and ends on demand, each told in words.
        """
        self.ask(action="start", file="/films/a.mkv")
        self.assertEqual(self.recordings.file, "/films/a.mkv")
        [sink] = self.sinks
        self.tee.video(KEY)
        self.assertEqual(sink.frames, [KEY])
        stopped = self.ask(action="stop")
        self.assertIsNone(self.recordings.file)
        self.assertNoResult(stopped)
        self.tee.video(KEY)
        self.assertEqual(sink.frames, [KEY])
        assert sink.closing is not None
        sink.closing.callback(None)
        self.assertEqual(self.successResultOf(stopped), {"file": None})
        self.assertEqual(
            self.told,
            [
                ("recording into /films/a.mkv", "/films/a.mkv", False),
                ("recorded /films/a.mkv", None, False),
            ],
        )

    def test_ends(self) -> None:
        """
        A disk that fills up ends the recording and nothing else; another can begin
        (F83).
        """
        self.ask(action="start", file="/films/a.mp4")
        self.sinks[0].failed(SinkError("no space"))
        self.assertEqual(self.told[-1], ("the recording ended: no space", None, True))
        self.assertEqual((len(self.tee), self.recordings.file), (0, None))
        self.successResultOf(self.recordings.stop())
        self.ask(action="start", file="/films/b.mp4")
        self.assertEqual(self.recordings.file, "/films/b.mp4")

    def test_failsWhileClosing(self) -> None:
        """
        A file whose last bytes are refused is not said to be recorded.
        """
        self.ask(action="start", file="/films/a.mkv")
        stopped = self.recordings.stop()
        self.sinks[0].failed(SinkError("no space"))
        assert self.sinks[0].closing is not None
        self.sinks[0].closing.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(
            [text for text, _, _ in self.told[1:]], ["the recording ended: no space"]
        )

    def test_refused(self) -> None:
        """
        What makes no sense is refused in words.
        """
        self.assertEqual(self.refused(), '"action" is start or stop')
        self.assertEqual(self.refused(action="stop"), "nothing is being recorded")
        self.assertEqual(self.refused(action="start"), '"file" is the name of a file')
        self.assertEqual(
            self.refused(action="start", file="a.mkv"), '"file" is a path from the root'
        )
        for path in ("/a.ts", "/a", "rtmp://host/a", "-"):
            self.assertRaises(LocalError, self.recordings.start, path)
        self.assertIn("exists", self.refused(action="start", file="/taken.mkv"))
        self.assertEqual((self.sinks, self.recordings.file), ([], None))
        self.recordings.start("/a.mkv")
        self.assertEqual(
            self.refused(action="start", file="/b.mkv"),
            "/a.mkv is being recorded; stop that first",
        )

    def test_page(self) -> None:
        """
        A page gives a plain name, and the file is put where recordings are (F75).
        """
        directory = self.mktemp()
        self.ask(directory, action="start", file="evening.mkv", page=True)
        self.assertEqual(self.sinks[0].path, os.path.join(directory, "evening.mkv"))
        self.assertEqual(os.stat(directory).st_mode & 0o777, 0o700)

    def test_pageRefused(self) -> None:
        """
        Anything but a plain name from a page is refused: no path, nothing hidden,
        nothing that a terminal would obey.
        """
        for name in (
            "../a.mkv",
            "/etc/a.mkv",
            ".a.mkv",
            "",
            "a\n.mkv",
            "a\x1b[1m.mkv",
            "\u202ea.mkv",
            "a\x00.mkv",
            "a" * MAX_NAME + ".mkv",
        ):
            self.assertIn(
                "a plain one", self.refused(action="start", file=name, page=True)
            )

    def test_noDirectory(self) -> None:
        """
        Where there can be no directory, the answer says what to do.
        """
        Path(blocker := self.mktemp()).write_text("a file")
        error = self.assertRaises(
            LocalError, self.ask, blocker, action="start", file="a.mkv", page=True
        )
        self.assertIn("rootstream record start", str(error))
