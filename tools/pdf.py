"""Make the PDF of the whole book with LaTeX, and check it.

Usage::

    python tools/pdf.py            build, typeset, check; the result is _build/pdf/attention-step-by-step.pdf
    python tools/pdf.py check      check again what was made last

The book's own folder for this is `_build/pdf`; the logs `book.log` (xelatex) and `latexmk.log` stay there.
`book/_ext/paper.py` arranges the pages and `book/_latex/paper.sty` sets them.
"""

import argparse
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from html import unescape
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "_build" / "pdf"
NAME = "attention-step-by-step.pdf"

# --- what must be installed --------------------------------------------------------------------------

PROGRAMS = {
    "xelatex": "texlive-xetex",
    "latexmk": "latexmk",
    "rsvg-convert": "librsvg2-bin",
    "pdftotext": "poppler-utils",
    "kpsewhich": "texlive-xetex",
    "fc-list": "fontconfig",
}
TEX_FILES = {
    "texgyrepagella-regular.otf": "fonts-texgyre",
    "texgyrepagella-math.otf": "fonts-texgyre-math",
    "pzdr.tfm": "texlive-fonts-recommended",
    "newunicodechar.sty": "texlive-latex-extra",
    "fontspec.sty": "texlive-latex-recommended",
}
FONTS = {"DejaVu Sans Mono": "fonts-dejavu-core"}


def _finds(*command: str) -> bool:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0 and bool(done.stdout.strip())


def missing_packages(which: Callable = shutil.which, finds: Callable[..., bool] = _finds) -> list[str]:
    """Return the Debian packages that are needed and not installed."""
    missing = {package for program, package in PROGRAMS.items() if which(program) is None}
    if which("kpsewhich"):
        missing |= {package for name, package in TEX_FILES.items() if not finds("kpsewhich", name)}
    else:
        missing |= set(TEX_FILES.values())
    if not which("fc-list") or not all(finds("fc-list", font) for font in FONTS):
        missing |= set(FONTS.values())
    return sorted(missing)


# --- building ----------------------------------------------------------------------------------------


def build() -> Path:
    """Write the LaTeX of the book and return its folder; every warning is an error."""
    folder = FOLDER / "_build" / "latex"
    shutil.rmtree(FOLDER, ignore_errors=True)  # latexmk remembers a run that failed
    program = str(Path(sys.executable).with_name("jupyter-book"))
    command = [program, "build", "book", "-W", "--keep-going", "-n", "-q"]
    command += ["--builder", "custom", "--custom-builder", "latex", "--path-output", str(FOLDER)]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


def typeset(folder: Path) -> Path:
    """Typeset the book and return the PDF.

    Raises
    ------
    SystemExit
        If LaTeX stopped.
    """
    command = ["latexmk", "-xelatex", "-interaction=nonstopmode", "-halt-on-error", "-silent", "book.tex"]
    with open(FOLDER / "latexmk.log", "w", encoding="utf-8") as log:
        done = subprocess.run(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, check=False)
    shutil.copy(folder / "book.log", FOLDER / "book.log")
    if done.returncode:
        raise SystemExit(f"LaTeX stopped: see {FOLDER / 'book.log'}\n" + "\n".join(log_faults(read_log())))
    shutil.copy(folder / "book.pdf", FOLDER / NAME)
    return FOLDER / NAME


# --- checking the log --------------------------------------------------------------------------------

# A box that is wider than its line by less than this is hardly seen (2 mm); in code it would be a lost mark.
TOO_WIDE_POINTS = 6.0
# A page is 239 points from its text to its edge on both sides; nothing may come near that.
LINE = 79  # where TeX breaks the lines of its log
FAULTS = {
    "missing glyph": re.compile(r"Missing character: There is no (.+?) (?:\((U\+\w+)\) )?in font"),
    "undefined reference": re.compile(r"(?:Reference|Citation) [`'](.+?)' on page \w+ undefined"),
    "dangling link": re.compile(r"Hyper reference [`'](.+?)' on page \w+ undefined"),
    "label twice": re.compile(r"Label [`'](.+?)' multiply defined"),
    "missing file": re.compile(r"File [`'](.+?)' not found"),
    "error": re.compile(r"^(?:!|\./book\.tex:\d+:) (.+)", re.MULTILINE),
}
WIDE = re.compile(r"Overfull \\hbox \(([\d.]+)pt too wide\) (.*)\n(.*)")
TALL = re.compile(r"Overfull \\vbox \(([\d.]+)pt too high\)")


def read_log() -> str:
    """Return the log of the last run."""
    return (FOLDER / "book.log").read_text(encoding="utf-8", errors="replace")


def unwrapped(log: str) -> str:
    """Return a log without the line breaks that TeX puts into long lines."""
    parts = []
    for line in log.split("\n"):
        parts += [line] if len(line.encode()) == LINE or len(line) == LINE else [line, "\n"]
    return "".join(parts)


def log_faults(log: str) -> list[str]:
    """Return what a log says that a reader would see: one line for each kind and thing."""
    text, found = unwrapped(log), []
    for kind, pattern in FAULTS.items():
        found += sorted({f"{kind}: {' '.join(filter(None, one.groups()))}" for one in pattern.finditer(text)})
    for one in WIDE.finditer(log):
        if float(one[1]) > TOO_WIDE_POINTS:
            found.append(f"box {one[1]} points too wide {one[2]}: {one[3][:70]}")
    found += [
        f"page {one[1]} points too high" for one in TALL.finditer(log) if float(one[1]) > TOO_WIDE_POINTS
    ]
    return found


# --- checking the PDF --------------------------------------------------------------------------------

