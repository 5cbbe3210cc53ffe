"""
Streams over links that are bad, come and go, or block UDP: real processes, with a line
between them.
"""

from __future__ import annotations

import sys
import time

from rootstream.identity import formatCode
from rootstream.transport.clock import boottime
from tests.lab.judging import SOME_VIDEO, LabTests
from tests.lab.namespace import Host

#: Seconds there and back on a line that is usual.
ROUND_TRIP = 0.02

#: Why the side that dialled returns to UDP.
BACK = "UDP carries again"

#: The ladder of links of iroh's tests: what is known of it are its ends.
RUNGS = 9
RATES = (100e6, 256e3)
ROUND_TRIPS = (0.016, 0.8)
LOSSES = (0.001, 0.25)
BURSTS = (1.0, 40.0)
#: Seconds of packets that wait for the transmitter: as of a modem.
QUEUE = 0.5


class LossTests(LabTests):
    """
    Links that lose packets, a few in a row, and links that are bad in every way.
    """

    def watched(self, what: str, seconds: float) -> float:
        """
        The share of pictures that came in some time from now.
        """
        begin = boottime()
        time.sleep(seconds)
        came = sum(begin < at for at in self.pictures.arrivals)
        share = came / (seconds * self.fps)
        sys.stdout.write(f"\n    {what}: {share:.0%} of the pictures\n")
        return share

    def test_loss(self) -> None:
        """
        Where 5, 10 and 20 % of all packets are lost, three in a row on average, the
        pictures still come (F55).
        """
        link = self.network.emulate(delay=ROUND_TRIP / 2)
        self.countSessions()
        self.stream()
        for loss in (0.05, 0.1, 0.2):
            link.set(loss=loss, burst=3)
            share = self.watched(f"{loss:.0%} lost", 3.0)
            self.assertGreater(share, 0.7, self.account())
        self.stayedConnected()
        self.assertEqual(self.sessions(), 1)

    def test_ladder(self) -> None:
        """
        A session goes down the whole ladder and is still the same at the bottom, where
        the link carries less than the stream needs; up again, the pictures are back
        (F55).
        """
        link = self.network.emulate(**rung(0))
        self.countSessions()
        self.stream()
        for number in range(1, RUNGS):
            link.set(**rung(number))
            seconds = 1.5 if number < RUNGS - 2 else 3.0
            share = self.watched(f"rung {number}", seconds)
            if number < RUNGS // 2:
                self.assertGreater(share, 0.7, self.account())
        self.stayedConnected()
        link.set(**rung(0))
        self.resumes("pictures after the ladder", boottime(), 1.0, 5.0)
        self.stayedConnected()
        self.assertEqual(self.sessions(), 1)

    def test_connectsOnRung7(self) -> None:
        """
        On the last rung but one a session can be had (F55).
        """
        self.connectsOn(7)

    def test_connectsOnRung8(self) -> None:
        """
        So it can on the last (F55).
        """
        self.connectsOn(8)

    def connectsOn(self, number: int) -> None:
        """
        A session is made over a bad link, and holds.
        """
        self.network.emulate(**rung(number))
        self.startLabHost("--allow", formatCode(self.viewer.key, None))
        self.startWatcher()
        connected = self.watcher.waitFor("state", to="CONNECTED")
        took = connected["mono"] - self.dialledAt
        self.within(f"connected on rung {number}", took, 5.0, 20.0)
        self.watch()
        self.stayedConnected()


def rung(number: int) -> dict[str, float]:
    """
    A link of the ladder: each is worse than the one above by the same factors.
    """
    share = number / (RUNGS - 1)

    def between(ends: tuple[float, float]) -> float:
        first, last = ends
        return first * (last / first) ** share

    rate = between(RATES)
    return {
        "rate": rate,
        "queue": rate / 8 * QUEUE,
        "delay": between(ROUND_TRIPS) / 2,
        "loss": between(LOSSES),
        "burst": between(BURSTS),
    }


