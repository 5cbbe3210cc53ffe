"""
Networks that pass nothing but what looks like a web site's TLS, between real processes.
"""

from __future__ import annotations

from rootstream.identity import formatCode
from rootstream.protocol.constants import DEFAULT_TLS_PORT
from tests.lab.judging import LabTests


class TLSTests(LabTests):
    """
    A host that listens for TLS too, behind firewalls.
    """

    def passOnlyTLS(self, otherwise: str = "drop") -> None:
        """
        Do something to all TCP but that of port 443.
        """
        # Not one rule with two !=, which nft makes one comparison of both ports.
        for end in ("sport", "dport"):
            self.router.rule(f"tcp {end} {DEFAULT_TLS_PORT} accept")
        self.router.rule(f"meta l4proto tcp {otherwise}")

    def streamOrTLS(self, *options: str, address: str = "") -> float:
        """
        Start both; returns when the first picture came.
        """
        self.startLabHost(
            *("--allow", formatCode(self.viewer.key, None)),
            *("--tls-port", str(DEFAULT_TLS_PORT)),
        )
        self.startWatcher(*options, address=address)
        return self.pictures.after(0.0)

    def onlyTLS(self, address: str = "") -> None:
        """
        The first picture comes over TLS, in time, and the stream is whole.
        """
        first = self.streamOrTLS(address=address)
        self.within("first picture over TLS", first - self.dialledAt, 1.5, 3.5)
        self.wasWhole("tls")
        [path] = self.watcher.events("path")
        self.assertTrue(path["address"].endswith(f":{DEFAULT_TLS_PORT}"), path)
        [listening] = self.host.events("listening")
        self.assertEqual(listening["tls"], DEFAULT_TLS_PORT)

    def test_dropped(self) -> None:
        """
        Where UDP and all TCP but to port 443 are swallowed, pictures come over TLS
        within 1.5 s (F47).
        """
        self.router.dropUDP()
        self.passOnlyTLS()
        self.onlyTLS()

    def test_droppedOnIPv6(self) -> None:
        """
        The same over IPv6 (F47).
        """
        self.router.dropUDP()
        self.passOnlyTLS()
        self.onlyTLS(self.network.a.address6)

    def test_rejected(self) -> None:
        """
        Where the firewall resets other TCP connections, they come sooner (F47).
        """
        self.router.dropUDP()
        self.passOnlyTLS("reject with tcp reset")
        self.onlyTLS()
        self.assertLess(self.pictures.arrivals[0] - self.dialledAt, 3.0)

    def test_blocked(self) -> None:
        """
        Where only TLS gets through beside UDP it stands by, takes over when UDP is
        blocked, with nothing lost, and hands back when it carries again (F48).
        """
        self.passOnlyTLS()
        self.streamOrTLS()
        # TCP has its time before TLS is tried.
        self.watch(3.0)
        self.router.dropUDP()
        self.watcher.waitFor("path", transport="tls")
        self.watch()
        self.router.restore()
        self.passOnlyTLS()
        self.watcher.waitFor("path", cause="UDP carries again")
        self.watch()
        self.within("without pictures", self.longestGap(), 0.3, 1.0)
        self.assertEqual(self.transports(self.watcher), ["udp", "tls", "udp"])
        self.stayedConnected()
        summary = self.stopWatching()
        self.assertEqual(summary["frames_lost"], 0, self.account())

    def test_blockedWithoutStandby(self) -> None:
        """
        Without a standby connection TLS is dialled when UDP is suspect and TCP does not
        get through.
        """
        self.passOnlyTLS()
        self.streamOrTLS("--no-standby")
        self.watch()
        self.router.dropUDP()
        moved = self.watcher.waitFor("path", transport="tls")
        self.resumes("pictures over TLS", moved["mono"], 0.5, 1.5)
        # Suspect after 150 ms, and 0.7 s for TCP.
        self.within("without pictures", self.longestGap(), 1.5, 3.5)
        self.stayedConnected()
        self.assertEqual(self.stopWatching()["transport"], "tls")
