"""
How Sphinx builds the documentation: ``sphinx-build -W -b html docs build/html``.
"""

from importlib.metadata import version as installedVersion

project = "RootStream"
author = "The RootStream authors"
project_copyright = f"2026, {author}"
release = installedVersion("rootstream")
version = release
exclude_patterns = ["_build"]
