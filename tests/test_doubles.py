"""
Tests for `tests.doubles`: the stand-ins keep the promises of the interfaces.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from rootstream.interfaces import IPacketSink, IPath
from tests.doubles import FakePath, MemoryNet, RecordingSink

A = ("192.0.2.1", 1)
B = ("192.0.2.2", 2)


class DoublesTests(SynchronousTestCase):
    """
    Tests for the doubles.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.net = MemoryNet(self.clock, seed=1)
        self.sink = RecordingSink()
        self.a = self.net.port(A, RecordingSink())
        self.b = self.net.port(B, self.sink)

    def test_interfaces(self) -> None:
        """
        Each double provides the interface it stands in for.
        """
        verifyObject(IPath, FakePath())
        verifyObject(IPacketSink, self.sink)
        verifyObject(IPath, self.a.pathTo(B))

    def test_carries(self) -> None:
        """
        A packet arrives after the delay, on the path back to its sender.
        """
        self.net.delay = 1.0
        self.a.pathTo(B).sendPackets([b"x"])
        self.clock.advance(0.9)
        self.assertEqual(self.sink.batches, [])
        self.clock.advance(0.2)
        self.assertEqual(self.sink.batches, [([b"x"], self.b.pathTo(A))])

    def test_blocked(self) -> None:
        """
        What is blocked one way still passes the other way.
        """
        self.net.blocked.add((A, None))
        self.a.pathTo(B).sendPackets([b"x"])
        self.b.pathTo(A).sendPackets([b"y"])
        self.clock.advance(1)
        self.assertEqual(self.sink.packets, [])
        self.assertEqual(self.a.sink.packets, [b"y"])  # type: ignore[attr-defined]

    def test_hostile(self) -> None:
        """
        Loss, doubling and reordering happen, and are the same for one seed.
        """
        self.net.loss = self.net.double = 0.2
        self.net.jitter = 1.0
        self.a.pathTo(B).sendPackets([bytes([n]) for n in range(100)])
        self.clock.advance(2)
        got = self.sink.packets
        self.assertLess(len(set(got)), 100)
        self.assertGreater(len(got), len(set(got)))
        self.assertNotEqual(got, sorted(got))
