"""The page's files over real HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
from aiohttp import web

from server.app import listening
from server.webclient import WEBCLIENT, webclient_routes


def served(directory: Path) -> web.Application:
    app = web.Application()
    app.add_routes(webclient_routes(directory))
    return app


def test_files_come_with_their_type_and_are_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for name, text in {
        "index.html": "<p>page",
        "parts/call.js": "export {}",
        "notes.txt": "private",
        "package.json": "{}",
    }.items():
        (tmp_path / name).write_text(text)

    async def main() -> None:
        async with listening(served(tmp_path), "127.0.0.1", 0, setting="server.port") as port:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
                async with client.get("/") as page:
                    assert page.content_type == "text/html"
                    assert page.headers["Cache-Control"] == "no-cache"
                    assert await page.text() == "<p>page"
                    tag = page.headers["ETag"]
                async with client.get("/", headers={"If-None-Match": tag}) as unchanged:
                    assert unchanged.status == 304
                async with client.get("/parts/call.js") as module:
                    assert module.headers["Content-Type"] == "text/javascript; charset=utf-8"
                for path in (
                    "/notes.txt",
                    "/package.json",
                    "/parts/",
                    "/../pyproject.toml",
                    "/%2e%2e/pyproject.toml",
                ):
                    async with client.get(path) as absent:
                        assert absent.status == 404, path

    asyncio.run(main())


def test_the_page_has_an_index() -> None:
    routes = {route.path for route in webclient_routes(WEBCLIENT)}
    assert {"/", "/index.html"} <= routes
