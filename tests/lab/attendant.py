"""
A process of the laboratory that lives in one of its machines and answers.

It is a module of ours, run with ``python -m``.  It prints a line when it has begun,
and one for each line that it is given, and ends with its standard input: so with us,
however we end.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.lab.namespace import LabUnavailable, Namespace

__all__ = ["Attendant"]

ROOT = Path(__file__).resolve().parent.parent.parent


class Attendant:
    """
    One such process.  ``title`` is what it is called when it ends by itself.
    """

    title = "attendant"

    def __init__(
        self, machine: Namespace, module: str, words: Sequence[str] = ()
    ) -> None:
        """
        :raise LabUnavailable: if it does not begin.
        """
        self._process = machine.popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=1,
            cwd=ROOT,
            # What interrupts a run at its terminal must not reach it: we end it.
            start_new_session=True,
        )
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """
        End it.  Does no harm twice.
        """
        process = self._process
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            # What was written to a process that had ended already is still in it.
            with suppress(BrokenPipeError):
                pipe.close()

    def ask(self, line: str = "") -> str:
        """
        Its answer to a line.

        :raise LabUnavailable: if it has ended.
        """
        assert self._process.stdin is not None
        # If it has ended, why is read below.
        with suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        if not (answer := self._process.stdout.readline()):
            words = self._process.stderr.read().strip().splitlines()
            raise LabUnavailable(
                f"the {self.title} ended: {words[-1] if words else '?'}"
            )
        return answer
