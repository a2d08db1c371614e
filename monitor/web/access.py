"""Who may see the page and the metrics, where a token is set: those who have it."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Mapping

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from monitor.config import HttpConfig
from monitor.credentials import read_secret
from monitor.errors import CredentialError

_log = logging.getLogger(__name__)

OPEN_PATH = "/healthz"
"""Answers everybody, with the verdict alone."""
COOKIE = "sound_monitor"
_COOKIE_SECONDS = 365 * 86_400
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")
_WELCOME = (
    '<!doctype html><html lang="en"><title>sound-monitor</title>'
    '<link rel="icon" href="/icon.svg">'
    '<meta http-equiv="refresh" content="0; url=/"><a href="/">Go on to the page</a></html>\n'
)


def resolve_token(config: HttpConfig, environ: Mapping[str, str]) -> str | None:
    """Return the token to ask for, None for none; raises CredentialError."""
    token = read_secret(config.token_file, "http.token_file", "http-token", environ)
    if token is not None and not _TOKEN.fullmatch(token):
        where = (
            f"http.token_file {config.token_file}" if config.token_file else "systemd's credential http-token"
        )
        raise CredentialError(
            f"{where}: its first line isn't 16 to 512 letters, digits and ._~+/=-; "
            "make one with  openssl rand -hex 32"
        )
    return token


def ask_for(token: str) -> Middleware:
    """Answer only requests with the token: as bearer, or in the cookie that `/?token=` sets once.

    The cookie holds a keyed hash, not the token, lives on over restarts and ends with the token.
    """
    key = token.encode()
    cookie = hmac.new(key, b"sound-monitor's page", hashlib.sha256).hexdigest()

    def knows(request: web.Request) -> bool:
        scheme, _, bearer = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        # Both are always compared, each in constant time.
        by_bearer = _same(bearer.strip(), token) and scheme.lower() == "bearer"
        by_cookie = _same(request.cookies.get(COOKIE, ""), cookie)
        return by_bearer or by_cookie

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if knows(request):
            return await handler(request)
        if request.path == OPEN_PATH:
            answer = await handler(request)
            # Why it isn't well names sources: that is for those who have the token.
            return web.Response(status=answer.status, text="ok\n" if answer.status == 200 else "not well\n")
        if request.path == "/" and _same(request.query.get("token", ""), token):
            # Not a redirect: a browser that came by a link elsewhere wouldn't send a strict cookie along.
            welcome = web.Response(text=_WELCOME, content_type="text/html")
            welcome.set_cookie(COOKIE, cookie, max_age=_COOKIE_SECONDS, httponly=True, samesite="Strict")
            return welcome
        _log.debug("%s asked without the token", request.remote)
        raise web.HTTPUnauthorized(
            headers={hdrs.WWW_AUTHENTICATE: 'Bearer realm="sound-monitor"'},
            text="A token is needed. In a browser open /?token=... once; programs send it in the header\n"
            "Authorization: Bearer ... . It is in the file that http.token_file names.\n",
        )

    return middleware


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())
