"""
Tests for `rootstream.web.site`, `rootstream.web.guard` and `rootstream.web.door`: who
is let in, and how much they may take.
"""

from __future__ import annotations

import json
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

import rootstream.web.server
from rootstream.errors import LocalError
from rootstream.web.address import WebAddress, parseWebAddress
from rootstream.web.door import GRACE, IDLE_TIME, MAX_ALL, MAX_HTTP, REQUEST_TIME
from rootstream.web.files import loadFiles
from rootstream.web.guard import TOKEN_FILE, Guard, Refused, homeToken, newToken
from rootstream.web.server import WebServer
from rootstream.web.site import MAX_BODY
from tests.pages import ORIGIN, UPGRADE, FakeProgram, PageTestCase


class AddressTests(SynchronousTestCase):
    """
    Tests for ``--web``.
    """

    def test_addresses(self) -> None:
        """
        A port alone is on loopback; others are asked for; ``none`` is no page.
        """
        self.assertEqual(parseWebAddress("8080"), WebAddress("127.0.0.1", 8080))
        self.assertEqual(parseWebAddress("0.0.0.0:0"), WebAddress("0.0.0.0", 0))
        self.assertEqual(str(parseWebAddress("[::1]:80")), "[::1]:80")
        self.assertIsNone(parseWebAddress("none"))

    def test_nonsense(self) -> None:
        """
        What is no address is refused in words.
        """
        for text in ("", "x", "65536", "-1", ":80", "example.org:80", "1.2.3.4:", "٣"):
            with self.subTest(text):
                error = self.assertRaises(LocalError, parseWebAddress, text)
                self.assertIn("--web takes", str(error))


class TokenTests(SynchronousTestCase):
    """
    Tests for the token of a home.
    """

    def test_kept(self) -> None:
        """
        A home keeps its token, for its owner alone, and so pages their cookie.
        """
        home = Path(self.mktemp())
        token = homeToken(home)
        self.assertEqual(len(token), 43)
        self.assertEqual((home / TOKEN_FILE).stat().st_mode & 0o777, 0o600)
        self.assertEqual(homeToken(home), token)
        self.assertEqual(Guard(token).cookie, Guard(homeToken(home)).cookie)

    def test_spoilt(self) -> None:
        """
        A file that is no token is replaced; one that others may read is refused.
        """
        home = Path(self.mktemp())
        token = homeToken(home)
        (home / TOKEN_FILE).write_text("")
        self.assertNotIn(homeToken(home), ("", token))
        (home / TOKEN_FILE).chmod(0o644)
        self.assertIn("chmod 600", str(self.assertRaises(LocalError, homeToken, home)))

    def test_secretsDiffer(self) -> None:
        """
        Neither cookie nor page's header tells the token, and all are new each time.
        """
        tokens = [newToken(), newToken()]
        secrets = {
            secret
            for token in tokens
            for secret in (token, Guard(token).cookie, Guard(token).csrf)
        }
        self.assertEqual(len(secrets), 6)


class HostNamesTests(SynchronousTestCase):
    """
    Tests for the names that a page has.
    """

    def test_names(self) -> None:
        """
        Browsers leave out port 80, and write IPv6 in brackets.
        """
        guard = Guard(newToken())
        for address, port, host in (
            ("192.0.2.1", 80, b"192.0.2.1"),
            ("192.0.2.1", 80, b"192.0.2.1:80"),
            ("::1", 8080, b"[::1]:8080"),
            ("::1", 80, b"localhost"),
        ):
            headers = Headers({b"Host": [host]})
            self.assertEqual(guard.checkHost(headers, address, port), host)
        for hosts in ([], [b"::1"], [b"[::1]"], [b"[::1]:8080", b"[::1]:8080"]):
            headers = Headers({b"Host": hosts})
            error = self.assertRaises(Refused, guard.checkHost, headers, "::1", 8080)
            self.assertEqual(error.status, 421)

    def test_link(self) -> None:
        """
        The link to a page on all addresses has one that others can reach.
        """
        self.patch(rootstream.web.server, "guessHost", lambda: "198.51.100.7")
        for host, start in (
            ("0.0.0.0", "http://198.51.100.7:8080/?token="),
            ("192.0.2.1", "http://192.0.2.1:8080/?token="),
            ("::1", "http://[::1]:8080/?token="),
        ):
            server = WebServer(
                MemoryReactorClock(), FakeProgram(), WebAddress(host, 8080), None
            )
            self.assertTrue(server.open().startswith(start))
            self.successResultOf(server.close())

    def test_onlyAName(self) -> None:
        """
        Where the machine knows only its name, the link is for this machine.
        """
        self.patch(rootstream.web.server, "guessHost", lambda: "desk")
        server = WebServer(
            MemoryReactorClock(), FakeProgram(), WebAddress("0.0.0.0", 8080), None
        )
        self.assertIn("http://127.0.0.1:8080/", server.open())
        self.successResultOf(server.close())


