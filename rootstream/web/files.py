"""
The page's files, read from the package once: no request names a path.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Final

__all__ = ["INDEX", "StaticFile", "loadFiles"]

INDEX: Final = "index.html"

TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".png": b"image/png",
    ".svg": b"image/svg+xml",
    ".txt": b"text/plain; charset=utf-8",
    ".woff2": b"font/woff2",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """
    A file as it is sent, with the tag that tells whether a browser has it.
    """

    data: bytes
    type: bytes
    tag: bytes


def loadFiles() -> dict[bytes, StaticFile]:
    """
    The files by the path of their requests: ``/`` and ``/static/NAME``.
    """
    found = {}
    for entry in files("rootstream.web").joinpath("static").iterdir():
        kind = TYPES.get(PurePosixPath(entry.name).suffix)
        if kind is None:
            continue
        data = entry.read_bytes()
        tag = b'"%s"' % hashlib.sha256(data).hexdigest()[:32].encode()
        path = "/" if entry.name == INDEX else f"/static/{entry.name}"
        found[path.encode()] = StaticFile(data, kind, tag)
    return found
