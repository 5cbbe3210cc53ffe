"""
That the table of `tests.mutations` fits the sources, and that its judge can fail.
"""

from __future__ import annotations

import ast
import contextlib
import io
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests import mutations
from tests.mutations import MUTATIONS, NEEDED, ROOT, Mutation, _Copy

PASSED = "PASSED (successes=1)\n"


def methods(module: str, case: str) -> set[str]:
    """
    The tests of a class, as they are written.
    """
    source = ROOT / f"{module.replace('.', '/')}.py"
    return {
        each.name
        for node in ast.parse(source.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == case
        for each in node.body
        if isinstance(each, ast.FunctionDef)
    }


class TableTests(SynchronousTestCase):
    """
    Tests for the table of protections.
    """

    def test_texts(self) -> None:
        """
        Each protection stands in its file once, as the table has it.
        """
        for each in MUTATIONS:
            with self.subTest(each.protection):
                text = (ROOT / each.file).read_text("utf-8")
                self.assertEqual(text.count(each.original), 1, each.original)
                self.assertNotEqual(each.original, each.replacement)
                compile(
                    text.replace(each.original, each.replacement), each.file, "exec"
                )

    def test_tests(self) -> None:
        """
        Each test that is named exists.
        """
        for each in MUTATIONS:
            with self.subTest(each.test):
                module, case, method = each.test.rsplit(".", 2)
                self.assertIn(method, methods(module, case))

    def test_enough(self) -> None:
        """
        There are twenty at least, and no two of them alike.
        """
        self.assertGreaterEqual(len(MUTATIONS), 20)
        self.assertEqual(len({each.protection for each in MUTATIONS}), len(MUTATIONS))


class JudgeTests(SynchronousTestCase):
    """
    Tests for what counts as a protection that is missed.
    """

    def judge(self, said: str, before: str = PASSED) -> tuple[int, str]:
        """
        What comes of one protection, of a test of which trial says that without it,
        and that ``before``.
        """
        root = Path(self.mktemp())
        for name in NEEDED:
            (root / name).mkdir(parents=True)
        guarded = root / "rootstream" / "door.py"
        guarded.write_text("shut = True")
        changed: list[bool] = []

        def run(copy: _Copy, *tests: str, cache: bool = False) -> str:
            changed.append("False" in (copy.root / "rootstream/door.py").read_text())
            return before if cache else said

        self.patch(mutations, "ROOT", root)
        self.patch(_Copy, "run", run)
        mutation = Mutation(
            "door", "F1", "rootstream/door.py", "True", "False", "a.B.c"
        )
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            status = mutations.main((mutation,))
        self.assertEqual(changed, [False, True] if before == PASSED else [False])
        self.assertEqual(guarded.read_text(), "shut = True")
        return status, printed.getvalue()

    def test_noticed(self) -> None:
        """
        A test that fails has noticed.
        """
        status, printed = self.judge("Ran 1 tests in 0.1s\n\nFAILED (failures=1)\n")
        self.assertEqual(status, 0)
        self.assertIn("1 of 1 protections", printed)

    def test_unnoticed(self) -> None:
        """
        A test that passes has not, nor one that breaks or cannot be imported, one that
        is not there, or one that does not end.
        """
        for said in (
            "Ran 1 tests in 0.1s\n\nPASSED (successes=1)\n",
            "Ran 1 tests in 0.1s\n\nFAILED (errors=1)\n",
            "Ran 0 tests in 0.1s\n\nFAILED (failures=1)\n",
            "no end within 60 s",
        ):
            status, printed = self.judge(said)
            self.assertEqual(status, 1)
            self.assertIn("door: a.B.c does not fail", printed)

    def test_brokenBefore(self) -> None:
        """
        Nothing is judged by a test that fails with the protection too.
        """
        status, printed = self.judge("", before="FAILED (failures=1, successes=1)\n")
        self.assertEqual(status, 1)
        self.assertIn("with all protections the tests do not pass", printed)
