"""
What the outside of an Opus packet tells, and how Opus is announced to muxers.

Encoding and decoding are left to libopus and libavcodec.
"""

from __future__ import annotations

import struct
from typing import Final

from rootstream.protocol.constants import MAX_FRAMES

__all__ = ["FRAME_SAMPLES", "MAX_OPUS", "SAMPLE_RATE", "oggHeader", "opusSamples"]

#: Opus always runs at 48 kHz inside; we encode 20 ms a packet.
SAMPLE_RATE: Final = 48000
FRAME_SAMPLES: Final = 960
#: What fits in one packet behind the frame type and the AUDIO header.
MAX_OPUS: Final = MAX_FRAMES - 1 - 16

#: Samples at 48 kHz of one frame, by TOC configuration (RFC 6716, table 2).
_SILK: Final = (480, 960, 1920, 2880)
_HYBRID: Final = (480, 960)
_CELT: Final = (120, 240, 480, 960)
#: A packet holds at most 120 ms (RFC 6716, section 3.4, R5).
MAX_SAMPLES: Final = 5760

#: Header types of Ogg pages (RFC 3533, section 6) and a silent Opus packet.
_FIRST_PAGE: Final = 2
_LAST_PAGE: Final = 4
_SILENCE: Final = b"\xf8\xff\xfe"


def opusSamples(packet: bytes) -> int:
    """
    The length of an Opus packet in samples, or 0 when it is not one.
    """
    if not packet:
        return 0
    configuration = packet[0] >> 3
    if configuration < 12:
        frame = _SILK[configuration % 4]
    elif configuration < 16:
        frame = _HYBRID[configuration % 2]
    else:
        frame = _CELT[configuration % 4]
    code = packet[0] & 3
    if code < 3:
        count = 1 if code == 0 else 2
    else:
        count = packet[1] & 0x3F if len(packet) > 1 else 0
    samples = frame * count
    return samples if samples <= MAX_SAMPLES else 0


def oggHeader(channels: int) -> bytes:
    """
    The shortest Ogg stream of Opus (RFC 7845), 20 ms of silence: opened by
    libavformat, it yields the parameters that every muxer asks for.

    The pre-skip is 0.  A sink joins a stream that is already running, so there
    are no priming samples to cut, and a muxer has no reason to move the sound.
    """
    head = struct.pack("<8sBBHIhB", b"OpusHead", 1, channels, 0, SAMPLE_RATE, 0, 0)
    tags = struct.pack("<8sI10sI", b"OpusTags", 10, b"rootstream", 0)
    return (
        _oggPage(_FIRST_PAGE, 0, 0, head)
        + _oggPage(0, 1, 0, tags)
        + _oggPage(_LAST_PAGE, 2, FRAME_SAMPLES, _SILENCE)
    )


def _oggPage(flags: int, number: int, position: int, body: bytes) -> bytes:
    def page(checksum: int) -> bytes:
        return (
            struct.pack("<4sBBqII", b"OggS", 0, flags, position, 1, number)
            + struct.pack("<IBB", checksum, 1, len(body))
            + body
        )

    return page(_oggChecksum(page(0)))


def _oggChecksum(page: bytes) -> int:
    """
    CRC-32 with the polynomial 04C11DB7, not reflected (RFC 3533, section 6).
    """
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x104C11DB7 if crc & 0x80000000 else 0)
    return crc
