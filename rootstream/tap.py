"""
``twistd rootstream host|connect|demo``: options, and what they make.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from getopt import GetoptError, gnu_getopt
from pathlib import Path
from typing import Any

from twisted.python import usage

from rootstream.authorized import parseRights
from rootstream.connectprogram import ConnectProgram, ConnectSettings
from rootstream.demo import DemoProgram
from rootstream.errors import BadCode, LocalError
from rootstream.hardening import keepMemoryPrivate
from rootstream.hostprogram import INPUT_MODES, HostProgram, HostSettings
from rootstream.identity import Code, PeerKey, parseCode
from rootstream.peersfile import PeersFile
from rootstream.phrase import readPhrase
from rootstream.protocol.constants import DEFAULT_PORT, DEFAULT_TLS_PORT
from rootstream.service import Program
from rootstream.transport.clock import useBoottime
from rootstream.weather import Planned, parseScript
from rootstream.web.address import parseWebAddress

__all__ = ["Options", "homeOf", "makeService"]


def homeOf(given: str | None) -> Path:
    """
    The home directory: as given, else ``$ROOTSTREAM_HOME``, else
    ``~/.config/rootstream``.
    """
    chosen = given or os.environ.get("ROOTSTREAM_HOME") or "~/.config/rootstream"
    return Path(chosen).expanduser()


def _number(
    options: usage.Options, name: str, convert: Callable[[str], float], what: str
) -> None:
    """
    Turn an option into a number, or say what would be right.
    """
    text = options[name]
    if text is None:
        return
    try:
        options[name] = convert(text)
    except ValueError:
        raise usage.UsageError(f"--{name} takes {what}, not {text!r}") from None


_PORT = "a port number from 0 to 65535"


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError(text)
    return port


def _key(code: str) -> PeerKey:
    try:
        return parseCode(code, requireHost=False).key
    except BadCode as error:
        raise usage.UsageError(str(error)) from None


def _checkInput(options: usage.Options) -> None:
    if options["input"] not in INPUT_MODES:
        modes = ", ".join(INPUT_MODES)
        raise usage.UsageError(f"--input takes {modes}, not {options['input']!r}")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 1e9:
        raise ValueError(text)
    return seconds


_HOME = [
    "home",
    None,
    None,
    "Directory of identity and peers ($ROOTSTREAM_HOME, ~/.config/rootstream).",
]
_EVENTS = ["events", None, None, "Write events to this file, a JSON object a line."]
_RECORD = ["record", None, None, "Record the stream into a new .mkv or .mp4 file."]
_INPUT = ["input", None, "off", "What viewers type and point: off, log or uinput."]
_WEB = ["web", None, "none", "Serve the page on [ADDR:]PORT; 0 takes a free one."]
_DURATION = ["duration", None, None, "End after so many seconds."]


class _TimedOptions(usage.Options):
    """
    What all three have.
    """

    def postOptions(self) -> None:
        _number(self, "duration", _seconds, "a number of seconds")
        try:
            self["web"] = parseWebAddress(self["web"])
        except LocalError as error:
            raise usage.UsageError(str(error)) from None


class HostOptions(_TimedOptions):
    """
    Options of ``host``.
    """

    synopsis = "[options]"
    optParameters = [
        _HOME,
        ["port", "p", str(DEFAULT_PORT), "UDP and TCP port; 0 takes a free one."],
        ["tls-port", None, None, "TLS port, such as 443; no TLS, when left out."],
        ["interface", None, "", "IP address to listen on; all, when left out."],
        [
            "source",
            None,
            "test",
            "test[:WxH[@FPS]], a file or URL, - for standard input, screen[:DISPLAY].",
        ],
        _INPUT,
        ["pair-rights", None, "view", "What --pair gives: view or view,input."],
        _EVENTS,
        _RECORD,
        _WEB,
        _DURATION,
    ]
    optFlags = [
        ["allow-any", None, "Let everyone in who has the code."],
        ["pair", None, "Show a phrase for two minutes; who knows it joins the list."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.allowed: list[PeerKey] = []
        self.allowedInput: list[PeerKey] = []

    def postOptions(self) -> None:
        super().postOptions()
        _number(self, "port", _port, _PORT)
        _number(self, "tls-port", _port, _PORT)
        _checkInput(self)
        try:
            self["pair-rights"] = parseRights(self["pair-rights"])
        except LocalError as error:
            raise usage.UsageError(f"--pair-rights: {error}") from None
        if not self["pair-rights"]:
            raise usage.UsageError("--pair-rights none would pair for nothing")
        if self["tls-port"] and self["tls-port"] == self["port"]:
            raise usage.UsageError(
                f"--tls-port needs a port of its own: choose another than "
                f"{self['port']}"
            )

    def opt_allow(self, code: str) -> None:
        """
        Let this peer watch, by its code or key.  May be given several times.
        """
        self.allowed.append(_key(code))

    def opt_allow_input(self, code: str) -> None:
        """
        Let this peer watch and send input.  May be given several times.
        """
        self.allowedInput.append(_key(code))


class ConnectOptions(_TimedOptions):
    """
    Options of ``connect``.
    """

    synopsis = "CODE [options]"
    optParameters = [
        _HOME,
        [
            "sink",
            None,
            "null",
            "A .mkv, .mp4 or .ts file, - for MPEG-TS on standard output, a URL, null.",
        ],
        [
            "tls-port",
            None,
            str(DEFAULT_TLS_PORT),
            "The host's TLS port, for when neither UDP nor TCP gets through; 0: none.",
        ],
        ["pair", None, None, "Pair first: the phrase that the host shows, in quotes."],
        _EVENTS,
        _RECORD,
        _WEB,
        _DURATION,
    ]
    optFlags = [
        ["no-udp", None, "Never use UDP."],
        ["no-tcp", None, "Never use TCP, with TLS or without."],
        ["no-standby", None, "Keep no connection ready while UDP carries."],
    ]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Options may follow the code, as users write them; usage.Options stops at the
        first word that is no option.
        """
        try:
            given, words = gnu_getopt(list(options or ()), self.shortOpt, self.longOpt)
        except GetoptError as error:
            raise usage.UsageError(str(error)) from None
        flat = [part for option in given for part in option if part]
        super().parseOptions([*flat, "--", *words])

    def parseArgs(self, *codes: str) -> None:
        """
        The one argument is the host's code, or its name in the peers file.
        """
        if len(codes) != 1:
            raise usage.UsageError(
                f"connect takes one code, not {len(codes)}: the line that "
                "'rootstream identity' or 'rootstream host' shows on the other machine"
            )
        self.word = codes[0]

    def postOptions(self) -> None:
        super().postOptions()
        self.code = self._codeOf(self.word)
        if self["pair"] is not None:
            try:
                self["pair"] = readPhrase(self["pair"])
            except LocalError as error:
                raise usage.UsageError(f"--pair: {error}") from None
        _number(self, "tls-port", _port, _PORT)
        if self["no-udp"] and self["no-tcp"]:
            raise usage.UsageError(
                "--no-udp and --no-tcp leave no transport; leave one of them out"
            )

    def _codeOf(self, word: str) -> Code:
        """
        What was given for a code: itself, or a name of the peers file.
        """
        try:
            return parseCode(word)
        except BadCode as error:
            try:
                listed = PeersFile(homeOf(self["home"]) / "peers").find(word)
            except LocalError:
                raise usage.UsageError(str(error)) from None
        if listed.code.host is None:
            raise usage.UsageError(
                f"the peers file does not say where {listed.name!r} is; "
                "write CODE@HOST in its line"
            )
        return listed.code


