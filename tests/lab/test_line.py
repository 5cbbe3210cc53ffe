"""
Tests for `tests.lab.line`, on virtual time: they need no network and no root.
"""

from __future__ import annotations

import itertools
import math
import struct
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.lab.line import RANGES, UDP, Line, Settings, corrupted

TCP = 6

#: Seconds between packets, unless a test says otherwise.
GAP = 0.001


def fate(line: Line, count: int, gap: float = GAP, size: int = 100) -> list[float]:
    """
    Send numbered packets at an even pace from time 0 on; returns how long each that
    arrived was on the way, in the order of arrival, with its number at `numbers`.
    """
    return [
        moment - number * gap for number, moment in arrivals(line, count, gap, size)
    ]


def arrivals(
    line: Line, count: int, gap: float = GAP, size: int = 100
) -> list[tuple[int, float]]:
    """
    The numbers of the packets that arrived of so many, sent at an even pace from
    time 0 on, and when they did.
    """
    arrived: list[tuple[int, float]] = []

    def runTo(end: float) -> None:
        while (now := line.nextTime()) <= end and now < math.inf:
            for packet in line.leave(now):
                arrived.append((struct.unpack_from(">I", packet, 4)[0], now))

    for number in range(count):
        runTo(number * gap)
        # Version 4, and nothing behind its header that a corruption could find.
        packet = struct.pack(">B3xI", 0x4F, number).ljust(size, b"\0")
        line.enter(packet, number * gap)
    runTo(math.inf)
    return arrived


def numbers(line: Line, count: int, gap: float = GAP, size: int = 100) -> list[int]:
    """
    The numbers of the packets that arrived, in the order of arrival.
    """
    return [number for number, _ in arrivals(line, count, gap, size)]


class SettingsTests(SynchronousTestCase):
    """
    Tests for `Settings`.
    """

    def refused(self, **settings: object) -> str:
        """
        Why settings are refused, in one line.
        """
        error = self.assertRaises(ValueError, Settings().changed, **settings)
        self.assertEqual(len(str(error).splitlines()), 1)
        return str(error)

    def test_othersStay(self) -> None:
        """
        A change leaves what it does not name as it was.
        """
        settings = Settings(delay=0.1, loss=0.2).changed(loss=0.3)
        self.assertEqual(settings, Settings(delay=0.1, loss=0.3))

    def test_unknown(self) -> None:
        """
        A setting that does not exist is named, with those that do.
        """
        self.assertEqual(
            self.refused(speed=1, delay=0.1),
            "no emulator setting speed; there are burst, corrupt, delay, duplicate, "
            "jitter, loss, mtu, queue, rate, reorder",
        )

    def test_badValue(self) -> None:
        """
        A value outside a setting's range, or no number, is named, with the range.
        """
        self.assertEqual(
            self.refused(loss=1.5),
            "emulator setting loss=1.5: must be a number from 0 to 1",
        )
        self.assertEqual(
            self.refused(mtu=0),
            "emulator setting mtu=0: must be a number from 28 to 65535 (or None)",
        )
        for name, (least, most) in RANGES.items():
            for value in (least - 1, most + 1, math.nan, "1", True, [1]):
                with self.subTest(name=name, value=value):
                    self.assertIn(f"{name}={value!r}", self.refused(**{name: value}))

    def test_none(self) -> None:
        """
        A rate and a largest size can be switched off; nothing else can.
        """
        settings = Settings(rate=1e6, mtu=1280).changed(rate=None, mtu=None)
        self.assertEqual(settings, Settings())
        for name in RANGES.keys() - {"rate", "mtu"}:
            with self.subTest(name=name):
                self.refused(**{name: None})

    def test_nothingToOvertake(self) -> None:
        """
        Packets overtake only where some are on the way; a setting that could have no
        effect is refused, whichever of the two came first.
        """
        self.assertIn("reorder needs a delay", self.refused(reorder=0.1))
        settings = Settings(reorder=0.1, delay=0.1)
        self.assertRaises(ValueError, settings.changed, delay=0)


