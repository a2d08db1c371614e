"""The HTTP server and the page it serves."""

from monitor.web.server import Server, serve

__all__ = ["Server", "serve"]
