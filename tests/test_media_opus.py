"""
Tests for `rootstream.media.opus`.
"""

from __future__ import annotations

import io

import av
from twisted.trial.unittest import SynchronousTestCase

from rootstream.media.opus import MAX_OPUS, oggHeader, opusSamples
from rootstream.protocol.constants import MAX_FRAMES


class OpusTests(SynchronousTestCase):
    """
    Tests for the outside of Opus packets.
    """

    def test_everyConfiguration(self):
        """
        The length of a frame follows from the first five bits, as in RFC 6716's
        table 2.
        """
        silk = [10, 20, 40, 60] * 3
        hybrid = [10, 20] * 2
        celt = [2.5, 5, 10, 20] * 4
        for configuration, millis in enumerate(silk + hybrid + celt):
            packet = bytes([configuration << 3])
            self.assertEqual(opusSamples(packet), millis * 48)

    def test_frameCounts(self):
        """
        A packet holds one frame, two, or the number that its second byte says.
        """
        twenty = 31 << 3
        self.assertEqual(opusSamples(bytes([twenty | 1, 0])), 1920)
        self.assertEqual(opusSamples(bytes([twenty | 2, 0])), 1920)
        self.assertEqual(opusSamples(bytes([twenty | 3, 0x80 | 5])), 4800)

    def test_notOpus(self):
        """
        Nothing, a missing count and more than 120 ms are no Opus.
        """
        self.assertEqual(opusSamples(b""), 0)
        self.assertEqual(opusSamples(bytes([31 << 3 | 3])), 0)
        self.assertEqual(opusSamples(bytes([31 << 3 | 3, 7])), 0)

    def test_header(self):
        """
        libavformat reads the parameters out of the header, with no pre-skip.
        """
        for channels in (1, 2):
            with av.open(io.BytesIO(oggHeader(channels)), "r") as container:
                context = container.streams.audio[0].codec_context
                self.assertEqual(context.name, "opus")
                self.assertEqual(context.sample_rate, 48000)
                self.assertEqual(context.channels, channels)
                self.assertEqual(context.extradata[10:12], b"\0\0")

    def test_limit(self):
        """
        The largest packet fills one of ours, behind type and AUDIO header.
        """
        self.assertEqual(MAX_OPUS, 1354)
        self.assertEqual(MAX_OPUS + 1 + 16, MAX_FRAMES)
