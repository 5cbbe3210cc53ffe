"""
Tests for `rootstream.protocol.channel`.
"""

from __future__ import annotations

import random
from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import LocalError
from rootstream.protocol.channel import ReliableReceiver, ReliableSender

RTO = 0.1


class ReliableSenderTests(SynchronousTestCase):
    """
    The sending half.
    """

    def setUp(self) -> None:
        self.sender = ReliableSender()

    def test_numbers(self) -> None:
        """
        Messages are numbered from 0 and sent at once, in order.
        """
        self.assertEqual(self.sender.push(b"a", 5.0), 0)
        self.assertEqual(self.sender.push(b"b", 5.0), 1)
        self.assertEqual(self.sender.nextTimer(), 5.0)
        self.assertEqual(self.sender.due(5.0, RTO), [(0, b"a"), (1, b"b")])
        self.assertEqual(self.sender.due(5.0, RTO), [])

    def test_nothing(self) -> None:
        """
        Without messages there is nothing to wait for.
        """
        self.assertIsNone(self.sender.nextTimer())
        self.assertEqual(self.sender.due(5.0, RTO), [])

    def test_resends(self) -> None:
        """
        A message that is not acknowledged goes out again after the retransmission
        time, which doubles from one to the next up to a second, for ever.
        """
        self.sender.push(b"a", 0.0)
        self.sender.due(0.0, 0.125)
        sent = [0.0]
        for _ in range(2000):
            at = self.sender.nextTimer()
            assert at is not None
            self.assertEqual(self.sender.due(at - 0.001, 0.125), [])
            self.assertEqual(self.sender.due(at, 0.125), [(0, b"a")])
            sent.append(at)
        waits = [later - earlier for earlier, later in pairwise(sent)]
        self.assertEqual(waits[:5], [0.125, 0.25, 0.5, 1.0, 1.0])
        self.assertEqual(set(waits[5:]), {1.0})

    def test_eachItsOwn(self) -> None:
        """
        Each message has its own time: a fresh one is not held back by the patience
        with an old one.
        """
        self.sender.push(b"old", 0.0)
        self.sender.due(0.0, RTO)
        self.sender.due(0.1, RTO)
        self.sender.push(b"new", 0.15)
        self.assertEqual(self.sender.due(0.15, RTO), [(1, b"new")])
        self.assertEqual(self.sender.due(0.26, RTO), [(1, b"new")])
        self.assertEqual(self.sender.due(0.31, RTO), [(0, b"old")])

    def test_acknowledged(self) -> None:
        """
        An acknowledgement ends the resending of all messages before its number.
        """
        for body in (b"a", b"b", b"c"):
            self.sender.push(body, 0.0)
        self.sender.due(0.0, RTO)
        self.sender.acknowledged(2)
        self.assertEqual(len(self.sender), 1)
        self.assertEqual(self.sender.due(1.0, RTO), [(2, b"c")])
        self.sender.acknowledged(3)
        self.assertEqual(len(self.sender), 0)
        self.assertIsNone(self.sender.nextTimer())

    def test_overtaken(self) -> None:
        """
        An acknowledgement that was overtaken by a newer one, or that is for
        messages never sent, changes nothing.
        """
        for body in (b"a", b"b", b"c"):
            self.sender.push(body, 0.0)
        self.sender.acknowledged(2)
        for number in (1, 0, 4, 1000, 2**31, 2**32 - 1):
            self.sender.acknowledged(number)
        self.assertEqual(self.sender.due(0.0, RTO), [(2, b"c")])

    def test_limit(self) -> None:
        """
        A sender whose peer does not answer refuses more than its limit, until the
        peer does.
        """
        sender = ReliableSender(limit=3)
        for _ in range(3):
            sender.push(b"", 0.0)
        self.assertRaises(LocalError, sender.push, b"", 0.0)
        self.assertEqual(len(sender), 3)
        sender.acknowledged(1)
        self.assertEqual(sender.push(b"", 0.0), 3)

    def test_defaultLimit(self) -> None:
        """
        Unless told otherwise, 4096 messages are kept.
        """
        for _ in range(4096):
            self.sender.push(b"", 0.0)
        self.assertRaises(LocalError, self.sender.push, b"", 0.0)

    def test_window(self) -> None:
        """
        Messages that the receiver would drop, being past its window, wait for an
        acknowledgement, and no timer is set for them.
        """
        for number in range(1030):
            self.sender.push(b"%d" % number, 0.0)
        self.assertEqual(len(self.sender.due(0.0, RTO)), 1024)
        self.assertEqual(self.sender.nextTimer(), RTO)
        self.sender.acknowledged(2)
        self.assertEqual(self.sender.nextTimer(), 0.0)
        self.assertEqual(self.sender.due(0.01, RTO), [(1024, b"1024"), (1025, b"1025")])
        self.assertEqual(self.sender.nextTimer(), RTO)

    def test_longerWait(self) -> None:
        """
        When the retransmission time has grown meanwhile, a message waits for that.
        """
        self.sender.push(b"a", 0.0)
        self.sender.due(0.0, 0.125)
        self.assertEqual(self.sender.due(0.125, 0.5), [])
        self.assertEqual(self.sender.nextTimer(), 0.5)
        self.assertEqual(self.sender.due(0.5, 0.5), [(0, b"a")])

    def test_wrap(self) -> None:
        """
        After number 2^32 - 1 comes 0.
        """
        self.sender.next = 2**32 - 1
        self.assertEqual(self.sender.push(b"a", 0.0), 2**32 - 1)
        self.assertEqual(self.sender.push(b"b", 0.0), 0)
        self.assertEqual(self.sender.due(0.0, RTO), [(2**32 - 1, b"a"), (0, b"b")])
        self.sender.acknowledged(0)
        self.assertEqual(self.sender.due(1.0, RTO), [(0, b"b")])
        self.sender.acknowledged(1)
        self.assertEqual(len(self.sender), 0)

    def test_reset(self) -> None:
        """
        After a reset nothing is left, and numbers begin at 0 again.
        """
        self.sender.push(b"a", 0.0)
        self.sender.push(b"b", 0.0)
        self.sender.reset()
        self.assertEqual(len(self.sender), 0)
        self.assertEqual(self.sender.push(b"c", 0.0), 0)


