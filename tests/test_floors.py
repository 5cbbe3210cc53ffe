"""
The house: which module may import which, and what may never be imported.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent

#: From the ground up.  A module imports only from the rows above its own line.
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        "rootstream.errors",
        "rootstream.protocol",
        "rootstream.transport",
    ),
    (
        "rootstream.home",
        "rootstream.interfaces",
        "rootstream.phrase",
        "rootstream.protocol.constants",
    ),
    ("rootstream.protocol.events", "rootstream.protocol.status"),
    (
        "rootstream.protocol.backlog",
        "rootstream.protocol.blackhole",
        "rootstream.protocol.frames",
        "rootstream.protocol.health",
        "rootstream.protocol.limiter",
        "rootstream.protocol.liveness",
        "rootstream.protocol.noise",
        "rootstream.protocol.outbox",
        "rootstream.protocol.pacing",
        "rootstream.protocol.replay",
        "rootstream.protocol.spake2",
    ),
    (
        "rootstream.identity",
        "rootstream.protocol.channel",
        "rootstream.protocol.cookies",
        "rootstream.protocol.video",
        "rootstream.keys",
        "rootstream.weather",
    ),
    (
        "rootstream.authorized",
        "rootstream.protocol.handshake",
        "rootstream.protocol.pairing",
        "rootstream.protocol.session",
        "rootstream.protocol.shared",
        "rootstream.show",
    ),
    (
        "rootstream.peersfile",
        "rootstream.protocol.handshakes",
        "rootstream.protocol.paths",
        "rootstream.protocol.recovery",
    ),
    (
        "rootstream.protocol.failover",
        "rootstream.protocol.inbox",
        "rootstream.protocol.slots",
        "rootstream.protocol.tally",
    ),
    ("rootstream.protocol.drill", "rootstream.protocol.packing"),
    ("rootstream.protocol.routing",),
    ("rootstream.protocol.link",),
    ("rootstream.protocol.node",),
    (
        "rootstream.control",
        "rootstream.transport.clock",
        "rootstream.transport.filter",
        "rootstream.transport.netlink",
        "rootstream.transport.race",
        "rootstream.transport.resolve",
        "rootstream.transport.sockets",
        "rootstream.transport.tcp",
    ),
    (
        "rootstream.transport.batch",
        "rootstream.transport.network",
        "rootstream.transport.reconnect",
        "rootstream.transport.tls",
    ),
    ("rootstream.transport.udp",),
    (
        "rootstream.forwarding",
        "rootstream.transport.listen",
        "rootstream.transport.netwatch",
    ),
    ("rootstream.transport.dial", "rootstream.wind"),
    (
        "rootstream.machine",
        "rootstream.media.h264",
        "rootstream.media.mark",
        "rootstream.media.opus",
        "rootstream.media.outlet",
        "rootstream.media.outputs",
        "rootstream.hardening",
        "rootstream.media.timeline",
        "rootstream.pictures",
        "rootstream.receiver",
        "rootstream.status",
        "rootstream.tee",
        "rootstream.uinput",
        "rootstream.words",
    ),
    ("rootstream.media.encode", "rootstream.media.mp4", "rootstream.peer"),
    (
        "rootstream.asking",
        "rootstream.eventlog",
        "rootstream.latency",
        "rootstream.fanout",
        "rootstream.media.filesource",
        "rootstream.media.muxing",
        "rootstream.media.screen",
        "rootstream.media.testsource",
        "rootstream.forwarder",
        "rootstream.networks",
        "rootstream.orders",
        "rootstream.reception",
        "rootstream.standby",
        "rootstream.station",
    ),
    (
        "rootstream.dialled",
        "rootstream.host",
        "rootstream.inputgate",
        "rootstream.media.sinks",
        "rootstream.media.sources",
        "rootstream.overview",
        "rootstream.rehearsal",
        "rootstream.remote",
        "rootstream.roster",
        "rootstream.testing",
    ),
    ("rootstream.client",),
    ("rootstream.pairing",),
    ("rootstream", "rootstream.media"),
    ("rootstream.recording", "rootstream.web"),
    (
        "rootstream.web.address",
        "rootstream.web.door",
        "rootstream.web.files",
        "rootstream.web.guard",
        "rootstream.web.metrics",
        "rootstream.web.served",
    ),
    ("rootstream.web.site", "rootstream.web.stream"),
    ("rootstream.web.sockets",),
    ("rootstream.web.server",),
    ("rootstream.service",),
    ("rootstream.broadcast", "rootstream.connectprogram"),
    ("rootstream.hostprogram",),
    ("rootstream.demo",),
    ("rootstream.tap",),
    ("rootstream.cli",),
)

#: Up to and with this module the code is sans-IO: virtual time drives all of it.
LAST_PURE = "rootstream.protocol.node"


def floorNumbers() -> dict[str, int]:
    """
    The row of each module in `FLOORS`.
    """
    return {name: row for row, names in enumerate(FLOORS) for name in names}


def pureModules() -> list[str]:
    """
    The modules that must not know that an event loop exists.
    """
    floors = floorNumbers()
    return sorted(name for name in floors if floors[name] <= floors[LAST_PURE])


def modulesOnDisk() -> dict[str, Path]:
    """
    Every module of the package, by its dotted name.
    """
    found = {}
    for path in sorted((ROOT / "rootstream").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def isTypeChecking(node: ast.AST) -> bool:
    """
    Whether a node is ``if TYPE_CHECKING:``, whose imports never run.
    """
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """
    Everything below a node that can run, functions' bodies included.
    """
    for child in ast.iter_child_nodes(node):
        if isTypeChecking(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield other
                yield from statements(other)
        else:
            yield child
            yield from statements(child)


def imports(source: str) -> set[str]:
    """
    The dotted names that a module's source imports.

    ``from a import b`` gives ``a.b``, since only the disk knows whether ``b`` is a
    module.  A relative import gives its dots too, and so matches nothing.
    """
    names: set[str] = set()
    for node in statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            names.update(f"{origin}.{alias.name}" for alias in node.names)
    return names


def owner(name: str, known: dict[str, int]) -> str | None:
    """
    The known module that an imported name is, or that it comes from.
    """
    while name not in known:
        name, dot, _ = name.rpartition(".")
        if not dot:
            return None
    return name


def climbs(module: str, source: str, floors: dict[str, int]) -> list[str]:
    """
    What is wrong with a module's imports, in words.
    """
    wrong = []
    for name in sorted(imports(source)):
        if name.startswith("."):
            wrong.append(f"{module} imports {name}, which is relative")
            continue
        target = owner(name, floors)
        if target is not None and floors[target] >= floors[module]:
            wrong.append(f"{module} imports {target}, which is not below it")
    return wrong


def loadedBy(names: list[str], *, bare: bool) -> set[str]:
    """
    The modules that a fresh interpreter holds once it has imported some of ours.

    With ``bare``, the package's own ``__init__`` does not run: it re-exports the
    top of the house, and would hide what the ground floors bring by themselves.
    """
    script = """