class LettingInTests(PageTestCase):
    """
    Tests for who is let in.
    """

    def test_link(self) -> None:
        """
        The printed link gives a cookie that no script reads and no other site sends,
        and leads away from the address that shows the token.
        """
        status, headers, _ = self.ask(f"/?token={self.token}", Cookie=None)
        self.assertEqual((status, headers["Location"]), (303, "/"))
        self.assertRegex(headers["Set-Cookie"], "(?i)HttpOnly; SameSite=strict$")
        self.assertNotIn(self.token, headers["Set-Cookie"])

    def test_key(self) -> None:
        """
        Without the cookie there is nothing, and a sentence says what to do.
        """
        for path in ("/", "/static/main.js", "/api/status", "/metrics", "/nothing"):
            for cookie in (None, "rootstream-8080=x", "rootstream-8080=", "a=b"):
                with self.subTest(path=path, cookie=cookie):
                    status, _, body = self.ask(path, Cookie=cookie)
                    self.assertEqual(status, 403)
                    self.assertIn(b"open the link", body)
        status, _, body = self.ask("/?token=wrong", Cookie=None)
        self.assertEqual(status, 403)
        self.assertIn(b"old or not whole", body)

    def test_bearer(self) -> None:
        """
        Programs show the token itself.
        """
        for given, expected in (
            (f"Bearer {self.token}", 200),
            (f"Bearer {self.token}x", 403),
            (f"Basic {self.token}", 403),
        ):
            status, _, _ = self.ask("/metrics", Cookie=None, Authorization=given)
            self.assertEqual(status, expected, given)

    def test_host(self) -> None:
        """
        Only the address that the connection came to, and localhost, are its names: one
        that was bound to it elsewhere is not (F90).
        """
        for host, expected in (
            ("127.0.0.1:8080", 200),
            ("LOCALHOST:8080", 200),
            ("evil.example:8080", 421),
            ("127.0.0.1", 421),
            ("127.0.0.1:8081", 421),
            ("127.0.0.1:8080.evil.example", 421),
            (None, 421),
        ):
            with self.subTest(host):
                self.assertEqual(self.ask("/", Host=host)[0], expected)
                link = f"/?token={self.token}"
                self.assertEqual(self.ask(link, Host=host)[0] == 421, expected == 421)

    def test_socketOrigin(self) -> None:
        """
        A WebSocket of another site's page, or of none, is refused before it is one
        (F91).
        """
        for origin in (None, "http://evil.example", "null", "https://127.0.0.1:8080"):
            for path in ("/api/events", "/api/stream"):
                with self.subTest(origin=origin, path=path):
                    status, _, _ = self.ask(path, Origin=origin, **UPGRADE)
                    self.assertEqual(status, 403)
        status, _, _ = self.ask(
            "/api/events", Origin=ORIGIN, Sec_Fetch_Site="cross-site", **UPGRADE
        )
        self.assertEqual(status, 403)
        status, _, _ = self.ask("/api/events", Origin=ORIGIN, Cookie=None, **UPGRADE)
        self.assertEqual(status, 403)
        self.assertEqual(self.ask("/api/events", Origin=ORIGIN)[0], 426)

    def test_foreignPost(self) -> None:
        """
        A request of another site's page, or without what only ours knows, does
        nothing (F89).
        """
        for changed, expected in (
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec_Fetch_Site": "same-site"}, 403),
            ({"X_Rootstream": None}, 403),
            ({"X_Rootstream": "x"}, 403),
            ({"Cookie": None}, 403),
            ({"Host": "evil.example"}, 421),
            ({"Content_Type": "text/plain"}, 415),
        ):
            with self.subTest(changed):
                status, _, _ = self.ask("/api/drill", "POST", b"{}", **changed)
                self.assertEqual(status, expected)
        self.assertEqual(self.program.asked, [])

    def test_headers(self) -> None:
        """
        Every answer keeps other sites out, refusals too.
        """
        for path, cookie in (("/", self.cookie), ("/nothing", self.cookie), ("/", "")):
            _, headers, _ = self.ask(path, Cookie=cookie)
            policy = headers["Content-Security-Policy"]
            self.assertTrue(policy.startswith("default-src 'self';"))
            self.assertNotIn("unsafe", policy)
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(headers["X-Frame-Options"], "DENY")
            self.assertEqual(headers["Referrer-Policy"], "no-referrer")
            self.assertEqual(headers["Server"], "RootStream")


