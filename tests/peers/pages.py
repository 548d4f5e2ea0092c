"""Pages that are not the server's own: a site elsewhere, from which a client calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EMPTY_PAGE = b'<!doctype html><meta charset="utf-8"><title>A client</title><link rel="icon" href="data:,">'

_TYPES = {".js": "text/javascript", ".wav": "audio/wav"}


@contextmanager
def site(files: Mapping[str, bytes]) -> Iterator[str]:
    """Serves an empty page at `/` and these files beside it. Gives its origin: to browsers, a secure one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/")
            body = files.get(name, EMPTY_PAGE if not name else None)
            self.send_response(200 if body is not None else 404)
            suffix = name[name.rfind(".") :] if "." in name else ""
            self.send_header("Content-Type", _TYPES.get(suffix, "text/html; charset=utf-8"))
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="a site", daemon=True)
        thread.start()
        try:
            yield f"http://localhost:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