MOST_BYTES = 15_000_000
PAGES = range(400, 1600)
UNRESOLVED = re.compile(r"\b(?:Figure|Fig\.|Table|Chapter|Section|Exercise|Equation|page) ?\(?\?\?")


def chapter_titles(book: Path) -> list[str]:
    """Return the title of every page of the table of contents that is not an exercise."""
    table = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))
    pages = [chapter["file"] for part in table["parts"] for chapter in part["chapters"]]
    return [title_of(book, page) for page in pages]


def title_of(book: Path, page: str) -> str:
    """Return the first heading of a page."""
    path = book / f"{page}.ipynb"
    if path.is_file():
        text = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
    else:
        text = (book / f"{page}.md").read_text(encoding="utf-8")
    return re.search(r"^# (.+)", text, re.MULTILINE)[1].strip()


def n_pictures(book: Path) -> int:
    """Return how many PNG figures the stored notebooks hold."""
    outputs = (
        output
        for path in sorted(book.glob("*.ipynb"))
        for cell in nbformat.read(path, 4).cells
        for output in cell.get("outputs", [])
    )
    return sum("image/png" in output.get("data", {}) for output in outputs)


def n_drawings(book: Path) -> int:
    """Return how many figures from files the pages of the book hold."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(book.glob("*.md"))]
    for path in sorted(book.glob("*.ipynb")):
        texts += [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"]
    return sum(len(re.findall(r"^[:`]{3,}\{(?:figure|image)\} ", text, re.MULTILINE)) for text in texts)


def words(text: str) -> str:
    """Return text with plain spaces and quotes, to compare what was typeset with its source."""
    plain = unescape(text).replace("’", "'").replace("‘", "'").replace("–", "-").replace("‐", "-")
    return " ".join(re.sub(r"[`*$]", "", plain).split())


def text_faults(pages: Iterable[str], titles: Iterable[str]) -> list[str]:
    """Return what is wrong with the text of the pages."""
    pages = list(pages)
    whole = words(" ".join(pages))
    found = [f"the text lacks the title {title!r}" for title in titles if words(title) not in whole]
    found += [
        f"page {n} has {one[0]!r}" for n, page in enumerate(pages, 1) for one in UNRESOLVED.finditer(page)
    ]
    found += [f"page {n} is empty" for n, page in enumerate(pages, 1) if not page.strip()]
    if re.search("[ﬀ-ﬆ]", whole):
        found.append("ligatures cannot be searched")
    if "first" not in whole or "find" not in whole:
        found.append("common words with fi cannot be found")
    return found


def outline_faults(outline: Iterable[str], titles: Iterable[str]) -> list[str]:
    """Return the titles that the bookmarks lack."""
    entries = {re.sub(r"^(?:\d+|[A-Z]) ", "", words(entry)) for entry in outline}
    return [f"the outline lacks {title!r}" for title in titles if words(title) not in entries]


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def pdf_faults(pdf: Path, book: Path) -> tuple[list[str], str]:
    """Check a PDF against the sources; return the faults and one line of facts."""
    titles = chapter_titles(book)
    pages = _run("pdftotext", str(pdf), "-").split("\f")[:-1]
    xml = _run("pdftohtml", "-xml", "-i", "-q", "-stdout", str(pdf))
    outline = re.findall(r"<item[^>]*>(.*?)</item>", xml)
    pictures = sum(
        line.split()[2] == "image" for line in _run("pdfimages", "-list", str(pdf)).splitlines()[2:]
    )
    tex = (FOLDER / "_build" / "latex" / "book.tex").read_text(encoding="utf-8")
    drawings = len(re.findall(r"\\sphinxincludegraphics(?:\[[^\]]*\])?\{[^\n]*\.pdf\}", tex))
    size = pdf.stat().st_size

    found = text_faults(pages, titles) + outline_faults(outline, titles)
    if size > MOST_BYTES:
        found.append(f"it has {size} bytes, more than {MOST_BYTES}")
    if len(pages) not in PAGES:
        found.append(f"it has {len(pages)} pages, not {PAGES.start} to {PAGES.stop}")
    if pictures != n_pictures(book):
        found.append(f"it has {pictures} pictures, the notebooks have {n_pictures(book)}")
    if drawings != n_drawings(book):
        found.append(f"it has {drawings} drawings, the pages have {n_drawings(book)}")
    facts = f"{len(pages)} pages, {size / 1e6:.1f} MB, {len(titles)} chapters and pages in the outline"
    return found, f"{facts}, {pictures} pictures and {drawings} drawings"


def check() -> int:
    """Print what is wrong with the last PDF; return the exit status."""
    found, facts = pdf_faults(FOLDER / NAME, ROOT / "book")
    found = log_faults(read_log()) + found
    for fault in found:
        print(fault)
    print(f"{FOLDER / NAME}: {facts}; {len(found)} faults")
    return 1 if found else 0


def main(arguments: list[str] | None = None) -> int:
    """Build and check, or check."""
    parser = argparse.ArgumentParser(description="The PDF of the whole book.")
    parser.add_argument("command", nargs="?", choices=["build", "check"], default="build")
    options = parser.parse_args(arguments)
    missing = missing_packages()
    if missing:
        print("make pdf needs: apt-get install --no-install-recommends " + " ".join(missing))
        return 1
    if options.command == "build":
        start = time.monotonic()
        try:
            folder = build()
        except subprocess.CalledProcessError:
            return 1
        written = time.monotonic()
        typeset(folder)
        print(f"LaTeX written in {written - start:.0f} s, typeset in {time.monotonic() - written:.0f} s")
    return check()


if __name__ == "__main__":
    sys.exit(main())
