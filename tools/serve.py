"""Show the built book on this machine, below the path that it has on the web: ``make serve PORT=8000``."""

import argparse
import errno
import http.server
import sys
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from address import configured_address  # noqa: E402

from attncourse.classroom.public_address import site_address  # noqa: E402

SITE = ROOT / "_build" / "html"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder below ``base``; what is not there is answered by the site's own page, as on the web."""

    base = "/"

    def translate_path(self, path: str) -> str:
        """Return the file that a path below the base stands for; outside it, one that is not there."""
        inside = urlsplit(path).path
        ours = inside.startswith(self.base)
        return super().translate_path("/" + inside.removeprefix(self.base) if ours else "/not-below-the-base")

    def do_GET(self) -> None:
        """Send a file, or lead from elsewhere to the beginning of the book."""
        if urlsplit(self.path).path in ("/", self.base.rstrip("/")) and self.base != "/":
            self.send_response(302)
            self.send_header("Location", self.base)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            super().do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send the site's 404.html where a page is missing."""
        lost = Path(self.directory) / "404.html"
        if code != 404 or not lost.is_file():
            super().send_error(code, message, explain)
            return
        body = lost.read_bytes()
        self.send_response(404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *parts: object) -> None:
        """Say nothing of every request."""


def server(site: Path, port: int, base: str) -> http.server.ThreadingHTTPServer:
    """Return a server of a folder that listens on this machine alone.

    Raises
    ------
    OSError
        If the port is taken or may not be used.
    """
    handler = type("SiteHandler", (Handler,), {"base": base})
    return http.server.ThreadingHTTPServer(
        ("127.0.0.1", port), lambda *parts: handler(*parts, directory=str(site))
    )


def main(arguments: list[str] | None = None, site: Path = SITE) -> int:
    """Serve until Ctrl+C; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    port = parser.parse_args(arguments).port
    if not (site / "index.html").is_file():
        print("There is no book yet: run make book first.", file=sys.stderr)
        return 1
    base = urlsplit(site_address(configured_address(ROOT))).path
    try:
        running = server(site, port, base)
    except (OSError, OverflowError) as error:
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        reason = "is taken" if taken else f"cannot be used ({error})"
        print(f"Port {port} {reason}: choose another, such as make serve PORT=8123.", file=sys.stderr)
        return 1
    print(f"The book is at http://localhost:{port}{base} (Ctrl+C stops)", flush=True)
    try:
        running.serve_forever()
    except KeyboardInterrupt:
        return 0
    finally:
        running.server_close()


if __name__ == "__main__":
    sys.exit(main())
