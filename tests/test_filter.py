"""
Tests for `rootstream.transport.filter`: what the kernel keeps from us.
"""

from __future__ import annotations

import errno
import os
import random
import socket

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from rootstream.transport.batch import sendTrain, takesTrains
from rootstream.transport.filter import attachFilter, packetFilter

#: Passes every filter, and ends what a test waits for.
LAST = b"\x24" + b"last" + bytes(30)

VALID = (
    b"\x21" + bytes(175),
    b"\x22" + bytes(103),
    b"\x23" + bytes(55),
    b"\x24" + bytes(29),
    b"\x24" + bytes(1399),
)
SHORT = (b"\x21" * 175, b"\x22" * 103, b"\x23" * 55, b"\x24" * 29, b"\x21", b"\x24")
LONG = (b"\x21" * 177, b"\x22" * 105, b"\x23" * 57, b"\x21" * 1400)
OTHERS = tuple(
    bytes([kind]) * size
    for kind in range(256)
    if not 0x21 <= kind <= 0x24
    for size in (1, 30, 56, 104, 176)
)


class FilterTests(SynchronousTestCase):
    """
    Real sockets over loopback, with the filter.
    """

    def sockets(
        self, trains: bool, family: int = socket.AF_INET
    ) -> tuple[socket.socket, socket.socket]:
        """
        One that receives through the filter, and one connected to it.
        """
        there = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(there.close)
        here = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(here.close)
        there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        # Nothing may be lost but what is dropped on purpose.
        there.settimeout(20.0)
        there.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        here.connect(there.getsockname())
        if trains and not takesTrains(there):
            raise SkipTest("this kernel knows no trains")
        if not attachFilter(there, trains):
            raise SkipTest("this kernel takes no filters")
        return here, there

    def passed(self, datagrams: tuple[bytes, ...], trains: bool = False) -> list[bytes]:
        """
        What of these datagrams reaches the socket.
        """
        here, there = self.sockets(trains)
        came: list[bytes] = []
        # A few at a time, so that the buffer has room.
        for start in range(0, len(datagrams), 50):
            for datagram in (*datagrams[start : start + 50], LAST):
                here.send(datagram)
            while (datagram := there.recv(65536)) != LAST:
                came.append(datagram)
        return came

    def test_valid(self) -> None:
        """
        Every kind of packet passes, the shortest and the longest.
        """
        for trains in (False, True):
            self.assertEqual(self.passed(VALID, trains), list(VALID))

    def test_junk(self) -> None:
        """
        F6: what is too short, of no type of ours, or empty never reaches us; neither
        does what is too long, where datagrams come one by one.
        """
        for trains in (False, True):
            self.assertEqual(self.passed((*SHORT, *OTHERS, b""), trains), [])
        self.assertEqual(self.passed(LONG), [])
        self.assertEqual(self.passed(LONG, trains=True), list(LONG))

    def test_random(self) -> None:
        """
        Of random bytes one in a hundred passes, and only what looks like a packet.
        """
        chance = random.Random(6)
        junk = tuple(chance.randbytes(chance.randrange(200)) for _ in range(1000))
        came = self.passed(junk)
        self.assertLess(len(came), 10)
        for datagram in came:
            self.assertIn(datagram[0], (0x21, 0x22, 0x23, 0x24))

    def test_trains(self) -> None:
        """
        Datagrams that come as one are not taken for one that is too long.
        """
        here, there = self.sockets(trains=True)
        for packet in (VALID[0], VALID[3]):
            try:
                sendTrain(here, [packet] * 8, None)
            except OSError as error:
                raise SkipTest(f"no trains leave here: {error}") from None
            size = 0
            while size < 8 * len(packet):
                size += len(there.recv(65536))
            self.assertEqual(size, 8 * len(packet))

    def test_IPv6(self) -> None:
        """
        Over IPv6 it is the same.
        """
        try:
            here, there = self.sockets(False, socket.AF_INET6)
        except OSError as error:
            raise SkipTest(f"no IPv6 here: {error}") from None
        for datagram in (b"\x00" * 30, *VALID[:3], b"\x24" * 29, LAST):
            here.send(datagram)
        came = [there.recv(2048) for _ in range(4)]
        self.assertEqual(came, [*VALID[:3], LAST])

    def test_refused(self) -> None:
        """
        A kernel that takes no filter is no error.
        """

        class Refusing(socket.socket):
            def setsockopt(self, *_: object) -> None:
                raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))

        with Refusing(socket.AF_INET, socket.SOCK_DGRAM) as skt:
            self.assertFalse(attachFilter(skt, trains=False))

    def test_forward(self) -> None:
        """
        Every jump of the program leads forward, to an instruction that there is.
        """
        for trains in (False, True):
            program = packetFilter(trains)
            for number, (_, held, failed, _) in enumerate(program):
                self.assertLess(number + 1 + max(held, failed), len(program) + 1)