class DemoOptions(_TimedOptions):
    """
    Options of ``demo``.
    """

    synopsis = "[options]"
    optParameters = [
        _EVENTS,
        _RECORD,
        ["web", None, "0", "Serve the page on [ADDR:]PORT; 0: a free one; or none."],
        _DURATION,
        _INPUT,
        ["weather", None, None, 'What befalls: "5s: block udp; 10s: cut 5s".'],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.script: tuple[Planned, ...] = ()

    def postOptions(self) -> None:
        super().postOptions()
        _checkInput(self)
        if self["weather"] is not None:
            try:
                self.script = parseScript(self["weather"])
            except LocalError as error:
                raise usage.UsageError(str(error)) from None


class Options(usage.Options):
    """
    Which of the three programs, and its options.
    """

    synopsis = ""
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
    common = {name: chosen[name] for name in ("events", "duration", "record", "web")}
    match options.subCommand:
        case "host":
            return HostProgram(
                reactor,
                HostSettings(
                    home=homeOf(chosen["home"]),
                    port=chosen["port"],
                    interface=chosen["interface"],
                    tlsPort=chosen["tls-port"],
                    source=chosen["source"],
                    allow=tuple(chosen.allowed),
                    allowAny=bool(chosen["allow-any"]),
                    allowInput=tuple(chosen.allowedInput),
                    pair=bool(chosen["pair"]),
                    pairRights=chosen["pair-rights"],
                    input=chosen["input"],
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
                    tlsPort=chosen["tls-port"] or None,
                    standby=not chosen["no-standby"],
                    pair=chosen["pair"],
                ),
                sys.stdout,
                sys.stderr,
                **common,
            )
        case _:
            return DemoProgram(
                reactor,
                sys.stdout,
                sys.stderr,
                **common,
                script=chosen.script,
                input=chosen["input"],
            )


def makeService(options: Any) -> Program:
    """
    The service for twistd.  Nothing is started before `Program.startService`.
    """
    from twisted.internet import reactor as installed

    reactor: Any = installed
    keepMemoryPrivate()
    useBoottime(reactor)
    program = makeProgram(options, reactor)
    if not os.isatty(0):
        # A daemon is told by it to read its settings again (F87); whoever runs a
        # program in a terminal and closes that means its end.
        signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(program.reload))
    return program
