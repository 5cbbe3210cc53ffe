"""
Changing the ``peers`` file: adding, renaming and removing peers, and their rights.

The owner's comments, blank lines and order stay.  The file is replaced whole, under a
lock, so a program that is killed leaves the old one or the new one, and of two that
change it at once neither loses what the other did.  Whoever reads it
(`rootstream.authorized`) needs no lock.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from rootstream.authorized import (
    RIGHTS_WORD,
    Listed,
    formatRights,
    parseLine,
    readPeersFile,
)
from rootstream.errors import BadPeersFile, LocalError
from rootstream.identity import PeerKey, cleanName

__all__ = ["PeersFile"]

#: Seconds to wait for another program that changes the file, and between two looks.
_PATIENCE: Final = 2.0
_LOOK: Final = 0.02
_COMMENT: Final = re.compile(r"(?:^|\s+)#.*")


class PeersFile:
    """
    The ``peers`` file at ``path``, to be changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def listed(self) -> list[Listed]:
        """
        All that the file names, in its order.

        :raise BadPeersFile: It cannot be read or has a bad line.
        """
        return [listed for _, listed in self._parsed(self._lines())]

    def find(self, who: str) -> Listed:
        """
        The one with this fingerprint or name.

        :raise LocalError: Nobody is, or several are.
        """
        return self._find(self._lines(), who)[1]

    def add(
        self, key: PeerKey, word: str, rights: frozenset[str], name: str
    ) -> frozenset[str]:
        """
        Add a peer, ``word`` being its code, and return its rights.  One who is there
        keeps the line, and the rights that it has beyond the new ones; an empty name is
        filled in, and a new address taken.

        :raise LocalError: The file cannot be changed, or holds the key's twin.
        """
        given = rights

        def added(lines: list[str]) -> list[str]:
            nonlocal given
            for number, listed in self._parsed(lines):
                if listed.code.key.x25519 != key.x25519:
                    continue
                if listed.code.key != key:
                    raise LocalError(
                        f"{self.path}, line {number + 1} has the twin (negative) of "
                        f"the key {key.fingerprint}; remove that line first"
                    )
                given = listed.rights | rights
                # A bare key says less than a code with an address.
                better = word if "@" in word else listed.word
                spelt = _spell(better, given, listed.name or name)
                line = _keepComment(lines[number], spelt)
                return [*lines[:number], line, *lines[number + 1 :]]
            return [*lines, _spell(word, rights, name)]

        self._change(added)
        return given

    def rename(self, who: str, name: str) -> Listed:
        """
        Give a peer another name; returns what the line says now.

        :raise LocalError: See `find`; or the name is empty, or somebody else's.
        """
        wanted = _safeName(name)
        if not wanted:
            raise LocalError("a name needs a letter or a digit; give another")
        for listed in self.listed():
            if listed.name == wanted and listed != self.find(who):
                raise LocalError(
                    f"{listed.code.key.fingerprint} is called {wanted!r} already; "
                    "give another name"
                )
        return self._replace(who, lambda old: _spell(old.word, old.rights, wanted))

    def setRights(self, who: str, rights: frozenset[str]) -> Listed:
        """
        Let a peer do more or less; returns what the line says now.

        :raise LocalError: See `find`.
        """
        return self._replace(who, lambda old: _spell(old.word, rights, old.name))

    def revoke(self, who: str) -> Listed:
        """
        Remove a peer; returns what the line said.

        :raise LocalError: See `find`.
        """
        gone: list[Listed] = []

        def removed(lines: list[str]) -> list[str]:
            number, listed = self._find(lines, who)
            gone.append(listed)
            return lines[:number] + lines[number + 1 :]

        self._change(removed)
        return gone[0]

    def _replace(self, who: str, spell: Callable[[Listed], str]) -> Listed:
        now: list[str] = []

        def replaced(lines: list[str]) -> list[str]:
            number, listed = self._find(lines, who)
            now.append(spell(listed))
            line = _keepComment(lines[number], now[0])
            return [*lines[:number], line, *lines[number + 1 :]]

        self._change(replaced)
        changed = parseLine(now[0])
        assert changed is not None
        return changed

    # --- lines ---

    def _lines(self) -> list[str]:
        """
        The lines, without an empty one at the end that is none.
        """
        lines = readPeersFile(self.path).split("\n")
        return lines if lines[-1] else lines[:-1]

    def _parsed(self, lines: list[str]) -> list[tuple[int, Listed]]:
        parsed = []
        for number, line in enumerate(lines):
            try:
                listed = parseLine(line)
            except LocalError as error:
                raise BadPeersFile(
                    f"{self.path}, line {number + 1}: {error}"
                ) from error
            if listed is not None:
                parsed.append((number, listed))
        return parsed

    def _find(self, lines: list[str], who: str) -> tuple[int, Listed]:
        found = [
            (number, listed)
            for number, listed in self._parsed(lines)
            if who == listed.code.key.fingerprint or (who and who == listed.name)
        ]
        if not found:
            raise LocalError(
                f"{self.path} has nobody called {cleanName(who)!r}; "
                "'rootstream peers' shows who there is"
            )
        if len(found) > 1:
            raise LocalError(
                f"{len(found)} peers are called {cleanName(who)!r}; "
                "give the fingerprint of one"
            )
        return found[0]

    # --- the file ---

    def _change(self, edit: Callable[[list[str]], list[str]]) -> None:
        # What is a link stays one: others may mean what it leads to.
        path = Path(os.path.realpath(self.path))
        try:
            with _locked(path):
                lines = edit(self._lines())
                self._parsed(lines)
                _publish(path, "".join(f"{line}\n" for line in lines).encode())
        except OSError as error:
            raise LocalError(
                f"cannot write {self.path}: {error.strerror}; "
                f"make room in {path.parent} and let it be written"
            ) from error


def _safeName(name: str) -> str:
    """
    A name that cannot be taken for a comment.
    """
    return cleanName(name.replace("#", " "))


def _spell(word: str, rights: frozenset[str], name: str) -> str:
    # The rights are always there, so that no name can be taken for them.
    return f"{word} {RIGHTS_WORD}{formatRights(rights)} {_safeName(name)}".rstrip()


def _keepComment(old: str, new: str) -> str:
    comment = _COMMENT.search(old)
    return new + comment.group() if comment is not None else new


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_name(f"{path.name}.lock")
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(lock, flags, 0o600)
    try:
        for _ in range(round(_PATIENCE / _LOOK)):
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(_LOOK)
        else:
            raise LocalError(f"another program keeps changing {path}; try again")
        yield
    finally:
        os.close(descriptor)


def _publish(path: Path, data: bytes) -> None:
    """
    Put a whole new file in the place of the old one: rename(2) knows no half.
    """
    # Of one name: what a killed program left is overwritten by the next.
    draft = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        draft.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(draft, path)
    except BaseException:
        with suppress(FileNotFoundError):
            draft.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
