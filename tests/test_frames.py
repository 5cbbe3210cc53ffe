"""
Tests for `rootstream.protocol.frames`.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import BadPacket, LocalError
from rootstream.protocol.constants import (
    MAX_FRAME_COUNT,
    MAX_FRAMES,
    MAX_PAIRING,
    PADDING,
)
from rootstream.protocol.events import AudioFrame, Command, Control, InputEvent
from rootstream.protocol.frames import (
    Ack,
    FrameType,
    cleanText,
    decodeAck,
    decodeAudio,
    decodeChallenge,
    decodeClose,
    decodeConfirm,
    decodeControl,
    decodeInput,
    decodeNumbered,
    decodePairing,
    decodePathUse,
    decodePing,
    decodePong,
    encodeAck,
    encodeAudio,
    encodeClose,
    encodeControl,
    encodeInput,
    encodeNumbered,
    encodePairing,
    encodePathUse,
    encodePing,
    encodePong,
    packFrames,
    parseFrames,
)

#: The same examples each time, and nothing written to the disk.
property_ = settings(max_examples=200, deadline=None, derandomize=True, database=None)

u8 = st.integers(0, 2**8 - 1)
u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
u48 = st.integers(0, 2**48 - 1)
u64 = st.integers(0, 2**64 - 1)
i32 = st.integers(-(2**31), 2**31 - 1)

carried = st.sampled_from(
    [kind for kind in FrameType if kind not in (FrameType.PADDING, FrameType.PAIRING)]
)


class ParseFramesTests(SynchronousTestCase):
    """
    Taking a packet apart.
    """

    def test_toTheEnd(self) -> None:
        """
        A frame without a length runs to the end of the packet.
        """
        self.assertEqual(parseFrames(b"\x02abc"), [(FrameType.VIDEO, b"abc")])

    def test_withLength(self) -> None:
        """
        A frame with bit 7 set says its length, and others follow it.
        """
        self.assertEqual(
            parseFrames(b"\x86\x02\x00ab\x8c\x00\x00\x0dxyz"),
            [
                (FrameType.PING, b"ab"),
                (FrameType.CONFIRM, b""),
                (FrameType.ACK, b"xyz"),
            ],
        )

    def test_longLength(self) -> None:
        """
        The length is little-endian.
        """
        body = bytes(range(256)) * 2
        self.assertEqual(
            parseFrames(b"\x83\x00\x02" + body + b"\x0c"),
            [(FrameType.AUDIO, body), (FrameType.CONFIRM, b"")],
        )

    def test_empty(self) -> None:
        """
        A packet without any frame is refused (F39).
        """
        self.assertRaises(BadPacket, parseFrames, b"")

    def test_emptyBodies(self) -> None:
        """
        A body may be empty, with a length or without (F39).
        """
        self.assertEqual(parseFrames(b"\x0c"), [(FrameType.CONFIRM, b"")])
        self.assertEqual(parseFrames(b"\x8c\x00\x00"), [(FrameType.CONFIRM, b"")])

    def test_padding(self) -> None:
        """
        Padding is left out: to the end of the packet, or of a stated length, and
        whatever it is made of.
        """
        self.assertEqual(parseFrames(b"\x00"), [])
        self.assertEqual(parseFrames(b"\x00\x02\xff\xff"), [])
        self.assertEqual(
            parseFrames(b"\x80\x02\x00\xff\xff\x0c"), [(FrameType.CONFIRM, b"")]
        )

    def test_lengthPastTheEnd(self) -> None:
        """
        A frame that ends past its packet, or whose length is cut off, is refused
        (F39).
        """
        for plain in (
            b"\x86",
            b"\x86\x00",
            b"\x86\x01\x00",
            b"\x86\xff\xffabc",
            b"\x80\x01\x00",
            b"\xc0\x01\x00",
            b"\x8c\x00\x00\x86\x05\x00abcd",
        ):
            self.assertRaises(BadPacket, parseFrames, plain)

    def test_unknown(self) -> None:
        """
        An unknown type below 0x40 is refused, with a length or without (F39).
        """
        known = {int(kind) for kind in FrameType}
        for kind in set(range(0x40)) - known:
            self.assertRaises(BadPacket, parseFrames, bytes([kind]))
            self.assertRaises(BadPacket, parseFrames, bytes([kind | 0x80, 0, 0]))
        self.assertEqual(len(known), 15)

    def test_optional(self) -> None:
        """
        Types from 0x40 to 0x7F are skipped if they say their length and are not
        known, and refused if they do not say it (F39).
        """
        for kind in range(0x40, 0x80):
            known = [(kind, b"ab")] if kind == FrameType.PAIRING else []
            self.assertEqual(
                parseFrames(bytes([kind | 0x80, 2, 0]) + b"ab\x0c"),
                [*known, (FrameType.CONFIRM, b"")],
            )
            self.assertRaises(BadPacket, parseFrames, bytes([kind]) + b"ab")

    def test_pairing(self) -> None:
        """
        A pairing message says its length, so that those who do not know it find its
        end; one that is empty or too long is refused.
        """
        [frame] = parseFrames(encodePairing(b"hello"))
        self.assertEqual(frame, (FrameType.PAIRING, b"hello"))
        self.assertEqual(decodePairing(b"x" * MAX_PAIRING), b"x" * MAX_PAIRING)
        for body in (b"", b"x" * (MAX_PAIRING + 1)):
            self.assertRaises(BadPacket, decodePairing, body)

    def test_boundedWork(self) -> None:
        """
        A packet has at most 64 frames, those that are skipped included (F39).
        """
        for tiny in (b"\x8c\x00\x00", b"\x80\x00\x00", b"\xc0\x00\x00"):
            parseFrames(tiny * 64)
            self.assertRaises(BadPacket, parseFrames, tiny * 65)
            self.assertRaises(BadPacket, parseFrames, tiny * 1000)

    @property_
    @given(st.binary(max_size=MAX_FRAMES))
    def test_anyBytes(self, plain: bytes) -> None:
        """
        Whatever the bytes, they parse or are refused, and nothing else (F39).
        """
        try:
            frames = parseFrames(plain)
        except BadPacket:
            return
        self.assertLessEqual(len(frames), MAX_FRAME_COUNT)
        self.assertLessEqual(sum(1 + len(body) for _, body in frames), len(plain))


class PackFramesTests(SynchronousTestCase):
    """
    Putting frames into packets.
    """

    def test_nothing(self) -> None:
        """
        No frames need no packet.
        """
        self.assertEqual(packFrames([]), [])
        self.assertEqual(packFrames([], padTo=64), [])

    def test_one(self) -> None:
        """
        The last frame of a packet carries no length.
        """
        self.assertEqual(
            packFrames([(FrameType.PING, b"ab"), (FrameType.CONFIRM, b"")]),
            [b"\x86\x02\x00ab\x0c"],
        )

    def test_exactFit(self) -> None:
        """
        A packet is filled to its last byte before another is begun.
        """
        full = (FrameType.AUDIO, bytes(MAX_FRAMES - 1))
        self.assertEqual([len(plain) for plain in packFrames([full])], [MAX_FRAMES])
        fits = [(FrameType.PING, b""), (FrameType.AUDIO, bytes(MAX_FRAMES - 4))]
        self.assertEqual([len(plain) for plain in packFrames(fits)], [MAX_FRAMES])
        over = [(FrameType.PING, b""), (FrameType.AUDIO, bytes(MAX_FRAMES - 3))]
        self.assertEqual(
            [len(plain) for plain in packFrames(over)], [1, MAX_FRAMES - 2]
        )

    def test_tooLarge(self) -> None:
        """
        A frame that fits no packet is refused.
        """
        frames = [(FrameType.AUDIO, bytes(MAX_FRAMES))]
        self.assertRaises(LocalError, packFrames, frames)
        frames = [(FrameType.AUDIO, bytes(1342))]
        self.assertRaises(LocalError, packFrames, frames, padTo=64)

    def test_room(self) -> None:
        """
        Packets can be kept smaller, padded or not; a frame larger than that is alone in
        its packet.
        """
        frames = [(FrameType.INPUT, bytes(100))] * 30 + [(FrameType.INPUT, bytes(1339))]
        for padTo in (0, 64):
            sizes = [len(plain) for plain in packFrames(frames, padTo, 1171)]
            self.assertLessEqual(max(sizes[:-1]), 1171)
            self.assertGreater(min(sizes[:-2]), 1050)
            self.assertGreater(sizes[-1], 1339)

    def test_count(self) -> None:
        """
        No packet has more frames than its receiver takes, padding included.
        """
        frames = [(FrameType.CONFIRM, b"")] * 130
        for padTo, counts in ((0, [64, 64, 2]), (64, [63, 63, 4])):
            plains = packFrames(frames, padTo)
            self.assertEqual([len(parseFrames(p)) for p in plains], counts)

    def test_padded(self) -> None:
        """
        Messages of INPUT and CONTROL of any length make packets whose sizes are
        multiples of 64, and never above what a packet holds.
        """
        for size in range(1342):
            frame = (FrameType.INPUT, b"\xff" * size)
            (plain,) = packFrames([frame], PADDING)
            self.assertEqual(len(plain) % 64, 0)
            self.assertLessEqual(len(plain), MAX_FRAMES)
            self.assertLess(len(plain) - size, 64 + 3)
            self.assertEqual(parseFrames(plain), [frame])

    def test_largestInput(self) -> None:
        """
        The largest INPUT message fits a padded packet.
        """
        message = encodeInput([InputEvent(1, 2, 3)] * 190)
        (plain,) = packFrames([(FrameType.INPUT, encodeNumbered(0, message))], 64)
        self.assertEqual(len(plain), 1344)

    @property_
    @given(
        st.lists(st.tuples(carried, st.binary(max_size=1341)), max_size=80),
        st.sampled_from([0, PADDING]),
    )
    def test_roundTrip(self, frames: list[tuple[int, bytes]], padTo: int) -> None:
        """
        What is packed parses to the same frames in the same order, and no two
        neighbouring packets could have been one.
        """
        plains = packFrames(frames, padTo)
        parsed = [parseFrames(plain) for plain in plains]
        self.assertEqual([frame for part in parsed for frame in part], frames)
        for plain in plains:
            self.assertLessEqual(len(plain), MAX_FRAMES)
            self.assertEqual(len(plain) % (padTo or 1), 0)
        for one, two in pairwise(parsed):
            self.assertNotEqual(len(packFrames(one + two[:1], padTo)), 1)


class BodyTests(SynchronousTestCase):
    """
    What the frames say.
    """

    def assertRefusesSizes(
        self, decode: Callable[[bytes], object], *allowed: int
    ) -> None:
        """
        ``decode`` takes zeros of the allowed sizes only.
        """
        for size in range(max(allowed) + 20):
            if size in allowed:
                decode(bytes(size))
            else:
                self.assertRaises(BadPacket, decode, bytes(size))

    def test_sizes(self) -> None:
        """
        A body that is too short or too long is refused (F39).
        """
        self.assertRefusesSizes(decodeAck, *range(16, 145))
        self.assertRefusesSizes(decodePing, 8)
        self.assertRefusesSizes(decodePong, 16)
        self.assertRefusesSizes(decodeChallenge, 8)
        self.assertRefusesSizes(decodePathUse, 4)
        self.assertRefusesSizes(decodeConfirm, 0)
        self.assertRefusesSizes(decodeInput, *range(7, 1331, 7))
        for size in (0, 3):
            self.assertRaises(BadPacket, decodeNumbered, bytes(size))
        for size in (0, 1):
            self.assertRaises(BadPacket, decodeClose, bytes(size))

    @property_
    @given(st.binary(max_size=200))
    def test_anyBytes(self, body: bytes) -> None:
        """
        Whatever the bytes, a body decodes or is refused, and nothing else.
        """
        for decode in (
            decodeAck,
            decodeAudio,
            decodeChallenge,
            decodeClose,
            decodeConfirm,
            decodeControl,
            decodeInput,
            decodeNumbered,
            decodePathUse,
            decodePing,
            decodePong,
        ):
            with contextlib.suppress(BadPacket):
                decode(body)

    def test_ackBytes(self) -> None:
        """
        The integers are little-endian, and the bitmap takes as few bytes as it
        needs.
        """
        self.assertEqual(
            encodeAck(Ack(0x0102, 3, 4, 0b1_0000_0001)),
            bytes.fromhex("0201000000000000 03000000 04000000 0101"),
        )
        self.assertEqual(len(encodeAck(Ack(7, 0, 0, 0))), 16)

    @property_
    @given(st.integers(1024, 2**40 - 1), u32, u32, st.integers(0, 2**1024 - 1))
    def test_ack(self, largest: int, input: int, control: int, bitmap: int) -> None:
        """
        An ACK says what it was made of.
        """
        ack = Ack(largest, input, control, bitmap)
        self.assertEqual(decodeAck(encodeAck(ack)), ack)

    def test_ackImpossible(self) -> None:
        """
        An ACK of a counter below 0 or past the last one is refused.
        """
        decodeAck(encodeAck(Ack(3, 0, 0, 0b111)))
        self.assertRaises(BadPacket, decodeAck, encodeAck(Ack(3, 0, 0, 0b1000)))
        self.assertRaises(BadPacket, decodeAck, encodeAck(Ack(1 << 40, 0, 0, 0)))

    def test_ackTooLarge(self) -> None:
        """
        A bitmap of more than 1024 bits is refused before it is sent.
        """
        self.assertRaises(LocalError, encodeAck, Ack(2000, 0, 0, 1 << 1024))

    @property_
    @given(u64, u64, u32)
    def test_numbers(self, stamp: int, clock: int, seq: int) -> None:
        """
        PING, PONG and PATH_USE say what they were made of.
        """
        self.assertEqual(decodePing(encodePing(stamp)), stamp)
        self.assertEqual(decodePong(encodePong(stamp, clock)), (stamp, clock))
        self.assertEqual(decodePathUse(encodePathUse(seq)), seq)

    def test_numberBytes(self) -> None:
        """
        Their integers are little-endian.
        """
        self.assertEqual(encodePing(1), b"\1" + bytes(7))
        self.assertEqual(encodePong(1, 2), b"\1" + bytes(7) + b"\2" + bytes(7))
        self.assertEqual(encodePathUse(0x01020304), b"\4\3\2\1")

    def test_challenge(self) -> None:
        """
        A challenge is its eight bytes.
        """
        self.assertEqual(decodeChallenge(b"12345678"), b"12345678")

    def test_close(self) -> None:
        """
        A CLOSE says its code and reason.
        """
        body = encodeClose(0x0102, "gone für gut")
        self.assertEqual(body[:2], b"\2\1")
        self.assertEqual(decodeClose(body), (0x0102, "gone für gut"))
        self.assertEqual(decodeClose(encodeClose(7, "")), (7, ""))

    def test_closeTooLong(self) -> None:
        """
        A reason is cut to 64 bytes, by the sender and by the receiver.
        """
        self.assertEqual(encodeClose(0, "ü" * 100), b"\0\0" + "ü".encode() * 32)
        self.assertEqual(decodeClose(b"\0\0" + b"x" * 1000), (0, "x" * 64))

    @property_
    @given(
        st.binary(min_size=1, max_size=1354),
        u48,
        st.integers(1, 2**32 - 1),
        st.integers(1, 2**16 - 1),
        st.integers(1, 2**16 - 1),
    )
    def test_audio(
        self, data: bytes, stamp: int, rate: int, channels: int, samples: int
    ) -> None:
        """
        An audio frame arrives as it was sent.
        """
        frame = AudioFrame(data, stamp, rate, channels, samples)
        self.assertEqual(decodeAudio(encodeAudio(frame)), frame)

    def test_audioBytes(self) -> None:
        """
        The header of an audio frame is 16 bytes, little-endian.
        """
        self.assertEqual(
            encodeAudio(AudioFrame(b"opus", 1, 48000, 2, 960)),
            bytes.fromhex("0100000000000000 80bb0000 0200 c003") + b"opus",
        )

    def test_audioFillsAPacket(self) -> None:
        """
        The largest audio frame fills a packet; a larger or an empty one is refused.
        """
        body = encodeAudio(AudioFrame(bytes(1354), 0))
        self.assertEqual(len(packFrames([(FrameType.AUDIO, body)])[0]), MAX_FRAMES)
        self.assertRaises(LocalError, encodeAudio, AudioFrame(bytes(1355), 0))
        self.assertRaises(LocalError, encodeAudio, AudioFrame(b"", 0))
        self.assertRaises(BadPacket, decodeAudio, body + b"\0")
        self.assertRaises(BadPacket, decodeAudio, body[:16])

    def test_audioRanges(self) -> None:
        """
        A rate, channel or sample count of 0, by which a sink would divide, and
        numbers that do not fit are refused both ways.
        """
        good = AudioFrame(b"x", 2**48 - 1, 1, 1, 1)
        decodeAudio(encodeAudio(good))
        for bad in (
            AudioFrame(b"x", -1),
            AudioFrame(b"x", 2**48),
            AudioFrame(b"x", 0, sampleRate=0),
            AudioFrame(b"x", 0, sampleRate=2**32),
            AudioFrame(b"x", 0, channels=0),
            AudioFrame(b"x", 0, channels=2**16),
            AudioFrame(b"x", 0, samples=0),
            AudioFrame(b"x", 0, samples=2**16),
        ):
            self.assertRaises(LocalError, encodeAudio, bad)
        for fields in ((2**48, 1, 1, 1), (0, 0, 1, 1), (0, 1, 0, 1), (0, 1, 1, 0)):
            body = struct.pack("<QIHH", *fields) + b"x"
            self.assertRaises(BadPacket, decodeAudio, body)

    @property_
    @given(u32, st.binary(max_size=50))
    def test_numbered(self, seq: int, message: bytes) -> None:
        """
        A message keeps its number.
        """
        body = encodeNumbered(seq, message)
        self.assertEqual(decodeNumbered(body), (seq, message))

    @property_
    @given(
        st.lists(st.builds(InputEvent, u8, u16, i32), min_size=1, max_size=190).map(
            tuple
        )
    )
    def test_input(self, events: tuple[InputEvent, ...]) -> None:
        """
        Input events arrive as they were sent.
        """
        self.assertEqual(decodeInput(encodeInput(events)), events)

    def test_inputBytes(self) -> None:
        """
        An event is seven bytes, its value signed.
        """
        self.assertEqual(
            encodeInput([InputEvent(1, 0x0203, -2)]), b"\1\3\2\xfe\xff\xff\xff"
        )

    def test_inputRanges(self) -> None:
        """
        Events that do not fit their fields, none at all, and too many for a packet
        are refused.
        """
        for bad in (
            InputEvent(256, 0, 0),
            InputEvent(0, 2**16, 0),
            InputEvent(0, 0, 2**31),
            InputEvent(-1, 0, 0),
        ):
            self.assertRaises(LocalError, encodeInput, [bad])
        self.assertRaises(LocalError, encodeInput, [])
        self.assertRaises(LocalError, encodeInput, [InputEvent(0, 0, 0)] * 191)

    def test_controlBytes(self) -> None:
        """
        A CONTROL frame's body is nine bytes.
        """
        message = encodeControl(Control(Command.SET_BITRATE, 5_000_000))
        self.assertEqual(
            encodeNumbered(1, message), bytes.fromhex("01000000 03 404b4c00")
        )

    def test_controlRanges(self) -> None:
        """
        Values are accepted up to their limits and refused past them, both ways.
        """
        for command, low, high in (
            (Command.SET_BITRATE, 500_000, 100_000_000),
            (Command.SET_FPS, 1, 240),
            (Command.SET_QUALITY, 0, 100),
        ):
            for value in (low, high):
                control = Control(command, value)
                self.assertEqual(decodeControl(encodeControl(control)), control)
            for value in (low - 1, high + 1):
                self.assertRaises(LocalError, encodeControl, Control(command, value))
                message = struct.pack("<BI", command, value & 0xFFFFFFFF)
                self.assertRaises(BadPacket, decodeControl, message)

    def test_controlWithoutValue(self) -> None:
        """
        The value of a command that has none is neither sent nor believed.
        """
        for command in (
            Command.PAUSE,
            Command.RESUME,
            Command.REQUEST_KEYFRAME,
            Command.DISCONNECT,
        ):
            self.assertEqual(
                encodeControl(Control(command, 9)), bytes([command, 0, 0, 0, 0])
            )
            self.assertEqual(
                decodeControl(bytes([command, 9, 0, 0, 0])), Control(command)
            )

    def test_controlUnknown(self) -> None:
        """
        Commands that do not exist, and other sizes, are refused.
        """
        for command in (0, 8, 255):
            self.assertRaises(BadPacket, decodeControl, bytes([command, 0, 0, 0, 0]))
        for size in (0, 4, 6):
            self.assertRaises(BadPacket, decodeControl, b"\1" * size)


class CleanTextTests(SynchronousTestCase):
    """
    Text from the network.
    """

    def test_harmless(self) -> None:
        """
        Ordinary text of any script stays as it is, spaces too.
        """
        for text in ("", "laptop of Ana", "Ärger, 日本 😀"):
            self.assertEqual(cleanText(text), text)
            self.assertEqual(cleanText(text.encode()), text)

    def test_dangerous(self) -> None:
        """
        Escape sequences, line ends, NUL and bidirectional overrides are made
        visible (F74).
        """
        self.assertEqual(cleanText("\x1b[2J"), "\\x1b[2J")
        self.assertEqual(cleanText("a\r\nb"), "a\\r\\nb")
        self.assertEqual(cleanText("a\0b\x7f\x9b"), "a\\x00b\\x7f\\x9b")
        self.assertEqual(cleanText("gpj.\u202eexe"), "gpj.\\u202eexe")
        self.assertEqual(cleanText("\u2066\u200b\ufeff"), "\\u2066\\u200b\\ufeff")
        self.assertEqual(cleanText("\u2028\xa0"), "\\u2028\\xa0")
        self.assertEqual(cleanText("\ud800"), "\\ud800")

    def test_notUtf8(self) -> None:
        """
        Bytes that are not UTF-8 are replaced (F74).
        """
        self.assertEqual(cleanText(b"a\xffb\xc3"), "a\ufffdb\ufffd")

    def test_limit(self) -> None:
        """
        64 bytes are kept of whatever length, and neither a character nor an escape
        is cut in two (F74).
        """
        self.assertEqual(cleanText(b"x" * 65536), "x" * 64)
        self.assertEqual(cleanText("x" * 63 + "ü"), "x" * 63)
        self.assertEqual(cleanText("x" * 61 + "\x1b"), "x" * 61)
        self.assertEqual(cleanText("😀" * 20), "😀" * 16)
        self.assertEqual(cleanText(("😀" * 20).encode()), "😀" * 16)
        self.assertEqual(cleanText("abcdef", limit=3), "abc")

    @property_
    @given(st.one_of(st.binary(max_size=300), st.text(max_size=300)))
    def test_anyText(self, raw: bytes | str) -> None:
        """
        Whatever comes in, what comes out is printable, short, and clean (F74).
        """
        text = cleanText(raw)
        self.assertTrue(text.isprintable())
        self.assertLessEqual(len(text.encode()), 64)
        self.assertEqual(cleanText(text), text)
