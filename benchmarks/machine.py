"""
What numbers were measured on.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

__all__ = ["describeMachine"]


def describeMachine() -> dict[str, str]:
    """
    The machine and its software now: names and values.
    """
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "Processors": f"{os.cpu_count()} x {model}",
        "Load at the start": f"{os.getloadavg()[0]:.2f}",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_version()}, Twisted {version('Twisted')}",
        "RootStream": version("rootstream"),
    }
