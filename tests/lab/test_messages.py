"""
INPUT and CONTROL over real sockets, through one fault of the network after another.
"""

from __future__ import annotations

import time

from tests.lab.judging import LabTests
from tests.lab.messages import Messages
from tests.lab.namespace import Host

#: Seconds between two faults, and of those that have no end to wait for.
WHILE = 0.7
#: A NAT for the viewer, in the router.
MASQUERADE = (
    "add chain inet lab nat { type nat hook postrouting priority srcnat; }\n"
    'add rule inet lab nat oifname "toa" masquerade random\n'
)


class MessageTests(LabTests):
    """
    What is typed and commanded must not be lost, whatever happens on the way.
    """

    def setUp(self) -> None:
        """
        The viewer is behind a NAT, and both send.
        """
        super().setUp()
        self.router.nft(MASQUERADE)
        self.messages = Messages(self)
        self.viewer = self.messages.viewer

    def overTCPAndBack(self, sender: Host | None) -> None:
        """
        UDP is blocked, from one host or both, and carries again.
        """
        self.router.dropUDP(sender)
        self.viewer.waitFor("transport", "tcp")
        time.sleep(WHILE)
        self.router.restore()
        self.viewer.waitFor("transport", "udp")

    def test_everyFault(self) -> None:
        """
        Blocked UDP, both ways and one way, a reset connection, a network that is gone
        for 5 s, a NAT that forgets, another address: everything arrives once and in
        order, in both directions (F45, F48, F49, F53, F59, F64).
        """
        self.overTCPAndBack(None)
        self.overTCPAndBack(self.network.a)
        self.overTCPAndBack(self.network.b)
        self.router.dropUDP()
        self.viewer.waitFor("transport", "tcp")
        self.router.rejectTCP()
        time.sleep(0.3)
        self.router.restore()
        self.router.dropUDP()
        self.viewer.waitFor("transport", "tcp")
        self.router.restore()
        self.viewer.waitFor("transport", "udp")
        self.router.dropAll()
        time.sleep(5.0)
        self.router.restore()
        time.sleep(WHILE)
        # What was masqueraded behind an interface is forgotten when it goes down.
        self.router.ip("link", "set", "toa", "down")
        self.router.ip("link", "set", "toa", "up")
        time.sleep(WHILE)
        viewer = self.network.b
        gateway, _, own = viewer.address.rpartition(".")
        viewer.ip("address", "del", f"{viewer.address}/24", "dev", "eth0")
        viewer.ip("address", "add", f"{gateway}.{int(own) + 1}/24", "dev", "eth0")
        viewer.ip("route", "add", "default", "via", f"{gateway}.1")
        time.sleep(2 * WHILE)
        self.messages.judge(300)
