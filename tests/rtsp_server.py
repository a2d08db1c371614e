"""A small RTSP server, run by the system's Python: a tone of 1 kHz at /mic, for user bob only.

`python3 rtsp_server.py PORT PASSWORD`; prints `ready` once it listens, and ends with its standard input.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

_TONE = (
    "( audiotestsrc is-live=true wave=sine freq=1000 volume=0.25 ! audio/x-raw,rate=48000,channels=1 "
    "! audioconvert ! rtpL16pay name=pay0 pt=96 )"
)


def main(port, password):
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "listener")
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic("bob", password), token)
    server.set_auth(auth)
    role = "listener, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_role_from_structure(Gst.Structure.from_string(role)[0])
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(_TONE)
    factory.set_shared(True)
    factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/mic", factory)
    server.attach(None)
    loop = GLib.MainLoop()
    GLib.io_add_watch(sys.stdin, GLib.PRIORITY_DEFAULT, GLib.IO_HUP, lambda *_: loop.quit())
    print("ready", flush=True)  # noqa: T201
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
