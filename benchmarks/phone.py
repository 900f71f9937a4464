"""Measure with Lighthouse how fast the built book opens on a slow phone: python benchmarks/phone.py.

Every page is loaded as Lighthouse's mobile preset does it: a phone's screen, slow 4G and a processor four
times slower than this one, both simulated. Needs a browser and Lighthouse: ``npm install lighthouse`` in any
folder, then ``--lighthouse FOLDER/node_modules/.bin/lighthouse``, or on the PATH. The machine should be
quiet, because other programs' work counts as blocking time.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from playwright.sync_api import sync_playwright  # noqa: E402
from site_browser import FLAGS, find_browser  # noqa: E402
from site_server import html_pages, serve  # noqa: E402

CHAPTER = r"\d\d-"  # and not 404.html
CHROME_FLAGS = " ".join(["--headless=new", *(flag for flag in FLAGS if " " not in flag)])
# name in the table → audit, factor
COLUMNS = {
    "FCP s": ("first-contentful-paint", 1e-3),
    "LCP s": ("largest-contentful-paint", 1e-3),
    "TBT ms": ("total-blocking-time", 1),
    "CLS": ("cumulative-layout-shift", 1),
    "kB": ("total-byte-weight", 1e-3),
}


def measure(program: str, browser: str, address: str, keep: Path | None) -> dict[str, float]:
    """Return one Lighthouse run's numbers by column; the report goes to ``keep``."""
    with tempfile.TemporaryDirectory() as folder:
        report = keep or Path(folder) / "report.json"
        subprocess.run(
            [program, address, "--quiet", "--only-categories=performance", "--output=json",
             f"--output-path={report}", f"--chrome-flags={CHROME_FLAGS}"],
            check=True, env=os.environ | {"CHROME_PATH": browser},
        )  # fmt: skip
        audits = json.loads(report.read_text(encoding="utf-8"))["audits"]
    numbers = {}
    for column, (audit, factor) in COLUMNS.items():
        value = audits.get(audit, {}).get("numericValue")
        numbers[column] = float("nan") if value is None else value * factor
    return numbers


def main() -> None:
    """Measure the pages and print a Markdown table with the chapters' medians."""
    parser = argparse.ArgumentParser(description="Measure the built book on a simulated slow phone.")
    parser.add_argument("--site", type=Path, default=ROOT / "_build" / "html", help="the built site")
    parser.add_argument("--runs", type=int, default=1, help="runs of a page; the median counts")
    parser.add_argument("--pages", nargs="+", help="pages such as index.html; the chapters unless given")
    parser.add_argument("--lighthouse", default=shutil.which("lighthouse"), help="the program")
    parser.add_argument("--keep", type=Path, help="a folder for Lighthouse's reports")
    given = parser.parse_args()
    if not given.lighthouse:
        parser.error("Lighthouse is missing: npm install lighthouse, and --lighthouse says where it is")
    if not (given.site / "index.html").is_file():
        parser.error(f"there is no site in {given.site}: run make book first")
    with sync_playwright() as playwright:
        browser = find_browser(playwright)
    pages = given.pages or [
        "index.html",
        *(page for page in html_pages(given.site) if re.match(CHAPTER, page)),
    ]
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    rows = {}
    print(f"| page | {' | '.join(COLUMNS)} |\n|---{'|---:' * len(COLUMNS)}|")
    with serve(given.site) as address:
        for page in pages:
            keep = given.keep / f"{page.replace('/', '-')}.json" if given.keep else None
            runs = [measure(given.lighthouse, browser, address + page, keep) for _ in range(given.runs)]
            rows[page] = {column: statistics.median(run[column] for run in runs) for column in COLUMNS}
            print(line(page, rows[page]), flush=True)
    chapters = [row for page, row in rows.items() if re.match(CHAPTER, page)]
    if chapters:
        middle = {column: statistics.median(row[column] for row in chapters) for column in COLUMNS}
        print(line(f"median of {len(chapters)} chapters", middle))


def line(name: str, row: dict[str, float]) -> str:
    """Return one row of the table."""
    cells = (f"{value:.3g}" if value < 10 else f"{value:.0f}" for value in row.values())
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
