"""
Packets that a well-behaved peer would not send, for tests of what they lead to.
"""

from __future__ import annotations

from random import Random
from struct import pack

from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from rootstream.protocol.constants import DATA_HEADER, INIT_SIZE, TYPE_DATA
from rootstream.protocol.handshake import Initiation, InitPayload, mac1Key, prologue
from rootstream.protocol.handshakes import Credentials
from rootstream.protocol.noise import SymmetricState, keyedMac, publicKey
from rootstream.protocol.session import Session

#: Where the MACs of an INIT and of a RESP begin.
INIT_MAC1 = INIT_SIZE - 32
RESP_MAC1 = 88


def remac(init: bytes, receiver: bytes, cookie: bytes | None = None) -> bytes:
    """
    The same INIT with a right mac1, and a right mac2 if there is a cookie.
    """
    packet = init[:INIT_MAC1]
    packet += keyedMac(mac1Key(receiver), packet)
    return packet + (keyedMac(cookie, packet) if cookie else bytes(16))


def junkInit(receiver: bytes, random: Random, cookie: bytes | None = None) -> bytes:
    """
    An INIT whose MACs are right, with nothing behind them.
    """
    index = random.getrandbits(32) | 1
    body = pack("<BBBBI", 0x21, 2, 2, 0, index) + random.randbytes(168)
    return remac(body, receiver, cookie)


def initOf(
    keys: Credentials,
    receiver: bytes,
    timestamp: int,
    *,
    index: int = 77,
    cookie: bytes | None = None,
    challenge: bytes = bytes(16),
) -> Initiation:
    """
    An INIT in all form, by somebody who holds ``keys``.
    """
    payload = InitPayload(timestamp, challenge, 1)
    return Initiation(keys.private, receiver, keys.psk, index, payload, cookie)


def initBy(
    owner: Credentials, claimed: bytes, ephemeral: bytes, payload: InitPayload
) -> bytes:
    """
    An INIT to the ``owner`` of a stolen private key, made with that key, which
    says that it comes from the owner of the public key ``claimed``.
    """
    header = pack("<BBBBI", 0x21, 2, 2, 0, 4711)
    symmetric = SymmetricState(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
    for data in (prologue(header), owner.public, publicKey(ephemeral)):
        symmetric.mixHash(data)
    symmetric.mixKey(publicKey(ephemeral))
    symmetric.mixKey(exchange(ephemeral, owner.public))
    static = symmetric.seal(claimed)
    # The one result that should take the private key of the claimed identity.
    symmetric.mixKey(exchange(owner.private, claimed))
    body = header + publicKey(ephemeral) + static + symmetric.seal(payload.encode())
    return remac(body, owner.public)


def exchange(private: bytes, public: bytes) -> bytes:
    """
    An honest DH.
    """
    return X25519PrivateKey.from_private_bytes(private).exchange(
        X25519PublicKey.from_public_bytes(public)
    )


def dataWith(session: Session, counter: int, plain: bytes) -> bytes:
    """
    An authentic packet with any counter at all.
    """
    header = pack("<BIQ", TYPE_DATA, session.remoteIndex, counter)
    assert session._keys is not None
    nonce = bytes(4) + header[5:DATA_HEADER]
    return header + ChaCha20Poly1305(session._keys[0]).encrypt(nonce, plain, header)
