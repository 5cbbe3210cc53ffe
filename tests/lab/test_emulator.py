"""
Tests for `tests.lab.emulator`: each setting, measured with packets between machines.

That the model is right is shown in `test_line`; here, that packets really meet it.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import time
from statistics import median

from twisted.trial.unittest import SynchronousTestCase

from tests.lab import emulator
from tests.lab.namespace import command
from tests.lab.net import Emulator, LabUnavailable, openNetwork
from tests.lab.traffic import Arrival, ask, carry, startEcho

#: What a machine that is busy with other things may add to a time, in seconds.
BUSY = 0.03


class EmulatorTestCase(SynchronousTestCase):
    """
    A network with an emulator, which does nothing yet.
    """

    nat = False

    def setUp(self) -> None:
        self.network = openNetwork(self, self.nat)
        self.emulator = self.network.emulate()
        if self.network.natB is not None:
            self.network.natB.forward(9876)

    def carry(
        self, count: int, gap: float = 0.001, size: int = 100, back: bool = False
    ) -> list[Arrival]:
        """
        Send datagrams from ``a`` to ``b``, or else back; returns those that arrive.
        """
        a, b = self.network.a, self.network.b
        sender, receiver = (b, a) if back else (a, b)
        return carry(sender, receiver, count, gap, size)

    def numbers(self, count: int, gap: float = 0.001) -> list[int]:
        """
        The numbers of the packets that arrive of so many from ``a`` to ``b``.
        """
        return [arrival.number for arrival in self.carry(count, gap)]

    def ask(self, kind: str, address: str = "") -> str:
        """
        What ``a`` hears from the echo.
        """
        return ask(self.network.a, kind, address or self.network.b.outside)

    def report(self, what: str, measured: float, asked: float) -> None:
        """
        Write a measured value beside the one asked for.
        """
        sys.stdout.write(f" [{what}: {measured:.4g}, asked for {asked:g}] ")


class SettingTests(EmulatorTestCase):
    """
    Tests for what packets meet.
    """

    def test_perfect(self) -> None:
        """
        Without settings everything passes, in order, UDP and TCP, IPv4 and IPv6.
        """
        self.assertEqual(self.numbers(500), list(range(500)))
        startEcho(self, self.network.b)
        for address in (self.network.b.address, self.network.b.address6):
            for kind in ("udp", "tcp"):
                with self.subTest(address=address, kind=kind):
                    self.assertEqual(self.ask(kind, address), "echo")

    def test_delay(self) -> None:
        """
        Each direction takes as long as it was told to, IPv6 like IPv4.
        """
        self.emulator.set(delay=0.05)
        self.emulator.set(self.network.b, delay=0.1)
        for back, asked in ((False, 0.05), (True, 0.1)):
            taken = [arrival.taken for arrival in self.carry(200, 0.005, back=back)]
            self.assertEqual(len(taken), 200)
            self.assertGreaterEqual(min(taken), asked)
            self.report("delay", median(taken), asked)
            self.assertLess(median(taken), asked + BUSY)
        startEcho(self, self.network.b)
        began = time.monotonic()
        self.assertEqual(self.ask("udp", self.network.b.address6), "echo")
        self.assertGreaterEqual(time.monotonic() - began, 0.15)

    def test_jitter(self) -> None:
        """
        Packets take different times, within the jitter, and stay in order.
        """
        self.emulator.set(delay=0.02, jitter=0.08)
        arrivals = self.carry(200, gap=0.01)
        self.assertEqual([one.number for one in arrivals], list(range(200)))
        taken = [arrival.taken for arrival in arrivals]
        self.assertGreaterEqual(min(taken), 0.02)
        self.report("most of the jitter", max(taken) - 0.02, 0.08)
        self.assertGreater(max(taken), 0.08)
        self.assertLess(median(taken), 0.1 + BUSY)

    def test_loss(self) -> None:
        """
        So many are lost, in this direction and not in the other; with a share of 1,
        all, until it ends.
        """
        self.emulator.set(self.network.a, loss=0.2)
        lost = 1 - len(self.numbers(2000, gap=0.0005)) / 2000
        self.report("loss", lost, 0.2)
        self.assertApproximates(lost, 0.2, 0.05)
        self.assertEqual(len(self.carry(200, back=True)), 200)
        self.emulator.set(self.network.a, loss=1)
        self.assertEqual(self.numbers(200), [])
        self.emulator.set(self.network.a, loss=0)
        self.assertEqual(len(self.numbers(200)), 200)

    def test_bursts(self) -> None:
        """
        Losses come in bursts of about the length asked for.
        """
        self.emulator.set(loss=0.2, burst=10)
        arrived = set(self.numbers(4000, gap=0.0003))
        runs = itertools.groupby(number in arrived for number in range(4000))
        lengths = [len(list(run)) for passed, run in runs if not passed]
        mean = sum(lengths) / len(lengths)
        self.report("burst", mean, 10)
        self.assertTrue(6 < mean < 16, mean)

    def test_reorder(self) -> None:
        """
        Some overtake those on the way; none is lost.
        """
        self.emulator.set(delay=0.05, reorder=0.1)
        arrivals = self.carry(1000)
        self.assertEqual(sorted(one.number for one in arrivals), list(range(1000)))
        early = sum(one.taken < 0.04 for one in arrivals) / 1000
        self.report("overtaking", early, 0.1)
        self.assertTrue(0.03 < early < 0.15, early)

    def test_duplicate(self) -> None:
        """
        Some arrive twice.
        """
        self.emulator.set(duplicate=0.1)
        numbers = self.numbers(1000)
        self.assertEqual(sorted(set(numbers)), list(range(1000)))
        self.report("packets", len(numbers), 1100)
        self.assertTrue(1050 < len(numbers) < 1150, len(numbers))

    def test_corrupt(self) -> None:
        """
        Some arrive with a wrong payload: the program sees them, for their checksum is
        right.
        """
        self.emulator.set(corrupt=0.3)
        arrivals = self.carry(1000, size=600)
        # A bit may also fall into the number: so the count is of packets.
        self.assertEqual(len(arrivals), 1000)
        bad = sum(not one.whole for one in arrivals) / 1000
        self.report("corrupt", bad, 0.3)
        self.assertTrue(0.2 < bad < 0.4, bad)

    def test_corruptStream(self) -> None:
        """
        What is corrupt in TCP is repeated, and not seen by the program.
        """
        startEcho(self, self.network.b)
        self.emulator.set(self.network.a, corrupt=1)
        self.assertEqual(self.ask("tcp"), "silence")
        self.emulator.set(self.network.a, corrupt=0)
        self.assertEqual(self.ask("tcp"), "echo")

    def test_rate(self) -> None:
        """
        More than the rate waits, in a queue of the size asked for, and then is lost.
        """
        self.emulator.set(rate=2e6, queue=50_000)
        # 8 Mbit/s.
        arrivals = self.carry(1000, gap=0.001, size=1000)
        bits = 8 * sum(one.size for one in arrivals[1:])
        rate = bits / (arrivals[-1].cameAt - arrivals[0].cameAt)
        self.report("rate", rate, 2e6)
        self.assertTrue(1.8e6 < rate < 2.2e6, rate)
        # Until the queue is full, nothing is lost.
        self.assertEqual([one.number for one in arrivals[:40]], list(range(40)))
        self.assertTrue(250 < len(arrivals) < 450, len(arrivals))
        wait = median(one.taken for one in arrivals[-100:])
        self.report("wait in a full queue", wait, 0.2)
        self.assertTrue(0.15 < wait < 0.2 + BUSY, wait)

    def test_mtu(self) -> None:
        """
        A packet of the largest size passes; one byte more vanishes.
        """
        self.emulator.set(mtu=1280)
        self.assertEqual(len(self.carry(20, size=1280)), 20)
        self.assertEqual(self.carry(20, size=1281), [])
        self.emulator.set(mtu=None)
        self.assertEqual(len(self.carry(20, size=1500)), 20)

    def test_packetsOfStreams(self) -> None:
        """
        What TCP sends passes in packets that are as large as the network's at most,
        whatever the kernel would like to send at once: rules about sizes and numbers
        mean what they say.
        """
        startEcho(self, self.network.b)
        self.network.router.rule("tcp dport 9876 meta length gt 1500 counter")
        self.network.router.rule("tcp dport 9876 meta length gt 1400 counter")
        script = (
            "import socket, time\n"
            f"one = socket.create_connection(({self.network.b.address!r}, 9876))\n"
            "one.sendall(bytes(20_000)); time.sleep(0.3)"
        )
        self.network.a.run([sys.executable, "-c", script], check=True, timeout=20)
        listing = ["nft", "-j", "list", "chain", "inet", "lab", "forward"]
        done = self.network.router.run(listing, capture_output=True, timeout=20)
        larger, full = re.findall(r'"packets": (\d+)', done.stdout)
        self.assertEqual(int(larger), 0)
        # The first window of TCP has ten segments (RFC 6928).
        self.assertGreaterEqual(int(full), 10)

    def test_throughput(self) -> None:
        """
        It carries 100 Mbit/s, and adds little to the delay.
        """
        self.emulator.set(delay=0.01)
        arrivals = self.carry(8000, gap=1500 * 8 / 100e6, size=1500)
        bits = 8 * sum(one.size for one in arrivals[1:])
        rate = bits / (arrivals[-1].cameAt - arrivals[0].cameAt)
        self.report("rate", rate, 100e6)
        self.report("share", len(arrivals) / 8000, 1)
        taken = sorted(arrival.taken for arrival in arrivals)
        for rank in (0.5, 0.9, 0.99):
            self.report(f"delay p{rank}", taken[int(rank * len(taken))], 0.01)
        # What a machine with nothing else to do loses is nothing.
        self.assertGreater(len(arrivals), 7000)
        self.assertLess(median(taken), 0.01 + BUSY)


class BehindNATTests(EmulatorTestCase):
    """
    Tests for an emulator between two NATs.
    """

    nat = True

    def test_delay(self) -> None:
        """
        What goes from one NAT to the other is delayed like anything else.
        """
        self.emulator.set(delay=0.05)
        taken = [arrival.taken for arrival in self.carry(100)]
        self.assertEqual(len(taken), 100)
        self.assertGreaterEqual(min(taken), 0.05)
        self.assertLess(median(taken), 0.05 + BUSY)


class ControlTests(EmulatorTestCase):
    """
    Tests for how an emulator is begun, changed and ended.
    """

    def test_refused(self) -> None:
        """
        An unknown setting, or a bad value, is refused in words before anything is
        changed, whether an emulator is there or not.
        """
        before = dict(self.emulator.settings)
        for settings in ({"speed": 1}, {"loss": 2}, {"loss": 1, "delay": -1}):
            with self.subTest(settings=settings):
                self.assertRaises(ValueError, self.emulator.set, **settings)
                self.assertRaises(ValueError, self.network.emulate, **settings)
        self.assertEqual(self.emulator.settings, before)
        self.assertEqual(len(self.numbers(100)), 100)

    def test_oneDirection(self) -> None:
        """
        A change of one direction leaves the other, and the other settings, alone.
        """
        self.emulator.set(delay=0.05)
        self.emulator.set(self.network.a, loss=1)
        self.assertEqual(self.numbers(50), [])
        taken = [arrival.taken for arrival in self.carry(50, back=True)]
        self.assertEqual(len(taken), 50)
        self.assertGreaterEqual(min(taken), 0.05)

    def test_closed(self) -> None:
        """
        Without its emulator the network is as it was, and can have another.
        """
        self.emulator.set(loss=1)
        self.emulator.close()
        self.emulator.close()
        self.assertEqual(len(self.numbers(50)), 50)
        self.network.emulate(loss=1)
        self.assertEqual(self.numbers(50), [])

    def test_replaced(self) -> None:
        """
        A new emulator takes the place of one that was not closed.
        """
        self.emulator.set(loss=1)
        self.network.emulate(delay=0.05)
        arrivals = self.carry(50)
        self.assertEqual(len(arrivals), 50)
        self.assertGreaterEqual(min(one.taken for one in arrivals), 0.05)

    def test_killed(self) -> None:
        """
        Whoever uses an emulator that has died is told so, and with its process its
        link is gone.
        """
        self.emulator.set(loss=1)
        [pid] = [int(pid) for pid in self.pids()]
        os.kill(pid, 9)
        error = self.assertRaises(LabUnavailable, self.emulator.set, loss=0)
        self.assertIn("the emulator ended", str(error))
        self.emulator.close()
        self.assertEqual(len(self.numbers(50)), 50)

    def test_endsWithItsNetwork(self) -> None:
        """
        A network that is closed takes its emulator along.
        """
        [pid] = [int(pid) for pid in self.pids()]
        self.network.close()
        self.assertRaises(ProcessLookupError, os.kill, pid, 0)

    def test_seed(self) -> None:
        """
        The same packets are lost with the same seed, others with another.
        """
        # Whatever else the hosts say would take its chances too.
        self.network.router.rule("meta l4proto != udp drop")
        lost = []
        for seed in (5, 5, 6):
            self.network.emulate(seed=seed, loss=0.5)
            lost.append(self.numbers(200))
        self.assertEqual(lost[0], lost[1])
        self.assertNotEqual(lost[0], lost[2])

    def pids(self) -> list[str]:
        """
        The processes that run in the router.
        """
        return command(["ip", "netns", "pids", self.network.router.name]).split()


class AvailabilityTests(SynchronousTestCase):
    """
    Tests for machines that cannot emulate a link.
    """

    def test_withoutTUN(self) -> None:
        """
        A machine without TUN devices is told so, and the network goes on.
        """
        network = openNetwork(self)
        self.patch(emulator, "TUN", "/nonexistent/tun")
        error = self.assertRaises(LabUnavailable, network.emulate)
        self.assertEqual(
            str(error),
            "needs /nonexistent/tun, to emulate a link (kernel module tun)",
        )
        self.assertEqual(len(carry(network.a, network.b, 10)), 10)

    def test_failingProcess(self) -> None:
        """
        The words of a process that does not come up are quoted in one line.
        """
        network = openNetwork(self)
        network.emulate()
        error = self.assertRaises(
            LabUnavailable,
            *(Emulator, network.router, (network.a, network.b), None, 0),
        )
        self.assertIn("the emulator ended: OSError: ", str(error))
        self.assertEqual(len(str(error).splitlines()), 1)
