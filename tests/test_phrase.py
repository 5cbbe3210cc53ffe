"""
Tests for `rootstream.phrase`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rootstream import phrase
from rootstream.errors import LocalError
from rootstream.phrase import makePhrase, readPhrase


class PhraseTests(SynchronousTestCase):
    """
    Six words, made and read.
    """

    def test_words(self) -> None:
        """
        The list has 2048 lower-case words, and four letters tell each from all others:
        six make 66 bits.
        """
        words = phrase._words()
        self.assertEqual(len(words), 2048)
        self.assertEqual(len({word[:4] for word in words}), 2048)
        self.assertTrue(all(word.isascii() and word.isalpha() for word in words))
        self.assertEqual([word.lower() for word in words], list(words))

    def test_made(self) -> None:
        """
        Every word is chosen anew from the whole list.
        """
        asked: list[int] = []

        def choose(below: int) -> int:
            asked.append(below)
            return 2047 if len(asked) == 6 else len(asked) - 1

        self.assertEqual(makePhrase(choose), "abandon ability able about above zoo")
        self.assertEqual(asked, [2048] * 6)
        self.assertNotEqual(makePhrase(), makePhrase())

    def test_read(self) -> None:
        """
        Case, hyphens and spare blanks do not matter, and four letters of a word do.
        """
        wanted = "abandon ability able about above zoo"
        for typed in (
            wanted,
            "  Abandon ABILITY able\tabout above zoo\n",
            "abandon-ability-able-about-above-zoo",
            "aban abil able abou abov zoo",
            "abandon, ability, able, about, above, zoo",
        ):
            self.assertEqual(readPhrase(typed), wanted)
        made = makePhrase()
        self.assertEqual(readPhrase(made), made)

    def test_refused(self) -> None:
        """
        A slip is told apart before it costs a try, and the phrase is not repeated.
        """
        for typed, said in (
            ("", "not 0"),
            ("abandon ability able about above", "not 5"),
            ("abandon ability able about above zoo zoo", "not 7"),
            ("abandon abilitty able about above zoo", "word 2"),
            ("abandon ability able about above abandoned", "word 6"),
            ("ab ability able about above zoo", "word 1"),
        ):
            error = str(self.assertRaises(LocalError, readPhrase, typed))
            self.assertIn(said, error)
            self.assertNotIn("above", error)
