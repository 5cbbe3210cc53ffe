"""
Fragmented MP4 (ISO/IEC 14496-12), one fragment for each access unit.

libavformat can cut a fragment at every frame too, but what it writes for two
tracks gives the samples of the one that did not cause the cut a duration of
zero and moves all that follow.  A file that must be playable to its last frame
whenever the process dies needs every fragment right, and each is only a hundred
bytes of bookkeeping in front of the frame.
"""

from __future__ import annotations

import struct
from typing import Final, Protocol

from rootstream.media.h264 import nalUnits, parameterSets, parseSps
from rootstream.media.opus import SAMPLE_RATE

__all__ = ["Mp4Muxer"]

VIDEO_TRACK: Final = 1
AUDIO_TRACK: Final = 2
#: Ticks a second of the video track: our microseconds as they are.
VIDEO_SCALE: Final = 1_000_000
#: Sample flags (8.8.3.1): depends on others or not, and is a sync sample or not.
SYNC_SAMPLE: Final = 0x02000000
OTHER_SAMPLE: Final = 0x01010000
#: tfhd flags: duration, size and flags follow; offsets count from the moof.
TFHD_FLAGS: Final = 0x020038
#: trun flags: a data offset, and a composition time for each sample.
TRUN_FLAGS: Final = 0x000801
IDENTITY: Final = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


class Output(Protocol):
    """
    What takes the bytes.
    """

    def write(self, data: bytes) -> int: ...


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *parts)


class Mp4Muxer:
    """
    Writes the header at once and then every access unit as a whole fragment.
    """

    def __init__(self, output: Output, keyFrame: bytes, channels: int | None) -> None:
        """
        :param keyFrame: An access unit that holds an SPS and a PPS.
        :param channels: The channels of the sound, or ``None`` without sound.
        """
        self._output = output
        self._fragments = 0
        tracks = [_videoTrack(keyFrame)]
        extends = [_extends(VIDEO_TRACK)]
        if channels is not None:
            tracks.append(_audioTrack(channels))
            extends.append(_extends(AUDIO_TRACK))
        header = _full(
            b"mvhd",
            0,
            0,
            struct.pack(">4I", 0, 0, 1000, 0),
            struct.pack(">iH10x", 0x10000, 0x100),
            IDENTITY,
            bytes(24),
            struct.pack(">I", AUDIO_TRACK + 1),
        )
        output.write(
            _box(b"ftyp", b"iso5", struct.pack(">I", 512), b"iso5iso6mp41")
            + _box(b"moov", header, *tracks, _box(b"mvex", *extends))
        )

    def video(self, data: bytes, pts: int, dts: int, duration: int, key: bool) -> None:
        sample = b"".join(
            struct.pack(">I", len(unit)) + unit for unit in nalUnits(data)
        )
        flags = SYNC_SAMPLE if key else OTHER_SAMPLE
        self._fragment(VIDEO_TRACK, sample, dts, pts - dts, duration, flags)

    def audio(self, data: bytes, pts: int, samples: int) -> None:
        ticks = round(pts * SAMPLE_RATE / 1_000_000)
        self._fragment(AUDIO_TRACK, data, ticks, 0, samples, SYNC_SAMPLE)

    def close(self) -> None:
        """
        Nothing is missing at any time, so nothing is left to write.
        """

    def _fragment(
        self, track: int, sample: bytes, dts: int, shift: int, duration: int, flags: int
    ) -> None:
        self._fragments += 1

        def moof(offset: int) -> bytes:
            return _box(
                b"moof",
                _full(b"mfhd", 0, 0, struct.pack(">I", self._fragments)),
                _box(
                    b"traf",
                    _full(
                        b"tfhd",
                        0,
                        TFHD_FLAGS,
                        struct.pack(">4I", track, duration, len(sample), flags),
                    ),
                    _full(b"tfdt", 1, 0, struct.pack(">Q", dts)),
                    _full(b"trun", 0, TRUN_FLAGS, struct.pack(">3I", 1, offset, shift)),
                ),
            )

        header = moof(len(moof(0)) + 8)
        self._output.write(header + _box(b"mdat", sample))


def _extends(track: int) -> bytes:
    return _full(b"trex", 0, 0, struct.pack(">5I", track, 1, 0, 0, 0))


def _videoTrack(keyFrame: bytes) -> bytes:
    sets = parameterSets(keyFrame)
    info = parseSps(sets[0]) if sets else None
    width, height = (info.width, info.height) if info else (0, 0)
    sps, pps = sets or (bytes(4), b"")
    # ISO/IEC 14496-15, 5.3.3.1: profile, compatibility, level, 4-byte lengths.
    configuration = (
        b"\x01"
        + sps[1:4]
        + b"\xff\xe1"
        + struct.pack(">H", len(sps))
        + sps
        + b"\x01"
        + struct.pack(">H", len(pps))
        + pps
    )
    entry = _box(
        b"avc1",
        struct.pack(">6xH16xHH", 1, width & 0xFFFF, height & 0xFFFF),
        struct.pack(">IIIH32xHh", 0x480000, 0x480000, 0, 1, 24, -1),
        _box(b"avcC", configuration),
    )
    media = _full(b"vmhd", 0, 1, bytes(8))
    shape = struct.pack(">II", (width & 0xFFFF) << 16, (height & 0xFFFF) << 16)
    return _track(VIDEO_TRACK, VIDEO_SCALE, b"vide", media, entry, 0, shape)


def _audioTrack(channels: int) -> bytes:
    entry = _box(
        b"Opus",
        struct.pack(">6xH8xHHIHH", 1, channels, 16, 0, SAMPLE_RATE, 0),
        # Opus in ISOBMFF, 4.3.2: as OpusHead, but big-endian and version 0.
        _box(b"dOps", struct.pack(">BBHIhB", 0, channels, 0, SAMPLE_RATE, 0, 0)),
    )
    media = _full(b"smhd", 0, 0, bytes(4))
    return _track(AUDIO_TRACK, SAMPLE_RATE, b"soun", media, entry, 0x100, bytes(8))


def _track(
    track: int,
    scale: int,
    kind: bytes,
    media: bytes,
    entry: bytes,
    volume: int,
    shape: bytes,
) -> bytes:
    one = struct.pack(">I", 1)
    none = bytes(4)
    samples = _box(
        b"stbl",
        _full(b"stsd", 0, 0, one, entry),
        _full(b"stts", 0, 0, none),
        _full(b"stsc", 0, 0, none),
        _full(b"stsz", 0, 0, none, none),
        _full(b"stco", 0, 0, none),
    )
    here = _box(b"dinf", _full(b"dref", 0, 0, one, _full(b"url ", 0, 1)))
    return _box(
        b"trak",
        _full(
            b"tkhd",
            0,
            3,  # enabled, in the movie
            struct.pack(">5I8x", 0, 0, track, 0, 0),
            struct.pack(">hhhH", 0, 0, volume, 0),
            IDENTITY,
            shape,
        ),
        _box(
            b"mdia",
            _full(
                b"mdhd", 0, 0, struct.pack(">4IHH", 0, 0, scale, 0, 0x55C4, 0)
            ),  # language: und
            _full(b"hdlr", 0, 0, none, kind, bytes(12), b"\x00"),
            _box(b"minf", media, here, samples),
        ),
    )