class LineTests(SynchronousTestCase):
    """
    Tests for `Line`.
    """

    def test_perfect(self) -> None:
        """
        With no settings all packets arrive at once, in order.
        """
        expected = [(number, number * GAP) for number in range(100)]
        self.assertEqual(arrivals(Line(Settings(), 1), 100), expected)

    def test_nothingOnTheWay(self) -> None:
        """
        An empty line wants never to be asked, and has nothing to give.
        """
        line = Line(Settings(), 1)
        self.assertEqual(line.nextTime(), math.inf)
        self.assertEqual(line.leave(1e9), [])

    def test_delay(self) -> None:
        """
        Every packet takes as long as the delay says.
        """
        for taken in fate(Line(Settings(delay=0.25), 1), 100):
            self.assertAlmostEqual(taken, 0.25)

    def test_jitter(self) -> None:
        """
        Jitter adds up to so much to the delay, and does not reorder.
        """
        line = Line(Settings(delay=0.1, jitter=0.05), 1)
        taken = fate(line, 1000, gap=0.06)
        self.assertTrue(all(0.1 <= each <= 0.15 for each in taken))
        self.assertApproximates(sum(taken) / 1000, 0.125, 0.003)
        line = Line(Settings(delay=0.1, jitter=0.05), 1)
        self.assertEqual(numbers(line, 1000), list(range(1000)))

    def test_loss(self) -> None:
        """
        The share that is lost is the one asked for; with bursts of 1, a loss says
        nothing about the next packet.
        """
        arrived = numbers(Line(Settings(loss=0.2), 1), 20_000)
        lost = sorted(set(range(20_000)) - set(arrived))
        self.assertApproximates(len(lost) / 20_000, 0.2, 0.02)
        both = sum(after - before == 1 for before, after in itertools.pairwise(lost))
        self.assertApproximates(both / len(lost), 0.2, 0.02)

    def test_bursts(self) -> None:
        """
        Losses come in bursts of the mean length asked for, and the share stays.
        """
        for loss, burst in ((0.25, 40.0), (0.05, 3.0)):
            with self.subTest(loss=loss, burst=burst):
                line = Line(Settings(loss=loss, burst=burst), 1)
                count = 200_000
                arrived = set(numbers(line, count))
                runs = itertools.groupby(n in arrived for n in range(count))
                lengths = [len(list(run)) for passed, run in runs if not passed]
                self.assertApproximates(sum(lengths) / count / loss, 1, 0.15)
                mean = sum(lengths) / len(lengths)
                self.assertApproximates(mean / burst, 1, 0.15)

    def test_allLost(self) -> None:
        """
        A share of 1 is everything, also in bursts.
        """
        self.assertEqual(numbers(Line(Settings(loss=1), 1), 1000), [])
        self.assertEqual(numbers(Line(Settings(loss=1, burst=9), 1), 1000), [])

    def test_lossEnds(self) -> None:
        """
        When the loss ends, so does the burst that was going on.
        """
        line = Line(Settings(loss=0.99, burst=1000), 1)
        numbers(line, 1000)
        line.change(Settings(loss=0, burst=1000), 1.0)
        self.assertEqual(len(numbers(line, 1000)), 1000)

    def test_reorder(self) -> None:
        """
        So many packets, and no others, overtake all that are on the way.
        """
        line = Line(Settings(delay=0.1, reorder=0.1), 1)
        arrived = numbers(line, 5000)
        self.assertEqual(sorted(arrived), list(range(5000)))
        highest = -1
        late = 0
        for number in arrived:
            late += number < highest
            highest = max(highest, number)
        # A packet with none behind it that overtakes is late for nobody: with a
        # hundred on the way that is rare.
        self.assertGreater(late, 4000)
        overtaking = [taken for taken in fate(line, 5000) if taken < 0.05]
        self.assertApproximates(len(overtaking) / 5000, 0.1, 0.02)

    def test_duplicate(self) -> None:
        """
        So many packets arrive twice, and none three times.
        """
        arrived = numbers(Line(Settings(duplicate=0.1), 1), 5000)
        self.assertEqual(sorted(set(arrived)), list(range(5000)))
        self.assertApproximates(len(arrived) / 5000, 1.1, 0.02)
        self.assertLessEqual(max(map(arrived.count, set(arrived))), 2)

    def test_corrupt(self) -> None:
        """
        So many packets differ, in one bit.
        """
        line = Line(Settings(corrupt=0.1), 1)
        packet = bytes([0x45]) + bytes(99)
        for _ in range(5000):
            line.enter(packet, 0.0)
        bad = [other for other in line.leave(0.0) if other != packet]
        self.assertApproximates(len(bad) / 5000, 0.1, 0.02)
        for other in bad:
            self.assertEqual(differences(packet, other), 1)

    def test_rate(self) -> None:
        """
        Packets leave the transmitter one after the other, each taking its time.
        """
        line = Line(Settings(rate=8_000, queue=1e6, delay=1), 1)
        moments = [moment for _, moment in arrivals(line, 10, gap=0, size=100)]
        for number, moment in enumerate(moments):
            self.assertAlmostEqual(moment, 1 + 0.1 * (number + 1))

    def test_queue(self) -> None:
        """
        What finds the queue full is lost; what is in it is not.
        """
        line = Line(Settings(rate=8_000, queue=1000), 1)
        self.assertEqual(numbers(line, 50, gap=0, size=100), list(range(10)))

    def test_queueDrains(self) -> None:
        """
        At twice the rate half of the packets pass, and wait as long as the queue is.
        """
        line = Line(Settings(rate=8_000, queue=1000), 1)
        taken = fate(line, 1000, gap=0.05, size=100)
        self.assertApproximates(len(taken), 500, 15)
        self.assertApproximates(max(taken), 1.0, 0.06)

    def test_idleTransmitter(self) -> None:
        """
        Without a queue the transmitter still takes a packet when it is idle.
        """
        line = Line(Settings(rate=8_000, queue=0), 1)
        self.assertEqual(numbers(line, 10, gap=0.05, size=100), [0, 2, 4, 6, 8])

    def test_mtu(self) -> None:
        """
        Packets that are too large vanish; the largest passes.
        """
        line = Line(Settings(mtu=1280), 1)
        self.assertEqual(len(numbers(line, 10, size=1280)), 10)
        self.assertEqual(numbers(line, 10, size=1281), [])

    def test_change(self) -> None:
        """
        What is on the way when the settings change arrives as it would have, and in
        order; what comes later is treated by the new ones.
        """
        line = Line(Settings(delay=1), 1)
        line.enter(b"before", 0.0)
        line.change(Settings(loss=1), 0.1)
        line.enter(b"lost", 0.1)
        line.change(Settings(delay=0.1), 0.2)
        line.enter(b"after", 0.2)
        self.assertEqual(line.leave(0.999), [])
        self.assertEqual(line.leave(1.0), [b"before", b"after"])
        line.enter(b"quick", 2.0)
        self.assertAlmostEqual(line.nextTime(), 2.1)

    def test_changedRate(self) -> None:
        """
        What waits for the transmitter is sent at the new rate, as far as it counts
        for those who come later.
        """
        line = Line(Settings(rate=8_000, queue=10_000), 1)
        for _ in range(10):
            line.enter(bytes(100), 0.0)
        line.change(Settings(rate=80_000, queue=10_000), 0.5)
        # 500 bytes wait: 50 ms, and 10 of its own.  But it overtakes nobody.
        line.enter(b"last".ljust(100), 0.5)
        self.assertEqual(len(line.leave(0.99)), 9)
        self.assertEqual(len(line.leave(1.0)), 2)
        line.enter(bytes(100), 1.0)
        self.assertAlmostEqual(line.nextTime(), 1.01)
        line.change(Settings(), 2.0)
        line.leave(2.0)
        line.enter(bytes(100), 2.0)
        self.assertEqual(line.nextTime(), 2.0)

    def test_seed(self) -> None:
        """
        The same seed is the same fate; another is another.
        """
        settings = Settings(loss=0.3, delay=0.1, jitter=0.1, reorder=0.1, duplicate=0.1)
        fates = [arrivals(Line(settings, seed), 1000) for seed in (1, 1, 2)]
        self.assertEqual(fates[0], fates[1])
        self.assertNotEqual(fates[0], fates[2])


