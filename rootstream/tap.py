"""
``twistd rootstream host|connect|demo``: options, and what they make.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.python import usage

from rootstream.connectprogram import ConnectProgram, ConnectSettings
from rootstream.demo import DemoProgram
from rootstream.errors import BadCode
from rootstream.hostprogram import HostProgram, HostSettings
from rootstream.identity import PeerKey, parseCode
from rootstream.protocol.constants import DEFAULT_PORT
from rootstream.service import Program
from rootstream.transport.clock import useBoottime

__all__ = ["Options", "homeOf", "makeService"]


def homeOf(given: str | None) -> Path:
    """
    The home directory: as given, else ``$ROOTSTREAM_HOME``, else
    ``~/.config/rootstream``.
    """
    chosen = given or os.environ.get("ROOTSTREAM_HOME") or "~/.config/rootstream"
    return Path(chosen).expanduser()


def _number(
    convert: Callable[[str], float], low: float, high: float, what: str
) -> Callable[[str], float]:
    """
    A converter for `usage.Options`: its error says what would be right.
    """

    def coerce(text: str) -> float:
        try:
            value = convert(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ValueError(f"it is {what}")
        return value

    return coerce


_port = _number(int, 0, 65535, "a port number from 0 to 65535 (0 takes a free one)")
_seconds = _number(float, 0.001, 1e9, "a number of seconds")

_HOME = [
    "home",
    None,
    None,
    "Directory of identity and peers ($ROOTSTREAM_HOME, ~/.config/rootstream).",
]
_EVENTS = ["events", None, None, "Write events to this file, a JSON object a line."]
_DURATION = ["duration", None, None, "End after so many seconds.", _seconds]


class HostOptions(usage.Options):
    """
    Options of ``host``.
    """

    synopsis = "host [options]"
    optParameters = [
        _HOME,
        ["port", "p", DEFAULT_PORT, "UDP and TCP port.", _port],
        ["interface", None, "", "IP address to listen on; all, when left out."],
        [
            "source",
            None,
            "test",
            "test[:WxH[@FPS]], a file or URL, - for standard input, screen[:DISPLAY].",
        ],
        _EVENTS,
        _DURATION,
    ]
    optFlags = [["allow-any", None, "Let everyone in who has the code."]]

    def __init__(self) -> None:
        super().__init__()
        self.allowed: list[PeerKey] = []

    def opt_allow(self, code: str) -> None:
        """
        Let this peer in, by its code or key.  May be given several times.
        """
        try:
            self.allowed.append(parseCode(code, requireHost=False).key)
        except BadCode as error:
            raise usage.UsageError(str(error)) from None


class ConnectOptions(usage.Options):
    """
    Options of ``connect``.
    """

    synopsis = "connect CODE [options]"
    optParameters = [
        _HOME,
        [
            "sink",
            None,
            "null",
            "A .mkv, .mp4 or .ts file, - for MPEG-TS on standard output, a URL, null.",
        ],
        _EVENTS,
        _DURATION,
    ]
    optFlags = [
        ["no-udp", None, "Never use UDP."],
        ["no-tcp", None, "Never use TCP."],
    ]

    # usage.Options calls it with the arguments that there are.
    def parseArgs(self, code: str) -> None:  # type: ignore[override]
        """
        The one argument is the host's code.
        """
        try:
            self.code = parseCode(code)
        except BadCode as error:
            raise usage.UsageError(str(error)) from None

    def postOptions(self) -> None:
        if self["no-udp"] and self["no-tcp"]:
            raise usage.UsageError(
                "--no-udp and --no-tcp leave no transport; leave one of them out"
            )


class DemoOptions(usage.Options):
    """
    Options of ``demo``.
    """

    synopsis = "demo [options]"
    optParameters = [_EVENTS, _DURATION]


class Options(usage.Options):
    """
    Which of the three programs, and its options.
    """

    synopsis = "rootstream host|connect|demo [options]"
    subCommands = [
        ["host", None, HostOptions, "Stream a screen, a file or a test picture."],
        ["connect", None, ConnectOptions, "Receive the stream of a host."],
        ["demo", None, DemoOptions, "A host and a viewer on this machine."],
    ]

    def postOptions(self) -> None:
        if self.subCommand is None:
            raise usage.UsageError("say what to do: host, connect or demo")


def makeProgram(options: Any, reactor: Any) -> Program:
    """
    The program that parsed `Options` ask for.
    """
    chosen = options.subOptions
    common = {"events": chosen["events"], "duration": chosen["duration"]}
    match options.subCommand:
        case "host":
            return HostProgram(
                reactor,
                HostSettings(
                    home=homeOf(chosen["home"]),
                    port=int(chosen["port"]),
                    interface=chosen["interface"],
                    source=chosen["source"],
                    allow=tuple(chosen.allowed),
                    allowAny=bool(chosen["allow-any"]),
                ),
                sys.stdout,
                sys.stderr,
                **common,
            )
        case "connect":
            return ConnectProgram(
                reactor,
                ConnectSettings(
                    home=homeOf(chosen["home"]),
                    code=chosen.code,
                    sink=chosen["sink"],
                    udp=not chosen["no-udp"],
                    tcp=not chosen["no-tcp"],
                ),
                sys.stdout,
                sys.stderr,
                **common,
            )
        case _:
            return DemoProgram(reactor, sys.stdout, sys.stderr, **common)


def makeService(options: Any) -> Program:
    """
    The service for twistd.  Nothing is started before `Program.startService`.
    """
    from twisted.internet import reactor

    useBoottime(reactor)
    return makeProgram(options, reactor)
