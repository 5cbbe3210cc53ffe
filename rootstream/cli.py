"""
The ``rootstream`` command: what ``twistd -n rootstream`` runs, with an exit status, the
identity of this machine, and what programs that run can be asked.
"""

from __future__ import annotations

import signal
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
from rootstream.overview import showStatus
from rootstream.protocol.constants import DEFAULT_PORT, MAX_DRILL
from rootstream.rehearsal import DRILL_SECONDS, rehearse
from rootstream.remote import controlStream, recordStream
from rootstream.roster import tendPeers
from rootstream.show import describeIdentity, guessHost
from rootstream.tap import Options as Programs
from rootstream.tap import homeOf, makeService

__all__ = ["main"]


def _homeOption(what: str) -> list[str | None]:
    """
    The option for the directory of something.
    """
    about = f"Directory of {what} ($ROOTSTREAM_HOME, ~/.config/rootstream)."
    return ["home", None, None, about]


class IdentityOptions(usage.Options):
    """
    Options of ``identity``.
    """

    synopsis = "[options]"
    optParameters = [
        _homeOption("the identity"),
    ]
    optFlags = [["qr", None, "Show the code as a QR code too."]]


class DrillOptions(usage.Options):
    """
    Options of ``drill``.
    """

    synopsis = "[options]"
    optParameters = [
        _homeOption("the programs"),
        ["seconds", None, str(DRILL_SECONDS), "How long UDP counts as dead."],
        ["peer", None, None, "Only with the peer of this fingerprint."],
    ]

    def postOptions(self) -> None:
        text = self["seconds"]
        try:
            self["seconds"] = float(text)
        except ValueError:
            self["seconds"] = 0.0
        if not 0 < self["seconds"] <= MAX_DRILL:
            raise usage.UsageError(
                f"--seconds takes a number above 0, up to {MAX_DRILL:.0f}, not {text!r}"
            )


class PeersOptions(usage.Options):
    """
    Options of ``peers``.
    """

    synopsis = "[options] [rename WHO NAME | rights WHO RIGHTS | revoke WHO]"
    longdesc = (
        "Without more words, shows who is in the peers file and who is connected. "
        "WHO is a fingerprint or a name; RIGHTS are view, view,input or none."
    )
    optParameters = [
        _homeOption("the peers file"),
    ]

    def parseArgs(self, *words: str) -> None:
        """
        What to do, and with whom.
        """
        self.words = words


class StatusOptions(usage.Options):
    """
    Options of ``status``.
    """

    synopsis = "[options]"
    optParameters = [
        _homeOption("the programs"),
    ]
    optFlags = [
        ["json", None, "A JSON object a program, for other programs to read."],
        ["watch", None, "Again each second, until Ctrl-C."],
    ]


class _OrderOptions(usage.Options):
    """
    What ``record`` and ``control`` have in common.
    """

    optParameters = StatusOptions.optParameters

    def parseArgs(self, *words: str) -> None:
        """
        What is ordered.
        """
        self.words = words


class RecordOptions(_OrderOptions):
    """
    Options of ``record``.
    """

    synopsis = "[options] start FILE | stop"
    longdesc = "FILE is a new file whose name ends in .mkv or .mp4."


class ControlOptions(_OrderOptions):
    """
    Options of ``control``.
    """

    synopsis = "[options] PEER ACTION [VALUE]"
    longdesc = (
        "PEER is a fingerprint, or all. ACTION is pause, resume, bitrate (bit/s), fps, "
        "quality (percent), keyframe or disconnect."
    )


class Options(Programs):
    """
    The programs of twistd, ``identity``, ``peers``, and what is asked of programs that
    run.
    """

    synopsis = "Usage: rootstream"
    subCommands = [
        *Programs.subCommands,
        ["identity", None, IdentityOptions, "Show this machine's code."],
        ["peers", None, PeersOptions, "Show and change who may connect."],
        ["status", None, StatusOptions, "Show what the programs that run are doing."],
        ["record", None, RecordOptions, "Record the stream of one that runs."],
        ["control", None, ControlOptions, "Pause a stream, change it, or end it."],
        ["drill", None, DrillOptions, "Rehearse a failure of UDP, and measure it."],
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
    if options.subCommand == "drill":
        chosen = options.subOptions
        return rehearse(
            homeOf(chosen["home"]),
            chosen["seconds"],
            chosen["peer"],
            sys.stdout,
            sys.stderr,
        )
    if options.subCommand == "peers":
        chosen = options.subOptions
        return tendPeers(homeOf(chosen["home"]), chosen.words, sys.stdout, sys.stderr)
    if options.subCommand == "status":
        chosen = options.subOptions
        return showStatus(
            homeOf(chosen["home"]),
            sys.stdout,
            sys.stderr,
            asJSON=bool(chosen["json"]),
            watch=bool(chosen["watch"]),
        )
    if options.subCommand in ("record", "control"):
        chosen = options.subOptions
        order = recordStream if options.subCommand == "record" else controlStream
        return order(homeOf(chosen["home"]), chosen.words, sys.stdout, sys.stderr)
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
    reactor.addSystemEventTrigger("before", "shutdown", _endAtOnceNextTime)
    reactor.addSystemEventTrigger("before", "shutdown", program.stopService)
    reactor.run()
    return program.exitStatus


def _endAtOnceNextTime() -> None:
    """
    Whoever asks twice for the end does not want to wait for goodbyes (F86).
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
