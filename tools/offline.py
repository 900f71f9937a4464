"""Pack the built site into a zip for reading without a network, from `file://`.

Usage::

    python tools/offline.py                pack _build/html into _build/attention-step-by-step.zip

The zip unpacks into one folder. What only a web server or a search engine reads stays out. The same site
gives the same bytes: entries are sorted, and all have one time.
"""

import argparse
import hashlib
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
NAME = "attention-step-by-step"
START, START_TITLE = "START-HERE.html", "Attention, step by step"
TIME = (2000, 1, 1, 0, 0, 0)  # a zip cannot hold a time before 1980
OPTIONS = "_static/documentation_options.js"  # what Sphinx tells its scripts
MOST_BYTES = 25_000_000

# Files that nobody opens from a folder; `_sources` is the download that a page offers, so it stays.
LEFT_OUT = (
    re.compile(r".*\.map"),
    re.compile(r"(\.buildinfo(\.bak)?|\.nojekyll|CNAME|objects\.inv|sitemap\.xml|robots\.txt)"),
    re.compile(r"(404|opensearch)\.(html|xml)"),
    re.compile(r"_rediraffe_redirected\.json"),
    re.compile(r"(.*/)?(\.DS_Store|Thumbs\.db|__pycache__/.*)"),
    re.compile(rf"{NAME}\.(pdf|zip)(\.sha256)?|SHA256SUMS"),
)
START_PAGE = f"""<!doctype html>
<html lang="en-GB">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=site/index.html">
<title>{START_TITLE}</title>
</head>
<body>
<p><a href="site/index.html">{START_TITLE}: open the book</a></p>
</body>
</html>
"""


def goes_in(path: PurePosixPath) -> bool:
    """Say whether a file of the site belongs into the zip."""
    return not any(pattern.fullmatch(path.as_posix()) for pattern in LEFT_OUT)


def for_files(name: str, text: str) -> str:
    """Return a page or a script so that it works from `file://`.

    There a browser may load scripts but not fetch anything: `crossorigin` would make a script fail, and the
    search may show titles without the sentences around what was found.
    """
    if name == OPTIONS:
        return re.sub(r"(SHOW_SEARCH_SUMMARY\W+)true", r"\1false", text)
    if name.endswith(".html"):
        text = re.sub(r'(<(?:script|link)\b[^>]*?)\s+crossorigin(?:="[^"]*")?', r"\1", text)
        return re.sub(r'<link [^>]*href="[^"]*opensearch[^"]*"[^>]*>\n?', "", text)
    return text


def entries(site: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of everything in the zip, in order."""
    files = {f"{NAME}/{START}": START_PAGE.encode()}
    for path in site.rglob("*"):
        inside = PurePosixPath(path.relative_to(site).as_posix())
        if path.is_file() and goes_in(inside):
            data = path.read_bytes()
            if path.suffix in (".html", ".js"):
                data = for_files(inside.as_posix(), data.decode("utf-8")).encode("utf-8")
            files[f"{NAME}/site/{inside}"] = data
    yield from sorted(files.items())


def pack(site: Path, target: Path) -> int:
    """Write the zip and return the number of its files.

    Raises
    ------
    ValueError
        If there is no built site.
    """
    if not (site / "index.html").is_file():
        raise ValueError(f"site must hold a built book, got site={str(site)!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in entries(site):
            entry = zipfile.ZipInfo(name, TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
            count += 1
    return count


def main(arguments: list[str] | None = None) -> int:
    """Pack the site; return 1 if the zip is too large."""
    parser = argparse.ArgumentParser(description="The book as a zip for reading offline.")
    parser.add_argument("--site", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("--target", type=Path, default=ROOT / "_build" / f"{NAME}.zip")
    options = parser.parse_args(arguments)
    try:
        count = pack(options.site, options.target)
    except ValueError as error:
        parser.error(str(error))
    data = options.target.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    print(f"{options.target}: {count} files, {len(data) / 1e6:.1f} MB, sha256 {digest}")
    if len(data) > MOST_BYTES:
        print(f"{options.target} is larger than {MOST_BYTES / 1e6:.0f} MB")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
