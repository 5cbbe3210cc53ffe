"""
TCP connections under a stream that are cut, reset or ended by somebody in between.
"""

from __future__ import annotations

import sys
import time

from rootstream.transport.clock import boottime
from tests.integration.programs import waitUntil
from tests.lab.judging import LabTests
from tests.lab.namespace import Host
from tests.lab.programs import PORT

#: Somebody in the router, who sees what a sender says to a receiver on one connection,
#: and sends the receiver segments of his own in the sender's name.
#:
#: ``next`` is the number that the receiver expects; only with that is a RST taken
#: (RFC 5961, section 3.2), and a FIN in its place.  More of the sender's may be on the
#: way then; so this is repeated for a while.
INJECT = """
import socket, struct, sys, time
interface, source, destination, sport, dport, kind, seconds = sys.argv[1:]
source, destination = socket.inet_aton(source), socket.inet_aton(destination)
ports = struct.pack(">HH", int(sport), int(dport))
ETH_P_IP, FIN, RST, ACK = 0x0800, 0x01, 0x04, 0x10
near, far = 1000, 1 << 31
seen = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
seen.bind((interface, ETH_P_IP))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

def segment(number, acknowledged, flags):
    tcp = ports + struct.pack(
        ">IIBBHHH", number % (1 << 32), acknowledged, 5 << 4, flags, 1024, 0, 0)
    pseudo = source + destination + struct.pack(">HH", socket.IPPROTO_TCP, len(tcp))
    words = sum(struct.unpack(f">{len(pseudo + tcp) // 2}H", pseudo + tcp))
    words = (words & 0xFFFF) + (words >> 16)
    checksum = ~(words + (words >> 16)) & 0xFFFF
    tcp = tcp[:16] + struct.pack(">H", checksum) + tcp[18:]
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64,
        socket.IPPROTO_TCP, 0)
    return head + source + destination + tcp

end = time.monotonic() + float(seconds)
while time.monotonic() < end:
    packet = seen.recv(65536)
    header = (packet[0] & 15) * 4
    tcp = packet[header:int.from_bytes(packet[2:4], "big")]
    if packet[12:20] != source + destination or tcp[:4] != ports:
        continue
    number, acknowledged = struct.unpack(">II", tcp[4:12])
    next = number + len(tcp) - (tcp[12] >> 4) * 4
    forged = {
        "reset": segment(next, 0, RST),
        "end": segment(next, acknowledged, FIN | ACK),
        "near": segment(next + near, 0, RST),
        "far": segment(next + far, 0, RST),
    }[kind]
    raw.sendto(forged, (socket.inet_ntoa(destination), 0))
"""

#: Seconds of that.
SOME_SEGMENTS = 0.5

#: The kernel's count of segments that it asked about instead of believing them.
CHALLENGES = "TCPChallengeACK"


class ConnectionTests(LabTests):
    """
    A session that has nothing but one TCP connection at a time.
    """

    def setUp(self) -> None:
        """
        The stream runs.
        """
        super().setUp()
        self.stream("--no-udp")
        self.watch()
        [path] = self.host.events("path")
        #: The viewer's, of the first connection.
        self.port = int(path["address"].rpartition(":")[2])

    def inject(self, kind: str, sender: Host) -> None:
        """
        Send something in the name of one side, each time that it is heard for a while.
        """
        a, b = self.network.a, self.network.b
        receiver, ports = (b, (PORT, self.port))
        if sender is b:
            receiver, ports = a, (self.port, PORT)
        addresses = (sender.port, sender.address, receiver.address)
        words = map(str, (*addresses, *ports, kind, SOME_SEGMENTS))
        script = [sys.executable, "-c", INJECT, *words]
        self.router.run(script, check=True, timeout=20)

    def challenges(self) -> int:
        """
        How many segments the viewer's kernel did not believe.
        """
        done = self.network.b.run(
            ["cat", "/proc/net/netstat"], capture_output=True, check=True
        )
        names, values = [
            line.split()
            for line in done.stdout.splitlines()
            if line.startswith("TcpExt:")
        ]
        return int(values[names.index(CHALLENGES)])

    def goesOn(self, what: str, since: float, limit: float, margin: float) -> None:
        """
        The stream goes on over another connection.
        """
        self.watcher.waitFor(
            "path", lambda _: len(self.transports(self.watcher)) > 1, transport="tcp"
        )
        self.watch()
        gap = self.gap(since - 0.2, boottime())
        self.within(f"without pictures, {what}", gap, limit, margin)
        self.stayedConnected()
        self.assertEqual(self.transports(self.watcher), ["tcp", "tcp"])

    def survives(self, what: str, kind: str, sender: Host) -> None:
        """
        What is injected ends the connection, and the session goes on, with its keys.
        """
        since = boottime()
        self.inject(kind, sender)
        self.goesOn(what, since, 0.4, 1.5)
        handshakes = self.watcher.events("path", cause="handshake confirmed")
        self.assertEqual(len(handshakes), 1, self.account())

    def test_resetToTheViewer(self) -> None:
        """
        A reset forged for the viewer ends the connection and not the session (F59).
        """
        self.survives("reset", "reset", self.network.a)

    def test_resetToTheHost(self) -> None:
        """
        So does one forged for the host (F59).
        """
        self.survives("reset", "reset", self.network.b)

    def test_end(self) -> None:
        """
        An orderly end is no more than that: only the peer's own word ends a session
        (F59).
        """
        self.survives("ended", "end", self.network.a)

    def test_blind(self) -> None:
        """
        Resets that do not fit exactly do nothing, in the window or out of it (F59).
        """
        before = self.challenges()
        self.inject("far", self.network.a)
        self.assertEqual(self.challenges(), before)
        self.inject("near", self.network.a)
        # The kernel asks about a few of them a second.
        self.assertGreater(self.challenges(), before)
        self.wasWhole("tcp")

    def test_halfOpen(self) -> None:
        """
        A connection that carries nothing any more, without a word, is left in 1.5 s,
        and in 10 neither side has a socket of it (F58).
        """
        since = boottime()
        for end in ("sport", "dport"):
            self.router.rule(f"meta l4proto tcp th {end} {self.port} drop")
        self.goesOn("half open", since, 1.5, 3.5)
        for host in (self.network.a, self.network.b):
            waitUntil(lambda host=host: not self.sockets(host), "no socket left")
        self.within("sockets gone", boottime() - since, 10.0, 16.0)
        time.sleep(0.5)
        self.stayedConnected()

    def sockets(self, host: Host) -> str:
        """
        What a machine still has of the first connection.
        """
        where = f"( sport = :{self.port} or dport = :{self.port} )"
        done = host.run(["ss", "-tanH", where], capture_output=True, check=True)
        return done.stdout
