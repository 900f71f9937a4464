"""A tiny book under the real configuration: planted faults fail its build, and its clean twin passes.

Also looks at what the clean twin became: claims and their links, the derived address, no request elsewhere.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
JUPYTER_BOOK = Path(sys.executable).with_name("jupyter-book")
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CLAIMS = """\
measured over 3 seeds
✓ 01-recall · attention recalls at distance 100: at least 0.95
✓ 01-flat [S04 holds with conditions] · gradient at distance 511: near 1.5 (within 0.1)
"""
NAME = "multihead-split-heads"  # an exercise of the bank, which the tiny book gets as one of chapter 1
ALT = {"mystnb": {"image": {"alt": "One red dot"}}}
XMLNS = 'xmlns="http://www.w3.org/2000/svg"'
BAD_DRAWINGS = {
    "scripted": f'<svg {XMLNS} viewBox="0 0 9 9"><script>1</script></svg>',
    "handling": f'<svg {XMLNS} viewBox="0 0 9 9" onload="1"/>',
    "leaning": f'<svg {XMLNS} viewBox="0 0 9 9"><use href="other.svg#a"/></svg>',
    "styled": f'<svg {XMLNS} viewBox="0 0 9 9"><style>@import "other.css";</style></svg>',
    "stiff": f'<svg {XMLNS} width="9" height="9"/>',
    "broken": f"<svg {XMLNS}><g></svg>",
}

pytestmark = pytest.mark.book


@dataclass(frozen=True)
class Site:
    """A built book: exit status, what the build said, and its folder."""

    status: int
    said: str
    html: Path

    def page(self, name):
        return (self.html / f"{name}.html").read_text(encoding="utf-8")


def picture(source, metadata):
    """Return a cell with a stored picture."""
    output = nbformat.v4.new_output("display_data", data={"image/png": PIXEL, "text/plain": ["<Figure>"]})
    return nbformat.v4.new_code_cell(source, metadata=metadata, outputs=[output], execution_count=1)


def stream(source, text):
    """Return a cell that printed a text."""
    output = nbformat.v4.new_output("stream", name="stdout", text=text)
    return nbformat.v4.new_code_cell(source, outputs=[output], execution_count=1)


def figure(drawing, name):
    """Return the Markdown of a figure that shows a drawing."""
    return f":::{{figure}} _assets/{drawing}.svg\n:name: {name}\n:alt: A drawing.\n\nWhat it says.\n:::\n\n"


def build(folder, chapter, page, *, exercise="", solutions="yes", drawings=None):
    """Build a book of one chapter and one page under the real configuration, as `make book` does."""
    book = folder / "book"
    for name in ("book/_ext", "book/_assets", "book/_extra", "book/_templates", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, drawing in (drawings or {}).items():
        (book / "_assets" / f"{name}.svg").write_text(drawing, "utf-8")
    for name in ("_config.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    toc = "format: jb-book\nroot: index\nchapters:\n- file: 01-a\n- file: page\n"
    if exercise:
        toc += f"- file: exercises\n  sections:\n  - file: exercises/{NAME}\n"
        (book / "exercises").mkdir()
        (book / "exercises" / f"{NAME}.md").write_text(exercise, "utf-8")
        (book / "exercises.md").write_text("# Exercises\n\n<!-- list of exercises -->\n", "utf-8")
    (book / "_toc.yml").write_text(toc, "utf-8")
    (book / "references.bib").write_text("", "utf-8")
    (book / "index.md").write_text("# A tiny book\n\nWith two pages.\n", "utf-8")
    (book / "page.md").write_text(page, "utf-8")
    notebook = nbformat.v4.new_notebook(cells=chapter)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, book / "01-a.ipynb")
    # an empty PATH: the build must find Node among the installed packages, not on the machine
    environment = os.environ | {"PATH": "", "NO_COLOR": "1", "COURSE_SOLUTIONS": solutions}
    command = [JUPYTER_BOOK, "build", book, "-W", "--keep-going", "-n"]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", env=environment, stdin=subprocess.DEVNULL, timeout=100
    )
    return Site(done.returncode, done.stdout + done.stderr, folder / "_build" / "html")


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Build the book without a fault."""
    chapter = [
        nbformat.v4.new_markdown_cell(
            "# A chapter\n\n## A heading\n\n"
            "It recalls at least 0.95 {claim}`01-recall`. See [the page](page.md#there)."
        ),
        stream("claim(...)", CLAIMS),
        picture("plt.show()", ALT),
    ]
    page = (
        "# A page\n\n## There\n\n"
        "Flat with $T = 1$, near 1.5 (within 0.1) {claim}`01-flat`; {ref}`claim-01-flat`; "
        "[a heading](01-a.ipynb#a-heading).\n\n"
        "So says `a`. And so says $b$.\n\n"
        "All 97 % in `--seed 3`, not `attncourse.multihead_attention` or `3 %`.\n\n"
        "$$ \\operatorname{softmax}(\\mathbf{q}^\\top \\mathbf{k}) \\in \\R $$ (eq-a)\n\nSee {eq}`eq-a`.\n\n"
        "In {numref}`fig-one` and {numref}`fig-two`:\n\n"
    )
    page += figure("attention", "fig-one") + figure("linked", "fig-two") + figure("linked", "fig-three")
    drawing = f'<svg {XMLNS} viewBox="0 0 9 9" width="9"><title>T</title><path id="a"/><use href="#a"/></svg>'
    return build(tmp_path_factory.mktemp("clean site"), chapter, page, drawings={"linked": drawing})


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """Build the book with every fault that its author could plant."""
    chapter = [
        nbformat.v4.new_markdown_cell("# A chapter\n\nIt recalls {claim}`01-nowhere`."),
        stream("claim(...)", CLAIMS),
        stream("claim(...) again", CLAIMS.splitlines()[1]),
        picture("no alt text", {}),
        picture("a file name as alt text", {"mystnb": {"image": {"alt": "figure-3.png"}}}),
    ]
    page = (
        "# A page\n\n[a page that is not there](nowhere.md), [a heading that is not](01-a.ipynb#nowhere), "
        "{ref}`no-such-label`, {eq}`eq-none`, {cite}`nobody1900`, {term}`no such term`.\n\n"
        "$$ \\frac{1}{ $$ (eq-a)\n\n$$ \\nosuchmacro $$ (eq-b)\n"
    )
    page += "\n" + "".join(figure(name, f"fig-{name}") for name in BAD_DRAWINGS)
    return build(tmp_path_factory.mktemp("faulty site"), chapter, page, drawings=BAD_DRAWINGS)


