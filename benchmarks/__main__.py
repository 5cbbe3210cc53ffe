"""
``python -m benchmarks``: the rates and delays, as `benchmarks.throughput`.
"""

import sys

from benchmarks.throughput import main

sys.exit(main())