def differences(one: bytes, other: bytes) -> int:
    """
    In how many bits two packets of one size differ.
    """
    return sum((x ^ y).bit_count() for x, y in zip(one, other, strict=True))


def udp4(payload: bytes, options: bytes = b"", fragment: int = 0) -> bytes:
    """
    A datagram over IPv4, with its checksum.
    """
    addresses = bytes([198, 51, 100, 2, 203, 0, 113, 2])
    first = 0x45 + len(options) // 4
    head = struct.pack(">B5xHBBxx", first, fragment, 64, UDP) + addresses + options
    return head + datagram(payload, addresses)


def udp6(payload: bytes) -> bytes:
    """
    A datagram over IPv6, with its checksum.
    """
    addresses = bytes(range(32))
    head = struct.pack(">B3xHBB", 0x60, len(payload) + 8, UDP, 64) + addresses
    return head + datagram(payload, addresses)


def datagram(payload: bytes, addresses: bytes) -> bytes:
    """
    Header and payload of UDP.
    """
    header = struct.pack(">HHHH", 9876, 9877, 8 + len(payload), 0)
    checksum = 0xFFFF - total(header + payload, addresses) or 0xFFFF
    return header[:6] + checksum.to_bytes(2, "big") + payload


def total(datagram: bytes, addresses: bytes) -> int:
    """
    The sum that a receiver makes of a datagram: 0xFFFF if it is intact (RFC 768).
    """
    text = addresses + struct.pack(">HH", UDP, len(datagram)) + datagram
    text += bytes(len(text) % 2)
    folded = sum(struct.unpack(f">{len(text) // 2}H", text))
    while folded > 0xFFFF:
        folded = (folded & 0xFFFF) + (folded >> 16)
    return folded