def test_clean_book_builds(clean):
    assert clean.status == 0, clean.said
    assert "WARNING" not in clean.said


def test_faulty_book_fails(faulty):
    assert faulty.status != 0


@pytest.mark.parametrize(
    ("place", "message", "times"),
    [
        ("01-a.ipynb", r"figure without alt text", 2),
        ("01-a.ipynb", r"no cell prints the claim '01-nowhere'", 1),
        ("01-a.ipynb", r"claim '01-recall' is printed twice", 1),
        ("page.md", r"KaTeX: ParseError.*\\frac", 1),
        ("page.md", r"KaTeX: unknown command \\nosuchmacro", 1),
        ("page.md", r"nowhere\.md", 1),
        ("page.md", r"local id not found.*nowhere", 1),
        ("page.md", r"undefined label: 'no-such-label'", 1),
        ("page.md", r"equation not found: eq-none", 1),
        ("page.md", r'could not find bibtex key "nobody1900"', 1),
        ("page.md", r"term not in glossary: 'no such term'", 1),
        ("page.md", r"diagram scripted\.svg: it holds <script>", 1),
        ("page.md", r"diagram handling\.svg: it holds a script, onload", 1),
        ("page.md", r"diagram leaning\.svg: it refers to something outside, other\.svg#a", 1),
        ("page.md", r"diagram styled\.svg: its style refers to something outside", 1),
        ("page.md", r"diagram stiff\.svg: it has no viewBox", 1),
        ("page.md", r"diagram broken\.svg: it cannot be parsed", 1),
    ],
)
def test_fault_is_reported(faulty, place, message, times):
    found = re.findall(rf"{re.escape(place)}\S*:.*(?:WARNING|ERROR): .*{message}", faulty.said)
    assert len(found) == times, faulty.said


