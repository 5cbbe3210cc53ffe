"""
Fuzz for a while: ``python -m tests.fuzz TARGET... [--seconds 20] [--jobs 2]``.

``all`` is every target.  Ends by itself, with status 1 when something was found: the
input is written into ``--findings`` then, and its traceback is shown.  It is played
again by ``python -m tests.fuzz TARGET --play FILE``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.fuzz.seeds import CORPUS
from tests.fuzz.targets import TARGETS

__all__ = ["main", "runTarget"]

ROOT: Final = Path(__file__).resolve().parent.parent.parent
#: Seconds that an input may take, and that a run may take longer than it was told.
INPUT_TIME: Final = 10
PATIENCE: Final = 60
MEMORY_MB: Final = 1024
#: Bytes of an input.
MAX_INPUT: Final = 4096
#: Lines of what went wrong that are shown.
SHOWN: Final = 40


def runTarget(
    target: str, seconds: int, findings: Path, keep: Path | None, module: str
) -> tuple[bool, str]:
    """
    Fuzz one target in a process of its own.  Returns whether it held, and what there is
    to say of it.  New inputs that reach further go to ``keep``.
    """
    with tempfile.TemporaryDirectory() as scratch:
        grown = keep / target if keep is not None else Path(scratch)
        grown.mkdir(parents=True, exist_ok=True)
        findings.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            module,
            target,
            f"-max_total_time={seconds}",
            f"-timeout={INPUT_TIME}",
            f"-rss_limit_mb={MEMORY_MB}",
            f"-max_len={MAX_INPUT}",
            f"-artifact_prefix={findings.resolve()}/{target}-",
            "-print_final_stats=1",
            str(grown),
            str(CORPUS / target),
        ]
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=seconds + PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return False, f"{target}: did not end by itself"
    inputs = re.search(r"number_of_executed_units: (\d+)", done.stdout)
    reached = re.findall(r"\bcov: (\d+)", done.stdout)
    if done.returncode == 0 and inputs is not None and reached:
        return True, f"{target}: {inputs[1]} inputs, {reached[-1]} branches"
    shown = "\n".join(done.stdout.splitlines()[-SHOWN:])
    return False, f"{shown}\n{target}: status {done.returncode}, see {findings}"


def main(
    arguments: Sequence[str] | None = None, module: str = "tests.fuzz.guided"
) -> int:
    """
    The command.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="+", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--keep", type=Path, help="a directory for larger corpora")
    parser.add_argument("--play", type=Path, help="do this input alone")
    options = parser.parse_args(arguments)
    targets = list(TARGETS) if "all" in options.targets else options.targets
    if options.play is not None:
        for target in targets:
            TARGETS[target](options.play.read_bytes())
        return 0
    wrong = 0
    with ThreadPoolExecutor(max(options.jobs, 1)) as pool:
        for held, words in pool.map(
            lambda target: runTarget(
                target, options.seconds, options.findings, options.keep, module
            ),
            targets,
        ):
            print(words, flush=True)
            wrong += not held
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
