"""
What a process that holds keys forbids itself.

A core dump would write the keys to a disk, and another process of the same user could
read them out of this one's memory; Linux prevents both when it is asked.  What it
cannot prevent: Python copies values as it likes and erases none, so a key may stay in
memory after it was dropped, and memory may be swapped out (F88).
"""

from __future__ import annotations

import ctypes
import resource

from twisted.logger import Logger

__all__ = ["keepMemoryPrivate"]

#: prctl(2), from linux/prctl.h.
PR_SET_DUMPABLE = 4

_log = Logger()


def keepMemoryPrivate() -> None:
    """
    Dump no core, and let nobody but root look into this process.  Where the system
    knows no such thing, that is logged and the program goes on.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        _log.warn("Other processes of this user may read this one's memory.")
        return
    if prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        _log.warn(
            "Other processes of this user may read this one's memory: error {errno}.",
            errno=ctypes.get_errno(),
        )