class ReliableReceiverTests(SynchronousTestCase):
    """
    The receiving half.
    """

    def setUp(self) -> None:
        self.receiver = ReliableReceiver()

    def test_inOrder(self) -> None:
        """
        Messages in order are delivered one by one.
        """
        self.assertEqual(self.receiver.receive(0, b"a"), [b"a"])
        self.assertEqual(self.receiver.receive(1, b"b"), [b"b"])
        self.assertEqual(self.receiver.next, 2)

    def test_early(self) -> None:
        """
        What comes early waits for what is missing, then all is delivered in order.
        """
        self.assertEqual(self.receiver.receive(2, b"c"), [])
        self.assertEqual(self.receiver.receive(1, b"b"), [])
        self.assertEqual(self.receiver.next, 0)
        self.assertEqual(self.receiver.receive(0, b"a"), [b"a", b"b", b"c"])
        self.assertEqual(self.receiver.next, 3)

    def test_doubles(self) -> None:
        """
        A message that was delivered or is waiting is not taken again.
        """
        self.receiver.receive(0, b"a")
        self.assertEqual(self.receiver.receive(0, b"other"), [])
        self.receiver.receive(2, b"c")
        self.assertEqual(self.receiver.receive(2, b"other"), [])
        self.assertEqual(self.receiver.receive(1, b"b"), [b"b", b"c"])

    def test_window(self) -> None:
        """
        A peer cannot make us keep messages past the window.
        """
        self.assertEqual(self.receiver.receive(1024, b"past"), [])
        self.assertEqual(self.receiver.receive(1023, b"last"), [])
        for number in range(1022):
            self.receiver.receive(number, b"")
        self.assertEqual(self.receiver.receive(1022, b"x"), [b"x", b"last"])
        self.assertEqual(self.receiver.next, 1024)

    def test_wrap(self) -> None:
        """
        After number 2^32 - 1 comes 0, and what is behind it is still old.
        """
        self.receiver.next = 2**32 - 1
        self.assertEqual(self.receiver.receive(0, b"b"), [])
        self.assertEqual(self.receiver.receive(2**32 - 2, b"old"), [])
        self.assertEqual(self.receiver.receive(2**32 - 1, b"a"), [b"a", b"b"])
        self.assertEqual(self.receiver.next, 1)

    def test_reset(self) -> None:
        """
        After a reset number 0 is expected, and what was waiting is forgotten.
        """
        self.receiver.receive(0, b"a")
        self.receiver.receive(2, b"c")
        self.receiver.reset()
        self.assertEqual(self.receiver.receive(0, b"x"), [b"x"])
        self.assertEqual(self.receiver.receive(1, b"y"), [b"y"])


class ExactlyOnceTests(SynchronousTestCase):
    """
    Both halves, over a network that loses, doubles and reorders.
    """

    def converse(self, seed: int, first: int) -> None:
        chance = random.Random(seed)
        sender, receiver = ReliableSender(), ReliableReceiver()
        sender.next = receiver.next = first
        messages = [b"%d" % number for number in range(200)]
        pushed = 0
        delivered: list[bytes] = []
        flying: list[tuple[int, bytes] | int] = []
        now = 0.0
        while len(sender) or pushed < len(messages):
            self.assertLess(now, 600.0, f"seed {seed}: not delivered in ten minutes")
            now += 0.01
            if pushed < len(messages) and chance.random() < 0.7:
                sender.push(messages[pushed], now)
                pushed += 1
            flying += sender.due(now, RTO)
            if chance.random() < 0.5:
                flying.append(receiver.next)
            chance.shuffle(flying)
            staying = []
            for packet in flying:
                fate = chance.random()
                if fate < 0.3:
                    continue
                if fate < 0.6:
                    staying.append(packet)
                if isinstance(packet, int):
                    sender.acknowledged(packet)
                else:
                    delivered += receiver.receive(*packet)
            flying = staying[-50:]
        self.assertEqual(delivered, messages, f"seed {seed}")

    def test_exactlyOnceInOrder(self) -> None:
        """
        Every message arrives exactly once and in order through 30 % loss, doubles
        and reordering, whatever number the conversation is at: INPUT and CONTROL
        lose nothing (F48).
        """
        for seed in range(20):
            self.converse(seed, 0)
            self.converse(seed, 2**32 - 100)
