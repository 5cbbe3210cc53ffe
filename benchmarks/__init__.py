"""
Measurements of RootStream, each a command: ``python -m benchmarks.NAME``.

They run from the sources and are not installed.
"""
