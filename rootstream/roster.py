"""
``rootstream peers``: who may connect, who is connected, and the changing of it.

It works on the file; a host that runs is told, and would notice by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO

from rootstream.authorized import Listed, formatRights, parseRights
from rootstream.control import ask
from rootstream.errors import LocalError, RootstreamError
from rootstream.peersfile import PeersFile

__all__ = ["tendPeers"]

#: Seconds that a program may take to answer.
PATIENCE = 2.0

_USAGE = (
    "say rename WHO NAME, rights WHO RIGHTS or revoke WHO, or nothing to see who there "
    "is; WHO is a fingerprint or a name"
)


def tendPeers(home: Path, words: Sequence[str], out: IO[str], err: IO[str]) -> int:
    """
    Do what ``words`` ask of the ``peers`` file of ``home``; returns the exit status.
    """
    try:
        for line in _tend(home, words):
            out.write(line + "\n")
    except RootstreamError as error:
        err.write(f"rootstream: {error}\n")
        return 1
    return 0


def _tend(home: Path, words: Sequence[str]) -> list[str]:
    file = PeersFile(home / "peers")
    match words:
        case [] | ["list"]:
            return _list(home, file)
        case ["rename", who, name]:
            changed = file.rename(who, name)
        case ["rights", who, rights]:
            changed = file.setRights(who, parseRights(rights))
        case ["revoke", who]:
            gone = file.revoke(who)
            _tellHosts(home)
            return [f"{_named(gone)} may connect no more"]
        case _:
            raise LocalError(_USAGE)
    _tellHosts(home)
    return [_line(changed, "")]


def _list(home: Path, file: PeersFile) -> list[str]:
    listed = file.listed()
    if not listed:
        return [f"nobody is listed in {file.path}; pair with rootstream host --pair"]
    here = _connected(home)
    return [
        _line(peer, "connected" if peer.code.key.fingerprint in here else "")
        for peer in listed
    ]


def _line(peer: Listed, state: str) -> str:
    rights = formatRights(peer.rights)
    words = f"{peer.code.key.fingerprint}  {rights:10}  {state:9}  {peer.name}"
    return words.rstrip()


def _named(peer: Listed) -> str:
    return f"{peer.code.key.fingerprint} {peer.name}".rstrip()


def _connected(home: Path) -> set[str]:
    """
    The fingerprints of those who are connected to what runs with this home.
    """
    here: set[str] = set()
    for answer in ask(home, {"command": "status"}, PATIENCE):
        program = answer.get("program")
        peers = program.get("peers") if isinstance(program, dict) else None
        for peer in peers if isinstance(peers, list) else ():
            if isinstance(peer, dict) and peer.get("state") == "CONNECTED":
                here.add(str(peer.get("fingerprint")))
    return here


def _tellHosts(home: Path) -> None:
    # Those that cannot be asked, or know no such question, look by themselves.
    ask(home, {"command": "peers"}, PATIENCE)
