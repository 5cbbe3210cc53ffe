"""
The demo's weather over real sockets, and in the demo as a user runs it.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from rootstream.forwarding import MAX_WAITING
from rootstream.weather import Forecast
from rootstream.wind import Wind
from tests.integration.programs import LOOPBACK, ProgramTestCase

#: Seconds between two looks at what a socket got.
LOOK = 0.005


class WindTests(TestCase):
    """
    Tests for `Wind`, with the sockets of a host and a viewer.
    """

    timeout = 30.0

    def setUp(self) -> None:
        self.host = self.own(socket.create_server((LOOPBACK, 0)))
        self.hostUDP = self.own(socket.socket(type=socket.SOCK_DGRAM))
        self.hostUDP.bind(self.host.getsockname())
        port = self.host.getsockname()[1]
        self.words: list[str] = []
        self.wind = Wind(reactor, port, Forecast(), self.words.append)
        self.front = (LOOPBACK, self.wind.listen())
        self.addCleanup(self.end)

    async def _end(self) -> None:
        await self.wind.close()
        # Connections that were reset are lost in the reactor's next turn.
        await self.until(lambda: not self.wind._connections)
        # Harmless when repeated.
        await self.wind.close()

    def end(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._end())

    def own(self, skt: socket.socket) -> socket.socket:
        """
        A socket that does not block, and ends with the test.
        """
        skt.setblocking(False)
        self.addCleanup(skt.close)
        return skt

    async def until(self, holds: Callable[[], Any]) -> Any:
        """
        What ``holds`` returns once that is true; the test's timeout ends it.
        """
        while not (found := holds()):
            await deferLater(reactor, LOOK)
        return found

    async def taken(self, take: Callable[..., Any], *arguments: Any) -> Any:
        """
        What a call of a socket returns once it does not block.
        """
        found: list[Any] = []

        def look() -> bool:
            with contextlib.suppress(BlockingIOError):
                found.append(take(*arguments))
            return bool(found)

        await self.until(look)
        return found[0]

    async def dial(self) -> tuple[socket.socket, socket.socket]:
        """
        A connection through the wind: both of its ends.
        """
        viewer = self.own(socket.create_connection(self.front))
        host, _ = await self.taken(self.host.accept)
        return viewer, self.own(host)

    async def test_datagrams(self) -> None:
        """
        Datagrams reach the host and its answers the viewer, but not while UDP is
        blocked.
        """
        viewer = self.own(socket.socket(type=socket.SOCK_DGRAM))
        viewer.connect(self.front)
        viewer.send(b"question")
        data, address = await self.taken(self.hostUDP.recvfrom, 100)
        self.assertEqual(data, b"question")
        self.hostUDP.sendto(b"answer", address)
        self.assertEqual(await self.taken(viewer.recv, 100), b"answer")
        self.wind.change("block udp")
        viewer.send(b"lost")
        # Read and dropped, before it is unblocked.
        await self.until(lambda: _isRead(self.front[1]))
        self.wind.change("unblock udp")
        viewer.send(b"found")
        data, _ = await self.taken(self.hostUDP.recvfrom, 100)
        self.assertEqual(data, b"found")
        self.assertEqual(self.words, ["UDP blocked", "clear"])
        # No timer of it is left when the wind is closed.
        self.wind.change("cut 60s")

    async def test_connection(self) -> None:
        """
        A connection carries both ways; in a cut it stands, and what was sent arrives
        afterwards; its end is passed on.
        """
        viewer, host = await self.dial()
        host.send(b"one")
        self.assertEqual(await self.taken(viewer.recv, 100), b"one")
        self.wind.change("cut 0.2s")
        viewer.send(b"two")
        host.send(b"three")
        self.assertRaises(BlockingIOError, viewer.recv, 100)
        self.assertEqual(await self.taken(host.recv, 100), b"two")
        self.assertEqual(str(self.wind.weather), "clear")
        self.assertEqual(await self.taken(viewer.recv, 100), b"three")
        host.close()
        self.assertEqual(await self.taken(viewer.recv, 100), b"")

    async def test_backPressure(self) -> None:
        """
        A viewer who does not read stops the host, after what buffers hold; when he
        reads, everything is there.
        """
        viewer, host = await self.dial()
        sent, still = 0, 0
        while still < 20:
            try:
                sent += host.send(bytes(1 << 16))
                still = 0
            except BlockingIOError:
                still += 1
            await deferLater(reactor, LOOK)
            self.assertLess(sent, 16 * MAX_WAITING)
        while sent:
            sent -= len(await self.taken(viewer.recv, 1 << 20))
        host.send(b"end")
        self.assertEqual(await self.taken(viewer.recv, 100), b"end")

    async def test_hostOffline(self) -> None:
        """
        When the host goes offline connections are reset, and new ones refused; when
        it is back they are taken, on the same number.
        """
        for _ in range(2):
            viewer, host = await self.dial()
            self.wind.change("host offline")
            for end in (viewer, host):
                with self.assertRaises(ConnectionResetError):
                    await self.taken(end.recv, 100)
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(self.front)
            self.wind.change("host online")
        await self.dial()


def _isRead(port: int) -> bool:
    """
    Whether nothing waits in the UDP socket of a port on loopback.
    """
    with open("/proc/net/udp", encoding="ascii") as table:
        rows = [line.split() for line in table][1:]
    waiting = [row[4] for row in rows if row[1].endswith(f":{port:04X}")]
    return bool(waiting) and all(queue.endswith(":00000000") for queue in waiting)


class DemoTests(ProgramTestCase):
    """
    Tests for ``rootstream demo --weather``.
    """

    def test_udpBlocked(self) -> None:
        """
        When UDP is blocked the demo moves to TCP, and its picture goes on.
        """
        demo = self.start("demo", "--weather", "1s: block udp")
        blocked = demo.waitFor("weather", text="UDP blocked")
        moved = demo.waitFor("path", transport="tcp")
        self.assertGreaterEqual(moved["mono"], blocked["mono"])
        # The viewer's, who counts what he receives.
        seen = demo.waitFor(
            "stats", lambda entry: "latency_ms" in entry, transport="tcp"
        )
        demo.waitFor(
            "stats",
            lambda entry: (
                "latency_ms" in entry and entry["frames"] > seen["frames"] + 30
            ),
        )
        demo.process.terminate()
        self.assertEqual(demo.exitStatus(), 0, demo.complaints())
        self.assertIn("Weather: UDP blocked.\n", demo.said())
        self.assertEqual(demo.waitFor("summary")["transport"], "tcp")

    def test_badScript(self) -> None:
        """
        A script that is wrong is one clear line, and nothing starts.
        """
        demo = self.start("demo", "--weather", "1s: rain")
        self.assertEqual(demo.exitStatus(), 1)
        self.assertOneLine(demo.complaints(), "no such weather: 'rain'", "block udp")
        self.assertEqual(demo.said(), "")
