"""
A row of blocks in a picture that a program can read: its number, and the time that
it was made at.

For measurements from glass to glass: whoever shows the picture reads the blocks back,
after the encoder, the network and the decoder, and needs neither a camera nor a
reader of digits.  The page has a reader of its own, ``web/static/mark.js``.

Two lines of `COLUMNS` blocks, black or white, in the upper left corner.  A line is a
number of 32 bits, the highest first, and eight bits of `checksum`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMNS", "LINES", "blockSize", "checksum", "readMark", "writeMark"]

VALUE_BITS: Final = 32
CHECK_BITS: Final = 8
COLUMNS: Final = VALUE_BITS + CHECK_BITS
LINES: Final = 2
#: Added to every checksum, so that a black picture is not number 0.
SALT: Final = 0x5A
#: The blocks take half the width: 16 pixels each at 1280, a macroblock.
WIDTH_SHARE: Final = 2 * COLUMNS
MIN_BLOCK: Final = 2
#: Black and white of limited-range video.
BLACK: Final = 16
WHITE: Final = 235


def blockSize(width: int) -> int:
    """
    The side of a block, in pixels, in a picture of that width.
    """
    return max(MIN_BLOCK, width // WIDTH_SHARE)


def checksum(value: int) -> int:
    """
    The eight bits that follow a number.
    """
    return (sum(value.to_bytes(VALUE_BITS // 8, "big")) + SALT) & 0xFF


def writeMark(luma: NDArray[np.uint8], number: int, millis: int) -> None:
    """
    Draw the number, and the time in milliseconds, both modulo 2 ** 32.  A picture too
    small for the blocks stays as it is.
    """
    block = blockSize(luma.shape[1])
    if luma.shape[1] < COLUMNS * block or luma.shape[0] < LINES * block:
        return
    for line, value in enumerate((number, millis)):
        value %= 1 << VALUE_BITS
        word = value << CHECK_BITS | checksum(value)
        bits = [word >> COLUMNS - 1 - place & 1 for place in range(COLUMNS)]
        row = np.repeat(np.array(bits, np.uint8) * (WHITE - BLACK) + BLACK, block)
        luma[line * block : (line + 1) * block, : row.size] = row


def readMark(luma: NDArray[np.uint8]) -> tuple[int, int] | None:
    """
    The number and the milliseconds, or ``None`` where there is no such mark.
    """
    block = blockSize(luma.shape[1])
    if luma.shape[1] < COLUMNS * block or luma.shape[0] < LINES * block:
        return None
    mark = luma[: LINES * block, : COLUMNS * block].astype(np.float64)
    blocks = mark.reshape(LINES, block, COLUMNS, block).mean(axis=(1, 3))
    values = []
    for line in blocks > (BLACK + WHITE) / 2:
        word = int("".join("1" if bit else "0" for bit in line), 2)
        value = word >> CHECK_BITS
        if word & 0xFF != checksum(value):
            return None
        values.append(value)
    return values[0], values[1]
