"""
The frames inside a DATA packet: how they are told apart, and what each says.

A frame is its type, a length if bit 7 of the type is set, and its body; without
a length the body runs to the end of the packet (PROTOCOL, section 3).  All
integers are little-endian.

Everything parsed here is authentic but not trusted: whoever holds the peer's key
may have written it.  So ``parse`` and ``decode`` functions raise `BadPacket` and
nothing else, and do bounded work.  ``encode`` functions raise `LocalError` for
what the caller may not send.  VIDEO bodies are in `rootstream.protocol.video`.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rootstream.errors import BadPacket, LocalError
from rootstream.protocol.constants import (
    ACK_BITMAP,
    AUDIO_HEADER,
    CHALLENGE_SIZE,
    MAX_AUDIO,
    MAX_FRAME_COUNT,
    MAX_FRAMES,
    MAX_INPUT_EVENTS,
    MAX_PAIRING,
    MAX_TEXT,
    REJECT_AFTER_PACKETS,
)
from rootstream.protocol.events import AudioFrame, Command, Control, InputEvent


class FrameType(enum.IntEnum):
    """
    The frame types, without bit 7.  2 to 7 are the C RootStream's numbers.
    """

    PADDING = 0x00
    VIDEO = 0x02
    AUDIO = 0x03
    INPUT = 0x04
    CONTROL = 0x05
    PING = 0x06
    PONG = 0x07
    PATH_CHALLENGE = 0x08
    PATH_RESPONSE = 0x09
    PATH_DROP = 0x0A
    PATH_USE = 0x0B
    CONFIRM = 0x0C
    ACK = 0x0D
    CLOSE = 0x0E
    PAIRING = 0x40


#: Set in the type of a frame that says its length.
HAS_LENGTH: Final = 0x80
#: Types from here to 0x7F may be added by later versions and are skipped.
FIRST_OPTIONAL: Final = 0x40

# Plain integers: an enum member costs several times as much to compare, and this
# happens for every frame.
_PADDING: Final = int(FrameType.PADDING)
_PAIRING: Final = int(FrameType.PAIRING)
_CARRIED: Final = frozenset(int(kind) for kind in FrameType) - {_PADDING, _PAIRING}

_LENGTHENED = struct.Struct("<BH")
_ACK = struct.Struct("<QII")
_PONG = struct.Struct("<QQ")
_U64 = struct.Struct("<Q")
_U32 = struct.Struct("<I")
_U16 = struct.Struct("<H")
_AUDIO = struct.Struct("<QIHH")
_EVENT = struct.Struct("<BHi")
_CONTROL = struct.Struct("<BI")

#: Commands with a value, and the values that are allowed.
_RANGES: Final = {
    Command.SET_BITRATE: range(500_000, 100_000_001),
    Command.SET_FPS: range(1, 241),
    Command.SET_QUALITY: range(0, 101),
}


# --- Frames of a packet -------------------------------------------------------


def parseFrames(plain: bytes) -> list[tuple[int, bytes]]:
    """
    Take an opened packet apart: the type, without bit 7, and body of each frame.

    PADDING and unknown types from 0x40 that say their length are left out.
    """
    end = len(plain)
    if not end:
        raise BadPacket("a packet without frames")
    frames: list[tuple[int, bytes]] = []
    offset = count = 0
    while offset < end:
        count += 1
        if count > MAX_FRAME_COUNT:
            raise BadPacket("too many frames in a packet")
        kind = plain[offset]
        if kind < HAS_LENGTH:
            offset += 1
            stop = end
        else:
            if end - offset < _LENGTHENED.size:
                raise BadPacket("a frame's length is cut off")
            kind, size = _LENGTHENED.unpack_from(plain, offset)
            kind ^= HAS_LENGTH
            offset += _LENGTHENED.size
            stop = offset + size
            if stop > end:
                raise BadPacket("a frame ends past its packet")
            if kind >= FIRST_OPTIONAL:
                if kind == _PAIRING:
                    frames.append((kind, plain[offset:stop]))
                offset = stop
                continue
        if kind in _CARRIED:
            frames.append((kind, plain[offset:stop]))
        elif kind != _PADDING:
            raise BadPacket(f"unknown frame type {kind:#04x}")
        offset = stop
    return frames


def packFrames(
    frames: Sequence[tuple[int, bytes]], padTo: int = 0, room: int = MAX_FRAMES
) -> list[bytes]:
    """
    Put frames, in their order, into as few packets as possible, ready to seal.  No
    packet has more than ``room`` bytes of them, unless a single frame has.

    With ``padTo``, the size of each is a multiple of it, so that the size says
    less about what is inside.
    """
    if padTo:
        # Room for a length on every frame, so that padding can always follow;
        # one frame fewer, because the padding is one.
        limit = MAX_FRAMES - MAX_FRAMES % padTo
        spare, most = 0, MAX_FRAME_COUNT - 1
    else:
        # The last frame needs no length.
        limit = MAX_FRAMES
        spare, most = _LENGTHENED.size - 1, MAX_FRAME_COUNT
    room = min(limit, room - room % padTo if padTo else room)
    plains: list[bytes] = []
    batch: list[tuple[int, bytes]] = []
    size = 0
    for frame in frames:
        needed = _LENGTHENED.size + len(frame[1])
        if needed - spare > limit:
            raise LocalError(f"a frame of {len(frame[1])} bytes fits no packet")
        if batch and (size + needed - spare > room or len(batch) == most):
            plains.append(_join(batch, padTo))
            batch, size = [], 0
        batch.append(frame)
        size += needed
    if batch:
        plains.append(_join(batch, padTo))
    return plains


def _join(batch: list[tuple[int, bytes]], padTo: int) -> bytes:
    parts = []
    for kind, body in batch[:-1]:
        parts += [_LENGTHENED.pack(kind | HAS_LENGTH, len(body)), body]
    kind, body = batch[-1]
    last = len(parts)
    parts += [bytes([kind]), body]
    excess = sum(map(len, parts)) % padTo if padTo else 0
    if excess:
        parts[last] = _LENGTHENED.pack(kind | HAS_LENGTH, len(body))
        # PADDING is type 0 and zeros to the end, so zeros alone say it.
        parts.append(bytes(-(excess + _LENGTHENED.size - 1) % padTo))
    return b"".join(parts)


# --- Acknowledgement and measurement ------------------------------------------


@dataclass(frozen=True, slots=True)
class Ack:
    """
    What has arrived: the ``largest`` counter opened, and ``bitmap``, whose bit i
    says that counter ``largest - 1 - i`` was opened as well; with that, the next
    INPUT and CONTROL numbers expected, which acknowledge all before them.
    """

    largest: int
    inputNext: int
    controlNext: int
    bitmap: int


def encodeAck(ack: Ack) -> bytes:
    """
    ``largest u64 · inputNext u32 · controlNext u32``, then the bitmap as a
    little-endian number in as few bytes as it needs, at most 128.
    """
    size = (ack.bitmap.bit_length() + 7) // 8
    if size > ACK_BITMAP:
        raise LocalError(f"an ACK bitmap of {size} bytes; {ACK_BITMAP} are allowed")
    return _ACK.pack(ack.largest, ack.inputNext, ack.controlNext) + (
        ack.bitmap.to_bytes(size, "little")
    )


def decodeAck(body: bytes) -> Ack:
    """
    The inverse of `encodeAck`.  Counters that cannot exist are refused.
    """
    if not 0 <= len(body) - _ACK.size <= ACK_BITMAP:
        raise BadPacket("an ACK of the wrong size")
    largest, inputNext, controlNext = _ACK.unpack_from(body)
    bitmap = int.from_bytes(body[_ACK.size :], "little")
    if largest >= REJECT_AFTER_PACKETS or bitmap.bit_length() > largest:
        raise BadPacket("an ACK of counters that cannot exist")
    return Ack(largest, inputNext, controlNext, bitmap)


def encodePing(stamp: int) -> bytes:
    """
    ``stamp u64``: our media clock, in microseconds.
    """
    return _U64.pack(stamp)


def decodePing(body: bytes) -> int:
    """
    The inverse of `encodePing`.
    """
    return _single(_U64, body, "PING")


def encodePong(stamp: int, clock: int) -> bytes:
    """
    ``stamp u64 · clock u64``: the PING's stamp, and our media clock.
    """
    return _PONG.pack(stamp, clock)


def decodePong(body: bytes) -> tuple[int, int]:
    """
    The inverse of `encodePong`.
    """
    if len(body) != _PONG.size:
        raise BadPacket("a PONG of the wrong size")
    stamp, clock = _PONG.unpack(body)
    return stamp, clock


def _single(form: struct.Struct, body: bytes, name: str) -> int:
    if len(body) != form.size:
        raise BadPacket(f"a {name} of the wrong size")
    value: int = form.unpack(body)[0]
    return value


# --- Paths and the session ----------------------------------------------------


def decodeChallenge(body: bytes) -> bytes:
    """
    The 8 bytes of a PATH_CHALLENGE, PATH_RESPONSE or PATH_DROP, which are sent as
    they are.
    """
    if len(body) != CHALLENGE_SIZE:
        raise BadPacket("a path frame of the wrong size")
    return body


def encodePathUse(seq: int) -> bytes:
    """
    ``seq u32``: the highest number seen decides which path is used.
    """
    return _U32.pack(seq)


def decodePathUse(body: bytes) -> int:
    """
    The inverse of `encodePathUse`.
    """
    return _single(_U32, body, "PATH_USE")


def decodeConfirm(body: bytes) -> None:
    """
    Refuse a CONFIRM that is not empty.
    """
    if body:
        raise BadPacket("a CONFIRM with a body")


def encodeClose(code: int, text: str) -> bytes:
    """
    ``code u16`` and the reason in words, at most 64 bytes of UTF-8.
    """
    return _U16.pack(code) + cleanText(text).encode()


def decodeClose(body: bytes) -> tuple[int, str]:
    """
    The code and the text, made harmless.

    A text that is too long or not UTF-8 is cut and mended, not refused: an
    authentic CLOSE ends the session however badly it is worded.
    """
    if len(body) < _U16.size:
        raise BadPacket("a CLOSE without a code")
    (code,) = _U16.unpack_from(body)
    return code, cleanText(body[_U16.size :])


def cleanText(raw: bytes | str, limit: int = MAX_TEXT) -> str:
    """
    Make text from the network safe for a log, a terminal and a file's metadata:
    at most ``limit`` bytes of UTF-8, all of it printable.

    Control characters, line ends, bidirectional overrides and everything else
    that `str.isprintable` refuses appear as Python escapes rather than vanish, so
    that whoever reads a log sees that something odd was sent.
    """
    if isinstance(raw, bytes):
        # Four bytes a character at most; what is past them cannot matter.
        raw = raw[: 4 * limit].decode("utf-8", "replace")
    pieces: list[str] = []
    size = 0
    for character in raw[:limit]:
        if not character.isprintable():
            character = character.encode("unicode_escape").decode("ascii")
        size += len(character.encode())
        if size > limit:
            break
        pieces.append(character)
    return "".join(pieces)


def encodePairing(message: bytes) -> bytes:
    """
    A whole PAIRING frame: those who do not know its type must find its end.
    """
    return _LENGTHENED.pack(_PAIRING | HAS_LENGTH, len(message)) + message


def decodePairing(body: bytes) -> bytes:
    """
    The message, which `rootstream.protocol.pairing` reads.
    """
    if not 0 < len(body) <= MAX_PAIRING:
        raise BadPacket("a PAIRING of the wrong size")
    return body


# --- Audio --------------------------------------------------------------------


def encodeAudio(frame: AudioFrame) -> bytes:
    """
    ``ts_us u64 · sample_rate u32 · channels u16 · samples u16`` and one Opus packet.
    """
    if not 0 < len(frame.data) <= MAX_AUDIO:
        raise LocalError(
            f"an audio frame of {len(frame.data)} bytes; 1 to {MAX_AUDIO} fit: "
            "encode shorter frames or at a lower bitrate"
        )
    if not (
        0 <= frame.timestamp < 1 << 48
        and 0 < frame.sampleRate < 1 << 32
        and 0 < frame.channels < 1 << 16
        and 0 < frame.samples < 1 << 16
    ):
        raise LocalError("an audio frame's description is out of range")
    return (
        _AUDIO.pack(frame.timestamp, frame.sampleRate, frame.channels, frame.samples)
        + frame.data
    )


def decodeAudio(body: bytes) -> AudioFrame:
    """
    The inverse of `encodeAudio`.
    """
    if not AUDIO_HEADER < len(body) <= AUDIO_HEADER + MAX_AUDIO:
        raise BadPacket("an audio frame of the wrong size")
    timestamp, sampleRate, channels, samples = _AUDIO.unpack_from(body)
    if timestamp >> 48 or not (sampleRate and channels and samples):
        # A sink divides by these.
        raise BadPacket("an audio frame's description is out of range")
    return AudioFrame(body[AUDIO_HEADER:], timestamp, sampleRate, channels, samples)


# --- Input and control --------------------------------------------------------


def encodeNumbered(seq: int, message: bytes) -> bytes:
    """
    ``seq u32`` and a message: the body of an INPUT or CONTROL frame, whose
    numbers `rootstream.protocol.channel` gives and takes.
    """
    return _U32.pack(seq) + message


def decodeNumbered(body: bytes) -> tuple[int, bytes]:
    """
    The inverse of `encodeNumbered`.
    """
    if len(body) < _U32.size:
        raise BadPacket("an INPUT or CONTROL frame without a number")
    (seq,) = _U32.unpack_from(body)
    return seq, body[_U32.size :]


def encodeInput(events: Sequence[InputEvent]) -> bytes:
    """
    The message of an INPUT frame: 1 to 190 times ``type u8 · code u16 · value i32``.
    """
    if not 0 < len(events) <= MAX_INPUT_EVENTS:
        raise LocalError(
            f"{len(events)} input events in one message; 1 to {MAX_INPUT_EVENTS} fit"
        )
    try:
        return b"".join(
            _EVENT.pack(event.kind, event.code, event.value) for event in events
        )
    except struct.error as error:
        raise LocalError(f"an input event is out of range: {error}") from None


def decodeInput(message: bytes) -> tuple[InputEvent, ...]:
    """
    The inverse of `encodeInput`.
    """
    count, rest = divmod(len(message), _EVENT.size)
    if rest or not 0 < count <= MAX_INPUT_EVENTS:
        raise BadPacket("an INPUT message of the wrong size")
    return tuple(InputEvent(*fields) for fields in _EVENT.iter_unpack(message))


def encodeControl(control: Control) -> bytes:
    """
    The message of a CONTROL frame: ``cmd u8 · value u32``.  Commands without a
    value send 0.
    """
    allowed = _RANGES.get(control.command)
    if allowed is None:
        return _CONTROL.pack(control.command, 0)
    if control.value not in allowed:
        raise LocalError(
            f"{control.command.name} takes {allowed.start} to {allowed.stop - 1}, "
            f"not {control.value}"
        )
    return _CONTROL.pack(control.command, control.value)


def decodeControl(message: bytes) -> Control:
    """
    The inverse of `encodeControl`.  The value of commands without one is ignored.
    """
    if len(message) != _CONTROL.size:
        raise BadPacket("a CONTROL message of the wrong size")
    number, value = _CONTROL.unpack(message)
    try:
        command = Command(number)
    except ValueError:
        raise BadPacket(f"unknown control command {number}") from None
    allowed = _RANGES.get(command)
    if allowed is None:
        return Control(command)
    if value not in allowed:
        raise BadPacket(f"{command.name} with a value out of range")
    return Control(command, value)
