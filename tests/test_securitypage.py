"""
The page that says by which test each case of the list of faults is shown.
"""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
#: The numbers of the list; the gaps are reserved.
CASES = sorted(set(range(1, 96)) - {22, 46, 50, 51, 60, 61, 69, 77})


def table() -> list[tuple[int, str]]:
    """
    The number of each row of the page, and what stands in its last column.
    """
    text = (ROOT / "docs" / "security.rst").read_text("utf-8")
    rows = re.split(r"^   \* - F(\d+)\n", text, flags=re.MULTILINE)[1:]
    return [
        (int(number), row.split("\n\n")[0].split("\n     - ")[-1])
        for number, row in zip(rows[::2], rows[1::2], strict=True)
    ]


class TableTests(SynchronousTestCase):
    """
    Tests for the table of ``docs/security.rst``.
    """

    def test_everyCase(self) -> None:
        """
        Each case is there once, in order.
        """
        self.assertEqual([number for number, _ in table()], CASES)

    def test_testsExist(self) -> None:
        """
        Each row names tests, and each test that it names can be run.
        """
        for number, last in table():
            names = re.findall(r"``(tests\.[\w.]+)``", last)
            self.assertTrue(names, number)
            for name in names:
                module, case, test = name.rsplit(".", 2)
                found = getattr(getattr(importlib.import_module(module), case), test)
                self.assertTrue(callable(found), name)


class RandomnessTests(SynchronousTestCase):
    """
    Where random numbers come from.
    """

    def test_kernelAlone(self) -> None:
        """
        F28: what has to do with keys takes random bytes from the kernel, and nothing
        forks, so no two processes share a state that others could guess.
        """
        core = [
            *(ROOT / "rootstream" / "protocol").glob("*.py"),
            *(ROOT / "rootstream").glob("*.py"),
        ]
        self.assertGreater(len(core), 30)
        for path in core:
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                elif isinstance(node, ast.Attribute):
                    names = [ast.unparse(node)]
                for name in names:
                    self.assertNotIn(name, ("os.fork", "pty", "multiprocessing"), path)
                    if path.name not in ("weather.py", "wind.py", "demo.py"):
                        self.assertNotIn(name, ("random", "numpy.random"), path)
