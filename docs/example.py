"""
A host and a viewer in one process: one frame of video goes across.
"""

from twisted.internet.task import react

import rootstream as rs


class Viewer(rs.PeerReceiver):
    def videoReceived(self, frame):
        print("received", frame.data)


async def main(reactor):
    here, there = rs.Identity.generate("host"), rs.Identity.generate("viewer")
    guests = rs.AuthorizedPeers(None, [there.key], allowAny=False)
    host = rs.Host(
        reactor, here, guests, rs.PeerReceiver, port=0, interface="127.0.0.1"
    )
    code = rs.formatCode(here.key, "127.0.0.1", host.listen())
    await rs.connect(reactor, code, Viewer(), identity=there)
    [guest] = host.peers
    await guest.whenConnected()
    guest.sendVideo(rs.VideoFrame(b"a picture", timestamp=0, keyFrame=True))
    await guest.whenDrained()
    await host.close()


if __name__ == "__main__":
    react(main)
