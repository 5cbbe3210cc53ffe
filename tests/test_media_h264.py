"""
Tests for `rootstream.media.h264`.
"""

from __future__ import annotations

import io
import random
from fractions import Fraction

import av
from twisted.trial.unittest import SynchronousTestCase

from rootstream.media.h264 import (
    SpsInfo,
    isKeyFrame,
    nalUnits,
    parameterSets,
    parseSps,
)
from tests.mediasamples import encodedFrames


def x264(width, height, options=None, pixelFormat="yuv420p", pictures=3):
    """
    Access units of x264, made with ``options``.
    """
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height = width, height
    context.pix_fmt = pixelFormat
    context.time_base = Fraction(1, 25)
    context.options = {"preset": "ultrafast", **(options or {})}
    units = []
    for number in range(pictures):
        frame = av.VideoFrame(width, height, pixelFormat)
        frame.pts = number
        units += context.encode(frame)
    units += context.encode(None)
    return [bytes(unit) for unit in units]


def infoOf(*arguments, **options):
    sps, _ = parameterSets(x264(*arguments, **options)[0])
    return parseSps(sps)


class _Writer:
    """
    Builds SPS bits by hand, for fields that x264 never writes.
    """

    def __init__(self):
        self.bits = ""

    def u(self, count, value):
        self.bits += f"{value:0{count}b}" if count else ""
        return self

    def ue(self, *values):
        for value in values:
            code = f"{value + 1:b}"
            self.bits += "0" * (len(code) - 1) + code
        return self

    def unit(self):
        bits = self.bits + "1"
        bits += "0" * (-len(bits) % 8)
        return b"\x67" + int(bits, 2).to_bytes(len(bits) // 8, "big")


class NalUnitsTests(SynchronousTestCase):
    """
    Tests for `nalUnits`, `isKeyFrame` and `parameterSets`.
    """

    def test_bothStartCodes(self):
        """
        Units are found behind start codes of three and of four bytes.
        """
        data = b"\0\0\0\1\x67ab\0\0\1\x68cd\0\0\0\1\x65ef"
        self.assertEqual(list(nalUnits(data)), [b"\x67ab", b"\x68cd", b"\x65ef"])

    def test_noise(self):
        """
        What has no start code has no units, and empty units are left out.
        """
        self.assertEqual(list(nalUnits(b"")), [])
        self.assertEqual(list(nalUnits(b"no start code")), [])
        self.assertEqual(list(nalUnits(b"\0\0\1\0\0\1\x65")), [b"\x65"])

    def test_keyFrame(self):
        """
        The first access unit of an encoder is a key frame and the next is not.
        """
        first, second = encodedFrames(2)
        self.assertTrue(isKeyFrame(first.data))
        self.assertFalse(isKeyFrame(second.data))

    def test_parameterSets(self):
        """
        Key frames of our encoder carry SPS and PPS; other frames carry neither.
        """
        first, second = encodedFrames(2)
        sps, pps = parameterSets(first.data)
        self.assertEqual((sps[0] & 31, pps[0] & 31), (7, 8))
        self.assertIsNone(parameterSets(second.data))

    def test_halfASet(self):
        """
        An SPS without a PPS is of no use, and the first of two counts.
        """
        self.assertIsNone(parameterSets(b"\0\0\1\x67a"))
        sets = parameterSets(b"\0\0\1\x67a\0\0\1\x67b\0\0\1\x68c\0\0\1\x68d")
        self.assertEqual(sets, (b"\x67a", b"\x68c"))


class ParseSpsTests(SynchronousTestCase):
    """
    Tests for `parseSps`.
    """

    def test_sizes(self):
        """
        The size is that of the picture shown, whether or not it fills whole
        macroblocks: 1080 lines are coded as 1088 and cropped.
        """
        for size in [(64, 64), (320, 180), (1280, 720), (1920, 1080), (1366, 768)]:
            info = infoOf(*size, pictures=1)
            self.assertEqual((info.width, info.height), size)

    def test_interlaced(self):
        """
        The height of an interlaced stream counts both fields.
        """
        info = infoOf(1920, 1080, {"x264-params": "interlaced=1"}, pictures=1)
        self.assertEqual((info.width, info.height), (1920, 1080))

    def test_chromaFormats(self):
        """
        Cropping is counted in the units of the chroma format.
        """
        for pixelFormat in ("yuv422p", "yuv444p", "gray"):
            info = infoOf(322, 182, pixelFormat=pixelFormat, pictures=1)
            self.assertEqual((info.width, info.height), (322, 182))

    def test_reorder(self):
        """
        The reorder depth is what the VUI says.
        """
        self.assertEqual(infoOf(64, 64, {"bf": "0"}).reorder, 0)
        self.assertEqual(infoOf(64, 64, {"bf": "3", "b-pyramid": "none"}).reorder, 1)
        self.assertEqual(infoOf(64, 64, {"bf": "3", "b-pyramid": "normal"}).reorder, 2)

    def test_hrd(self):
        """
        A stream with HRD parameters, a sample aspect ratio and colours is read
        to its end.
        """
        params = (
            "nal-hrd=vbr:vbv-maxrate=1000:vbv-bufsize=1000:sar=12/11:"
            "colorprim=bt709:overscan=show:chromaloc=1:bframes=0"
        )
        info = infoOf(64, 64, {"x264-params": params})
        self.assertEqual(info, SpsInfo(64, 64, 0))

    def test_scalingLists(self):
        """
        Scaling lists are passed over.
        """
        bits = _Writer().u(8, 100).u(16, 30).ue(0, 1, 0, 0).u(1, 0).u(1, 1)
        bits.u(1, 1).ue(*[0] * 16)  # a whole list: every step is 0
        bits.u(1, 1).ue(16)  # a step of -8 ends a list at once
        bits.u(6, 0)
        bits.ue(0, 0, 0, 1).u(1, 0).ue(3, 3).u(1, 1).u(1, 0).u(1, 0).u(1, 0)
        self.assertEqual(parseSps(bits.unit()), SpsInfo(64, 64, None))

    def test_separatePlanes(self):
        """
        In 4:4:4 with planes apart, cropping counts luma samples.
        """
        bits = _Writer().u(8, 244).u(16, 30).ue(0, 3).u(1, 1).ue(0, 0)
        bits.u(1, 0).u(1, 1).u(12, 0).ue(0, 2, 1).u(1, 0).ue(3, 3)
        bits.u(1, 1).u(1, 0).u(1, 1).ue(1, 0, 0, 1).u(1, 0)
        self.assertEqual(parseSps(bits.unit()), SpsInfo(63, 63, None))

    def test_pictureOrderOne(self):
        """
        The second way to count pictures has a cycle, which is passed over.
        """
        bits = _Writer().u(8, 66).u(16, 30).ue(0, 0, 1).u(1, 0).ue(1, 2, 2, 3, 4)
        bits.ue(1).u(1, 0).ue(3, 3).u(1, 1).u(1, 0).u(1, 0).u(1, 0)
        self.assertEqual(parseSps(bits.unit()), SpsInfo(64, 64, None))

    def test_vuiWithoutReorder(self):
        """
        A VUI may leave the reorder depth open, or end early.
        """
        start = _Writer().u(8, 66).u(16, 30).ue(0, 0, 0, 0, 1).u(1, 0).ue(3, 3)
        start.u(1, 1).u(1, 0).u(1, 0).u(1, 1)
        silent = _Writer()
        silent.bits = start.bits + "000000000"
        self.assertEqual(parseSps(silent.unit()), SpsInfo(64, 64, None))
        self.assertEqual(parseSps(start.unit()), SpsInfo(64, 64, None))
        plain = _Writer()
        # An aspect ratio by number, a signal type and both kinds of HRD.
        plain.bits = start.bits + "1" + "00000001" + "0" + "1" + "0000" + "0"
        plain.u(1, 0).u(1, 0)
        for _ in range(2):
            plain.u(1, 1).ue(0).u(8, 0).ue(1, 1).u(1, 0).u(20, 0)
        plain.u(1, 0).u(1, 0).u(1, 1).u(1, 0).ue(0, 0, 0, 0, 4)
        self.assertEqual(parseSps(plain.unit()), SpsInfo(64, 64, 4))

    def test_croppedToNothing(self):
        """
        A picture cropped away is no picture.
        """
        bits = _Writer().u(8, 66).u(16, 30).ue(0, 0, 0, 0, 1).u(1, 0).ue(3, 3)
        bits.u(1, 1).u(1, 0).u(1, 1).ue(40, 0, 0, 0).u(1, 0)
        self.assertIsNone(parseSps(bits.unit()))

    def test_anythingElse(self):
        """
        No bytes raise: every cut and many altered SPS give an answer or none.
        """
        sps, _ = parameterSets(x264(64, 64)[0])
        for length in range(len(sps)):
            parseSps(sps[:length])
        self.assertIsNone(parseSps(b"\x68" + sps[1:]))
        self.assertIsNone(parseSps(b"\x67" + bytes(40)))
        chance = random.Random(1)
        answered = 0
        for _ in range(2000):
            noise = bytearray(sps)
            for _ in range(chance.randint(1, 4)):
                noise[chance.randrange(1, len(noise))] = chance.randrange(256)
            answered += parseSps(bytes(noise)) is not None
        self.assertGreater(answered, 0)

    def test_agreesWithLibavcodec(self):
        """
        Size and reorder depth are those that libavcodec reads.
        """
        unit = x264(854, 480, {"bf": "2"}, pictures=8)[0]
        info = parseSps(parameterSets(unit)[0])
        with av.open(io.BytesIO(unit), "r", format="h264") as container:
            context = container.streams.video[0].codec_context
            self.assertEqual((info.width, info.height), (context.width, context.height))
            self.assertEqual(info.reorder, context.reorder_depth)
