"""
A host's side of pairing: for two minutes, whoever knows the phrase may join the list.

Until then nobody is known, so a stranger is let into a session in which there is
nothing but the exchange (`rootstream.protocol.pairing`): one stranger at a time, for
twenty seconds.  Three answers are all that a phrase gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from rootstream.errors import BadPacket, LocalError, WrongPhrase
from rootstream.identity import Identity, fingerprintOf
from rootstream.peer import Peer
from rootstream.phrase import makePhrase
from rootstream.protocol.link import GOODBYE, NOT_LISTED, PROTOCOL_VIOLATION
from rootstream.protocol.pairing import Guest, HostPairing, secretOf
from rootstream.receiver import PeerReceiver

__all__ = ["PAIRING_TIME", "PHRASE_LIFE", "Reception"]

#: Seconds that a phrase is good for, and that a stranger may take.
PHRASE_LIFE = 120.0
PAIRING_TIME = 20.0
#: Answers to somebody who may only guess.
TRIES = 3


class Reception:
    """
    One phrase, and who comes with it.

    ``store`` puts a guest on the list, and raises `LocalError` when that cannot be;
    ``tell`` gets, in words, what happened, and the fingerprint that it is about.

    @ivar phrase: what to show; None when it is good no more.
    """

    def __init__(
        self,
        clock: IReactorTime,
        identity: Identity,
        store: Callable[[Guest], None],
        tell: Callable[[str, str | None], None],
        phrase: str | None = None,
    ) -> None:
        self._clock = clock
        self._identity = identity
        self._store = store
        self._tell = tell
        self.phrase: str | None = phrase or makePhrase()
        self._secret = secretOf(self.phrase)
        self._tries = TRIES
        self._stranger: Peer | None = None
        self._exchanges: dict[Peer, HostPairing] = {}
        self._limits: dict[Peer, IDelayedCall] = {}
        self._end: IDelayedCall | None = clock.callLater(
            PHRASE_LIFE, self._void, "The phrase is good no more: two minutes are over."
        )

    def admits(self, present: Sequence[Peer]) -> bool:
        """
        Whether a stranger may come in now, given who is here.
        """
        return (
            self.phrase is not None
            and self._tries > 0
            and self._stranger not in present
        )

    def receives(self, peer: Peer) -> bool:
        """
        Whether a peer is here only to pair.
        """
        return peer is self._stranger

    def arrived(self, peer: Peer, stranger: bool) -> None:
        """
        A peer has come, a stranger or one of the list.
        """
        if self.phrase is None:
            return
        peer.pairing = lambda message: self._received(peer, message)
        if stranger:
            self._stranger = peer
            peer.restrict()
            peer.setReceiver(_Stranger(peer, self.left))
            self._limit(peer)

    def left(self, peer: Peer) -> None:
        """
        A stranger is gone: with the phrase wrong, it is the viewer that sees it first.
        """
        self._dismiss(peer, "goodbye", GOODBYE)

    def stop(self) -> None:
        """
        The host ends.
        """
        self.phrase = None
        for timer in (self._end, *self._limits.values()):
            if timer is not None and timer.active():
                timer.cancel()
        self._limits.clear()

    def _limit(self, peer: Peer) -> None:
        if peer not in self._limits:
            self._limits[peer] = self._clock.callLater(PAIRING_TIME, self._late, peer)

    def _late(self, peer: Peer) -> None:
        self._dismiss(peer, "pairing took too long", GOODBYE)

    def _dismiss(self, peer: Peer, text: str, code: int) -> None:
        """
        The exchange with a peer is over, and so is the session of a stranger.
        """
        limit = self._limits.pop(peer, None)
        if limit is not None and limit.active():
            limit.cancel()
        peer.pairing = None
        exchange = self._exchanges.pop(peer, None)
        if exchange is not None and exchange.tried and exchange.guest is None:
            key = f"any:{fingerprintOf(peer.remote)}"
            left = f"{self._tries} of {TRIES} tries are left"
            self._tell(f"{key} could not pair: another phrase; {left}.", key)
        if self.receives(peer):
            peer.close(text, code)
            self._stranger = None
        if self._tries == 0 and self.phrase is not None and not self._exchanges:
            self._void(f"The phrase is good no more: {TRIES} tries failed.")

    def _void(self, why: str) -> None:
        self.phrase = None
        if self._end is not None and self._end.active():
            self._end.cancel()
        for peer in {*self._exchanges, *filter(None, (self._stranger,))}:
            exchange = self._exchanges.get(peer)
            if exchange is None or exchange.guest is None:
                self._dismiss(peer, "the phrase is good no more", NOT_LISTED)
        self._tell(why, None)

    def _received(self, peer: Peer, message: bytes) -> None:
        exchange = self._exchanges.get(peer)
        if exchange is None:
            if not (self.phrase and self._tries):
                return
            exchange = HostPairing(
                self._secret,
                self._identity.key,
                peer.remote,
                peer.binding(viewer=False),
            )
            self._exchanges[peer] = exchange
            self._limit(peer)
        tried = exchange.tried
        try:
            answer = exchange.receive(message)
        except WrongPhrase:
            self._dismiss(peer, "the phrase is another one", NOT_LISTED)
            return
        except BadPacket as error:
            self._dismiss(peer, str(error), PROTOCOL_VIOLATION)
            return
        if exchange.tried and not tried:
            # The answer tells one wrong guess from another, whatever follows.
            self._tries -= 1
        if exchange.guest is not None and answer is None:
            answer = self._welcome(peer, exchange, exchange.guest)
        if answer is not None:
            peer.pair(answer)

    def _welcome(self, peer: Peer, exchange: HostPairing, guest: Guest) -> bytes | None:
        try:
            self._store(guest)
        except LocalError as error:
            self._tell(f"Pairing came to nothing: {error}.", guest.key.fingerprint)
            self._dismiss(peer, "the host cannot store its peers", GOODBYE)
            return None
        named = f"{guest.key.fingerprint} {guest.name}".rstrip()
        answer = exchange.welcome(self._identity.name)
        # First, or it would count as one that has failed.
        self._void(f"Paired with {named}.")
        return answer


class _Stranger(PeerReceiver):
    """
    Takes nothing from one who is here only to pair, and tells when it is gone.
    """

    def __init__(self, peer: Peer, gone: Callable[[Peer], None]) -> None:
        super().__init__(peer)
        self._gone = gone

    def stateChanged(self, old: str, new: str, cause: str) -> None:
        assert self.peer is not None
        if self.peer.closed is not None:
            self._gone(self.peer)
