"""
Tests for `rootstream.transport.netlink`.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rootstream.transport import netlink
from rootstream.transport.netlink import (
    GET_LINK,
    NEW_LINK,
    Message,
    ask,
    attribute,
    attributes,
    messages,
    subscribe,
)

DONE, ERROR, MULTI = 3, 2, 2


def message(kind: int, body: bytes = b"", flags: int = MULTI) -> bytes:
    """
    A message of the kernel's, padded as in a packet of several.
    """
    head = struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 4711)
    return head + body + bytes(-len(body) % 4)


class FormatTests(SynchronousTestCase):
    """
    Bytes to messages and attributes, and back.
    """

    def test_messages(self) -> None:
        """
        Messages follow each other, each padded to four bytes.
        """
        data = message(NEW_LINK, b"abcde", MULTI) + message(DONE, b"", 0)
        self.assertEqual(
            list(messages(data)),
            [(Message(NEW_LINK, b"abcde"), MULTI), (Message(DONE, b""), 0)],
        )

    def test_malformedMessages(self) -> None:
        """
        Of what is cut off, or claims a length that it cannot have, nothing is taken;
        what was whole before it is.
        """
        whole = message(NEW_LINK, b"abcd")
        good = [(Message(NEW_LINK, b"abcd"), MULTI)]
        for end in range(len(whole)):
            self.assertEqual(list(messages(whole[:end])), [])
            self.assertEqual(list(messages(whole + whole[:end])), good)
        for length in (0, 1, 15, 21, 0xFFFFFFFF):
            lying = struct.pack("=I", length) + whole[4:]
            self.assertEqual(list(messages(lying)), [])
            self.assertEqual(list(messages(whole + lying)), good)

    def test_attributes(self) -> None:
        """
        Attributes are found by their type, without the flags above it; each begins at
        a multiple of four bytes.
        """
        data = attribute(3, b"eth0\0") + attribute(0x8000 | 4, b"") + attribute(9, b"x")
        self.assertEqual(len(data), 12 + 4 + 8)
        self.assertEqual(attributes(data), {3: b"eth0\0", 4: b"", 9: b"x"})

    def test_malformedAttributes(self) -> None:
        """
        What is behind a malformed attribute is left out.
        """
        good = attribute(3, b"eth0")
        for length in (0, 3, 17, 0xFFFF):
            lying = struct.pack("=HH", length, 7) + b"abcd" + good
            self.assertEqual(attributes(good + lying), {3: b"eth0"})
        for end in range(len(good)):
            self.assertEqual(attributes(good[:end]), {})


class Kernel:
    """
    A netlink socket that gives what a test puts in, and remembers what it is sent.
    """

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts)
        self.sent: list[bytes] = []
        self.closed = False

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def recv(self, size: int) -> bytes:
        if not self.parts:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return self.parts.pop(0)

    def bind(self, address: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    def close(self) -> None:
        self.closed = True


class AskTests(SynchronousTestCase):
    """
    Tests for `ask` and `subscribe`.
    """

    def kernel(self, *parts: bytes) -> Kernel:
        kernel = Kernel(*parts)
        self.patch(netlink, "_open", lambda: kernel)
        self.addCleanup(lambda: self.assertTrue(kernel.closed))
        return kernel

    def test_one(self) -> None:
        """
        The answer to a question about one thing is one message.
        """
        kernel = self.kernel(message(NEW_LINK, b"abcd", 0), b"never read")
        self.assertEqual(ask(GET_LINK, b"what"), [Message(NEW_LINK, b"abcd")])
        request = struct.pack("=IHHII", 20, GET_LINK, 0x1, 1, 0) + b"what"
        self.assertEqual(kernel.sent, [request])

    def test_every(self) -> None:
        """
        The answer to one about all goes on, part by part, until the kernel says that
        it is over.
        """
        one, two = message(NEW_LINK, b"1"), message(NEW_LINK, b"2")
        kernel = self.kernel(one + two, one, two + message(DONE))
        answer = ask(GET_LINK, b"", every=True)
        self.assertEqual([each.body for each in answer], [b"1", b"2", b"1", b"2"])
        self.assertEqual(struct.unpack_from("=H", kernel.sent[0], 6), (0x301,))

    def test_refused(self) -> None:
        """
        What the kernel refuses is an error with its number, also if that is missing.
        """
        self.kernel(message(ERROR, struct.pack("=i", -errno.ENETUNREACH) + bytes(20)))
        error = self.assertRaises(OSError, ask, GET_LINK, b"")
        self.assertEqual(error.errno, errno.ENETUNREACH)
        self.kernel(message(ERROR, b""))
        error = self.assertRaises(OSError, ask, GET_LINK, b"")
        self.assertEqual(error.errno, errno.EBADMSG)

    def test_neverWaits(self) -> None:
        """
        An answer that does not come, or does not end, is an error and not a wait.
        """
        self.kernel()
        self.assertRaises(BlockingIOError, ask, GET_LINK, b"")
        self.kernel(message(NEW_LINK, b"1"))
        self.assertRaises(BlockingIOError, ask, GET_LINK, b"", every=True)

    def test_bounded(self) -> None:
        """
        An answer without end is taken in part.
        """
        self.kernel(*[message(NEW_LINK, b"1")] * 1000)
        self.assertEqual(len(ask(GET_LINK, b"", every=True)), 64)

    def test_nonsense(self) -> None:
        """
        Bytes that are no messages are no answer.
        """
        self.kernel(b"nonsense", message(DONE))
        self.assertEqual(ask(GET_LINK, b"", every=True), [])

    def test_forbidden(self) -> None:
        """
        Where nobody may listen the error is raised and nothing stays open.
        """
        self.kernel()
        self.assertRaises(PermissionError, subscribe)

    def test_missing(self) -> None:
        """
        On a system without netlink it is an error like any other.
        """
        self.patch(netlink, "socket", object())
        error = self.assertRaises(OSError, ask, GET_LINK, b"")
        self.assertEqual(error.errno, errno.EAFNOSUPPORT)

    def test_real(self) -> None:
        """
        This machine's kernel knows of a loopback interface, and lets anybody listen.
        """
        body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
        names = [
            attributes(each.body[16:])[3] for each in ask(GET_LINK, body, every=True)
        ]
        self.assertIn(b"lo\0", names)
        skt = subscribe()
        self.assertFalse(skt.getblocking())
        skt.close()