class PagesTests(PageTestCase):
    """
    Tests for what there is.
    """

    def test_files(self) -> None:
        """
        The package's files are there with their types, and are not sent twice.
        """
        for path, kind in (("/", "text/html"), ("/static/main.js", "text/javascript")):
            status, headers, body = self.ask(path)
            self.assertEqual(status, 200)
            self.assertEqual(headers["Content-Type"], f"{kind}; charset=utf-8")
            self.assertEqual(body, loadFiles()[path.encode()].data)
            status, _, body = self.ask(path, If_None_Match=headers["ETag"])
            self.assertEqual((status, body), (304, b""))

    def test_nothingElse(self) -> None:
        """
        No path leads anywhere else.
        """
        for path in (
            "/static/",
            "/static/../guard.py",
            "/static/%2e%2e/guard.py",
            "/static//etc/passwd",
            "/static/index.html",
            "/api/peers",
            "/<script>",
        ):
            with self.subTest(path):
                status, headers, body = self.ask(path)
                self.assertEqual(status, 404)
                self.assertNotIn(b"script", body)
                self.assertNotIn("html", headers["Content-Type"])

    def test_status(self) -> None:
        """
        The status is that of the program.
        """
        status, headers, body = self.ask("/api/status")
        self.assertEqual((status, headers["Cache-Control"]), (200, "no-store"))
        self.assertEqual(json.loads(body)["peers"][0]["name"], "den")

    def test_head(self) -> None:
        """
        HEAD is as GET, without the body; nothing else but POST is known.
        """
        self.assertEqual(self.ask("/", "HEAD")[::2], (200, b""))
        for method in ("PUT", "OPTIONS", "TRACE", "JUNK"):
            self.assertEqual(self.ask("/", method)[0], 405)

    def test_command(self) -> None:
        """
        What is asked is done, as by a page.
        """
        status, _, body = self.ask("/api/drill", "POST", b'{"seconds": 3}')
        self.assertEqual((status, json.loads(body)), (200, {"text": "done"}))
        self.assertEqual(self.program.asked, [{"seconds": 3.0, "page": True}])
        self.ask("/api/drill", "POST", b'{"page": false}')
        self.assertIs(self.program.asked[1]["page"], True)

    def test_notForPages(self) -> None:
        """
        A page may not let anybody in.
        """
        self.assertEqual(self.ask("/api/peers", "POST", b"{}")[0], 404)
        self.assertEqual(self.ask("/drill", "POST", b"{}")[0], 404)
        self.assertEqual(self.program.asked, [])

    def test_refusedCommand(self) -> None:
        """
        What cannot be done is said in the program's words, as JSON.
        """
        status, headers, body = self.ask("/api/record", "POST", b"{}")
        self.assertEqual(status, 400)
        self.assertEqual(headers["Content-Type"], "application/json")
        self.assertIn("choose another", json.loads(body)["error"])

    def test_refusedByThePeer(self) -> None:
        """
        So is what the other side did not let happen.
        """
        status, _, body = self.ask("/api/weather", "POST", b"{}")
        self.assertEqual(status, 409)
        self.assertEqual(json.loads(body)["error"], "the host went away")

    def test_brokenCommand(self) -> None:
        """
        A fault of ours is logged, and not told.
        """
        status, _, body = self.ask("/api/events", "POST", b"{}")
        self.assertEqual(status, 500)
        self.assertNotIn(b"Zero", body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_badJson(self) -> None:
        """
        What is no object of JSON is refused.
        """
        for body in (b"[", b"[]", b"1", b"\xff", b"[" * 60000, b"{" + b"9" * 60000):
            with self.subTest(body[:4]):
                self.assertEqual(self.ask("/api/drill", "POST", body)[0], 400)

    def test_nobodyWaits(self) -> None:
        """
        When the page goes while something is being done for it, that is cancelled.
        """
        wire = self.connect()
        cancelled: list[object] = []
        self.program.pending = Deferred(cancelled.append)
        wire.send(self.request("/api/control", "POST", b"{}"))
        self.assertEqual(wire.value(), b"")
        wire.hangUp()
        self.assertEqual(cancelled, [self.program.pending])


class LimitsTests(PageTestCase):
    """
    Tests for how much anybody may take (F94).
    """

    def test_slowRequest(self) -> None:
        """
        A request has ten seconds, however busily its bytes drip.
        """
        wire = self.connect()
        for byte in b"GET / HTTP/1.1":
            wire.send(bytes([byte]))
            self.clock.advance(REQUEST_TIME / 15)
        self.assertFalse(wire.lost)
        self.clock.advance(REQUEST_TIME / 14)
        self.assertTrue(wire.lost)

    def test_idle(self) -> None:
        """
        A connection is kept for more requests for a while; each has its own time.
        """
        wire = self.connect()
        self.assertEqual(self.ask("/", wire=wire)[0], 200)
        self.clock.advance(IDLE_TIME - 1)
        self.assertEqual(self.ask("/", wire=wire)[0], 200)
        self.clock.advance(IDLE_TIME - 1)
        for byte in b"GET /":
            wire.send(bytes([byte]))
            self.clock.advance(REQUEST_TIME / 5 - 0.1)
        self.assertFalse(wire.lost)
        self.clock.advance(0.5)
        self.assertTrue(wire.lost)

    def test_slowAnswer(self) -> None:
        """
        What is being done for a page has no limit here.
        """
        wire = self.connect()
        wire.send(self.request("/api/control", "POST", b"{}"))
        self.clock.advance(IDLE_TIME * 2)
        self.program.pending.callback({})
        self.assertEqual(wire.takeAnswer()[0], 200)

    def test_largeBody(self) -> None:
        """
        A large body is refused before it comes, and what comes all the same is not
        kept.
        """
        wire = self.connect()
        wire.send(
            self.request("/api/drill", "POST", Content_Length=str(100_000_000))
            + b"x" * 60000
        )
        self.assertEqual(wire.takeAnswer()[0], 413)
        wire.protocol.wrappedProtocol.dataReceived = self.fail
        for _ in range(20):
            wire.send(b"x" * 60000)
        self.assertEqual(wire.value(), b"")
        self.clock.advance(REQUEST_TIME)
        self.assertTrue(wire.lost)

    def test_largestBody(self) -> None:
        """
        The largest body is taken.
        """
        body = b'{"seconds": "%s"}' % (b"x" * (MAX_BODY - 15))
        self.assertEqual(len(body), MAX_BODY)
        self.assertEqual(self.ask("/api/drill", "POST", body)[0], 200)

    def test_unknownLength(self) -> None:
        """
        A body of unknown length is refused, be it ever so short.
        """
        wire = self.connect()
        wire.send(
            self.request(
                "/api/drill", "POST", Content_Length=None, Transfer_Encoding="chunked"
            )
            + b"2\r\n{}\r\n0\r\n\r\n"
        )
        self.assertEqual(wire.takeAnswer()[0], 411)
        self.assertEqual(self.program.asked, [])

    def test_largeHead(self) -> None:
        """
        Long and many headers, and lines that never end, are refused.
        """
        for name, head in (
            ("long", self.request("/", X="x" * 15000, Y="y" * 15000)),
            ("many", self.request("/", **{f"X{n}": "" for n in range(600)})),
            ("endless", b"GET /" + b"x" * 100_000),
            ("nonsense", b"\x00\xff\r\n\r\n"),
        ):
            with self.subTest(name):
                wire = self.connect()
                wire.send(head)
                self.assertTrue(wire.lost)
                self.assertNotIn(b" 200 ", wire.value())
                self.clock.advance(0)

    def test_manyConnections(self) -> None:
        """
        When there are too many, those that have waited longest make room: whoever asks
        in time is answered.
        """
        silent = [self.connect() for _ in range(MAX_HTTP * 3)]
        self.clock.advance(GRACE)
        self.assertEqual(self.ask("/")[0], 200)
        self.clock.advance(0)
        left = [wire for wire in silent if not wire.lost]
        self.assertEqual(left, silent[-MAX_HTTP + 1 :])

    def test_burst(self) -> None:
        """
        Many that come at once are all answered, up to a limit.
        """
        wires = [self.connect() for _ in range(MAX_HTTP * 3)]
        for wire in wires:
            self.assertEqual(self.ask("/", wire=wire)[0], 200)
        while len(wires) < MAX_ALL:
            wires.append(self.connect())
        door = self.clock.tcpServers[0][1]
        self.assertIsNone(door.buildProtocol(None))
        wires[0].hangUp()
        self.assertIsNotNone(door.buildProtocol(None))

    def test_answeringIsKept(self) -> None:
        """
        Nobody for whom something is being done has to make room.
        """
        wire = self.connect()
        wire.send(self.request("/api/control", "POST", b"{}"))
        for _ in range(3):
            for _ in range(MAX_HTTP):
                self.connect()
            self.clock.advance(GRACE)
        self.assertFalse(wire.lost)
        self.program.pending.callback({})
        self.assertEqual(wire.takeAnswer()[0], 200)
