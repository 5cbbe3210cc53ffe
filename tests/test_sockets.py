"""
Tests for `rootstream.transport.sockets`, with real sockets on loopback.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import AddressRefused, LocalError, PortInUse
from rootstream.transport.sockets import bindSocket, connectSocket, familyOf


class BindSocketTests(SynchronousTestCase):
    """
    Tests for `bindSocket`: nothing is sent to these sockets.
    """

    def bind(self, interface: str, port: int = 0) -> socket.socket:
        skt = bindSocket(socket.SOCK_DGRAM, interface, port)
        self.addCleanup(skt.close)
        return skt

    def test_portInUse(self) -> None:
        """
        A port that is taken is refused with what to do about it.
        """
        port = self.bind("127.0.0.1").getsockname()[1]
        refused = self.assertRaises(PortInUse, self.bind, "127.0.0.1", port)
        self.assertIn(str(port), str(refused))
        self.assertIn("choose another port", str(refused))

    def test_badInterfaces(self) -> None:
        """
        An address of another machine, and a name, are refused in words.
        """
        for interface in ("192.0.2.77", "no.such.name.invalid"):
            refused = self.assertRaises(AddressRefused, self.bind, interface)
            self.assertIn(interface, str(refused))

    def test_badPort(self) -> None:
        """
        A port number that cannot be is a local error, not an OverflowError.
        """
        self.assertRaises(LocalError, self.bind, "127.0.0.1", 65536)

    def test_forbidden(self) -> None:
        """
        A privileged port that is not allowed is refused with what to do.
        """

        def forbidden(*args: object) -> socket.socket:
            raise PermissionError(errno.EACCES, "Permission denied")

        self.patch(socket, "socket", forbidden)
        refused = self.assertRaises(LocalError, self.bind, "127.0.0.1", 80)
        self.assertIn("above 1023", str(refused))

    def test_options(self) -> None:
        """
        Sockets never fragment, ignore ICMP's idea of the MTU (F52), have large
        buffers, and do not share their port.
        """
        ipv4 = self.bind("127.0.0.1")
        self.assertEqual(ipv4.getsockopt(socket.IPPROTO_IP, 10), 3)
        self.assertFalse(ipv4.getblocking())
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            self.assertEqual(ipv4.getsockopt(socket.SOL_SOCKET, option), 0)
        plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(plain.close)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.assertGreater(
                ipv4.getsockopt(socket.SOL_SOCKET, option),
                plain.getsockopt(socket.SOL_SOCKET, option),
            )

    def test_ipv6Options(self) -> None:
        """
        IPv6 sockets take IPv6 only, and do not fragment either.
        """
        if not socket.has_ipv6:
            self.skipTest("no IPv6 here")
        try:
            ipv6 = self.bind("::1")
        except AddressRefused:
            self.skipTest("no IPv6 loopback here")
        self.assertEqual(ipv6.getsockopt(socket.IPPROTO_IPV6, 23), 3)
        self.assertEqual(ipv6.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), 1)

    def test_withoutPrivilege(self) -> None:
        """
        Where large buffers need a privilege we lack, what is allowed is taken.
        """

        class Unprivileged(socket.socket):
            """
            Refuses SO_SNDBUFFORCE and SO_RCVBUFFORCE.
            """

            def setsockopt(self, level: int, option: int, value: Any) -> None:
                if level == socket.SOL_SOCKET and option in (32, 33):
                    raise PermissionError(errno.EPERM, "no")
                super().setsockopt(level, option, value)

        default = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(default.close)
        self.patch(socket, "socket", Unprivileged)
        skt = self.bind("127.0.0.1")
        self.assertGreaterEqual(
            skt.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
            default.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
        )

    def test_families(self) -> None:
        """
        An empty interface is all of IPv4, as in Twisted.
        """
        self.assertEqual(familyOf(""), socket.AF_INET)
        self.assertEqual(familyOf("127.0.0.1"), socket.AF_INET)
        self.assertEqual(familyOf("::"), socket.AF_INET6)


class ConnectSocketTests(SynchronousTestCase):
    """
    Tests for `connectSocket`.
    """

    def kept(self, skt: socket.socket) -> socket.socket:
        self.addCleanup(skt.close)
        return skt

    def socketOf(self, host: str) -> socket.socket:
        skt = self.kept(socket.socket(familyOf(host), socket.SOCK_DGRAM))
        skt.bind((host, 0))
        return skt

    def heard(self, skt: socket.socket) -> list[bytes]:
        """
        All that waits in a socket.
        """
        waiting = []
        while True:
            try:
                waiting.append(skt.recv(100))
            except BlockingIOError:
                return waiting

    def preferred(self, everywhere: str, host: str) -> None:
        port = self.kept(bindSocket(socket.SOCK_DGRAM, everywhere, 0))
        number = port.getsockname()[1]
        peer, stranger = self.socketOf(host), self.socketOf(host)
        own = self.kept(connectSocket(port, peer.getsockname()))
        self.assertFalse(own.getblocking())
        for _ in range(20):
            peer.sendto(b"peer", (host, number))
            stranger.sendto(b"stranger", (host, number))
        self.assertEqual(self.heard(own), [b"peer"] * 20)
        self.assertEqual(self.heard(port), [b"stranger"] * 20)
        own.send(b"answer")
        self.assertEqual(peer.recvfrom(100)[:2], (b"answer", own.getsockname()))
        own.close()
        peer.sendto(b"peer", (host, number))
        self.assertEqual(self.heard(port), [b"peer"])

    def test_preferred(self) -> None:
        """
        The peer's datagrams come by its own socket and nobody else's do; when that is
        closed, they come by the shared one again.
        """
        self.preferred("0.0.0.0", "127.0.0.1")

    def test_preferredIPv6(self) -> None:
        """
        So it is with IPv6.
        """
        try:
            self.preferred("::", "::1")
        except (AddressRefused, OSError):
            self.skipTest("no IPv6 loopback here")

    def test_otherAddress(self) -> None:
        """
        What the peer sends to another of our addresses arrives all the same.
        """
        port = self.kept(bindSocket(socket.SOCK_DGRAM, "0.0.0.0", 0))
        peer = self.socketOf("127.0.0.1")
        own = self.kept(connectSocket(port, peer.getsockname()))
        peer.sendto(b"x", ("127.0.0.2", port.getsockname()[1]))
        self.assertEqual(self.heard(own), [])
        self.assertEqual(self.heard(port), [b"x"])

    def test_stillOurs(self) -> None:
        """
        F85: another process that wants the port is still told that it is in use.
        """
        port = self.kept(bindSocket(socket.SOCK_DGRAM, "127.0.0.1", 0))
        number = port.getsockname()[1]
        peer = self.socketOf("127.0.0.1")
        own = self.kept(connectSocket(port, peer.getsockname()))
        for _ in range(2):
            for interface in ("127.0.0.1", "0.0.0.0"):
                self.assertRaises(
                    PortInUse, bindSocket, socket.SOCK_DGRAM, interface, number
                )
            own.close()

    def test_options(self) -> None:
        """
        It neither fragments nor believes in ICMP's idea of the MTU (F52), and its
        buffer is that of one peer.
        """
        port = self.kept(bindSocket(socket.SOCK_DGRAM, "127.0.0.1", 0))
        own = self.kept(connectSocket(port, self.socketOf("127.0.0.1").getsockname()))
        self.assertEqual(own.getsockopt(socket.IPPROTO_IP, 10), 3)
        size = own.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.assertLess(size, port.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))

    def test_refused(self) -> None:
        """
        A peer that cannot be reached is refused, and nothing stays open.
        """
        port = self.kept(bindSocket(socket.SOCK_DGRAM, "127.0.0.1", 0))
        made: list[socket.socket] = []
        real = socket.socket

        class Remembered(real):  # type: ignore[misc, valid-type]  # a class at run time
            """
            A socket that is remembered.
            """

            def __init__(self, *args: Any) -> None:
                super().__init__(*args)
                made.append(self)

        self.patch(socket, "socket", Remembered)
        # Loopback leads to no other network.
        self.assertRaises(OSError, connectSocket, port, ("192.0.2.1", 9))
        self.assertEqual([skt.fileno() for skt in made], [-1])
