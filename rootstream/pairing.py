"""
A viewer's side of pairing: dial the host, prove the phrase, learn the host's name.

What it takes to watch is a session of its own, made afterwards: this one is good for
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from rootstream.client import connect
from rootstream.errors import BadPacket, HandshakeTimeout, PeerClosed, WrongPhrase
from rootstream.identity import Code, Identity
from rootstream.peer import Peer
from rootstream.phrase import readPhrase
from rootstream.protocol.link import GOODBYE, PROTOCOL_VIOLATION
from rootstream.protocol.pairing import ViewerPairing, secretOf
from rootstream.receiver import PeerReceiver
from rootstream.reception import PAIRING_TIME

__all__ = ["pair"]

#: Seconds between two copies of a message that is not answered.
REPEAT = 0.25


def pair(
    reactor: Any, code: Code, phrase: str, *, identity: Identity, **options: Any
) -> Deferred[str]:
    """
    Pair with the host that ``code`` names; fires with the name that it gives itself.

    ``options`` are those of `rootstream.connect`.  Fails with
    `rootstream.errors.WrongPhrase`, with `rootstream.errors.HandshakeTimeout` when the
    host does not answer in time, and with `rootstream.errors.PeerClosed` when it ends
    the exchange.  Cancelling it gives up.

    :raise LocalError: The phrase is none.
    """
    secret = secretOf(readPhrase(phrase))
    receiver = _Watch()

    def late(_: object, seconds: float) -> Any:
        raise HandshakeTimeout(
            f"no answer from the host in {seconds:.0f} s; is it there, and does "
            "'rootstream host --pair' show its phrase now?"
        )

    def connected(peer: Peer) -> Deferred[str]:
        exchange = ViewerPairing(
            secret,
            identity.key,
            identity.name,
            code.key,
            peer.binding(viewer=True),
        )
        return _Exchange(reactor, peer, exchange, receiver).result

    return (
        connect(reactor, code, receiver, identity=identity, standby=False, **options)
        .addCallback(connected)
        .addTimeout(PAIRING_TIME, reactor, onTimeoutCancel=late)
    )


class _Watch(PeerReceiver):
    """
    Hears of the session's end.
    """

    ended: Callable[[str], None] | None = None

    def stateChanged(self, old: str, new: str, cause: str) -> None:
        if self.ended is not None:
            self.ended(cause)


class _Exchange:
    """
    One exchange over a session that there is: repeats what is not answered.
    """

    def __init__(
        self, reactor: Any, peer: Peer, exchange: ViewerPairing, watch: _Watch
    ) -> None:
        self._reactor = reactor
        self._peer = peer
        self._exchange = exchange
        self._watch = watch
        self._repeat: IDelayedCall | None = None
        self.result: Deferred[str] = Deferred(self._cancelled)
        peer.pairing = self._received
        watch.ended = self._ended
        self._send()

    def _cancelled(self, _: Deferred[str]) -> None:
        self._stop("gave up")

    def _send(self) -> None:
        self._repeat = self._reactor.callLater(REPEAT, self._send)
        assert self._exchange.message is not None
        self._peer.pair(self._exchange.message)

    def _received(self, message: bytes) -> None:
        before = self._exchange.message
        try:
            self._exchange.receive(message)
        except WrongPhrase as error:
            self._fail(error, "the phrase is another one", GOODBYE)
        except BadPacket as error:
            self._fail(PeerClosed(f"the host said {error}"), "", PROTOCOL_VIOLATION)
        else:
            host = self._exchange.host
            if host is not None:
                self._finish("paired", GOODBYE, host)
            elif self._exchange.message is not before:
                self._peer.pair(self._exchange.message or b"")

    def _fail(self, error: Exception, text: str, code: int) -> None:
        self._finish(text, code, Failure(error))

    def _ended(self, cause: str) -> None:
        if self._peer.closed is not None:
            self._fail(PeerClosed(f"pairing failed: {cause}"), "", GOODBYE)

    def _finish(self, text: str, code: int, result: str | Failure) -> None:
        def fire(_: None) -> None:
            # It may have been cancelled during the goodbye.
            if not self.result.called:
                self.result.callback(result)

        self._stop(text, code).addCallback(fire)

    def _stop(self, text: str, code: int = GOODBYE) -> Deferred[None]:
        """
        Say nothing more; fires once the goodbye is sent.
        """
        self._watch.ended = None
        self._peer.pairing = None
        if self._repeat is not None and self._repeat.active():
            self._repeat.cancel()
        return self._peer.close(text, code)
