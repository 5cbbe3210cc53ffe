"""
The replay window: which counters of one receive key were seen before.

A ring of 64-bit words as in RFC 6479 and wireguard-go: moving the window forward
clears whole words and shifts nothing, so the cost of a packet does not depend on
the window's size.  One word is always being recycled, which leaves 8128 of the
8192 bits to look back on.

Only a counter whose packet has opened may be marked; `ReplayWindow.check` is the
cheap look that saves the cryptography for the others.
"""

from __future__ import annotations

from typing import Final

from rootstream.protocol.constants import (
    REJECT_AFTER_PACKETS,
    REPLAY_BITS,
    REPLAY_WINDOW,
)

__all__ = ["ReplayWindow"]

_WORDS: Final = REPLAY_BITS // 64
#: What a session of an idle peer needs until its keys are replaced.
_FIRST_WORDS: Final = 4


class ReplayWindow:
    """
    The counters seen on one receive key, whatever paths they came by.

    Within a word the bits run downwards: the highest bit is the lowest counter.
    Acknowledgements list counters from the newest to the oldest, and so they are
    cut out of the ring without turning bits around.

    The ring begins as its first words, and becomes whole once a counter is past them.
    """

    __slots__ = ("_ring", "largest")

    def __init__(self) -> None:
        self._ring = [0] * _FIRST_WORDS
        self.largest = -1

    def check(self, counter: int) -> bool:
        """
        Would `mark` take this counter?  Changes nothing.
        """
        largest = self.largest
        if counter > largest:
            return counter < REJECT_AFTER_PACKETS
        # `>` and not `>=`: case 18 of WireGuard's list accepts the 8128th.
        if largest - counter > REPLAY_WINDOW:
            return False
        word = self._ring[(counter >> 6) % _WORDS]
        return not word >> (~counter & 63) & 1

    def mark(self, counter: int) -> bool:
        """
        Remember a counter, or return False because it must be refused: too old,
        seen before, or beyond what a key may be used for.
        """
        largest = self.largest
        ring = self._ring
        block = counter >> 6
        if counter > largest:
            if counter >= REJECT_AFTER_PACKETS:
                return False
            current = largest >> 6
            if block >= len(ring):
                self._complete()
            # A jump over the whole ring clears each word once, not each block.
            for stale in range(max(current, block - _WORDS) + 1, block + 1):
                ring[stale % _WORDS] = 0
            self.largest = counter
        elif largest - counter > REPLAY_WINDOW:
            return False
        bit = 1 << (~counter & 63)
        word = ring[block % _WORDS]
        if word & bit:
            return False
        ring[block % _WORDS] = word | bit
        return True

    def markNext(self, count: int) -> None:
        """
        Remember the ``count`` counters that follow the largest, all below what a key
        may be used for: a word at a time.
        """
        ring = self._ring
        first = self.largest + 1
        self.largest += count
        if self.largest >> 6 >= len(ring):
            self._complete()
        while count > 0:
            # Of this word, the bits from `first` on; they run downwards.
            start = first & 63
            part = min(count, 64 - start)
            bits = ((1 << part) - 1) << (64 - start - part)
            place = (first >> 6) % _WORDS
            # A word that begins here still holds what is too old to look back on.
            ring[place] = ring[place] | bits if start else bits
            first += part
            count -= part

    def _complete(self) -> None:
        self._ring.extend([0] * (_WORDS - len(self._ring)))

    def received(self, base: int, count: int) -> int:
        """
        Which of the ``count`` counters below ``base`` were marked: bit ``i`` is
        set when ``base - 1 - i`` was.  What left the window reads as not marked.
        """
        ring = self._ring
        newest = self.largest >> 6
        oldest = max(0, newest - _WORDS + 1)
        top = (base - 1) >> 6
        bitmap = 0
        for block in range(max((base - count) >> 6, oldest), min(top, newest) + 1):
            bitmap |= ring[block % _WORDS] << ((top - block) << 6)
        return bitmap >> (~(base - 1) & 63) & ((1 << count) - 1)