import importlib, json, sys, types
names, bare, where = json.loads(sys.argv[1])
if bare:
    package = types.ModuleType("rootstream")
    package.__path__ = [where]
    sys.modules["rootstream"] = package
for name in names:
    importlib.import_module(name)
json.dump(sorted(sys.modules), sys.stdout)
"""
    arguments = json.dumps([names, bare, str(ROOT / "rootstream")])
    done = subprocess.run(
        [sys.executable, "-c", script, arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return set(json.loads(done.stdout))


class FloorsTests(SynchronousTestCase):
    """
    Tests for the order in which modules build on each other.
    """

    def test_everyModuleHasAFloor(self) -> None:
        """
        The table names exactly the modules that exist, each of them once.
        """
        listed = [name for names in FLOORS for name in names]
        onDisk = set(modulesOnDisk())
        self.assertEqual(onDisk - set(listed), set(), "modules without a floor")
        self.assertEqual(set(listed) - onDisk, set(), "floors without a module")
        self.assertEqual(len(listed), len(onDisk), "a module has two floors")

    def test_nothingClimbs(self) -> None:
        """
        No module imports from its own floor or from one above it.
        """
        floors = floorNumbers()
        wrong = [
            fault
            for module, path in modulesOnDisk().items()
            if module in floors
            for fault in climbs(module, path.read_text("utf-8"), floors)
        ]
        self.assertEqual(wrong, [])

    def test_climbsAreSeen(self) -> None:
        """
        Every way to write an import is seen: up, sideways, of a package's module,
        inside a function, after ``TYPE_CHECKING``'s ``else``, and relative.
        """
        floors = floorNumbers()
        module = "rootstream.protocol.link"
        for source in (
            "import rootstream.peer",
            "import rootstream.peer as peer",
            "from rootstream import peer",
            "from rootstream import connect",
            "from rootstream.peer import Peer",
            "from rootstream.protocol import link, node",
            "def f():\n    from rootstream.protocol import node",
            "if TYPE_CHECKING:\n    pass\nelse:\n    import rootstream.peer",
            "from .. import errors",
            "from . import frames",
        ):
            with self.subTest(source):
                self.assertNotEqual(climbs(module, source, floors), [])

    def test_stepsDownAreAllowed(self) -> None:
        """
        Lower floors, foreign modules and names that only annotations use may be
        imported.
        """
        source = (
            "import os\n"
            "from rootstream.errors import BadPacket\n"
            "from rootstream.protocol import frames\n"
            "from rootstream.protocol.events import VideoFrame\n"
            "if TYPE_CHECKING:\n    from rootstream.protocol.node import Node\n"
        )
        wrong = climbs("rootstream.protocol.link", source, floorNumbers())
        self.assertEqual(wrong, [])


class PurityTests(SynchronousTestCase):
    """
    Tests for what the ground floors and the import of the package may load.
    """

    def test_pureModulesNameNoEventLoop(self) -> None:
        """
        No module up to the node mentions `twisted.internet` in an import.
        """
        onDisk = modulesOnDisk()
        wrong = [
            module
            for module in pureModules()
            if module in onDisk
            for name in imports(onDisk[module].read_text("utf-8"))
            if f"{name}.".startswith("twisted.internet.")
        ]
        self.assertEqual(wrong, [])

    def test_pureModulesLoadNoEventLoop(self) -> None:
        """
        Importing all modules up to the node loads nothing of `twisted.internet`,
        directly or by a detour.
        """
        loaded = loadedBy(pureModules(), bare=True)
        wrong = [name for name in loaded if f"{name}.".startswith("twisted.internet.")]
        self.assertEqual(wrong, [])

    def test_noModuleInstallsAReactor(self) -> None:
        """
        Importing every module leaves the choice of a reactor to the application.
        """
        loaded = loadedBy(sorted(modulesOnDisk()), bare=False)
        self.assertIn("rootstream.errors", loaded)
        self.assertNotIn("twisted.internet.reactor", loaded)
