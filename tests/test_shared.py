"""
Tests for `rootstream.protocol.shared`: one frame for many links.
"""

from __future__ import annotations

from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import LocalError
from rootstream.protocol import shared
from rootstream.protocol.constants import MAX_CHUNK
from rootstream.protocol.events import VideoFrame, VideoReceived
from rootstream.protocol.shared import SharedFrame
from rootstream.protocol.video import chunk
from tests.wire import Wire

FRAME = VideoFrame(bytes(range(256)) * 40, 2**40 + 7, True, 3)
NARROW = MAX_CHUNK - 200


class SharedFrameTests(SynchronousTestCase):
    """
    Tests for `SharedFrame`.
    """

    def test_sameChunks(self) -> None:
        """
        The chunks are those of the frame alone, whatever its number and their size.
        """
        one = SharedFrame.of(FRAME)
        for frameId in (0, 1, 0xFFFFFFFF):
            for size in (MAX_CHUNK, NARROW):
                self.assertEqual(
                    one.chunks(frameId, size), chunk(frameId, FRAME, size), frameId
                )

    def test_cutOnce(self) -> None:
        """
        The frame is cut once for each size, however many links send it.
        """
        one = SharedFrame.of(FRAME)
        with mock.patch.object(shared, "chunk", wraps=chunk) as cut:
            for frameId in range(100):
                one.chunks(frameId, MAX_CHUNK)
                one.chunks(frameId, NARROW)
        self.assertEqual(cut.call_count, 2)

    def test_tooLarge(self) -> None:
        """
        A frame that fits large packets and not small ones is refused for these alone.
        """
        one = SharedFrame.of(VideoFrame(bytes(2048 * MAX_CHUNK), 0))
        self.assertRaises(LocalError, one.chunks, 0, NARROW)
        self.assertEqual(len(one.chunks(0, MAX_CHUNK)), 2048)

    def test_sent(self) -> None:
        """
        Links that have sent different numbers of frames before all deliver it.
        """
        one = SharedFrame.of(FRAME)
        for before in (0, 1, 5):
            wire = Wire()
            _, host = wire.connect()
            for _ in range(before):
                host.send(VideoFrame(b"before", 0, True), wire.now)
            self.assertTrue(host.send(one, wire.now))
            wire.pump(wire.b)
            wire.run(0.2)
            frames = [event.frame for event in wire.a.eventsOf(VideoReceived)]
            self.assertEqual(frames[before:], [FRAME])
