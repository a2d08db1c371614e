"""The HTTP server and the page it serves."""

from monitor.web.live import Live
from monitor.web.server import Server, serve

__all__ = ["Live", "Server", "serve"]
