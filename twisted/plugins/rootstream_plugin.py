"""
Makes ``twistd rootstream`` exist.

Every start of ``twistd`` on the machine may load this file, so it imports nothing
of ours.
"""

from twisted.application.service import ServiceMaker

rootstream = ServiceMaker(
    "rootstream",
    "rootstream.tap",
    "Encrypted peer-to-peer streaming that survives hostile networks.",
    "rootstream",
)