class BlackHoleTests(LabTests):
    """
    A network that is there and gone by turns.
    """

    fps = 60

    def test_blackHoles(self) -> None:
        """
        Gone for 2 s and there for 5, again and again: one session, no handshake, and
        pictures at once after each return (F53).
        """
        self.network.emulate(delay=ROUND_TRIP / 2)
        self.countSessions()
        self.stream()
        self.watch()
        for _ in range(3):
            self.router.dropAll()
            time.sleep(2.0)
            self.router.restore()
            restored = boottime()
            picture = self.pictures.after(restored)
            self.within("pictures after the return", picture - restored, 0.3, 1.5)
            time.sleep(restored + 5.0 - boottime())
            came = sum(at > restored for at in self.pictures.arrivals)
            self.assertGreater(came, 5.0 * self.fps * 0.6, self.account())
        self.stayedConnected()
        self.assertEqual(self.sessions(), 1)
        for program in (self.watcher, self.host):
            self.assertEqual(self.transports(program), ["udp"])
            self.assertEqual(program.states().count("CONNECTED"), 1)


class BlockedTests(LabTests):
    """
    UDP is blocked under a stream, on a usual line: 20 ms, one packet in a hundred lost.
    """

    fps = 60

    def setUp(self) -> None:
        """
        There is a line between the router's ends.
        """
        super().setUp()
        self.network.emulate(delay=ROUND_TRIP / 2, loss=0.01)

    def senders(self) -> dict[str, Host | None]:
        """
        Whose UDP may be blocked.
        """
        return {
            "blocked": None,
            "blocked from the host": self.network.a,
            "blocked from the viewer": self.network.b,
        }

    def test_standby(self) -> None:
        """
        With a standby connection the stream goes on over it within half a second,
        whoever's UDP is blocked, and is back on UDP when that carries (F48, F49).
        """
        self.stream()
        self.watch()
        for times, (what, sender) in enumerate(self.senders().items(), 1):
            blocked = boottime()
            self.router.dropUDP(sender)
            self.moves("tcp", times)
            time.sleep(max(0.0, blocked + SOME_VIDEO - boottime()))
            gap = self.gap(blocked - 0.2, boottime())
            self.within(f"without pictures, {what}", gap, 0.3, 1.0)
            self.router.restore()
            restored = boottime()
            back = self.moves("udp", times, cause=BACK)
            self.within("back on UDP", back - restored, 5.0, 8.0)
            time.sleep(0.5)
            gap = self.gap(restored, boottime())
            self.within("without pictures on the way back", gap, 0.3, 1.0)
        self.stayedConnected()

    def moves(self, transport: str, times: int, **fields: str) -> float:
        """
        When the viewer's session moved to a transport for the so-manieth time.
        """
        event = {"transport": transport, **fields}
        self.watcher.waitFor(
            "path",
            lambda _: len(self.watcher.events("path", **event)) >= times,
            **event,
        )
        moved: float = self.watcher.events("path", **event)[times - 1]["mono"]
        return moved

    def test_noStandby(self) -> None:
        """
        Without one, a connection is dialled then, and the stream goes on (F48).
        """
        self.withoutStandby("blocked")

    def test_noStandbyFromTheHost(self) -> None:
        """
        Also when the host's UDP alone is blocked (F49).
        """
        self.withoutStandby("blocked from the host")

    def test_noStandbyFromTheViewer(self) -> None:
        """
        Also when the viewer's UDP alone is blocked (F49).
        """
        self.withoutStandby("blocked from the viewer")

    def withoutStandby(self, what: str) -> None:
        """
        The stream moves to a connection that is made when it is needed.
        """
        self.stream("--no-standby")
        self.watch()
        blocked = boottime()
        self.router.dropUDP(self.senders()[what])
        self.moves("tcp", 1)
        self.watch()
        gap = self.gap(blocked - 0.2, boottime())
        self.within(f"without pictures, {what}", gap, 1.5, 3.0)
        self.stayedConnected()
