"""
Who may connect: the ``peers`` file, ``--allow`` and ``--allow-any``.

A line of the file is ``KEY[@host[:port]] [rights=RIGHT,...] [name...]``: a code or a
bare key, what that peer may do (only watch, when left out), then a name in free words.
``#`` starts a comment at the start of a line or after a blank.  The handshake proves
who asks; this says only whether that one may.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rootstream.errors import BadCode, BadPeersFile, LocalError
from rootstream.identity import Code, PeerKey, cleanName, fingerprintOf, parseCode

__all__ = [
    "INPUT",
    "RIGHTS_WORD",
    "VIEW",
    "AuthorizedPeer",
    "AuthorizedPeers",
    "Listed",
    "formatRights",
    "parseLine",
    "parseRights",
    "readPeersFile",
]

#: To see and hear, which everyone on the list may.
VIEW: Final = frozenset({"view"})
#: To move our pointer and press our keys as well.
INPUT: Final = frozenset({"view", "input"})
#: The word for one whose code is kept, but who may not connect.
NONE: Final = "none"
#: What the word of a line begins with that says the rights.
RIGHTS_WORD: Final = "rights="

#: Room for thousands of peers, and an end to reading what is no list at all.
_MAX_FILE: Final = 1 << 20
_COMMENT: Final = re.compile(r"(?:^|\s)#.*")

#: What must differ if the file was changed; ctime tells of a mended mode.
_Signature = tuple[int, int, int, int]


def parseRights(text: str) -> frozenset[str]:
    """
    The rights that ``view``, ``view,input`` or ``none`` spells.

    :raise LocalError: It is none of them.
    """
    if text == NONE:
        return frozenset()
    words = text.split(",")
    rights = frozenset(words)
    if rights not in (VIEW, INPUT) or len(words) != len(rights):
        shown = cleanName(text) or "nothing"
        raise LocalError(f"rights are 'view', 'view,input' or 'none', not {shown!r}")
    return rights


def formatRights(rights: frozenset[str]) -> str:
    """
    The inverse of `parseRights`.
    """
    return ",".join(sorted(rights, reverse=True)) or NONE


@dataclass(frozen=True, slots=True)
class Listed:
    """
    What a line of the file says, ``word`` being the code as it is written there.
    """

    word: str
    code: Code
    name: str
    rights: frozenset[str]


def parseLine(line: str) -> Listed | None:
    """
    Read a line of the file; None is one that says nothing.

    :raise LocalError: The code or the rights are none.
    """
    words = _COMMENT.sub("", line).split(maxsplit=1)
    if not words:
        return None
    code = parseCode(words[0], requireHost=False)
    rights, rest = VIEW, words[1] if len(words) > 1 else ""
    if rest.startswith(RIGHTS_WORD):
        word, *more = rest.split(maxsplit=1)
        rights = parseRights(word.removeprefix(RIGHTS_WORD))
        rest = more[0] if more else ""
    return Listed(words[0], code, cleanName(rest), rights)


@dataclass(frozen=True, slots=True)
class AuthorizedPeer:
    """
    One who may connect.

    ``fingerprint`` is that of the Ed25519 key.  A stranger let in by
    ``--allow-any`` shows us only an X25519 key, so its fingerprint is that key's
    and begins with ``any:``.  ``name`` may be empty.  ``rights`` says what the peer
    may do: `VIEW`, `INPUT` or nothing.
    """

    x25519: bytes
    fingerprint: str
    name: str
    rights: frozenset[str] = VIEW


class AuthorizedPeers:
    """
    The list of peers that may connect, kept in step with its file.

    They are found by X25519 key.  An Ed25519 key and its negative share one, so
    the second of two such keys is refused: nobody could tell them apart.
    """

    def __init__(
        self,
        path: Path | None,
        allow: Sequence[PeerKey],
        allowAny: bool,
        allowInput: Sequence[PeerKey] = (),
    ) -> None:
        """
        Read the file at ``path``; a missing one is an empty list.  The keys of
        ``allowInput`` may send input as well, whatever the file says.

        :raise BadPeersFile: The file cannot be read or has a bad line.
        :raise BadCode: Two of the allowed keys are negatives of each other.
        """
        #: What is wrong with the file as it is now; the list is an older one then.
        self.error: str | None = None
        self._path = path
        self._allowAny = allowAny
        self._fixed: dict[bytes, PeerKey] = {}
        self._fixedInput = frozenset(key.x25519 for key in allowInput)
        for key in (*allow, *allowInput):
            if self._fixed.setdefault(key.x25519, key) != key:
                raise BadCode(
                    f"the allowed key {key.fingerprint} is the twin (negative) of "
                    f"{self._fixed[key.x25519].fingerprint}; allow only one of them"
                )
        self._peers = self._merged({})
        self._signature: _Signature | None = None
        if path is not None:
            self._signature = _signatureOf(path)
            self._peers = self._merged(self._read(path))

    def refresh(self) -> bool:
        """
        Read the file again if it was changed; cheap if not.

        A file that has become bad changes nothing but `error`: better yesterday's
        list than none, or half of a new one.

        :return: Whether the list is another now.
        """
        if self._path is None:
            return False
        # The signature is taken before the reading, so what is written
        # meanwhile is noticed the next time.
        signature = _signatureOf(self._path)
        if signature == self._signature:
            return False
        self._signature = signature
        try:
            peers = self._merged(self._read(self._path))
        except BadPeersFile as error:
            self.error = str(error)
            return False
        self.error = None
        changed = peers != self._peers
        self._peers = peers
        return changed

    def allowed(self, x25519: bytes) -> AuthorizedPeer | None:
        """
        Return who has this X25519 key, or None for one who may not connect.
        """
        peer = self._peers.get(x25519)
        if peer is not None and not peer.rights:
            return None
        if peer is None and self._allowAny:
            return AuthorizedPeer(x25519, f"any:{fingerprintOf(x25519)}", "")
        return peer

    def listed(self) -> tuple[AuthorizedPeer, ...]:
        """
        Return all who were named and may connect, those of the file first.
        """
        return tuple(peer for peer in self._peers.values() if peer.rights)

    def _merged(
        self, fromFile: dict[bytes, AuthorizedPeer]
    ) -> dict[bytes, AuthorizedPeer]:
        peers = dict(fromFile)
        for x25519, key in self._fixed.items():
            peer = peers.setdefault(x25519, AuthorizedPeer(x25519, key.fingerprint, ""))
            rights = INPUT if x25519 in self._fixedInput else VIEW
            peers[x25519] = replace(peer, rights=peer.rights | rights)
        return peers

    def _read(self, path: Path) -> dict[bytes, AuthorizedPeer]:
        peers: dict[bytes, AuthorizedPeer] = {}
        lines: dict[bytes, int] = {}
        # Not splitlines: a name pasted from somebody could hide a line of its own
        # behind a separator that editors do not show.
        for number, line in enumerate(readPeersFile(path).split("\n"), 1):
            try:
                listed = parseLine(line)
            except LocalError as error:
                raise BadPeersFile(f"{path}, line {number}: {error}") from error
            if listed is None:
                continue
            key = listed.code.key
            first = lines.setdefault(key.x25519, number)
            if first != number:
                raise BadPeersFile(
                    f"{path}, line {number}: this key, or its twin (negative), is in "
                    f"line {first} already; remove one of them"
                )
            if self._fixed.get(key.x25519, key) != key:
                raise BadPeersFile(
                    f"{path}, line {number}: this key is the twin (negative) of an "
                    "allowed one; remove the line, or allow its key instead"
                )
            peers[key.x25519] = AuthorizedPeer(
                key.x25519, key.fingerprint, listed.name, listed.rights
            )
        return peers


def _signatureOf(path: Path) -> _Signature | None:
    try:
        status = os.stat(path)
    except OSError:
        # Missing, or out of reach, which reading will say; then look again
        # only once it has changed.
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def readPeersFile(path: Path) -> str:
    """
    Return what the file holds, if nobody but its owner decides that; a missing one
    holds nothing.

    :raise BadPeersFile: It cannot be read, or others may write it.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not stop the host.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _judge(path, os.fstat(descriptor))
            content = os.read(descriptor, _MAX_FILE + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise BadPeersFile(
            f"cannot read {path}: {error.strerror}; make it readable"
        ) from error
    if len(content) > _MAX_FILE:
        raise BadPeersFile(
            f"{path} has more than {_MAX_FILE} bytes; remove what is no peer"
        )
    try:
        # Some editors begin a file with a byte order mark.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadPeersFile(f"{path} is not text in UTF-8; save it as such") from error


def _judge(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BadPeersFile(f"{path} is not a regular file; put the list in its place")
    quoted = shlex.quote(str(path))
    if status.st_uid not in (0, os.geteuid()):
        raise BadPeersFile(
            f"{path} belongs to user {status.st_uid}, who could let anybody in; "
            f"run: chown {os.geteuid()} {quoted}"
        )
    # Where new files are writable by their group, as on many desktops, the mode
    # of the directory is what protects them.
    reach = os.stat(os.path.dirname(os.path.realpath(path))).st_mode
    if status.st_mode & 0o022 and reach & 0o011:
        raise BadPeersFile(
            f"others may write into {path} and so let themselves in; "
            f"run: chmod go-w {quoted}"
        )