def test_an_unsafe_drawing_stays_a_file(faulty):
    page = faulty.page("page")
    assert page.count("<img") >= len(BAD_DRAWINGS)
    assert "onload" not in page
    assert "_static/diagram.css" not in page


def test_drawings_stand_in_the_page_with_a_name_a_number_and_ids_of_their_own(clean):
    page = clean.page("page")
    figures = re.findall(r"<figure\b.*?</figure>", page, re.DOTALL)
    assert len(figures) == 3
    for number, shown in enumerate(figures, start=1):
        drawing = re.search(r"<svg\b[^>]*>", shown).group()
        assert 'role="img"' in drawing
        assert 'aria-label="A drawing."' in drawing
        assert "width" not in drawing
        assert f'<span class="caption-number">Fig. {number} </span>' in shown
        assert not re.search("<(title|desc|style|img)", shown)
    for name in ("fig-one", "fig-two"):
        assert re.search(rf'href="#{name}"><span class="std std-numref">Fig\. \d</span>', page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert re.findall(r'<use href="#([^"]+)"', page) == [one for one in ids if one.startswith("linked-")]
    assert 'href="_static/diagram.css' in page
    assert "diagram.css" not in clean.page("01-a")


def test_claims_have_addresses_and_show_all_their_parts(clean):
    page = clean.page("01-a")
    for name in ("01-recall", "01-flat"):
        assert len(re.findall(rf'<pre class="[^"]*\bclaim\b[^"]*" id="claim-{name}">', page)) == 1
    assert "measured over 3 seeds" in page
    assert '<span class="claim-source claim-holds-with-conditions">[S04 holds with conditions]</span>' in page
    text = re.sub(r"<[^>]+>", "", page)
    assert all(line in text for line in CLAIMS.splitlines())


@pytest.mark.parametrize(
    ("page", "target", "words"),
    [
        ("01-a", "#claim-01-recall", "attention recalls at distance 100: at least 0.95"),
        ("page", "01-a.html#claim-01-flat", "gradient at distance 511: near 1.5 (within 0.1)"),
    ],
)
def test_claim_role_leads_to_the_output(clean, page, target, words):
    link = re.search(r'<sup class="claim-ref"><a [^>]*>.*?</a></sup>', clean.page(page)).group()
    assert f'href="{target}"' in link
    assert f"checked by the cell that prints: {words}" in link
    assert "✓" in link


def test_marks_and_commas_do_not_begin_a_line(clean):
    page = clean.page("page")
    assert '(within 0.1)\N{NO-BREAK SPACE}<sup class="claim-ref">' in page
    assert re.search(
        r'<span class="math-word"><span class="math[^>]*>.*?</span>,</span> near 1.5', page, re.DOTALL
    )


def test_numbers_keep_their_percent_sign_and_short_words_of_code_stay_whole(clean):
    page = clean.page("page")
    assert "All 97\N{NO-BREAK SPACE}% in" in page
    found = re.findall(r'<code class="([^"]*)">(.*?)</code>', page)
    whole = {re.sub("<[^>]*>", "", text) for kind, text in found if "short-words" in kind.split()}
    other = {re.sub("<[^>]*>", "", text) for kind, text in found if "short-words" not in kind.split()}
    assert (whole, other) == ({"a", "--seed 3", "3 %"}, {"attncourse.multihead_attention"})


def test_claim_can_also_be_referred_to_by_ref(clean):
    assert clean.page("page").count('href="01-a.html#claim-01-flat"') == 2


def test_addresses_follow_from_the_repository(clean):
    repository = re.search(
        r"url: (https://github\.com/(\S+)/(\S+))", (ROOT / "_config.yml").read_text("utf-8")
    )
    address, owner, name = repository.groups()
    site = f"https://{owner}.github.io/{name}/"
    page = clean.page("01-a")
    assert f'<link rel="canonical" href="{site}01-a.html"' in page
    assert f'<meta property="og:url" content="{site}01-a.html"' in page
    assert f"https://mybinder.org/v2/gh/{owner}/{name}/main?urlpath=lab/tree/book/01-a.ipynb" in page
    assert f"https://colab.research.google.com/github/{owner}/{name}/blob/colab/01-a.ipynb" in page
    assert f"{address}/edit/main/book/01-a.ipynb" in page
    assert f"{site}01-a.html" in (clean.html / "sitemap.xml").read_text("utf-8")


def test_pages_ask_no_other_site(clean):
    for path in clean.html.rglob("*.html"):
        text = path.read_text("utf-8")
        loaded = re.findall(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]+)"', text)
        loaded += re.findall(r'<link\b(?![^>]*rel="canonical")[^>]*\bhref="([^"]+)"', text)
        assert not [url for url in loaded if re.match(r"(?:https?:)?//", url)], path.name


