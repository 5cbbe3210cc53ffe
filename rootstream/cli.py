"""
The ``rootstream`` command: what ``twistd -n rootstream`` runs, with an exit status,
and the identity of this machine.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python import usage

from rootstream import __version__
from rootstream.errors import RootstreamError
from rootstream.identity import loadOrCreateIdentity
from rootstream.protocol.constants import DEFAULT_PORT
from rootstream.show import describeIdentity, guessHost
from rootstream.tap import Options as Programs
from rootstream.tap import homeOf, makeService

__all__ = ["main"]


class IdentityOptions(usage.Options):
    """
    Options of ``identity``.
    """

    synopsis = "[options]"
    optParameters = [
        [
            "home",
            None,
            None,
            "Directory of the identity ($ROOTSTREAM_HOME, ~/.config/rootstream).",
        ],
    ]
    optFlags = [["qr", None, "Show the code as a QR code too."]]


class Options(Programs):
    """
    The programs of twistd, and ``identity``.
    """

    synopsis = "Usage: rootstream"
    subCommands = [
        *Programs.subCommands,
        ["identity", None, IdentityOptions, "Show this machine's code."],
    ]

    def opt_version(self) -> None:
        """
        Show the version and exit.
        """
        sys.stdout.write(f"rootstream {__version__}\n")
        raise SystemExit(0)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command; returns its exit status.
    """
    options = Options()
    try:
        options.parseOptions(sys.argv[1:] if arguments is None else arguments)
    except usage.UsageError as error:
        message = str(error).rstrip(".")
        sys.stderr.write(f"rootstream: {message}. See rootstream --help.\n")
        return 1
    if options.subCommand == "identity":
        return _showIdentity(options.subOptions)
    return _run(options)


def _showIdentity(options: Any) -> int:
    try:
        identity = loadOrCreateIdentity(homeOf(options["home"]))
        text = describeIdentity(
            identity, guessHost(), DEFAULT_PORT, bool(options["qr"])
        )
    except RootstreamError as error:
        sys.stderr.write(f"rootstream: {error}\n")
        return 1
    sys.stdout.write(text + "\n")
    return 0


def _run(options: Options) -> int:
    from twisted.internet import reactor as installed

    reactor: Any = installed
    program = makeService(options)
    observer = FilteringLogObserver(
        textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.warn)]
    )
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    reactor.callWhenRunning(program.startService)
    reactor.addSystemEventTrigger("before", "shutdown", program.stopService)
    reactor.run()
    return program.exitStatus
