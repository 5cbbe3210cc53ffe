"""
Every error that RootStream raises.

The base class is never raised.  `LocalError` means that the caller or the
machine did something wrong and can mend it; its text says how.  `RemoteError`
means that the peer, or somebody who pretends to be it, did.
"""

from __future__ import annotations

__all__ = [
    "AddressRefused",
    "BadCode",
    "BadPacket",
    "BadPeersFile",
    "GaveUp",
    "HandshakeTimeout",
    "IdentityError",
    "LocalError",
    "NoTransport",
    "PeerClosed",
    "PortInUse",
    "RemoteError",
    "RootstreamError",
    "SinkError",
    "SourceError",
    "WrongPhrase",
]


class RootstreamError(Exception):
    """
    The base of all our errors.  Never raised itself.
    """


class LocalError(RootstreamError):
    """
    You, or this machine, did something wrong; the text says what to do.
    """


class RemoteError(RootstreamError):
    """
    The other side, or the network, did something wrong.
    """


class BadCode(LocalError):
    """
    A code or key is malformed or unsafe.  Ask its owner to print it again with
    ``rootstream identity`` and copy the whole line.
    """


class BadPeersFile(LocalError):
    """
    The ``peers`` file has a line that cannot be used.  Mend or remove the line
    that the text names.
    """


class IdentityError(LocalError):
    """
    The identity files cannot be trusted or used; the text says the fix.
    """


class PortInUse(LocalError):
    """
    Another process holds the port.  Stop it, or choose another ``--port``.
    """


class AddressRefused(LocalError):
    """
    The host name does not resolve, or resolves only to addresses that can
    never be a peer (unspecified, multicast, broadcast).
    """


class NoTransport(LocalError):
    """
    UDP and TCP were both switched off.  Allow at least one.
    """


class SourceError(LocalError):
    """
    A media source cannot be read, or has no video.
    """


class SinkError(LocalError):
    """
    A media sink cannot be written.
    """


class BadPacket(RemoteError):
    """
    Bytes from the network that do not parse or do not authenticate.  Dropped
    and counted; never shown to a user.
    """


class HandshakeTimeout(RemoteError):
    """
    No answer, or not authorised there.  The two look the same on purpose: a
    host says nothing to strangers.
    """


class PeerClosed(RemoteError):
    """
    The peer said goodbye with an authenticated CLOSE.
    """


class WrongPhrase(RemoteError):
    """
    The two sides of a pairing have different phrases, or somebody is in between.
    """


class GaveUp(RemoteError):
    """
    All attempts of the reconnect schedule failed; the peer was removed.
    """
