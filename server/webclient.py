"""The page's files, served as they lie in `webclient/`."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

WEBCLIENT = Path(__file__).resolve().parent.parent / "webclient"

_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""Said by us: what Python guesses depends on the machine, and a module of the wrong type never runs.

What has no type here (`package.json` is the tests') is not served."""

_CACHE_CONTROL = "no-cache"
"""Asked again each time, answered with 304 where nothing changed: a page never runs half old, half new."""


def webclient_routes(directory: Path = WEBCLIENT) -> list[web.RouteDef]:
    """One route a file, `index.html` at `/` too: what is no file there is a plain 404."""
    routes: list[web.RouteDef] = []
    for path in sorted(directory.rglob("*")):
        content_type = _CONTENT_TYPES.get(path.suffix)
        if not path.is_file() or content_type is None:
            continue
        name = path.relative_to(directory).as_posix()
        routes.append(web.get(f"/{name}", _serves(path, content_type)))
        if name == "index.html":
            routes.append(web.get("/", _serves(path, content_type)))
    return routes


def _serves(path: Path, content_type: str) -> Handler:
    headers = {"Content-Type": content_type, "Cache-Control": _CACHE_CONTROL}

    async def respond(_request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path, headers=headers)

    return respond
