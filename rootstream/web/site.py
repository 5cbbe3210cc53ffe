"""
The page's HTTP: one table of what there is, behind one guard.

There is no tree of resources and no path of a file in a request: what the table does
not have is not there.  What is refused is answered with a status and a sentence, as
plain text or as JSON, so nothing that came in a request is ever read as HTML.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import CACHED
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.websocket import WebSocketResource

from rootstream.errors import LocalError, RootstreamError
from rootstream.web.door import Connection
from rootstream.web.files import loadFiles
from rootstream.web.guard import Guard, Refused

__all__ = ["Pages", "makeSite"]

#: Bytes of a request's body.
MAX_BODY: Final = 65536

Command = Callable[[Mapping[str, Any]], Deferred[Any]]

HEADERS: Final = {
    b"Server": b"RootStream",
    b"Cache-Control": b"no-store",
    b"Content-Security-Policy": (
        b"default-src 'self'; base-uri 'none'; form-action 'self'; "
        b"frame-ancestors 'none'; object-src 'none'"
    ),
    b"Cross-Origin-Opener-Policy": b"same-origin",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"Permissions-Policy": b"camera=(), geolocation=(), microphone=()",
    b"Referrer-Policy": b"no-referrer",
    b"X-Content-Type-Options": b"nosniff",
    b"X-Frame-Options": b"DENY",
}

#: Those that Twisted does not know, or not by these words.
REASONS: Final = {
    411: b"Length Required",
    413: b"Content Too Large",
    421: b"Misdirected Request",
    426: b"Upgrade Required",
}


class PageRequest(Request):
    """
    A request that tells its connection how far it is, and whose body is small.
    """

    @property
    def connection(self) -> Connection:
        """
        What it came by.
        """
        connection = self.channel.transport
        assert isinstance(connection, Connection)
        return connection

    def gotLength(self, length: int | None) -> None:
        """
        All headers are here: refuse a large body before it comes.
        """
        if length is None:
            self._refuse(411, b"Send the length of the body.")
        elif length > MAX_BODY:
            self._refuse(413, b"A body has at most %d bytes." % MAX_BODY)
        # A body that is refused is not kept.
        super().gotLength(min(length or 0, MAX_BODY))

    def _refuse(self, status: int, sentence: bytes) -> None:
        self.connection.refuse(
            b"HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: text/plain\r\n"
            b"Content-Length: %d\r\n\r\n%s"
            % (status, REASONS[status], len(sentence), sentence)
        )

    def process(self) -> None:
        """
        The request is whole.
        """
        if self.connection.isClosing:
            return
        self.connection.began()
        super().process()

    def finish(self) -> None:
        """
        The answer is whole.
        """
        # Before: what comes next may begin at once.
        self.connection.answered()
        super().finish()


class Pages(Resource):
    """
    All there is.

    :ivar sockets: makes what speaks a WebSocket, by path; None where there is no such
        thing now.
    """

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        guard: Guard,
        commands: Mapping[str, Command],
        documents: Mapping[bytes, Callable[[], tuple[bytes, bytes]]],
        sockets: Mapping[bytes, Callable[[Connection], Any]],
        hasRoom: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._guard = guard
        self._commands = commands
        self._documents = documents
        self._sockets = sockets
        self._hasRoom = hasRoom
        self._files = loadFiles()

    def render(self, request: Any) -> Any:
        """
        Answer a request.
        """
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        try:
            return self._answer(request)
        except Refused as refused:
            return self._refuse(request, refused)

    def _refuse(self, request: Any, refused: Refused) -> bytes:
        request.setResponseCode(refused.status, REASONS.get(refused.status))
        sentence = str(refused)
        if request.path.startswith(b"/api/"):
            request.setHeader(b"Content-Type", b"application/json")
            return json.dumps({"error": sentence}).encode()
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return sentence.encode() + b"\n"

    def _answer(self, request: Any) -> Any:
        headers, path = request.requestHeaders, request.path
        here = request.getHost()
        host = self._guard.checkHost(headers, here.host, here.port)
        cookie = b"rootstream-%d" % here.port
        if request.method in (b"GET", b"HEAD"):
            if path == b"/" and b"token" in request.args:
                return self._exchange(request, cookie)
            self._guard.checkKey(headers, request.received_cookies.get(cookie))
            return self._get(request, path, host)
        if request.method != b"POST":
            request.setHeader(b"Allow", b"GET, HEAD, POST")
            raise Refused(405, "There is nothing to be done that way.")
        self._guard.checkKey(headers, request.received_cookies.get(cookie))
        self._guard.checkOrigin(headers, host, needed=False)
        self._guard.checkAsker(headers)
        return self._post(request, path)

    def _exchange(self, request: Any, cookie: bytes) -> bytes:
        """
        The link's token for a cookie, and away from the address that shows it.
        """
        if not self._guard.isToken(request.args[b"token"][0]):
            raise Refused(
                403, "That link is old or not whole: open the one printed last."
            )
        # Cookies know no ports: another program's page has another name.
        request.addCookie(
            cookie,
            self._guard.cookie.encode(),
            path=b"/",
            httpOnly=True,
            sameSite=b"strict",
        )
        request.setResponseCode(303)
        request.setHeader(b"Location", b"/")
        return b""

    def _get(self, request: Any, path: bytes, host: bytes) -> Any:
        if path in self._files:
            return self._file(request, path)
        if path in self._documents:
            body, kind = self._documents[path]()
            request.setHeader(b"Content-Type", kind)
            return body
        if path in self._sockets:
            return self._socket(request, path, host)
        raise Refused(404, "There is no such page.")

    def _file(self, request: Any, path: bytes) -> bytes:
        file = self._files[path]
        # Kept, but asked for again: a new release is seen at once.
        request.setHeader(b"Cache-Control", b"no-cache")
        if request.setETag(file.tag) is CACHED:
            return b""
        request.setHeader(b"Content-Type", file.type)
        return file.data

    def _socket(self, request: Any, path: bytes, host: bytes) -> Any:
        headers = request.requestHeaders
        self._guard.checkOrigin(headers, host, needed=True)
        if request.method != b"GET" or not any(
            value.lower() == b"websocket"
            for value in headers.getRawHeaders(b"Upgrade", [])
        ):
            raise Refused(426, "That is a WebSocket.")
        if not self._hasRoom():
            raise Refused(503, "Too many pages are open: close some.")
        return WebSocketResource(_Maker(self._sockets[path])).render_GET(request)

    def _post(self, request: Any, path: bytes) -> Any:
        name = path.removeprefix(b"/api/").decode("latin-1")
        command = self._commands.get(name)
        if command is None or not path.startswith(b"/api/"):
            raise Refused(404, "This program cannot do that.")
        asked = _parse(request)
        # The page may do less than the owner's command line.
        done = maybeDeferred(command, {**asked, "page": True})
        over = request.notifyFinish()
        # Nobody waits for it any more.
        over.addErrback(lambda _: done.cancel())
        done.addCallbacks(lambda answer: (200, answer), self._explained)
        done.addCallback(
            lambda result: None if over.called else _finish(request, *result)
        )
        return NOT_DONE_YET

    def _explained(self, failure: Failure) -> tuple[int, Mapping[str, Any]]:
        error = failure.value
        if isinstance(error, LocalError):
            return 400, {"error": str(error)}
        if isinstance(error, RootstreamError):
            return 409, {"error": str(error)}
        if not isinstance(error, CancelledError):
            self._log.failure("What a page asked failed.", failure)
        return 500, {"error": "That failed; the program's log says why."}


class _Maker:
    """
    Twisted's factory of a WebSocket.
    """

    def __init__(self, make: Callable[[Connection], Any]) -> None:
        self._make = make

    def buildProtocol(self, request: Any) -> Any:
        """
        What speaks over the connection of a request.
        """
        return self._make(request.connection)


def _parse(request: Any) -> Mapping[str, Any]:
    kinds = request.requestHeaders.getRawHeaders(b"Content-Type", [])
    if len(kinds) != 1 or kinds[0].partition(b";")[0].strip() != b"application/json":
        raise Refused(415, "Ask in JSON.")
    try:
        # Numbers of any length are one number then.
        asked = json.loads(request.content.read() or b"{}", parse_int=float)
    except (ValueError, RecursionError):
        raise Refused(400, "That is no JSON.") from None
    if not isinstance(asked, dict):
        raise Refused(400, "Ask with an object.")
    return asked


def _finish(request: Any, status: int, answer: Mapping[str, Any]) -> None:
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    body = json.dumps(answer).encode()
    request.setHeader(b"Content-Length", str(len(body)).encode())
    request.write(body)
    request.finish()


def makeSite(pages: Pages, clock: Any) -> Site:
    """
    Twisted's side of it; times are measured by `rootstream.web.door`.
    """
    site = Site(pages, requestFactory=PageRequest, timeout=None, reactor=clock)
    site.displayTracebacks = False
    site.noisy = False
    return site
