"""
The one-time phrase of a pairing: six words that are easy to say and to type.

The 2048 words are the English list of BIP 39 (MIT licence): no two begin with the same
four letters, so those will do.  Six are 66 bits.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Final

from rootstream.errors import LocalError

__all__ = ["PHRASE_WORDS", "makePhrase", "readPhrase"]

PHRASE_WORDS: Final = 6
#: What tells a word from all others.
_TELLING: Final = 4


@cache
def _words() -> tuple[str, ...]:
    return tuple(files("rootstream").joinpath("phrase.txt").read_text("ascii").split())


@cache
def _byBeginning() -> dict[str, str]:
    return {word[:_TELLING]: word for word in _words()}


def makePhrase(choose: Callable[[int], int] = secrets.randbelow) -> str:
    """
    A new phrase; ``choose`` gives a random number below its argument.
    """
    words = _words()
    return " ".join(words[choose(len(words))] for _ in range(PHRASE_WORDS))


def readPhrase(text: str) -> str:
    """
    The phrase that somebody typed, as `makePhrase` spells it.

    :raise LocalError: It has not six words, or one that is not of the list; a slip
        that is noticed here costs no try.
    """
    typed = text.replace("-", " ").replace(",", " ").lower().split()
    if len(typed) != PHRASE_WORDS:
        raise LocalError(
            f"a phrase has {PHRASE_WORDS} words, not {len(typed)}; write what the host "
            "shows in quotes"
        )
    known = _byBeginning()
    phrase = []
    for number, word in enumerate(typed, 1):
        meant = known.get(word[:_TELLING])
        if meant is None or not meant.startswith(word):
            raise LocalError(
                f"word {number} of the phrase is not one that a host shows; "
                "look again and correct it"
            )
        phrase.append(meant)
    return " ".join(phrase)
