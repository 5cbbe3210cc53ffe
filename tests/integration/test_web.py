"""
The page's server over real sockets on loopback.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from rootstream.errors import LocalError
from rootstream.web.address import WebAddress
from rootstream.web.server import WebServer
from tests.pages import UPGRADE, FakeProgram
from tests.test_web_sockets import delta, key

reactor: Any = globalReactor

#: A frame that no socket's buffer swallows many of.
LARGE = 200_000


class Client(Protocol):
    """
    A connection to the server, and what came by it.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = bytearray()
        self.isLost = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.isLost = True


class WebTests(TestCase):
    """
    Tests for `WebServer` on real sockets.
    """

    timeout = 60

    def setUp(self) -> None:
        self.program = FakeProgram()
        self.serve("127.0.0.1")
        self.clients: list[Client] = []
        self.addCleanup(self.end)

    def serve(self, host: str) -> None:
        """
        Serve the page at this address, on any port.
        """
        self.server = WebServer(reactor, self.program, WebAddress(host), None)
        link = re.fullmatch(r"http://(.*:(\d+))/\?token=(.*)", self.server.open())
        assert link is not None
        self.host, self.port, self.token = link[1], int(link[2]), link[3]

    async def end(self) -> None:
        """
        All is closed.
        """
        for client in self.clients:
            client.transport.abortConnection()
        await self.server.close()
        await self.until(lambda: all(client.isLost for client in self.clients))

    async def until(self, condition: Callable[[], object], seconds: float = 30) -> None:
        """
        Wait for a condition; the deadline is for what never comes.
        """
        ends = reactor.seconds() + seconds
        while not condition():
            self.assertLess(reactor.seconds(), ends)
            await deferLater(reactor, 0.01)

    async def connect(self, address: str = "127.0.0.1") -> Client:
        """
        A connection.
        """
        client = Client()
        made: Deferred[None] = Deferred()
        client.connectionMade = lambda: made.callback(None)  # type: ignore[method-assign]
        factory = ClientFactory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: client  # type: ignore[method-assign]
        reactor.connectTCP(address, self.port, factory)
        await made
        self.clients.append(client)
        return client

    async def ask(
        self, path: str, address: str = "127.0.0.1", **headers: str
    ) -> Client:
        """
        A request that was sent.
        """
        client = await self.connect(address)
        lines = {"Host": self.host, **headers}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        client.transport.write(f"GET {path} HTTP/1.1\r\n{text}\r\n".encode())
        return client

    async def enter(self, address: str = "127.0.0.1") -> dict[str, str]:
        """
        The headers of a WebSocket of a page that has followed the link.
        """
        client = await self.ask(f"/?token={self.token}", address)
        await self.until(lambda: b"\r\n\r\n" in client.received)
        cookie = re.search(rb"Set-Cookie: ([^;]+)", client.received)
        assert cookie is not None
        return {
            "Cookie": cookie[1].decode(),
            "Origin": f"http://{self.host}",
            **UPGRADE,
        }

    async def test_hundredPages(self) -> None:
        """
        A hundred pages that open at once all get events and the stream.
        """
        headers = await self.enter()
        clients = [
            await self.ask(path, **headers)
            for _ in range(100)
            for path in ("/api/events", "/api/stream")
        ]
        await self.until(lambda: all(b" 101 " in client.received for client in clients))
        self.program.tee.video(key())
        for mark, some in ((b'"hello"', clients[::2]), (b"avc1", clients[1::2])):
            await self.until(
                lambda mark=mark, some=some: all(
                    mark in client.received for client in some
                )
            )

    async def test_pageDoesNotRead(self) -> None:
        """
        A page that does not read gets a megabyte at most into our memory, and another
        one everything.
        """
        headers = await self.enter()
        deaf, well = [await self.ask("/api/stream", **headers) for _ in range(2)]
        await self.until(
            lambda: all(b" 101 " in client.received for client in (deaf, well))
        )
        deaf.transport.pauseProducing()
        self.program.tee.video(key())
        door = next(iter(self.server._sockets))._connection.factory
        frames = 100
        for n in range(frames):
            self.program.tee.video(delta(LARGE))
            await self.until(lambda n=n: len(well.received) > (n + 1) * LARGE)
        for connection in door.protocols:
            transport = connection.transport
            held = len(transport.dataBuffer) + transport._tempDataLen
            self.assertLess(held, 1_500_000)
        self.assertGreater(len(well.received), frames * LARGE)

    async def test_largeBody(self) -> None:
        """
        Whoever sends a large body reads why it is refused, and is closed.
        """
        client = await self.connect()
        client.transport.write(
            f"POST /api/drill HTTP/1.1\r\nHost: {self.host}\r\n"
            "Content-Length: 100000000\r\n\r\n".encode()
            + bytes(5_000_000)
        )
        await self.until(lambda: b" 413 " in client.received)
        await self.until(lambda: client.isLost)

    async def test_ipv6(self) -> None:
        """
        IPv6 loopback is served by its address.
        """
        await self.server.close()
        try:
            self.serve("::1")
        except LocalError:
            raise SkipTest("no IPv6 here") from None
        headers = await self.enter("::1")
        client = await self.ask("/api/status", "::1", Cookie=headers["Cookie"])
        await self.until(lambda: b'"role"' in client.received)

    async def test_taken(self) -> None:
        """
        A port that another program has is said in one line.
        """
        other = WebServer(
            reactor, self.program, WebAddress("127.0.0.1", self.port), None
        )
        error = self.assertRaises(LocalError, other.open)
        self.assertIn("choose another --web", str(error))
        await other.close()

    async def test_noSuchAddress(self) -> None:
        """
        So is an address that is not of this machine.
        """
        other = WebServer(reactor, self.program, WebAddress("192.0.2.1", 0), None)
        error = self.assertRaises(LocalError, other.open)
        self.assertIn("cannot serve the page on 192.0.2.1:0", str(error))
        await other.close()
