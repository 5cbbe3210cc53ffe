"""
Streams over networks that block, cut, move and lie, between real processes.

The limits of the list of faults are for a quiet machine.  What fails a test here has
a margin for a busy one, and each measured time is written to the output beside its
limit.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

from rootstream.identity import formatCode
from rootstream.protocol.constants import INIT_SIZE
from rootstream.transport.clock import boottime
from tests.lab.judging import (
    FROM_HOST,
    FROM_VIEWER,
    TCP_DATA,
    UDP,
    WAITS,
    LabTests,
)
from tests.lab.messages import Messages
from tests.lab.programs import PORT

#: Behind the router's address, for what is forwarded from the viewer.
MASQUERADE = """
table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        oifname "toa" masquerade random
    }
}
"""

#: Type and code of ICMP messages (RFC 792).
PORT_UNREACHABLE = (3, 3)
FRAGMENTATION_NEEDED = (3, 4)

#: Sends messages to an address, each a hundred times in a second.
SEND_ICMP = """
import socket, sys, time
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
for _ in range(100):
    for message in sys.argv[2:]:
        raw.sendto(bytes.fromhex(message), (sys.argv[1], 0))
    time.sleep(0.01)
"""


def icmp(what: tuple[int, int], rest: int, quoted: bytes) -> bytes:
    """
    An ICMP message about a datagram that begins with ``quoted``.
    """
    message = struct.pack(">BBHI", *what, 0, rest) + quoted
    words = sum(struct.unpack(f">{len(message) // 2}H", message))
    # RFC 1071; two folds take in every carry of so few words.
    folded = (words & 0xFFFF) + (words >> 16)
    checksum = ~(folded + (folded >> 16)) & 0xFFFF
    return struct.pack(">BBHI", *what, checksum, rest) + quoted


#: Why each side returns to UDP: the host follows the viewer, which dialled.
BACK = {False: "UDP carries again", True: "the peer moved"}


class OpenNetworkTests(LabTests):
    """
    A network that does nothing to packets.
    """

    def test_IPv4(self) -> None:
        """
        The session runs over UDP, and every frame arrives.
        """
        first = self.stream()
        self.within("first picture over UDP", first - self.dialledAt, 0.3, 2.0)
        self.wasWhole("udp")

    def test_IPv6(self) -> None:
        """
        So it does on a network without IPv4 (F66).
        """
        self.router.rule("meta nfproto ipv4 drop")
        first = self.stream(address=self.network.a.address6)
        self.within("first picture over UDP", first - self.dialledAt, 0.3, 2.0)
        self.wasWhole("udp")


class BlockedTests(LabTests):
    """
    UDP does not get through, from the start: TCP takes over.
    """

    def fallsBack(self, address: str = "") -> None:
        """
        The first picture comes over TCP, in time.
        """
        first = self.stream(address=address)
        # The three round trips beside it are below a millisecond here.
        self.within("first picture over TCP", first - self.dialledAt, 0.6, 2.0)
        self.wasWhole("tcp")

    def test_dropped(self) -> None:
        """
        Where UDP is swallowed without a word, pictures come over TCP (F47).
        """
        self.router.dropUDP()
        self.fallsBack()

    def test_droppedOnIPv6(self) -> None:
        """
        The same over IPv6 (F47).
        """
        self.router.dropUDP()
        self.fallsBack(self.network.a.address6)

    def test_rejected(self) -> None:
        """
        Where a firewall answers UDP with ICMP, they come as soon (F47).
        """
        self.router.rule(f"{UDP} reject with icmpx type admin-prohibited")
        self.fallsBack()

    def test_droppedFromTheHost(self) -> None:
        """
        A network that swallows only what the host sends over UDP counts as one that
        swallows all (F49).
        """
        self.router.rule(f"{FROM_HOST} {UDP} drop")
        self.fallsBack()

    def test_droppedFromTheViewer(self) -> None:
        """
        So does one that swallows only what the viewer sends (F49).
        """
        self.router.rule(f"{FROM_VIEWER} {UDP} drop")
        self.fallsBack()


class CutTests(LabTests):
    """
    A network that is gone for a while.
    """

    def test_minute(self) -> None:
        """
        After a minute, of which the peer was disconnected for half, with attempts as
        scheduled, the session's own keepalive brings pictures back, and what was typed
        meanwhile arrives (F54).
        """
        messages = Messages(self)
        self.countSessions()
        self.stream()
        self.watch()
        self.router.dropAll()
        cut = boottime()
        lost = self.watcher.waitFor("state", to="DISCONNECTED", seconds=40.0)
        # The last packet may have come a moment before.
        self.within("disconnected after", lost["mono"] - cut, 30.0, 31.5)
        self.assertGreater(lost["mono"] - cut, 28.5)
        time.sleep(cut + 60.0 - boottime())
        self.followedSchedule()
        self.router.restore()
        self.resumes("pictures after the return", boottime(), 1.5, 3.0)
        for program in (self.watcher, self.host):
            self.assertIn("DISCONNECTED", program.states())
            # Whether between two attempts or during one.
            last = program.events("state")[-1]
            self.assertEqual(last["to"], "CONNECTED")
            self.assertIn("heard again after 6", last["cause"])
        # The programs', and that of the applications.
        self.assertEqual(self.sessions(), 2)
        messages.judge(1500)

    def followedSchedule(self) -> None:
        """
        The attempts so far are the first of the schedule, and each was made when
        its wait was over.
        """
        attempts = self.watcher.events("attempt")
        self.assertGreaterEqual(len(attempts), 4, self.account())
        self.assertEqual(
            [(event["n"], event["of"], event["wait_s"]) for event in attempts],
            [(n + 1, len(WAITS), wait) for n, wait in enumerate(WAITS)][
                : len(attempts)
            ],
        )
        dials = self.watcher.events("state", to="CONNECTING")[1:]
        for attempt, dial in zip(attempts, dials, strict=False):
            waited = dial["mono"] - attempt["mono"] - attempt["wait_s"]
            self.assertTrue(-0.01 < waited < 0.5, f"{attempt}: {waited} s late")


class ChangeTests(LabTests):
    """
    A network that changes under a stream.
    """

    def test_blocked(self) -> None:
        """
        A session whose UDP is blocked goes on over the standby connection, in the
        same state, with nothing lost, and returns to UDP when it carries again (F48).
        """
        self.stream()
        self.watch()
        self.router.dropUDP()
        self.overTCPAndBack()

    def test_blockedFromTheHost(self) -> None:
        """
        The same when UDP from the host alone is blocked (F49).
        """
        self.stream()
        self.watch()
        self.router.rule("iifname toa meta l4proto udp drop")
        self.overTCPAndBack()

    def test_blockedFromTheViewer(self) -> None:
        """
        The same when UDP from the viewer alone is blocked: what the host sends still
        arrives, but nothing says so (F49).
        """
        self.stream()
        self.watch()
        self.router.rule("iifname tob meta l4proto udp drop")
        self.overTCPAndBack()

    def overTCPAndBack(self) -> None:
        """
        UDP is blocked now: the session moves to TCP, and back once it is not.
        """
        self.watcher.waitFor("path", transport="tcp")
        self.watch()
        self.router.restore()
        restored = boottime()
        for program in (self.watcher, self.host):
            program.waitFor("path", cause=BACK[program is self.host], transport="udp")
        back = self.watcher.waitFor("path", cause=BACK[False])
        self.within("back on UDP", back["mono"] - restored, 5.0, 8.0)
        self.watch()
        self.within("without pictures", self.longestGap(), 0.3, 1.0)
        self.stayedConnected()
        summary = self.stopWatching()
        self.assertEqual(summary["transport"], "udp")
        self.assertEqual(summary["frames_lost"], 0, self.account())

    def test_blockedWithoutStandby(self) -> None:
        """
        Without a standby connection one is dialled as soon as UDP is suspect, and the
        session goes on over it (F48).
        """
        self.stream("--no-standby")
        self.watch()
        self.router.dropUDP()
        moved = self.watcher.waitFor("path", transport="tcp")
        self.resumes("pictures over TCP", moved["mono"], 0.1, 1.0)
        self.within("without pictures", self.longestGap(), 0.7, 2.0)
        self.stayedConnected()
        self.assertEqual(self.stopWatching()["transport"], "tcp")

    def test_reset(self) -> None:
        """
        A firewall that resets the connection ends a path and not the session: the
        stream goes on over a new one (F59).
        """
        self.stream("--no-udp")
        self.watch()
        self.router.rejectTCP()
        time.sleep(0.3)
        self.router.restore()
        # Attempts were refused meanwhile, after 0.1 s and twice as long each time.
        self.resumes("pictures after the reset", boottime(), 0.5, 2.5)
        self.stayedConnected()
        self.assertEqual(self.transports(self.watcher), ["tcp", "tcp"])
        self.assertEqual(self.stopWatching()["transport"], "tcp")

    def test_rebinding(self) -> None:
        """
        A NAT that forgets the viewer and gives it another port does not end the
        session: the host follows it (F45).
        """
        self.countSessions()
        self.router.nft(MASQUERADE)
        self.stream()
        self.watch()
        [before] = self.host.events("path")
        self.assertTrue(before["address"].startswith("198.51.100.1:"), before)
        # What was masqueraded behind an interface is forgotten when it goes down.
        self.router.ip("link", "set", "toa", "down")
        self.router.ip("link", "set", "toa", "up")
        self.resumes("pictures after the rebinding", boottime(), 0.1, 1.5)
        self.stayedConnected()
        after = self.host.events("path")[-1]
        self.assertNotEqual(after["address"], before["address"])
        self.assertEqual(self.transports(self.watcher), ["udp"])
        self.assertEqual(self.sessions(), 1)


class ForgedErrorTests(LabTests):
    """
    Somebody on the way sends the host ICMP errors about what it sends the viewer.
    """

    def quote(self, port: int) -> bytes:
        """
        The beginning of a large datagram from the host to the viewer's port.
        """
        size = 20 + 8 + 1000
        header = struct.pack(
            ">BBHHHBBH4s4s",
            *(0x45, 0, size, 1, 0x4000, 63, socket.IPPROTO_UDP, 0),
            socket.inet_aton(self.network.a.address),
            socket.inet_aton(self.network.b.address),
        )
        return header + struct.pack(">HHHH", PORT, port, size - 20, 0)

    def unreachables(self) -> int:
        """
        How many such errors the host's machine has received.
        """
        done = self.network.a.run(
            ["cat", "/proc/net/snmp"], capture_output=True, check=True
        )
        names, values = [
            line.split() for line in done.stdout.splitlines() if "Icmp:" in line
        ]
        return int(values[names.index("InDestUnreachs")])

    def test_ignored(self) -> None:
        """
        "Port unreachable" and "fragmentation needed, MTU 68" for the session's own
        datagrams, two hundred in a second, cost not one frame (F52).
        """
        self.stream()
        self.watch()
        [path] = self.host.events("path")
        port = int(path["address"].rpartition(":")[2])
        messages = [
            icmp(PORT_UNREACHABLE, 0, self.quote(port)),
            icmp(FRAGMENTATION_NEEDED, 68, self.quote(port)),
        ]
        words = [self.network.a.address, *(message.hex() for message in messages)]
        before = self.unreachables()
        self.router.run([sys.executable, "-c", SEND_ICMP, *words], check=True)
        self.assertGreaterEqual(self.unreachables(), before + 200)
        self.wasWhole("udp")


class StrangerTests(LabTests):
    """
    A host says nothing to those it does not know.
    """

    def setUp(self) -> None:
        """
        What either side says to the other is counted.
        """
        super().setUp()
        for side, sender in (("host", FROM_HOST), ("viewer", FROM_VIEWER)):
            self.countBytes(f"{side}UDP", f"{sender} {UDP}")
            self.countBytes(f"{side}TCP", f"{sender} {TCP_DATA}")

    def hearsNothing(self) -> None:
        """
        A whole attempt passes without a byte of the host's, but for those of its
        kernel that make up a TCP connection.
        """
        failed = self.watcher.waitFor("state", to="DISCONNECTED")
        self.within("no answer after", failed["mono"] - self.dialledAt, 5.3, 7.0)
        self.assertIn("no answer, or not authorised there", failed["cause"])
        self.watcher.waitFor("attempt", n=1)
        for transport in ("UDP", "TCP"):
            self.assertGreater(self.bytesOf(f"viewer{transport}"), INIT_SIZE)
            self.assertEqual(self.bytesOf(f"host{transport}"), 0)
        self.assertEqual(self.host.events("state"), [])

    def test_notAuthorised(self) -> None:
        """
        A viewer that the host's owner did not list gets zero bytes (F13).
        """
        self.startLabHost()
        self.startWatcher()
        self.hearsNothing()

    def test_wrongKey(self) -> None:
        """
        Whoever dials a host with the key of another gets zero bytes, and is told
        after five seconds (F12).
        """
        self.startLabHost("--allow", formatCode(self.viewer.key, None))
        self.startWatcher(identity=self.identity("another"))
        self.hearsNothing()
