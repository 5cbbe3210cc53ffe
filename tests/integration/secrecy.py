"""
What a program must never say: the secrets of its home, in any of the forms in which
bytes get into text (F95).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

from rootstream.identity import Identity

__all__ = ["leaks", "secretsOf"]


def _forms(secret: bytes) -> list[bytes]:
    texts = (
        secret.hex(),
        secret.hex().upper(),
        # Less its padding, and less what depends on what follows.
        base64.b64encode(secret).decode()[:-2],
        base64.urlsafe_b64encode(secret).decode()[:-2],
        repr(secret)[2:-1],
        str(list(secret))[1:-1],
    )
    # Some are the same, now and then.
    return list(dict.fromkeys((secret, *(text.encode() for text in texts))))


def secretsOf(home: Path) -> list[bytes]:
    """
    All forms of the keys in a home, and the token of its page.
    """
    found: list[bytes] = []
    seed = home / "identity.key"
    if seed.exists() and len(data := seed.read_bytes()) == 32:
        found += _forms(data)
        found += _forms(Identity.fromSeed(data, "").x25519Private)
    token = home / "web-token"
    if token.exists():
        found.append(token.read_bytes().strip())
    return [secret for secret in found if secret]


def leaks(output: bytes, secrets: Iterable[bytes]) -> list[bytes]:
    """
    Which of the secrets are in an output.
    """
    return [secret for secret in secrets if secret in output]
