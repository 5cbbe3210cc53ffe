"""
Tests for `rootstream.transport.batch`.
"""

from __future__ import annotations

import itertools
import os
import socket
from random import Random
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from rootstream.transport.batch import receiveTrain, sendTrain, takesTrains, trains

#: What Linux takes (UDP_MAX_SEGMENTS, and the largest IPv4 datagram).
MOST, LARGEST = 64, 65507


class TrainsTests(SynchronousTestCase):
    """
    Tests for `trains`.
    """

    def sizes(self, *sizes: int) -> list[list[int]]:
        """
        How packets of these sizes are cut.
        """
        return [[len(each) for each in train] for train in trains([*map(bytes, sizes)])]

    def test_none(self) -> None:
        """
        No packets, no trains.
        """
        self.assertEqual(self.sizes(), [])

    def test_shorterLast(self) -> None:
        """
        A train ends with the first packet of another size, and takes it along if it is
        smaller.
        """
        self.assertEqual(self.sizes(9, 9, 5, 5, 9), [[9, 9, 5], [5], [9]])
        self.assertEqual(self.sizes(5, 9, 9), [[5], [9, 9]])

    def test_bounds(self) -> None:
        """
        No train is longer than the kernel takes, in packets or bytes.
        """
        self.assertEqual([*map(len, self.sizes(*[100] * 130))], [64, 64, 2])
        self.assertEqual([*map(len, self.sizes(*[1400] * 100))], [46, 46, 8])

    def test_anyPackets(self) -> None:
        """
        Whatever the sizes, all packets are there, in their order, and each train is one
        that the kernel takes.
        """
        random = Random(1)
        for _ in range(300):
            choice = random.sample(range(1, 1401), 3)
            packets = [
                random.randbytes(random.choice(choice))
                for _ in range(random.randrange(200))
            ]
            cut = list(trains(packets))
            self.assertEqual(list(itertools.chain(*cut)), packets)
            for train in cut:
                sizes = [len(each) for each in train]
                self.assertLessEqual(len(train), MOST)
                self.assertLessEqual(sum(sizes), LARGEST)
                self.assertEqual(set(sizes[:-1]) - {sizes[0]}, set())
                self.assertLessEqual(sizes[-1], sizes[0])


class KernelTests(SynchronousTestCase):
    """
    What this machine's kernel makes of trains.
    """

    def pair(self, family: int, host: str) -> tuple[socket.socket, socket.socket]:
        """
        Two sockets on loopback.
        """
        ends = (
            socket.socket(family, socket.SOCK_DGRAM),
            socket.socket(family, socket.SOCK_DGRAM),
        )
        for end in ends:
            self.addCleanup(end.close)
            end.bind((host, 0))
            end.settimeout(5)
            self.assertTrue(takesTrains(end))
        return ends

    def test_roundTrip(self) -> None:
        """
        A train arrives as it was sent, connected or not, over IPv4 and IPv6.
        """
        packets = [bytes([number]) * 1400 for number in range(45)] + [b"end"]
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            here, there = self.pair(family, host)
            for destination in (there.getsockname(), None):
                if destination is None:
                    here.connect(there.getsockname())
                sendTrain(here, packets, destination)
                got: list[bytes] = []
                while len(got) < len(packets):
                    train, source = receiveTrain(there, 1400)
                    self.assertEqual(source, here.getsockname())
                    got += train
                self.assertEqual(got, packets)

    def test_alone(self) -> None:
        """
        So does a single datagram, or an empty one; of one too large, a byte more than
        is allowed is left.
        """
        here, there = self.pair(socket.AF_INET, "127.0.0.1")
        for packet, expected in ((b"x", b"x"), (b"", b""), (bytes(5000), bytes(1401))):
            here.sendto(packet, there.getsockname())
            self.assertEqual(receiveTrain(there, 1400)[0], [expected])

    def test_notThere(self) -> None:
        """
        A socket of another kind takes no trains.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            self.assertFalse(takesTrains(other))

    def test_switchedOff(self) -> None:
        """
        The environment can forbid them, and says so with one word only.
        """
        here, _ = self.pair(socket.AF_INET, "127.0.0.1")
        for word, taken in (("off", False), ("on", True), ("", True)):
            with mock.patch.dict(os.environ, {"ROOTSTREAM_TRAINS": word}):
                self.assertEqual(takesTrains(here), taken)
