"""Clips for the page to play, and nothing else of the disk."""

from __future__ import annotations

from pathlib import Path

from aiohttp import hdrs, web

from monitor.clip_names import CLIP_NAME


def add_recordings(app: web.Application, directory: Path) -> None:
    """Serve the clips below `directory` at `/clips/`, ranges too; no cache but the browser's keeps them."""

    async def serve_clip(request: web.Request) -> web.FileResponse:
        name = request.match_info["name"]
        if not CLIP_NAME.fullmatch(name):
            raise web.HTTPNotFound(text="There is no such clip.\n")
        # A file that is missing, a folder or a link elsewhere: aiohttp answers 404 or refuses links.
        path = directory / name
        if path.is_symlink() or not path.is_file():
            raise web.HTTPNotFound(text="There is no such clip: not yet, not kept, or removed.\n")
        headers = {hdrs.CONTENT_TYPE: "audio/flac", hdrs.CACHE_CONTROL: "private, max-age=86400, immutable"}
        return web.FileResponse(path, headers=headers)

    app.router.add_get("/clips/{name:.+}", serve_clip)
