"""Serve a built site on this machine as GitHub Pages does: compressed, and below a path of its own."""

import gzip
import mimetypes
import posixpath
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

BASE = "/attention-course/"
# GitHub Pages compresses these, and sends fonts and PNG files as they are.
COMPRESSED = {".html", ".css", ".js", ".json", ".svg", ".xml", ".txt", ".map", ".ipynb"}
SMALLEST_COMPRESSED = 256
TYPES = {
    ".woff2": "font/woff2",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".ipynb": "application/json",
}


@cache
def _stored(path: Path, changed: int) -> tuple[bytes, bool]:
    """Return what goes over the line for a file as of the time ``changed``, and if it is compressed."""
    data = path.read_bytes()
    if path.suffix in COMPRESSED and len(data) >= SMALLEST_COMPRESSED:
        return gzip.compress(data, 6), True
    return data, False


class _Handler(BaseHTTPRequestHandler):
    """Answer GET below the base path from the files of ``server.root``; everything else is not found."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send the file, or the site's page 404.html with status 404."""
        status, path = 200, self._file()
        if path is None:
            status, path = 404, self.server.root / "404.html"
        if path.is_file():
            data, compressed = _stored(path, path.stat().st_mtime_ns)
        else:
            data, compressed = b"not found", False
        self.send_response(status)
        kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)
        self.send_header("Content-Length", str(len(data)))
        # ten minutes, as on GitHub Pages
        self.send_header("Cache-Control", "max-age=600")
        if compressed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(data)

    def _file(self) -> Path | None:
        """Return the file that the request asks for, if there is one below the root."""
        asked = posixpath.normpath(unquote(urlsplit(self.path).path) + "x")[:-1]  # keeps a slash at the end
        if not asked.startswith(BASE):
            return None
        path = self.server.root / asked.removeprefix(BASE)
        path = path / "index.html" if asked.endswith("/") else path
        return path if path.is_file() else None

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    root: Path

    def handle_error(self, *_: object) -> None:
        """Say nothing of a browser that hung up: pages are closed while they load."""


@contextmanager
def serve(root: Path) -> Iterator[str]:
    """Serve a folder while the context lasts.

    Parameters
    ----------
    root : Path
        The built site.

    Yields
    ------
    str
        The address of the site, with a slash at its end.
    """
    server = _Server(("127.0.0.1", 0), _Handler)
    server.root = root.resolve()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{BASE}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def html_pages(root: Path) -> list[str]:
    """Return the pages of a built site, as paths below its root, in order.

    Parameters
    ----------
    root : Path
        The built site.

    Returns
    -------
    list of str
        Such as ``"exercises/focus-argmax.html"``; no theme files, no sources.
    """
    paths = (path.relative_to(root) for path in root.rglob("*.html"))
    return sorted(path.as_posix() for path in paths if not any(part.startswith("_") for part in path.parts))
