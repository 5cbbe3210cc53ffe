"""
Reading H.264 access units: where their NAL units are and what an SPS says.

Everything takes and gives Annex B bytes (ITU-T H.264, annex B) and looks only
at what RootStream needs: key frames, parameter sets, the size of the picture
and its reorder depth.  Decoding is left to libavcodec.

The bytes may come from the network: nothing here raises on any input; what
cannot be read is answered with ``False``, ``None`` or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["SpsInfo", "isKeyFrame", "nalUnits", "parameterSets", "parseSps"]

START_CODE: Final = b"\x00\x00\x01"
NAL_IDR: Final = 5
NAL_SPS: Final = 7
NAL_PPS: Final = 8

#: Profiles whose SPS carries chroma_format_idc and scaling lists (7.3.2.1.1).
HIGH_PROFILES: Final = frozenset(
    (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
)
#: aspect_ratio_idc that is followed by its own width and height (table E-1).
EXTENDED_SAR: Final = 255
#: An Exp-Golomb number of a sound SPS fits in 32 bits; more zeros are noise.
MAX_LEADING_ZEROS: Final = 32
#: num_ref_frames_in_pic_order_cnt_cycle and cpb_cnt_minus1 + 1 (7.4.2.1.1, E.2.2).
MAX_CYCLE: Final = 255
MAX_CPB: Final = 32
#: max_num_reorder_frames may not pass the largest picture buffer (A.3.1).
MAX_REORDER: Final = 16


@dataclass(frozen=True, slots=True)
class SpsInfo:
    """
    What an SPS says: the picture as shown, after cropping, and the number of
    frames a decoder must hold back, or ``None`` when it leaves that open.
    """

    width: int
    height: int
    reorder: int | None


def nalUnits(annexb: bytes) -> Iterator[bytes]:
    """
    Each NAL unit without its start code or the zero bytes that may follow it.
    """
    start = annexb.find(START_CODE)
    while start >= 0:
        start += len(START_CODE)
        end = annexb.find(START_CODE, start)
        unit = annexb[start:] if end < 0 else annexb[start:end]
        unit = unit.rstrip(b"\x00")
        if unit:
            yield unit
        start = end


def isKeyFrame(annexb: bytes) -> bool:
    """
    Whether a decoder can start here: the access unit is an IDR picture.
    """
    return any(unit[0] & 0x1F == NAL_IDR for unit in nalUnits(annexb))


def parameterSets(annexb: bytes) -> tuple[bytes, bytes] | None:
    """
    The first SPS and PPS of an access unit, without start codes.
    """
    sps = pps = None
    for unit in nalUnits(annexb):
        kind = unit[0] & 0x1F
        if kind == NAL_SPS and sps is None:
            sps = unit
        elif kind == NAL_PPS and pps is None:
            pps = unit
    return None if sps is None or pps is None else (sps, pps)


class _OutOfBits(Exception):
    """
    The SPS ended, or held a number that no SPS holds.
    """


class _Bits:
    """
    A bit reader over the payload of a NAL unit (7.2 and 9.1).
    """

    def __init__(self, unit: bytes) -> None:
        # 00 00 03 stands for 00 00, so that no start code is ever inside (7.4.1).
        payload = unit.replace(b"\x00\x00\x03", b"\x00\x00")
        self._left = len(payload) * 8
        self._value = int.from_bytes(payload, "big")

    def u(self, count: int) -> int:
        if count > self._left:
            raise _OutOfBits
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > MAX_LEADING_ZEROS:
                raise _OutOfBits
        return (1 << zeros) - 1 + self.u(zeros)

    def bounded(self, maximum: int) -> int:
        number = self.ue()
        if number > maximum:
            raise _OutOfBits
        return number

    def se(self) -> int:
        number = self.ue()
        return (number + 1) // 2 if number & 1 else -(number // 2)


def parseSps(sps: bytes) -> SpsInfo | None:
    """
    Read an SPS NAL unit, given without its start code.
    """
    if len(sps) < 4 or sps[0] & 0x1F != NAL_SPS:
        return None
    try:
        return _readSps(_Bits(sps[1:]))
    except _OutOfBits:
        return None


def _readSps(bits: _Bits) -> SpsInfo:
    profile = bits.u(8)
    bits.u(16)  # constraint flags and level
    bits.ue()  # seq_parameter_set_id
    chroma = 1
    separatePlanes = 0
    if profile in HIGH_PROFILES:
        chroma = bits.bounded(3)
        if chroma == 3:
            separatePlanes = bits.u(1)
        bits.ue()  # bit depths of luma and of chroma
        bits.ue()
        bits.u(1)
        if bits.u(1):
            for index in range(12 if chroma == 3 else 8):
                if bits.u(1):
                    _skipScalingList(bits, 16 if index < 6 else 64)
    bits.ue()  # log2_max_frame_num_minus4
    order = bits.bounded(2)
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        bits.se()
        bits.se()
        for _ in range(bits.bounded(MAX_CYCLE)):
            bits.se()
    bits.ue()  # max_num_ref_frames
    bits.u(1)
    width = (bits.ue() + 1) * 16
    mapUnits = bits.ue() + 1
    framesOnly = bits.u(1)
    height = mapUnits * 16 * (2 - framesOnly)
    if not framesOnly:
        bits.u(1)
    bits.u(1)
    if bits.u(1):
        # One unit of cropping is a chroma sample, and a line pair when
        # interlaced (equations 7-19 to 7-22).
        planar = separatePlanes or chroma == 0
        stepX = 1 if planar or chroma == 3 else 2
        stepY = (2 if chroma == 1 and not planar else 1) * (2 - framesOnly)
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
        width -= (left + right) * stepX
        height -= (top + bottom) * stepY
    if width <= 0 or height <= 0:
        raise _OutOfBits
    # All between here and the end is optional in spirit: a size without a
    # reorder depth is still worth having.
    try:
        reorder = _readReorder(bits) if bits.u(1) else None
    except _OutOfBits:
        reorder = None
    return SpsInfo(width, height, reorder)


def _skipScalingList(bits: _Bits, size: int) -> None:
    scale = 8
    for _ in range(size):
        scale = (scale + bits.se()) % 256
        if scale == 0:
            return


def _readReorder(bits: _Bits) -> int | None:
    """
    Walk the VUI (E.1.1) to max_num_reorder_frames.
    """
    if bits.u(1) and bits.u(8) == EXTENDED_SAR:
        bits.u(32)
    if bits.u(1):  # overscan
        bits.u(1)
    if bits.u(1):  # video signal type
        bits.u(4)
        if bits.u(1):
            bits.u(24)
    if bits.u(1):  # chroma location
        bits.ue()
        bits.ue()
    if bits.u(1):  # timing
        bits.u(65)
    nalHrd = bits.u(1)
    if nalHrd:
        _skipHrd(bits)
    vclHrd = bits.u(1)
    if vclHrd:
        _skipHrd(bits)
    if nalHrd or vclHrd:
        bits.u(1)
    bits.u(1)
    if not bits.u(1):
        return None
    bits.u(1)
    for _ in range(4):
        bits.ue()
    return bits.bounded(MAX_REORDER)


def _skipHrd(bits: _Bits) -> None:
    count = bits.bounded(MAX_CPB - 1) + 1
    bits.u(8)
    for _ in range(count):
        bits.ue()
        bits.ue()
        bits.u(1)
    bits.u(20)
