"""
One target under atheris: ``python -m tests.fuzz.guided TARGET OPTION... DIRECTORY...``,
with the options of libFuzzer.  It never returns; `tests.fuzz.__main__` starts it.
"""

from __future__ import annotations

import sys

import atheris

# What is imported here is what is looked into: ours, and nothing below it.
with atheris.instrument_imports(include=["rootstream"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
