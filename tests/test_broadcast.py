"""
Tests for `rootstream.broadcast`: a source and everyone who watches it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rootstream.broadcast import Broadcast
from rootstream.errors import LocalError, SourceError
from rootstream.protocol.events import AudioFrame, Command, Control, VideoFrame
from rootstream.tee import Tee
from tests.test_fanout import FakeViewer
from tests.virtual import picture

SOUND = AudioFrame(b"sound", 0)


class FakeSource:
    """
    A source that a test plays.
    """

    def __init__(self) -> None:
        self.opening: Deferred[None] = Deferred()
        self.deliver: Any = None
        self.starts = 0
        self.asked: list[tuple[Command, int]] = []
        self.stopped = False

    def open(self) -> Deferred[None]:
        return self.opening

    def start(self, deliver: Any) -> None:
        self.starts += 1
        self.deliver = deliver

    def control(self, command: Command, value: int = 0) -> None:
        self.asked.append((command, value))

    def stop(self) -> Deferred[None]:
        self.stopped = True
        return succeed(None)


class Guest(FakeViewer):
    """
    A viewer that can be said goodbye to.
    """

    goodbye = ""

    def close(self, text: str) -> None:
        self.goodbye = text


class BroadcastTests(SynchronousTestCase):
    """
    Tests for `Broadcast`.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.source = FakeSource()
        source: Any = self.source
        self.endings: list[SourceError | None] = []
        self.tee = Tee(lambda: None)
        self.broadcast = Broadcast(self.clock, source, self.endings.append, self.tee)
        self.guest: Any = Guest()

    def flow(self) -> None:
        """
        Open the source and let one viewer come.
        """
        self.broadcast.open()
        self.source.opening.callback(None)
        self.broadcast.viewerCame(self.guest)

    def test_startsWithTheFirstViewer(self) -> None:
        """
        The source is opened at once and flows from the first viewer on, once.
        """
        self.broadcast.open()
        self.source.opening.callback(None)
        self.assertEqual(self.source.starts, 0)
        self.broadcast.viewerCame(self.guest)
        self.broadcast.viewerCame(Guest())  # type: ignore[arg-type]  # a double
        self.assertEqual(self.source.starts, 1)
        self.assertIs(self.source.deliver, self.broadcast)

    def test_viewerBeforeTheSource(self) -> None:
        """
        A viewer that is there before the source is open sees it from its beginning.
        """
        self.broadcast.open()
        self.broadcast.viewerCame(self.guest)
        self.assertEqual(self.source.starts, 0)
        self.source.opening.callback(None)
        self.assertEqual(self.source.starts, 1)

    def test_frames(self) -> None:
        """
        What the source delivers goes to the viewers, until they leave.
        """
        self.flow()
        self.source.deliver.video(picture())
        self.source.deliver.audio(SOUND)
        self.broadcast.viewerLeft(self.guest)
        self.source.deliver.video(picture(1))
        self.source.deliver.audio(SOUND)
        self.assertEqual(self.guest.video, [picture()])
        self.assertEqual(self.guest.audio, [SOUND])
        self.assertEqual(self.broadcast.framesSent, 1)

    def test_frameTooLarge(self) -> None:
        """
        A frame that is too large to send is logged and left out; the stream goes on.
        """

        def refuse(frame: VideoFrame | AudioFrame) -> bool:
            raise LocalError("too large")

        self.flow()
        self.source.deliver.video(picture())
        for name, frame, text in (
            ("sendVideo", picture(1), "A video frame was not sent: too large."),
            ("sendAudio", SOUND, "A packet of sound was not sent: too large."),
        ):
            kept = getattr(self.guest, name)
            setattr(self.guest, name, refuse)
            with capturedLogs() as logs:
                if isinstance(frame, VideoFrame):
                    self.source.deliver.video(frame)
                else:
                    self.source.deliver.audio(frame)
            self.assertEqual(
                [event["log_format"].format(**event) for event in logs], [text]
            )
            setattr(self.guest, name, kept)
        self.source.deliver.video(picture(2))
        self.assertEqual(self.guest.video, [picture(), picture(2)])

    def test_badSource(self) -> None:
        """
        A source that cannot be opened ends the broadcast with its error.
        """
        self.broadcast.open()
        error = SourceError("no video in it")
        self.source.opening.errback(error)
        self.assertEqual(self.endings, [error])

    def test_bugOfASource(self) -> None:
        """
        Another error is a bug: logged, and told as an error of the source.
        """
        self.broadcast.open()
        self.source.opening.errback(Failure(ZeroDivisionError("bug")))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIsInstance(self.endings[0], SourceError)
        self.assertEqual(str(self.endings[0]), "the source failed: bug")

    def test_ended(self) -> None:
        """
        The end of the source is told.
        """
        self.flow()
        self.source.deliver.ended(None)
        self.assertEqual(self.endings, [None])

    def test_stop(self) -> None:
        """
        Stopping stops the source.
        """
        self.successResultOf(self.broadcast.stop())
        self.assertTrue(self.source.stopped)

    def test_keyFrames(self) -> None:
        """
        A key frame is asked of a source that flows; one that has not begun will
        begin with one.
        """
        self.flow()
        self.assertEqual(self.source.asked, [])
        self.clock.advance(1.0)
        self.broadcast.keyFrameWanted(self.guest)
        self.assertEqual(self.source.asked, [(Command.REQUEST_KEYFRAME, 0)])

    def test_controls(self) -> None:
        """
        PAUSE, RESUME and the settings act on the source, with their values.
        """
        for command, value in (
            (Command.PAUSE, 0),
            (Command.RESUME, 0),
            (Command.SET_BITRATE, 4_000_000),
            (Command.SET_FPS, 25),
            (Command.SET_QUALITY, 60),
        ):
            self.source.asked.clear()
            self.broadcast.controlled(self.guest, Control(command, value))
            self.assertEqual(self.source.asked, [(command, value)])

    def test_controlForAKeyFrame(self) -> None:
        """
        A request for a key frame comes by `keyFrameWanted`, so it is not passed on
        a second time.
        """
        self.broadcast.controlled(self.guest, Control(Command.REQUEST_KEYFRAME))
        self.assertEqual(self.source.asked, [])

    def test_disconnect(self) -> None:
        """
        A viewer that asks to be disconnected is said goodbye to.
        """
        self.broadcast.controlled(self.guest, Control(Command.DISCONNECT))
        self.assertEqual(self.guest.goodbye, "as you asked")
        self.assertEqual(self.source.asked, [])
