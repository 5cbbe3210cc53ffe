"""
Tests for `tests.lab.nameserver`.
"""

from __future__ import annotations

import socket
import struct

from twisted.trial.unittest import SynchronousTestCase

from tests.lab.nameserver import MAX_DATAGRAM, MAX_MESSAGE, answer

NAMES = {
    "both.example": ["192.0.2.1", "192.0.2.2", "2001:db8::1"],
    "many.example": [f"192.0.2.{number}" for number in range(1, 100)],
    "silent.example": None,
}
A, AAAA = 1, 28
QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"


def question(name: str, kind: int) -> bytes:
    """
    The question for the addresses of one family.
    """
    labels = (bytes([len(each)]) + each.encode() for each in name.split("."))
    return b"".join(labels) + struct.pack(">BHH", 0, kind, 1)


def asked(name: str, kind: int, limit: int = MAX_MESSAGE) -> tuple[int, int, bytes]:
    """
    Flags, number of records, and records of an answer, which repeats number and
    question.
    """
    message = answer(QUERY + question(name, kind), NAMES, limit)
    assert message is not None
    number, flags, questions, records, *_ = struct.unpack_from(">6H", message)
    assert (number, questions) == (0x1234, 1)
    body = message[12:]
    assert body.startswith(question(name, kind))
    return flags, records, body[len(question(name, kind)) :]


class AnswerTests(SynchronousTestCase):
    """
    Tests for what the name server says.
    """

    def test_addresses(self) -> None:
        """
        A question is answered with the addresses of its family, whatever the case of
        its letters.
        """
        head = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04"
        expected = b"".join(
            head + socket.inet_aton(each) for each in ("192.0.2.1", "192.0.2.2")
        )
        self.assertEqual(asked("both.example", A), (0x8180, 2, expected))
        flags, records, body = asked("Both.Example", AAAA)
        self.assertEqual((flags, records), (0x8180, 1))
        address = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
        self.assertTrue(body.endswith(b"\x00\x10" + address))

    def test_missing(self) -> None:
        """
        A name that is not there is denied.
        """
        self.assertEqual(asked("missing.example", A), (0x8183, 0, b""))

    def test_silent(self) -> None:
        """
        Some names are never answered for.
        """
        query = QUERY + question("silent.example", A)
        self.assertIsNone(answer(query, NAMES, MAX_MESSAGE))

    def test_tooLong(self) -> None:
        """
        What does not fit is not told at all, but that there is more.
        """
        self.assertEqual(asked("many.example", A, MAX_DATAGRAM), (0x8380, 0, b""))
        self.assertEqual(asked("many.example", A)[1], 99)
