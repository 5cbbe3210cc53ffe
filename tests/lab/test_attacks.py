"""
Somebody on the way who copies packets, and whose copies arrive before the real ones.

He copies all of UDP, both ways.  The link has a delay, so that he can be first.  As in
`tests.lab.test_fallback`, what fails a test has a margin for a busy machine.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from typing import Any

from rootstream.identity import formatCode
from rootstream.protocol.constants import (
    AMPLIFICATION,
    TYPE_DATA,
    TYPE_INIT,
    TYPE_RESP,
)
from rootstream.transport.clock import boottime
from tests.lab.forger import Forger
from tests.lab.judging import LabTests
from tests.lab.wiretap import Seen, Wiretap

#: Documentation addresses (RFC 5737) that no machine here has.
VICTIM = "192.0.2.9"
FORWARDER = "192.0.2.66"

#: Seconds of each way; a copy takes about one.
DELAY = 0.03
#: Seconds of an attack.  It makes a side ask which path is right once a second.
ATTACK = 4.0
#: Bytes for each byte received, to an address that proved nothing, at the handshake.
HANDSHAKE_SHARE = 0.6


class AttackTests(LabTests):
    """
    A slow link, and somebody who is faster.
    """

    def setUp(self) -> None:
        """
        He has not begun.
        """
        super().setUp()
        self.network.emulate(delay=DELAY)
        self.tap = Wiretap(self.router)
        self.addCleanup(self.tap.close)

    def attack(self, address: str, answers: bool = False) -> Forger:
        """
        Let him begin.
        """
        forger = Forger(self.router, address, answers)
        self.addCleanup(forger.close)
        return forger

    def note(self, words: str) -> None:
        """
        Write down what was measured.
        """
        sys.stdout.write(f"\n    {words}\n")

    def exchanged(self, port: str, address: str) -> list[Seen]:
        """
        What the machine behind a port was sent from an address, and sent there, so far
        and over UDP.
        """
        return [
            each
            for each in self.tap.seen()
            if each.port == port
            and each.protocol == socket.IPPROTO_UDP
            and address == (each.source[0] if each.leaving else each.target[0])
        ]

    def assertBounded(self, exchanged: Sequence[Seen], limit: float) -> None:
        """
        At no moment had more bytes been sent there than ``limit`` for each from there,
        and some were sent.
        """
        came = went = 0
        worst = 0.0
        for each in exchanged:
            if each.leaving:
                came += each.size
            else:
                went += each.size
                self.assertTrue(came, "sent before anything came from there")
                worst = max(worst, went / came)
        [port] = {each.port for each in exchanged}
        self.note(f"{port}: {came} bytes from there, {went} to it, {worst:.2f} at most")
        self.assertGreater(went, 0)
        self.assertLessEqual(worst, limit)

    def stayed(self) -> None:
        """
        Each side has used one path, and trusted it.
        """
        self.stayedConnected()
        for program in (self.host, self.watcher):
            self.assertEqual(self.transports(program), ["udp"], self.account())
            self.assertEqual(program.events("suspect"), [], self.account())

    def stopBoth(self) -> dict[str, Any]:
        """
        End the programs: no frame was missed, and none delivered twice.
        """
        viewed = self.stopWatching()
        self.host.process.terminate()
        shown = self.host.waitFor("summary")
        self.assertEqual(viewed["frames_lost"], 0)
        self.assertLessEqual(viewed["frames_received"], shown["frames_sent"])
        self.assertLessEqual(len(self.pictures.arrivals), viewed["frames_received"])
        # What was on the way at the end is sent and not received.
        self.assertGreater(viewed["frames_received"], shown["frames_sent"] - 15)
        self.assertGreater(len(self.pictures.arrivals), shown["frames_sent"] - 15)
        return viewed


class SpoofedSourceTests(AttackTests):
    """
    The copies come from the address of somebody who asked for nothing.
    """

    def overtaken(self, since: float, until: float) -> float:
        """
        The share of the packets to the host that came from the victim first.
        """
        first: dict[str, str] = {}
        for each in self.tap.seen():
            data = each.leaving and each.port == "toa" and each.kind == TYPE_DATA
            if data and since < each.at < until:
                first.setdefault(each.head, each.source[0])
        return list(first.values()).count(VICTIM) / len(first)

    def test_stream(self) -> None:
        """
        A stream whose packets all come from a victim first is delivered once and goes
        where it went; the victim gets a few questions, no more than three times the
        bytes that came in its name, and nothing once that is over (F42, F43).
        """
        self.stream()
        self.watch()
        forger = self.attack(VICTIM)
        began = boottime()
        self.watch(ATTACK)
        ended = boottime()
        forger.close()
        self.watch(2.0)

        share = self.overtaken(began + 0.1, ended)
        self.note(f"{100 * share:.0f} % of the packets came from the victim first")
        self.assertGreater(share, 0.8)
        for port in ("toa", "tob"):
            exchanged = self.exchanged(port, VICTIM)
            self.assertBounded(exchanged, AMPLIFICATION)
            late = [each for each in exchanged if each.at > ended + 1.0]
            self.assertEqual(late, [])
            # Questions and answers to them, of 38 bytes each, and no media.
            sizes = {each.size for each in exchanged if not each.leaving}
            self.assertLess(max(sizes), 64)
        self.within("without pictures", self.longestGap(), 0.1, 0.5)
        self.stayed()
        self.stopBoth()

    def test_dial(self) -> None:
        """
        INITs that come from a victim first bring it answers of 0.6 times their size,
        and nothing unasked after that; the viewer gets in over TCP meanwhile, and is
        on UDP when the attack is over (F43).
        """
        self.startLabHost("--allow", formatCode(self.viewer.key, None))
        forger = self.attack(VICTIM)
        self.startWatcher()
        first = self.pictures.after(0.0)
        self.within("first picture", first - self.dialledAt, 0.6 + 6 * DELAY, 2.5)
        self.watch()
        forger.close()
        ended = boottime()
        back = self.watcher.waitFor("path", transport="udp")
        self.within("on UDP after the attack", back["mono"] - ended, 5.0, 8.0)
        self.watch(1.0)

        exchanged = self.exchanged("toa", VICTIM)
        handshake = [each for each in exchanged if each.kind != TYPE_DATA]
        self.assertEqual({each.kind for each in handshake}, {TYPE_INIT, TYPE_RESP})
        self.assertBounded(handshake, HANDSHAKE_SHARE)
        self.assertBounded(exchanged, AMPLIFICATION)
        self.stayedConnected()
        for program in (self.host, self.watcher):
            self.assertEqual(self.transports(program), ["tcp", "udp"], self.account())
        self.stopBoth()


class ForwarderTests(AttackTests):
    """
    The copies come from his own address, and what is sent there he passes on: he would
    be the faster way, if somebody took him.
    """

    def test_fasterThanThePath(self) -> None:
        """
        The old path is asked first and kept: while its answer is waited for packets
        go out on both, and nothing else goes to him (F44).
        """
        self.stream()
        self.watch()
        forger = self.attack(FORWARDER, answers=True)
        began = boottime()
        self.watch(ATTACK)
        ended = boottime()
        forger.close()
        self.watch()

        self.stayed()
        there, back = (
            [
                each
                for each in self.tap.seen()
                if each.port == "toa"
                and not each.leaving
                and each.kind == TYPE_DATA
                and each.target[0] == target
                and began < each.at < ended
            ]
            for target in (self.network.b.address, FORWARDER)
        )
        self.note(f"{len(there)} packets to the viewer, {len(back)} to the forwarder")
        self.assertGreater(len(back), 0, "he was not even asked")
        # A question a second, of one round trip, is 6 % of the time.
        self.assertLess(len(back), 0.25 * len(there))
        self.within("without pictures", self.longestGap(), 0.1, 0.5)
        self.stopBoth()

    def test_fromTheBeginning(self) -> None:
        """
        One who is there when a session begins is not told from a NAT, and carries it;
        when he is gone the stream goes on without him, in the same session (F44).
        """
        self.countSessions()
        forger = self.attack(FORWARDER, answers=True)
        self.stream()
        self.watch()
        [path] = self.host.events("path")
        self.assertTrue(path["address"].startswith(FORWARDER), path)
        forger.close()
        moved = self.host.waitFor("path", which=lambda event: event != path)
        self.resumes("pictures after he is gone", moved["mono"], 0.1, 1.0)
        self.assertTrue(moved["address"].startswith(self.network.b.address), moved)
        self.within("without pictures", self.longestGap(), 0.5, 1.5)
        self.stayedConnected()
        self.assertEqual(self.sessions(), 1)
        self.stopBoth()
