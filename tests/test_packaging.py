"""
What an installation needs in order to be whole, and for ``twistd`` to find us.
"""

from __future__ import annotations

import ast
import configparser
import shutil
import subprocess
from pathlib import Path

from twisted.application.service import IServiceMaker, ServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SkipTest, SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "twisted" / "plugins" / "rootstream_plugin.py"


class PackagesTests(SynchronousTestCase):
    """
    Tests for the list of packages in ``setup.cfg``.
    """

    def test_listedPackagesAreThoseOnDisk(self) -> None:
        """
        Each package is listed by hand, so a new one that is forgotten, and would
        be missing from every wheel, is seen here.
        """
        config = configparser.ConfigParser()
        config.read(ROOT / "setup.cfg", "utf-8")
        listed = config["options"]["packages"].split()
        onDisk = [
            ".".join(path.parent.relative_to(ROOT).parts)
            for path in (ROOT / "rootstream").rglob("__init__.py")
        ]
        self.assertEqual(sorted(listed), sorted([*onDisk, "twisted.plugins"]))


class PluginTests(SynchronousTestCase):
    """
    Tests for ``twistd rootstream``.
    """

    def test_pluginImportsOnlyTwisted(self) -> None:
        """
        Any ``twistd`` on the machine may load the plugin, so it must be cheap and
        must not fail because of us.
        """
        tree = ast.parse(PLUGIN.read_text("utf-8"))
        found = [
            ast.unparse(node)
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        self.assertEqual(
            found, ["from twisted.application.service import ServiceMaker"]
        )

    def test_pluginDirectoryIsNoPackage(self) -> None:
        """
        Our ``twisted`` directory holds the plugin and no ``__init__``: one of
        those would hide the real Twisted.
        """
        sources = [
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / "twisted").rglob("*.py")
        ]
        self.assertEqual(sources, [PLUGIN.relative_to(ROOT).as_posix()])

    def test_pluginIsFound(self) -> None:
        """
        Twisted's plugin search finds one service maker of our name, and it names
        the module that ``twistd`` is to load.
        """
        [maker] = [
            plugin
            for plugin in getPlugins(IServiceMaker)
            if plugin.tapname == "rootstream"
        ]
        assert isinstance(maker, ServiceMaker)
        self.assertEqual(maker.module, "rootstream.tap")


class ServiceTests(SynchronousTestCase):
    """
    Tests for the unit of systemd in ``docs``.
    """

    def test_sandbox(self) -> None:
        """
        What a stranger who took the program over could reach is next to nothing, as
        systemd judges it: 2.5 of 10 at most.
        """
        if shutil.which("systemd-analyze") is None:
            raise SkipTest("needs systemd-analyze, to judge docs/rootstream.service")
        unit = str(ROOT / "docs" / "rootstream.service")
        judged = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=25", unit],
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(judged.returncode, 0, judged.stdout[-200:] + judged.stderr)
