"""What the HTTP server refuses, and the headers of every answer."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDict, CIMultiDictProxy

LIMITS: dict[str, Any] = {
    "max_line_size": 2048,
    "max_field_size": 8190,  # cookies of other programs on localhost come along
    "max_headers": 64,
    "keepalive_timeout": 30.0,
    "lingering_time": 0.0,  # a body that nobody asked for isn't read to its end
}
"""For the HTTP parser: sizes in bytes, times in seconds."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Server": "sound-monitor",
}


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: put the security headers on an answer, refusals included."""
    response.headers.update(_HEADERS)
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")


def without_expectations(make: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """Have requests made without `Expect`: no body is wanted, and strange ones are errors in aiohttp."""

    def make_without(message: Any, *rest: Any) -> web.BaseRequest:
        if hdrs.EXPECT in message.headers:
            headers = CIMultiDict(message.headers)
            headers.popall(hdrs.EXPECT)
            message = message._replace(headers=CIMultiDictProxy(headers))
        return make(message, *rest)

    return make_without


def guard(known_hosts: Callable[[], frozenset[str] | None], takes_body: str) -> Middleware:
    """Refuse bodies but at one path, other sites' scripts and, where there are `known_hosts`, other names.

    The names matter on loopback: a web page of somebody else can have its own name resolve to 127.0.0.1
    and then read everything as its own, and only the Host header tells.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        known = known_hosts()
        host = request.headers.get(hdrs.HOST, "")
        if known is not None and not _is_local(host, known):
            raise web.HTTPMisdirectedRequest(
                text="This server listens on loopback and answers only to the names "
                f"{', '.join(sorted(known))} and to loopback addresses. "
                "A proxy in front of it must send one of them as Host.\n"
            )
        if request.headers.get("Sec-Fetch-Site") == "cross-site" and (
            request.headers.get("Sec-Fetch-Mode") != "navigate"
        ):
            raise web.HTTPForbidden(text="Requests from other sites' pages are refused.\n")
        if request.can_read_body and request.path != takes_body:
            raise web.HTTPRequestEntityTooLarge(
                max_size=0, actual_size=0, text="Requests here have no body.\n"
            )
        return await handler(request)

    return middleware


def _is_local(host: str, known: frozenset[str]) -> bool:
    name = host_name(host)
    if name in known:
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def host_name(host: str) -> str:
    """Take the name out of a Host header: without its port, brackets and final dot, in lower case."""
    if host.startswith("[") and "]" in host:
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().removesuffix(".")
