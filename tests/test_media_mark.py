"""
Tests for `rootstream.media.mark`.
"""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

from rootstream.media.encode import VideoEncoder
from rootstream.media.mark import blockSize, checksum, readMark, writeMark
from rootstream.media.testsource import TestPicture

LARGEST = (1 << 32) - 1


def lumaOf(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """
    The picture in shades of grey.
    """
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


class MarkTests(SynchronousTestCase):
    """
    Tests for `writeMark` and `readMark`.
    """

    def setUp(self) -> None:
        self.luma = np.full((90, 160), 128, np.uint8)

    def test_roundTrip(self) -> None:
        """
        What was written is read, at both ends of the range and between.
        """
        for pair in ((0, 0), (1, 2), (LARGEST, LARGEST), (0x12345678, 0x9ABCDEF0)):
            writeMark(self.luma, *pair)
            self.assertEqual(readMark(self.luma), pair)

    def test_modulo(self) -> None:
        """
        Of larger numbers, such as milliseconds since 1970, the lower 32 bits are kept.
        """
        writeMark(self.luma, (1 << 32) + 7, (5 << 32) + 9)
        self.assertEqual(readMark(self.luma), (7, 9))

    def test_layout(self) -> None:
        """
        The highest bit is on the left; nothing is drawn outside of the blocks.
        """
        writeMark(self.luma, 1 << 31, 0)
        block = blockSize(160)
        self.assertEqual(block, 2)
        self.assertTrue((self.luma[:block, :block] == 235).all())
        self.assertTrue((self.luma[:block, block : 32 * block] == 16).all())
        self.assertTrue((self.luma[2 * block :] == 128).all())
        self.assertTrue((self.luma[:, 40 * block :] == 128).all())

    def test_checksum(self) -> None:
        """
        The sum of the bytes and 0x5a, of which eight bits are kept.
        """
        self.assertEqual(checksum(0), 0x5A)
        self.assertEqual(checksum(0x01020304), 0x64)
        self.assertEqual(checksum(LARGEST), 0x56)

    def test_nothingThere(self) -> None:
        """
        A picture without a mark has none: black, white and grey are no numbers.
        """
        for shade in (0, 16, 128, 235, 255):
            self.assertIsNone(readMark(np.full((90, 160), shade, np.uint8)))

    def test_oneBlockWrong(self) -> None:
        """
        With any one block turned over there is no mark.
        """
        writeMark(self.luma, 0xDEADBEEF, 0x01234567)
        block = blockSize(160)
        for line in range(2):
            for column in range(40):
                luma = self.luma.copy()
                part = luma[
                    line * block : (line + 1) * block,
                    column * block : (column + 1) * block,
                ]
                part[:] = 251 - part
                self.assertIsNone(readMark(luma))

    def test_tooSmall(self) -> None:
        """
        A picture too narrow or too low for the blocks is left alone and has no mark.
        """
        for shape in ((90, 79), (3, 160)):
            luma = np.full(shape, 128, np.uint8)
            writeMark(luma, 1, 2)
            self.assertTrue((luma == 128).all())
            self.assertIsNone(readMark(luma))

    def test_survivesTheCodec(self) -> None:
        """
        The test picture's mark is read after H.264, also at the lowest rate.
        """
        for width, height in ((1280, 720), (640, 360), (320, 180)):
            picture = TestPicture(width, height)
            encoder = VideoEncoder(width, height, 30)
            encoder.bitrate = 500_000
            decoder = av.CodecContext.create("h264", "r")
            decoder.thread_count = 1
            written, shown = [], []
            for number in range(6):
                clock = 1_800_000_000.125 + number / 30
                written.append((number, int(clock * 1000) % (1 << 32)))
                image = picture.draw(number, clock, False)
                for access in encoder.encode(image, number * 33_333):
                    shown += map(lumaOf, decoder.decode(av.Packet(access.data)))
            shown += map(lumaOf, decoder.decode(None))
            self.assertEqual([readMark(luma) for luma in shown], written)
