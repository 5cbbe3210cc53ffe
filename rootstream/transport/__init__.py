"""
How packets reach a peer: UDP datagrams, TCP streams, dialling and retrying.

Everything here delivers to one `rootstream.interfaces.IPacketSink` and answers
on `rootstream.interfaces.IPath`; nothing here opens or understands a packet.
"""
