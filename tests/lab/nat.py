"""
A home router that hides a host behind its own address.

What comes from inside leaves with the outside address and a port of a range; what
comes from outside without a mapping is dropped without a word, as the boxes in homes
do.  IPv6 is routed as it is.
"""

from __future__ import annotations

import sys

from tests.lab.namespace import Namespace, command

RULESET = """
table inet lab {
    chain input {
        type filter hook input priority filter; policy accept;
        iifname "outside" meta l4proto { tcp, udp } drop
    }
}
table ip nat {
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
    }
}
"""

#: Where mappings get their ports: so many ranges, used in turn.
FIRST_PORT = 20_000
PORTS = 1_000
RANGES = 40

#: Empties the kernel's table of connections: IPCTNL_MSG_CT_DELETE without attributes
#: (linux/netfilter/nfnetlink_conntrack.h), with NLM_F_REQUEST and NLM_F_ACK; and
#: ends with the errno of the answer.
FORGET = """
import socket, struct, sys
NETLINK_NETFILTER, CT_DELETE = 12, 1 << 8 | 2
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
    kernel.send(struct.pack("=IHHIIBBH", 20, CT_DELETE, 1 | 4, 1, 0, 0, 0, 0))
    error = -struct.unpack_from("=i", kernel.recv(4096), 16)[0]
sys.exit(f"no connection was forgotten: errno {error}" if error else 0)
"""


class Nat(Namespace):
    """
    A NAT with an ``inside`` and an ``outside``.

    :ivar address: the one outside, of IPv4.
    :ivar inner: the address of the host behind it.
    """

    def __init__(self, name: str, address: str, inner: str) -> None:
        super().__init__(name)
        self.address = address
        self.inner = inner
        self._range = 0

    def begin(self) -> None:
        """
        Translate from now on; the interfaces are there.
        """
        self.route()
        self.nft(RULESET)
        self._masquerade()

    def rebind(self) -> None:
        """
        Forget all mappings, as when the box was restarted: the next packet from
        inside gets another port, and one from outside to the old port goes nowhere.

        A port that is forwarded stays so.
        """
        self._range = (self._range + 1) % RANGES
        self._masquerade()
        command(self.inside([sys.executable, "-I", "-S", "-c", FORGET]))

    def renumber(self, address: str) -> None:
        """
        Have another address of the same network outside, as when the provider gave
        one, and forget all mappings.
        """
        old, self.address = self.address, address
        device = ["dev", "outside"]
        # Before the old one goes, which would take it along, and with it the route.
        self.switch("ipv4/conf/outside/promote_secondaries", 1)
        self.ip("address", "add", f"{address}/24", *device)
        self.rebind()
        self.ip("address", "del", f"{old}/24", *device)
        self.ip("route", "replace", "default", "via", address.rpartition(".")[0] + ".1")

    def forgetAfter(self, seconds: int) -> None:
        """
        Forget a UDP mapping after so many seconds without a packet, instead of 30, or
        of 120 where packets went both ways.  One that exists learns of it with its
        next packet.
        """
        self.switch("netfilter/nf_conntrack_udp_timeout", seconds)
        self.switch("netfilter/nf_conntrack_udp_timeout_stream", seconds)

    def forward(self, port: int) -> None:
        """
        Let UDP and TCP to this port of the outside address in to the host.
        """
        self.nft(
            'add rule ip nat prerouting iifname "outside" '
            f"meta l4proto {{ tcp, udp }} th dport {port} dnat to {self.inner}\n"
        )

    def _masquerade(self) -> None:
        """
        Take ports from the range of now for mappings yet to come.
        """
        first = FIRST_PORT + self._range * PORTS
        outside = 'add rule ip nat postrouting oifname "outside"'
        self.nft(
            "flush chain ip nat postrouting\n"
            f"{outside} meta l4proto {{ tcp, udp }} "
            f"snat to {self.address}:{first}-{first + PORTS - 1}\n"
            f"{outside} masquerade\n"
        )
