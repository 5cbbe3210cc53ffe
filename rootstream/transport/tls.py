"""
TLS: the records of TCP, inside what a network that passes nothing else takes for a
web site's.

TLS is here for what the network sees, not for secrecy: the packets inside are
encrypted already, and who is at the other end is found out by the handshake of the
protocol, as on any path.  So the host's certificate is one of the moment, signed by
itself, and the dialler does not look at it.  Whoever puts himself in between gets what
he would get on TCP: packets that he can delay, drop, and not read.

A listening TLS port answers strangers, where the others say nothing: it is open only
when it was asked for.  Their limits are those of TCP, counted together with them.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IReactorTime,
    ITransport,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from rootstream.interfaces import IPacketSink, Transport
from rootstream.transport.tcp import (
    PacketClientFactory,
    PacketServerFactory,
    PacketStream,
    Strangers,
    TCPPath,
    Unsent,
    tune,
)

__all__ = ["TLSClientFactory", "TLSPath", "TLSServerFactory", "TLSStream"]

# Nobody looks at them, so no clock is asked: RFC 5280, section 4.1.2.5, has a date for
# "no well-defined expiration".
_VALID_FROM = datetime(2025, 1, 1)
_VALID_UNTIL = datetime(9999, 12, 31, 23, 59, 59)


class TLSPath(TCPPath):
    """
    One TLS connection.
    """

    transport = Transport.TLS


@implementer(ITransport)
class _Beneath(Unsent):
    """
    The connection under TLS.  What waits here for the kernel is ciphertext.
    """

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        """
        End the connection at once.
        """
        self.stopProducing()
        self.transport.abortConnection()

    def getPeer(self) -> IAddress:
        peer: IAddress = self.transport.getPeer()
        return peer

    def getHost(self) -> IAddress:
        host: IAddress = self.transport.getHost()
        return host


class _Encryption(TLSMemoryBIOProtocol):
    """
    TLS over a connection whose unsent bytes are counted.

    Twisted's usual class holds writes back for a turn of the reactor, uncounted, to
    gather small ones.  Ours are batches.

    :ivar beneath: what TLS writes to.
    """

    beneath: _Beneath

    def makeConnection(self, transport: Any) -> None:
        tune(transport)
        self.beneath = _Beneath(transport)
        super().makeConnection(self.beneath)

    def loseConnection(self) -> None:
        super().loseConnection()
        # Nobody has to wait for the other's goodbye (RFC 8446, section 6.1), and a
        # peer that says none would keep us for ever.
        self.beneath.loseConnection()


@implementer(IHandshakeListener)
class TLSStream(PacketStream):
    """
    Both directions of one TLS connection.

    What is sent before TLS is ready waits here, where it is counted.
    """

    pathType = TLSPath

    def __init__(self, sink: IPacketSink, strangers: Strangers | None = None) -> None:
        super().__init__(sink, strangers)
        self._ready = False
        self._early = bytearray()

    @property
    def unsent(self) -> int:
        """
        Bytes that the kernel has not taken.
        """
        return len(self._early) + super().unsent

    def prepare(self) -> Unsent:
        beneath: Unsent = self.transport.beneath
        return beneath

    def handshakeCompleted(self) -> None:
        self._ready = True
        early, self._early = self._early, bytearray()
        self.write(early)

    def write(self, records: bytes | bytearray) -> None:
        if self._ready:
            self.transport.write(bytes(records))
        else:
            self._early += records

    def discard(self) -> None:
        self._early.clear()
        super().discard()

    def explain(self, reason: Failure) -> str:
        if reason.check(SSL.Error):
            return f"no valid TLS ({_words(reason.value)})"
        if self.transport.getHandle().get_shutdown() & SSL.RECEIVED_SHUTDOWN:
            # Our own goodbye, which comes too late, may have been answered by a reset.
            return super().explain(Failure(ConnectionDone()))
        return super().explain(reason)


def _words(error: BaseException | None) -> str:
    """
    What OpenSSL says went wrong.  The words are its own, whatever was received.
    """
    match getattr(error, "args", None):
        case ([*_, (_, _, str(words))],):
            return words
        case _:
            return "unknown error"


def _context() -> SSL.Context:
    """
    What both sides want of TLS: little, and nothing that outlasts a connection.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(
        SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # An idle connection, and there are many, gives its 34 KiB of buffers back.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return context


@implementer(IOpenSSLServerConnectionCreator)
class _Server:
    """
    The host's side of TLS, with a key and a certificate of the moment: they tell
    nothing of the identity, and a host that starts again looks like another one.
    """

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        common = x509.NameAttribute(x509.NameOID.COMMON_NAME, secrets.token_hex(8))
        name = x509.Name([common])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_VALID_FROM)
            .not_valid_after(_VALID_UNTIL)
            .sign(key, hashes.SHA256())
        )
        self._context = _context()
        self._context.use_privatekey(key)
        self._context.use_certificate(certificate)

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return SSL.Connection(self._context, None)


@implementer(IOpenSSLClientConnectionCreator)
class _Client:
    """
    The dialler's side of TLS: any certificate will do.
    """

    def __init__(self, name: str) -> None:
        self._name = name.encode("idna")
        self._context = _context()
        self._context.set_verify(SSL.VERIFY_NONE)

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._name:
            connection.set_tlsext_host_name(self._name)
        return connection


class TLSServerFactory(TLSMemoryBIOFactory):
    """
    TLS streams of a listening port.
    """

    protocol = _Encryption

    def __init__(
        self, sink: IPacketSink, strangers: Strangers, clock: IReactorTime
    ) -> None:
        packets = PacketServerFactory(sink, strangers, TLSStream)
        super().__init__(_Server(), False, packets, clock)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        built = self.wrappedFactory.buildProtocol(addr)
        if isinstance(built, TLSStream):
            return self.protocol(self, built)
        # One too many is refused before it costs anything of TLS.
        return built


class TLSClientFactory(TLSMemoryBIOFactory):
    """
    TLS streams that we dialled: the ``wrappedProtocol`` of what it builds.
    """

    protocol = _Encryption

    def __init__(self, sink: IPacketSink, name: str, clock: IReactorTime) -> None:
        """
        :param name: what the host is called, as a browser would say; may be empty.
        """
        packets = PacketClientFactory(sink, TLSStream)
        super().__init__(_Client(name), True, packets, clock)