class CorruptedTests(SynchronousTestCase):
    """
    Tests for `corrupted`.
    """

    def assertDelivered(self, packet: bytes, header: int, addresses: bytes) -> None:
        """
        However it is corrupted, the kernel hands the datagram to the program, with
        one bit of its payload wrong.
        """
        self.assertEqual(total(packet[header:], addresses), 0xFFFF)
        for seed in range(300):
            bad = corrupted(packet, Random(seed))
            self.assertEqual(total(bad[header:], addresses), 0xFFFF)
            self.assertNotEqual(bad[header + 6 : header + 8], b"\0\0")
            self.assertEqual(bad[: header + 6], packet[: header + 6])
            self.assertEqual(differences(bad[header + 8 :], packet[header + 8 :]), 1)

    def test_datagrams(self) -> None:
        """
        The checksum of a corrupt datagram is right, for IPv4 with and without
        options, and IPv6, with an even and an odd number of bytes.
        """
        for size in (1, 2, 7, 8, 33):
            payload = Random(size).randbytes(size)
            with self.subTest(size=size):
                packet = udp4(payload)
                self.assertDelivered(packet, 20, packet[12:20])
                packet = udp4(payload, options=bytes(8))
                self.assertDelivered(packet, 28, packet[12:20])
                packet = udp6(payload)
                self.assertDelivered(packet, 40, packet[8:40])

    def test_extremeChecksums(self) -> None:
        """
        The checksum stays right where it is near the ends of its range.
        """
        for word in (*range(0x100), *range(0xFF00, 0x10000)):
            packet = udp4(word.to_bytes(2, "big"))
            bad = corrupted(packet, Random(word))
            self.assertEqual(total(bad[20:], bad[12:20]), 0xFFFF)
            self.assertNotEqual(bad[26:28], b"\0\0")

    def test_withoutChecksum(self) -> None:
        """
        A datagram that had no checksum gets none.
        """
        packet = bytearray(udp4(b"payload"))
        packet[26:28] = bytes(2)
        bad = corrupted(bytes(packet), Random(1))
        self.assertEqual(bad[26:28], bytes(2))
        self.assertEqual(differences(bad, bytes(packet)), 1)

    def test_segments(self) -> None:
        """
        In TCP, and in a fragment behind the first, one bit behind the IP header is
        wrong and nothing is mended.
        """
        segment = bytearray(udp4(bytes(40)))
        segment[9] = TCP
        fragment = udp4(bytes(40), fragment=5)
        for packet in (bytes(segment), fragment):
            for seed in range(100):
                bad = corrupted(packet, Random(seed))
                self.assertEqual(differences(bad[20:], packet[20:]), 1)
                self.assertEqual(bad[:20], packet[:20])

    def test_nothingToCorrupt(self) -> None:
        """
        A datagram without a payload stays as it is.
        """
        self.assertEqual(corrupted(udp4(b""), Random(1)), udp4(b""))
        self.assertEqual(corrupted(udp6(b""), Random(1)), udp6(b""))
