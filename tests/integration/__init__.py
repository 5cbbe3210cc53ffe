"""
Tests with real sockets, on the loopback interface only.
"""
