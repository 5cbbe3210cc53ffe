"""
Tests that need a hostile network of their own, and so root on a Linux machine.

Without the privilege they are skipped, with the reason.
"""
