"""
Sources and sinks of encoded video and sound.
"""

from rootstream.media.outlet import MediaDelivery
from rootstream.media.sinks import MediaSink, openSink
from rootstream.media.sources import MediaSource, openSource

__all__ = [
    "MediaDelivery",
    "MediaSink",
    "MediaSource",
    "openSink",
    "openSource",
]
