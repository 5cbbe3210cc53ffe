"""
Tests for `tests.lab.wiretap` and `tests.lab.forger`: what they say is what there was.
"""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.programs import waitUntil
from tests.lab.forger import Forger
from tests.lab.net import LabUnavailable, openNetwork
from tests.lab.traffic import PORT, ask, carry, startEcho
from tests.lab.wiretap import Wiretap

#: A documentation address (RFC 5737) that no machine here has.
FORGED = "192.0.2.66"


class WiretapCase(SynchronousTestCase):
    """
    A network with a wiretap.
    """

    def setUp(self) -> None:
        self.network = openNetwork(self)
        self.tap = Wiretap(self.network.router)
        self.addCleanup(self.tap.close)


class WiretapTests(WiretapCase):
    """
    Tests for what is written down.
    """

    def test_datagrams(self) -> None:
        """
        Each datagram is seen when it comes and when it leaves, with its ends, its size
        and its first bytes.
        """
        network = self.network
        network.emulate(delay=0.05)
        arrivals = carry(network.a, network.b, 20, size=128)
        self.assertEqual(len(arrivals), 20)
        seen = [each for each in self.tap.seen() if each.protocol == socket.IPPROTO_UDP]
        came = [each for each in seen if not each.leaving]
        left = [each for each in seen if each.leaving]
        self.assertEqual({each.port for each in came}, {"toa"})
        self.assertEqual({each.port for each in left}, {"tob"})
        for each in (came, left):
            numbers = [int(packet.head[:8], 16) for packet in each]
            self.assertEqual(numbers, list(range(20)))
        for packet in seen:
            self.assertEqual(packet.source[0], network.a.address)
            self.assertEqual(packet.target, (network.b.address, PORT))
            self.assertEqual(packet.size, 100)
        for before, after in zip(came, left, strict=True):
            self.assertTrue(0.045 < after.at - before.at < 0.5, (before, after))

    def test_onlyNew(self) -> None:
        """
        What was seen is kept, and not told twice.
        """
        carry(self.network.a, self.network.b, 3)
        first = len(self.tap.seen())
        self.assertGreaterEqual(first, 6)
        carry(self.network.a, self.network.b, 3)
        self.assertGreaterEqual(len(self.tap.seen()), first + 6)
        self.assertEqual(len(self.tap.seen()), len(set(self.tap.seen())))

    def test_stream(self) -> None:
        """
        Of TCP the payload is told, without its headers.
        """
        startEcho(self, self.network.b)
        self.assertEqual(ask(self.network.a, "tcp", self.network.b.address), "echo")
        words = [
            (each.port, each.size, each.head)
            for each in self.tap.seen()
            if each.protocol == socket.IPPROTO_TCP and each.size and not each.leaving
        ]
        said = b"word".hex()
        self.assertEqual(words, [("toa", 4, said), ("tob", 4, said)])

    def test_ended(self) -> None:
        """
        A wiretap that is no more has nothing to say, and says so.
        """
        self.tap._process.kill()
        error = self.assertRaises(LabUnavailable, self.tap.seen)
        self.assertEqual(str(error), "the sniffer ended: ?")


class ForgerTests(WiretapCase):
    """
    Tests for what the forger sends.
    """

    def forge(self, answers: bool) -> Forger:
        """
        Let him begin.
        """
        forger = Forger(self.network.router, FORGED, answers)
        self.addCleanup(forger.close)
        return forger

    def test_copiesComeFirst(self) -> None:
        """
        Each datagram arrives twice: from the forged address before the link is
        through with it, and as it was sent.
        """
        network = self.network
        network.emulate(delay=0.05)
        forger = self.forge(answers=False)
        arrivals = carry(network.a, network.b, 20)
        self.assertEqual([each.number for each in arrivals[:20]], list(range(20)))
        self.assertEqual(sorted(each.number for each in arrivals[20:]), [*range(20)])
        self.assertEqual(forger.copied(), 20)
        sources = [
            each.source[0]
            for each in self.tap.seen()
            if each.leaving and each.port == "tob"
        ]
        self.assertEqual(sources, [FORGED] * 20 + [network.a.address] * 20)

    def test_nobodyAnswers(self) -> None:
        """
        What is sent to the forged address ends at the router.
        """
        startEcho(self, self.network.b)
        self.forge(answers=False)
        self.assertEqual(ask(self.network.a, "udp", self.network.b.address), "echo")
        seen = self.tap.seen()
        self.assertTrue([each for each in seen if each.target[0] == FORGED])
        lost = [each for each in seen if each.leaving and each.target[0] == FORGED]
        self.assertEqual(lost, [])

    def test_answersArePassedOn(self) -> None:
        """
        A forger who answers passes on what is sent to him, as from himself.
        """
        network = self.network
        startEcho(self, network.b)
        self.forge(answers=True)
        self.assertEqual(ask(network.a, "udp", network.b.address), "echo")

        def back() -> list[str]:
            return [
                each.head
                for each in self.tap.seen()
                if each.leaving and each.port == "toa" and each.source == (FORGED, PORT)
            ]

        # A copy of the echo's answer, and the one that was sent to him.
        waitUntil(lambda: len(back()) == 2, "both answers")
        self.assertEqual(back(), [b"word".hex()] * 2)
