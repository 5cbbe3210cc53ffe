"""
Who may see a page, and what may ask on its behalf.

A start, or a home, has a token, which the printed link bears.  It is exchanged for a
cookie that is derived from it, so that a page outlives a restart of the program.  The
rest keeps other sites' pages out, which the same browser shows: a name that was bound
anew to our address (the ``Host`` list), forms and scripts that ask from elsewhere
(``Origin``, ``Sec-Fetch-Site``, and a header that only our own page knows).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from pathlib import Path
from typing import Final

from twisted.web.http_headers import Headers

from rootstream.errors import RemoteError
from rootstream.home import Home

__all__ = ["Guard", "Refused", "homeToken", "newToken"]

TOKEN_BYTES: Final = 32
#: In the home, for its owner alone.
TOKEN_FILE: Final = "web-token"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class Refused(RemoteError):
    """
    A request that is answered with an HTTP status and a sentence.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def _text(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()


def newToken() -> str:
    """
    A token that nobody knows.
    """
    return _text(os.urandom(TOKEN_BYTES))


def homeToken(home: Path) -> str:
    """
    The token of a home, made when there is none.

    Raises `IdentityError` when others may read it, or it cannot be written.
    """
    with Home(home, create=True) as directory:
        token = _tokenOf(directory)
        if token is None:
            fresh = newToken()
            directory.publish(
                TOKEN_FILE,
                fresh.encode() + b"\n",
                0o600,
                replace=directory.exists(TOKEN_FILE),
            )
            # Another program of this home may have been first.
            token = _tokenOf(directory) or fresh
        return token


def _tokenOf(directory: Home) -> str | None:
    found = directory.read(TOKEN_FILE, 64, secret=True) or b""
    token = found.decode("latin-1").strip()
    return token if _TOKEN.fullmatch(token) else None


class Guard:
    """
    Judges requests by their headers; each check raises `Refused`, or returns.

    :ivar cookie: the cookie's value, and ``csrf`` that of the page's own header.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self.cookie = self._derive(b"cookie")
        self.csrf = self._derive(b"csrf")

    def _derive(self, purpose: bytes) -> str:
        made = hmac.digest(self._token, b"rootstream web " + purpose, hashlib.sha256)
        return _text(made)

    def isToken(self, given: bytes) -> bool:
        """
        Whether that is the token; takes as long whether it is or not.
        """
        return hmac.compare_digest(given, self._token)

    def checkHost(self, headers: Headers, address: str, port: int) -> bytes:
        """
        The page must have been asked for by the address that the connection came to,
        or as localhost: another name was bound to us by somebody else.
        """
        literal = f"[{address}]" if ":" in address else address
        hosts = [literal, "localhost"]
        names = {f"{host}:{port}".encode() for host in hosts}
        if port == 80:
            names.update(host.encode() for host in hosts)
        given = headers.getRawHeaders(b"Host", [])
        if len(given) != 1 or given[0].lower() not in names:
            raise Refused(
                421, "This program is not there by that name: use the printed link."
            )
        return bytes(given[0].lower())

    def checkKey(self, headers: Headers, cookie: bytes | None) -> None:
        """
        Whoever asks has the cookie, or ``Authorization: Bearer`` with the token.
        """
        if cookie is not None and hmac.compare_digest(cookie, self.cookie.encode()):
            return
        for given in headers.getRawHeaders(b"Authorization", []):
            scheme, _, token = given.partition(b" ")
            if scheme.lower() == b"bearer" and self.isToken(token.strip()):
                return
        raise Refused(
            403, "This page needs its key: open the link that the program printed."
        )

    def checkOrigin(self, headers: Headers, host: bytes, *, needed: bool) -> None:
        """
        It is our own page that asks, not one of another site.
        """
        origins = headers.getRawHeaders(b"Origin", [])
        sites = headers.getRawHeaders(b"Sec-Fetch-Site", [])
        foreign = any(site != b"same-origin" for site in sites) or any(
            origin != b"http://" + host for origin in origins
        )
        if foreign or (needed and not origins):
            raise Refused(403, "Only the program's own page may ask that.")

    def checkAsker(self, headers: Headers) -> None:
        """
        What asks has read our page.
        """
        given = headers.getRawHeaders(b"X-Rootstream", [])
        if len(given) != 1 or not hmac.compare_digest(given[0], self.csrf.encode()):
            raise Refused(403, "This page is of an earlier start: load it again.")
