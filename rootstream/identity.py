"""
Who we are and whom we dial: keys, codes and the identity files.

The identity is an Ed25519 key that never signs; its X25519 form is the static
key of the handshake (PROTOCOL, section 1).  Who may connect is left to
`rootstream.authorized`.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import os
import platform
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nacl.bindings import (
    crypto_core_ed25519_is_valid_point,
    crypto_sign_ed25519_pk_to_curve25519,
    crypto_sign_seed_keypair,
)

from rootstream.errors import BadCode, IdentityError
from rootstream.home import Home, Lock, lockHome
from rootstream.protocol.constants import DEFAULT_PORT

__all__ = [
    "Code",
    "Identity",
    "Lock",
    "PeerKey",
    "checkHost",
    "cleanName",
    "createIdentity",
    "fingerprintOf",
    "formatCode",
    "loadIdentity",
    "loadOrCreateIdentity",
    "lockHome",
    "parseCode",
]

KEY_SIZE: Final = 32
#: In bytes of UTF-8.
MAX_NAME: Final = 64
#: A key, the longest host name and a port need 304 characters.
_MAX_CODE: Final = 320
_MAX_HOST: Final = 253
#: Characters of somebody's input that an error shows.
_MAX_SHOWN: Final = 80

_SECRET_FILE: Final = "identity.key"
_PUBLIC_FILE: Final = "identity.pub"
_NAME_FILE: Final = "identity.txt"

_BASE64_KEY: Final = re.compile(r"[A-Za-z0-9+/]{43}=")
#: RFC 1123, section 2.1, and the underscore that private networks use.
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
#: A name with such a last label is meant as an IPv4 address; resolvers would take
#: 1.2 for 1.0.0.2 and 0x7f000001 for 127.0.0.1.
_NUMERIC: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_SCOPE: Final = re.compile(r"[A-Za-z0-9._-]{1,15}")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")

_ASK: Final = "ask its owner for the whole line that `rootstream identity` prints"


def _shown(text: str) -> str:
    """
    Return input as an error may show it: nothing a terminal obeys, nor endless.
    """
    shown = repr(text[:_MAX_SHOWN])
    if len(text) > _MAX_SHOWN or len(shown) > _MAX_SHOWN:
        return shown[: _MAX_SHOWN - 3] + "..."
    return shown


def cleanName(text: str) -> str:
    """
    Return a device name safe for logs, terminals and one line: at most 64 bytes,
    without control characters and marks that turn the reading direction.  It may
    be empty, and is still no file name.
    """
    spaced = "".join(" " if c.isspace() else c for c in text)
    printable = " ".join("".join(filter(str.isprintable, spaced)).split())
    return printable.encode()[:MAX_NAME].decode(errors="ignore").rstrip()


def fingerprintOf(key: bytes) -> str:
    """
    Return ``xxxx-xxxx-xxxx-xxxx``: 8 bytes of the key's BLAKE2b-256 hash.
    """
    digest = hashlib.blake2b(key, digest_size=32).hexdigest()
    return "-".join(digest[i : i + 4] for i in range(0, 16, 4))


@dataclass(frozen=True, slots=True)
class PeerKey:
    """
    A public key that was checked, in both of its forms.

    A key and its negative share one X25519 form and so are one peer: compare
    and look up by ``x25519``.
    """

    ed25519: bytes
    x25519: bytes
    fingerprint: str

    @classmethod
    def fromEd25519(cls, key: bytes) -> PeerKey:
        """
        Check an Ed25519 public key and convert it.

        :raise BadCode: It is no canonical point of the prime-order group.
        """
        if len(key) != KEY_SIZE:
            raise BadCode(
                f"the key has {len(key)} bytes, not the {KEY_SIZE} of a public key; "
                f"{_ASK}"
            )
        if not crypto_core_ed25519_is_valid_point(key):
            raise BadCode(
                "the key is not a safe Ed25519 public key, so it was damaged or made "
                f"to deceive; {_ASK}"
            )
        converted = crypto_sign_ed25519_pk_to_curve25519(key)
        return cls(key, converted, fingerprintOf(key))


@dataclass(frozen=True, slots=True)
class Code:
    """
    What a code says: whom to expect, and where.  A bare key has no ``host``.
    """

    key: PeerKey
    host: str | None
    port: int


def parseCode(text: str, requireHost: bool = True) -> Code:
    """
    Read ``base64(public key)@host[:port]``; without ``requireHost`` also a key
    alone.

    :raise BadCode: With one line that says what is wrong and what to do.
    """
    text = text.strip()
    if len(text) > _MAX_CODE:
        raise BadCode(f"{_shown(text)} is too long for a code; {_ASK}")
    encoded, at, address = text.partition("@")
    if not _BASE64_KEY.fullmatch(encoded):
        raise BadCode(
            f"{_shown(text)} does not begin with a key "
            f"(44 characters of base64, the last one =); {_ASK}"
        )
    key = base64.b64decode(encoded)
    if base64.b64encode(key).decode() != encoded:
        # The last digit carries two bits too many: two texts for one key.
        raise BadCode(f"{_shown(text)} has a mistyped end of its key; {_ASK}")
    peer = PeerKey.fromEd25519(key)
    if at:
        return Code(peer, *_parseAddress(address))
    if requireHost:
        raise BadCode("the code is a key without a host; add @ and the host's address")
    return Code(peer, None, DEFAULT_PORT)


def _parseAddress(text: str) -> tuple[str, int]:
    port = None
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or rest[:1] not in ("", ":"):
            raise BadCode(
                f"{_shown(text)} is not an address; "
                "brackets go around an IPv6 address, as in [::1]:9876"
            )
        if rest:
            port = rest[1:]
    elif text.count(":") > 1:
        host = text
    else:
        host, colon, rest = text.partition(":")
        if colon:
            port = rest
    if port is None:
        return checkHost(host), DEFAULT_PORT
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise BadCode(f"{_shown(port)} is not a port; give a number from 1 to 65535")
    return checkHost(host), int(port)


def checkHost(host: str) -> str:
    """
    Return a host name or IP address as the resolver takes it, without brackets.

    :raise BadCode: It is neither.
    """
    wrong = BadCode(
        f"{_shown(host)} is not a host; give a name such as host.example.com "
        "(other alphabets in their xn-- form), an IPv4 or an IPv6 address"
    )
    try:
        if ":" in host:
            address, percent, scope = host.partition("%")
            if percent and not _SCOPE.fullmatch(scope):
                raise wrong
            return f"{ipaddress.IPv6Address(address)}{percent}{scope}"
        labels = host.removesuffix(".").split(".")
        if _NUMERIC.fullmatch(labels[-1]):
            return str(ipaddress.IPv4Address(host))
    except ValueError:
        raise wrong from None
    if len(host) > _MAX_HOST or not all(map(_LABEL.fullmatch, labels)):
        raise wrong
    return host


def formatCode(key: PeerKey, host: str | None, port: int = DEFAULT_PORT) -> str:
    """
    Return the code that `parseCode` reads; without a host, the bare key.

    :raise BadCode: ``host`` is no host.
    """
    encoded = base64.b64encode(key.ed25519).decode()
    if host is None:
        return encoded
    host = checkHost(host)
    if ":" in host:
        host = f"[{host}]"
    return f"{encoded}@{host}" + ("" if port == DEFAULT_PORT else f":{port}")


@dataclass(frozen=True, slots=True)
class Identity:
    """
    Our own key pair and device name.  Its repr shows no secret.
    """

    name: str
    key: PeerKey
    seed: bytes = field(repr=False)
    x25519Private: bytes = field(repr=False)

    @classmethod
    def fromSeed(cls, seed: bytes, name: str) -> Identity:
        """
        Derive the key pair of a 32-byte seed.
        """
        public, _ = crypto_sign_seed_keypair(seed)
        private = hashlib.sha512(seed).digest()[:KEY_SIZE]
        return cls(cleanName(name), PeerKey.fromEd25519(public), seed, private)

    @classmethod
    def generate(
        cls, name: str, random: Callable[[int], bytes] = os.urandom
    ) -> Identity:
        """
        Make a new identity that exists only in memory.
        """
        return cls.fromSeed(random(KEY_SIZE), name)


def loadIdentity(home: str | Path) -> Identity:
    """
    Read the identity in ``home``.

    :raise IdentityError: There is none, or its files cannot be trusted.
    """
    with Home(home, create=False) as directory:
        return _load(directory)


def createIdentity(home: str | Path, name: str) -> Identity:
    """
    Make a new identity in ``home``, which is created if it is missing.

    :raise IdentityError: There is one already, or ``home`` cannot be written.
    """
    with Home(home, create=True) as directory:
        if not _create(directory, name):
            raise IdentityError(
                f"{directory.path} has an identity already; "
                "give another --home, or move its identity files away"
            )
        return _load(directory)


def loadOrCreateIdentity(home: str | Path) -> Identity:
    """
    Read the identity in ``home``, or make one, named after this machine.

    :raise IdentityError: Its files cannot be trusted; they are never replaced.
    """
    with Home(home, create=True) as directory:
        if not directory.exists(_SECRET_FILE):
            # Another process may be first; then its identity is the one to load.
            _create(directory, _machineName())
        return _load(directory)


def _machineName() -> str:
    return cleanName(platform.node()) or "rootstream"


def _load(home: Home) -> Identity:
    path = home.path / _SECRET_FILE
    seed = home.read(_SECRET_FILE, KEY_SIZE, secret=True)
    if seed is None:
        raise IdentityError(
            f"there is no identity in {home.path}; run `rootstream identity` "
            "with this home to make one"
        )
    if len(seed) != KEY_SIZE or not any(seed):
        raise IdentityError(
            f"{path} is not a key of {KEY_SIZE} bytes ({_described(seed)}); restore "
            f"it from a backup, or move {home.path}/identity.* away to get a new one"
        )
    name = home.read(_NAME_FILE, 4 * MAX_NAME, secret=False) or b""
    firstLine = name.partition(b"\n")[0].decode(errors="replace")
    identity = Identity.fromSeed(seed, cleanName(firstLine) or _machineName())
    public = home.read(_PUBLIC_FILE, KEY_SIZE, secret=False)
    if public is None:
        # Lost, or we were killed while creating.  Nobody needs it to be there, so
        # a home that cannot be written may go on without.
        with suppress(IdentityError):
            _publishPublic(home, identity)
    elif public != identity.key.ed25519:
        raise IdentityError(
            f"{home.path / _PUBLIC_FILE} does not belong to {path}; restore the pair "
            f"from a backup, or if the key is right remove {_PUBLIC_FILE}"
        )
    home.sweep()
    return identity


def _described(seed: bytes) -> str:
    if len(seed) > KEY_SIZE:
        return "it is longer"
    if len(seed) < KEY_SIZE:
        return f"it has {len(seed)}"
    return "all are zero"


def _create(home: Home, name: str) -> bool:
    """
    Write a new identity, the key first: it alone makes an identity, and the
    rest can be had from it.

    :return: False if there is one already.
    """
    if home.exists(_PUBLIC_FILE) and not home.exists(_SECRET_FILE):
        raise IdentityError(
            f"{home.path / _PUBLIC_FILE} has lost its {_SECRET_FILE}; put the key "
            f"back, or remove {_PUBLIC_FILE} to get a new identity"
        )
    identity = Identity.generate(name)
    if not home.publish(_SECRET_FILE, identity.seed, 0o600, replace=False):
        return False
    _publishPublic(home, identity)
    home.publish(_NAME_FILE, identity.name.encode() + b"\n", 0o644, replace=True)
    return True


def _publishPublic(home: Home, identity: Identity) -> None:
    home.publish(_PUBLIC_FILE, identity.key.ed25519, 0o644, replace=True)
