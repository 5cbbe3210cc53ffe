"""
A hostile network of our own, and the tests that need one, and so root on Linux.

Without the privilege they are skipped, with the reason.
"""