def test_formulas_are_rendered_by_the_build(clean):
    page = clean.page("page")
    assert 'class="katex-html"' in page
    assert "katex-error" not in page
    assert (clean.html / "katex" / "katex.min.css").exists()


# --- exercises, and a book without solutions ----------------------------------------------------------

SECRETS = (
    "gated words",
    "gated_code",
    "gated output",
    "cut.transpose",
    "within a token, feature",
    "01-inside",
)


@pytest.fixture(scope="module", params=["yes", "no"])
def exercised(request, tmp_path_factory):
    """Build a book with an exercise of the bank and one in the chapter, with and without solutions."""
    claim = CLAIMS.splitlines()[1].replace("01-recall", "01-inside")
    chapter = [
        nbformat.v4.new_markdown_cell(
            "# A chapter\n\nAt least 0.95 {claim}`01-inside`.\n\n## Exercises\n\n"
            ":::{exercise} A task (level 2)\n:label: ex-01-a\nDo.\n:::\n\n"
            ":::{solution-start} ex-01-a\n:class: dropdown\n:::\n\nThese gated words."
        ),
        stream("gated_code = 1", f"gated output\n{claim}\n"),
        nbformat.v4.new_markdown_cell(
            ":::{solution-end}\n:::\n\n:::{exercise} Another (level 1)\n:label: ex-01-b\nDo.\n:::\n\n"
            ":::{solution} ex-01-b\n:class: dropdown\nThese gated words too.\n:::\n\n"
            "## What follows\n\nThe end."
        ),
    ]
    text = (ROOT / "book" / "exercises" / f"{NAME}.md").read_text("utf-8")
    text = text.replace("chapter: 7", "chapter: 1").replace("07-multi-head-attention.ipynb", "01-a.ipynb")
    folder = tmp_path_factory.mktemp(f"exercises {request.param}")
    site = build(folder, chapter, "# A page\n\nSome text.\n", exercise=text, solutions=request.param)
    return site, request.param == "yes"


def test_solutions_are_there_or_leave_no_trace(exercised):
    site, shown = exercised
    assert site.status == 0, site.said
    kinds = {".html", ".js", ".md", ".ipynb", ".txt", ".json", ".inv"}
    files = {
        path: path.read_text("utf-8", "replace") for path in site.html.rglob("*") if path.suffix in kinds
    }
    for secret in SECRETS:
        found = [path.name for path, text in files.items() if re.sub(r"<[^>]+>", "", text).count(secret)]
        assert bool(found) is shown, (secret, found)
    assert "What follows" in site.page("01-a")
    assert "_sources" not in {path.name for path in site.html.iterdir()} or shown
    assert ("download-source-button" in site.page("page")) is shown


def test_an_exercise_has_its_page_its_notebook_and_its_places_in_the_list(exercised):
    site, shown = exercised
    page = site.page(f"exercises/{NAME}")
    assert all(f"Hint {number}" in page for number in (1, 2, 3))
    assert "# your code here" in page
    # Binder and Colab show the repository, solutions included
    assert (f"lab/tree/book/exercises/_notebooks/{NAME}.ipynb" in page) is shown
    assert (f"blob/colab/exercises/{NAME}.ipynb" in page) is shown
    notebook = nbformat.read(site.html / "exercises" / f"{NAME}.ipynb", as_version=4)
    assert "cut.transpose" not in "".join(cell.source for cell in notebook.cells)
    table = site.page("exercises")
    assert f'href="exercises/{NAME}.html"' in table
    assert 'href="01-a.html#ex-01-a"' in table
    assert 'href="01-a.html#ex-01-b"' in table
