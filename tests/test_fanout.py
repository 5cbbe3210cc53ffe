"""
Tests for `rootstream.fanout`: one source, many viewers.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import LocalError
from rootstream.fanout import Audience
from rootstream.protocol.constants import KEYFRAME_REQUEST_INTERVAL
from rootstream.protocol.events import AudioFrame, VideoFrame
from rootstream.protocol.shared import SharedFrame
from tests.virtual import picture

SOUND = AudioFrame(b"sound", 0)


class FakeViewer:
    """
    A peer that takes what it is told to take.
    """

    def __init__(self) -> None:
        self.takes = True
        self.tooLarge: list[bytes] = []
        self.handed: list[SharedFrame] = []
        self.video: list[VideoFrame] = []
        self.audio: list[AudioFrame] = []

    def sendVideo(self, frame: SharedFrame) -> bool:
        if frame.data in self.tooLarge:
            raise LocalError("too large")
        self.handed.append(frame)
        if self.takes:
            self.video.append(
                VideoFrame(frame.data, frame.timestamp, frame.keyFrame, frame.reorder)
            )
        return self.takes

    def sendAudio(self, frame: AudioFrame) -> bool:
        self.audio.append(frame)
        return True


class AudienceTests(SynchronousTestCase):
    """
    Tests for `Audience`.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.askedAt: list[float] = []
        self.audience = Audience(
            self.clock, lambda: self.askedAt.append(self.clock.seconds())
        )

    def viewer(self) -> Any:
        viewer: Any = FakeViewer()
        self.audience.add(viewer)
        return viewer

    def test_beginsWithAKeyFrame(self) -> None:
        """
        A viewer is asked a key frame for, and sees nothing before it comes.
        """
        viewer = self.viewer()
        self.assertEqual(self.askedAt, [0.0])
        self.audience.video(picture(0, keyFrame=False))
        self.audience.audio(SOUND)
        self.assertEqual((viewer.video, viewer.audio), ([], []))
        frames = [picture(1), picture(2, keyFrame=False)]
        for frame in frames:
            self.audience.video(frame)
        self.audience.audio(SOUND)
        self.assertEqual((viewer.video, viewer.audio), (frames, [SOUND]))

    def test_lateViewer(self) -> None:
        """
        A viewer that comes later begins with the next key frame; the others see all.
        """
        early = self.viewer()
        self.audience.video(picture(0))
        late = self.viewer()
        self.audience.video(picture(1, keyFrame=False))
        self.audience.video(picture(2))
        self.assertEqual(len(early.video), 3)
        self.assertEqual(late.video, [picture(2)])
        self.assertEqual(len(self.audience), 2)

    def test_slowViewerHurtsItself(self) -> None:
        """
        Frames that one viewer's path does not take are lost to it alone, up to the
        next key frame; so is the sound.
        """
        slow, quick = self.viewer(), self.viewer()
        self.audience.video(picture(0))
        slow.takes = False
        self.audience.video(picture(1, keyFrame=False))
        slow.takes = True
        self.audience.video(picture(2, keyFrame=False))
        self.audience.audio(SOUND)
        self.assertEqual(slow.video, [picture(0)])
        self.assertEqual(slow.audio, [])
        self.assertEqual(len(quick.video), 3)
        self.assertEqual(quick.audio, [SOUND])
        self.audience.video(picture(3))
        self.audience.audio(SOUND)
        self.assertEqual(slow.video, [picture(0), picture(3)])
        self.assertEqual(slow.audio, [SOUND])

    def test_cutOnce(self) -> None:
        """
        All viewers are handed one and the same frame, which is cut once.
        """
        viewers = [self.viewer() for _ in range(3)]
        self.audience.video(picture(0))
        first = viewers[0].handed[0]
        for viewer in viewers:
            self.assertEqual(len(viewer.handed), 1)
            self.assertIs(viewer.handed[0], first)

    def test_tooLargeForOne(self) -> None:
        """
        A frame that is too large for one viewer's path reaches the others; that viewer
        goes on with the next key frame.
        """
        narrow, wide = self.viewer(), self.viewer()
        narrow.tooLarge = [picture(0).data]
        self.audience.video(picture(0))
        self.audience.video(picture(1, keyFrame=False))
        self.audience.video(picture(2))
        self.assertEqual(len(wide.video), 3)
        self.assertEqual(narrow.video, [picture(2)])

    def test_tooLargeForAll(self) -> None:
        """
        A frame that nobody can be sent is an error of the source's.
        """
        for viewer in (self.viewer(), self.viewer()):
            viewer.tooLarge = [picture(0).data]
        self.assertRaises(LocalError, self.audience.video, picture(0))
        self.assertEqual(self.audience.framesSent, 0)

    def test_askedSeldom(self) -> None:
        """
        However many viewers ask, the source is asked at most every half second.
        """
        viewers = [self.viewer() for _ in range(10)]
        for number in range(1, 33):
            self.clock.advance(0.0625)
            for viewer in viewers:
                self.audience.keyFrameWanted(viewer)
            self.audience.video(picture(number, keyFrame=False))
        self.assertEqual(len(self.askedAt), 5)
        for earlier, later in pairwise(self.askedAt):
            self.assertGreaterEqual(later - earlier, KEYFRAME_REQUEST_INTERVAL)

    def test_askedAgainLater(self) -> None:
        """
        A wish that came too soon after another is not forgotten: the source is asked
        when it may be, by the next frame.
        """
        viewer = self.viewer()
        self.audience.video(picture(0))
        self.clock.advance(0.1)
        self.audience.keyFrameWanted(viewer)
        self.audience.video(picture(1, keyFrame=False))
        self.assertEqual(self.askedAt, [0.0])
        self.clock.advance(0.4)
        self.audience.video(picture(2, keyFrame=False))
        self.assertEqual(self.askedAt, [0.0, 0.5])
        self.clock.advance(5.0)
        self.audience.video(picture(3, keyFrame=False))
        self.assertEqual(self.askedAt, [0.0, 0.5])

    def test_keyFrameFulfilsWishes(self) -> None:
        """
        A key frame that comes meanwhile is what was wished for: no second is asked.
        """
        viewer = self.viewer()
        self.clock.advance(0.1)
        self.audience.keyFrameWanted(viewer)
        self.audience.video(picture(1))
        self.clock.advance(1.0)
        self.audience.video(picture(2, keyFrame=False))
        self.assertEqual(self.askedAt, [0.0])

    def test_strangersWish(self) -> None:
        """
        One who does not watch, or not any more, asks for nothing.
        """
        viewer = self.viewer()
        self.audience.remove(viewer)
        self.audience.remove(viewer)
        self.clock.advance(1.0)
        self.audience.keyFrameWanted(viewer)
        self.assertEqual(self.askedAt, [0.0])

    def test_framesSent(self) -> None:
        """
        A frame counts as sent once, if anybody took it.
        """
        self.audience.video(picture(0))
        self.assertEqual(self.audience.framesSent, 0)
        one, other = self.viewer(), self.viewer()
        self.audience.video(picture(1))
        self.assertEqual(self.audience.framesSent, 1)
        one.takes = False
        self.audience.video(picture(2, keyFrame=False))
        self.assertEqual(self.audience.framesSent, 2)
        other.takes = False
        self.audience.video(picture(3))
        self.assertEqual(self.audience.framesSent, 2)

    def test_leavesWhileItIsServed(self) -> None:
        """
        A viewer whose last packet ends it is not taken back in by that.
        """
        viewer = self.viewer()

        def leave(frame: VideoFrame) -> bool:
            self.audience.remove(viewer)
            return False

        viewer.sendVideo = leave
        self.audience.video(picture(0))
        self.assertEqual(len(self.audience), 0)
