"""
The router between the hosts, where a hostile network does what it does.

What is dropped in the sender's own namespace makes its `sendto` fail with EPERM,
which a real firewall does not do; so all rules are here.
"""

from __future__ import annotations

from tests.lab.namespace import Host, Namespace

#: The rules are in this one chain.
FORWARD = "inet lab forward"
RULESET = """
table inet lab {
    chain forward {
        type filter hook forward priority filter; policy accept;
    }
}
"""

#: The routing tables for what comes in by each interface: an emulator's.
DETOURS = {"toa": "101", "tob": "102"}


class Router(Namespace):
    """
    The middle of the network, which forwards, or does not.

    Its interfaces are ``toa`` and ``tob``.  Rules add up until `restore`.  A packet
    meets them once, when it comes from its sender: an emulator comes behind them, so
    a rule tells directions apart by ``iifname``, never by ``oifname``.  Where a sender
    can be given, None stands for both hosts.
    """

    def begin(self) -> None:
        """
        Forward from now on; the interfaces are there.
        """
        self.route()
        self.nft(RULESET)
        # A lookup in a table without routes goes on to the main one.
        for port, table in DETOURS.items():
            for family in ("-4", "-6"):
                self.ip(family, "rule", "add", "iif", port, "lookup", table)

    def rule(self, statement: str, sender: Host | None = None) -> None:
        """
        Do something to forwarded packets.
        """
        where = "" if sender is None else f'iifname "{sender.port}" '
        self.nft(f"add rule {FORWARD} {where}{statement}\n")

    def dropUDP(self, sender: Host | None = None) -> None:
        """
        Swallow every UDP datagram.
        """
        self.rule("meta l4proto udp drop", sender)

    def dropTCP(self, sender: Host | None = None) -> None:
        """
        Swallow every TCP segment, of connections that exist too.
        """
        self.rule("meta l4proto tcp drop", sender)

    def dropAll(self, sender: Host | None = None) -> None:
        """
        Swallow everything: a black hole.
        """
        self.rule("drop", sender)

    def rejectTCP(self) -> None:
        """
        Answer every TCP segment with a reset, as some firewalls do.
        """
        self.rule("meta l4proto tcp reject with tcp reset")

    def rejectUDP(self) -> None:
        """
        Answer every UDP datagram with an ICMP message: port unreachable.
        """
        self.rule("meta l4proto udp reject with icmpx type port-unreachable")

    def dropLarger(self, size: int, sender: Host | None = None) -> None:
        """
        Swallow every IP packet of more than ``size`` bytes, without the ICMP message
        that is due: a black hole of path MTU discovery.
        """
        self.rule(f"meta length gt {size} drop", sender)

    def limitRate(self, rate: float, sender: Host | None = None) -> None:
        """
        Swallow what exceeds ``rate`` bit/s: a policer, which holds nothing back and
        lets as much as a second's worth pass at once, as `nft` has it.  For a queue,
        use an emulator.
        """
        self.rule(f"limit rate over {int(rate / 8)} bytes/second drop", sender)

    def quota(self, size: int, sender: Host | None = None) -> None:
        """
        Swallow everything after ``size`` bytes, headers of IP included.
        """
        self.rule(f"quota over {size} bytes drop", sender)

    def restore(self) -> None:
        """
        Forward everything again.
        """
        self.nft(f"flush chain {FORWARD}\n")
