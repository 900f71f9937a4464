"""Turn the book's MyST text into Markdown for any notebook program, such as Colab.

Directives become quotes, folded parts and pictures, roles become words with links to the book's site. What
this module does not know is an error that names the cell: no directive may lie open before a reader.
"""

import posixpath
import re

from book_text import (
    BOOK,
    WITH_TARGET,
    blocks_of,
    citation,
    claim_pages,
    directive_of,
    glossary,
    is_directive,
    labels,
    myst_parser,
    site,
)
from markdown_it.token import Token

ADMONITIONS = ("note", "tip", "warning", "important", "caution", "seealso", "hint", "admonition")
# Commands that KaTeX brings and the MathJax of Colab and Jupyter does not.
KATEX_ONLY = {
    r"\R": r"\mathbb{R}",
    r"\N": r"\mathbb{N}",
    r"\Z": r"\mathbb{Z}",
    r"\argmax": r"\operatorname*{arg\,max}",
    r"\argmin": r"\operatorname*{arg\,min}",
}
COMMAND = re.compile(r"\\[A-Za-z]+")
# Code or a role, a formula, the target of a link.
PARTS = re.compile(
    r"(?:\{(?P<role>[\w:]+)\})?(?<!`)(?P<ticks>`+)(?!`)(?P<text>.+?)(?<!`)(?P=ticks)(?!`)"
    r"|(?P<tex>(?<![\\$])\$(?!\$)[^$]+\$)"
    r"|(?<=\])\((?P<target>[^()\s]+)\)"
)


class PlainTextError(ValueError):
    """A text holds what has no counterpart in plain Markdown."""


class PlainText:
    """Rewrites the texts of one notebook.

    Parameters
    ----------
    page : str
        The page of the book, without suffix, such as ``"exercises/focus-slopes"``.
    """

    def __init__(self, page: str) -> None:
        self.page, self.cell = page, "(none)"
        self._parser = myst_parser()

    def error(self, problem: str) -> PlainTextError:
        """Return an error that says where."""
        return PlainTextError(f"{self.page}, cell {self.cell!r}: {problem}")

    @property
    def address(self) -> str:
        """The page's public address."""
        return f"{site()}{self.page}.html"

    def markdown(self, source: str) -> str:
        """Return a text without anything that only MyST knows.

        Raises
        ------
        PlainTextError
            If it holds a directive, a role or a name that is not known.
        """
        parts = []
        for tokens, text in blocks_of(self._parser, source):
            first = tokens[0]
            if is_directive(first):
                parts.append(self._directive(first))
            elif first.type in ("math_block", "math_block_label"):
                parts.append(self._equation(first))
            elif first.type in ("fence", "code_block"):
                parts.append(text)
            elif first.type not in ("myst_target", "myst_line_comment", "myst_block_break"):
                if inside := [token for token in tokens if is_directive(token)]:
                    name = inside[0].info.split()[0]
                    raise self.error(f"the directive {name} stands inside a list or quote")
                parts.append(self.inline(text))
        return "\n\n".join(filter(None, parts))

    def inline(self, text: str) -> str:
        """Return running text with its roles and links resolved."""
        return PARTS.sub(self._part, text)

    def _part(self, found: re.Match) -> str:
        if found["tex"]:
            return self._tex(found["tex"])
        if found["target"]:
            return f"({self.target(found['target'])})"
        return self._role(found["role"], found["text"]) if found["role"] else found[0]

    def _tex(self, tex: str) -> str:
        return COMMAND.sub(lambda one: KATEX_ONLY.get(one[0], one[0]), tex)

    def target(self, href: str) -> str:
        """Return where a link leads: to the site, unless it leaves the book."""
        if re.match(r"[a-z]+:", href):
            return href
        path, _, anchor = href.partition("#")
        page = posixpath.normpath(posixpath.join(posixpath.dirname(self.page), path)) if path else self.page
        page = re.sub(r"\.(ipynb|md)$", "", page)
        return f"{site()}{page}.html" + (f"#{anchor}" if anchor else "")

    # --- blocks --------------------------------------------------------------------------------------

    def _equation(self, token: Token) -> str:
        tex = self._tex(token.content.strip("\n"))
        if label := labels().get(token.info):
            tex += f"\n\\tag{{{label.text.strip('()')}}}"
        return f"$$\n{tex}\n$$"

    def _directive(self, token: Token) -> str:
        name, title, options, body = directive_of(token)
        folded = "dropdown" in options.get("class", "").split()
        if name == "dropdown" or (name == "admonition" and folded):
            return self.folded(title, body)
        if name in ADMONITIONS:
            return self._admonition(title or name.capitalize(), body)
        if name == "exercise":
            return self._admonition(f"Exercise: {title}", body)
        if name == "solution":
            return self.folded("Solution", body)
        if name == "figure":
            return self._figure(title, options, body)
        raise self.error(f"the directive {{{name}}} is not known")

    def _admonition(self, title: str, body: str) -> str:
        head = f"**{self.inline(title)}**"
        text = self.markdown(body)
        if "<details>" in text:  # notebook programs do not fold inside a quote
            return f"{head}\n\n{text}"
        return "\n".join(f"> {line}".rstrip() for line in f"{head}\n\n{text}".split("\n"))

    def folded(self, title: str, body: str) -> str:
        """Return a part that is closed at first."""
        shown = self.inline(title)
        shown = re.sub(r"`([^`]+)`", lambda code: f"<code>{_escaped(code[1])}</code>", shown)
        shown = re.sub(r"(?<!\*)\*\*([^*]+)\*\*(?!\*)", r"<b>\1</b>", shown)
        shown = re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])", r"<em>\1</em>", shown)
        return f"<details>\n<summary>{shown}</summary>\n\n{self.markdown(body)}\n\n</details>"

    def _figure(self, path: str, options: dict[str, str], body: str) -> str:
        if not (BOOK / path).is_file() or not path.startswith("_assets/"):
            raise self.error(f"there is no picture {path} in book/_assets")
        address = f"{site()}_static/{path.removeprefix('_assets/')}"
        alt = re.sub(r"[\[\]]", "", options.get("alt", ""))
        return f"![{alt}]({address})\n\n{self.caption(options.get('name', ''), body)}"

    def caption(self, name: str, text: str) -> str:
        """Return the line below a figure, with its number."""
        number = f"**{labels()[name].text}.** " if name in labels() else ""
        return number + self.markdown(text)

    # --- roles ---------------------------------------------------------------------------------------

    def _role(self, role: str, content: str) -> str:
        explicit = WITH_TARGET.fullmatch(content)
        words, key = explicit.groups() if explicit else (content, content)
        if role == "math":
            return f"${self._tex(content)}$"
        if role == "term":
            if key.lower() not in glossary():
                raise self.error(f"the glossary has no term {key!r}")
            return words
        if role in ("cite", "cite:p", "cite:t"):
            try:
                return f"[{citation(role, content)}]({site()}bibliography.html)"
            except KeyError as missing:
                raise self.error(f"the bibliography has no {missing}") from None
        if role == "claim":
            if key not in claim_pages():
                raise self.error(f"no cell prints the claim {key!r}")
            return f"[✓]({site()}{claim_pages()[key]}.html#claim-{key})"
        if role in ("eq", "numref", "ref"):
            return self._reference(key, words if explicit else "")
        raise self.error(f"the role {{{role}}} is not known")

    def _reference(self, key: str, words: str) -> str:
        claim = key.removeprefix("claim-")
        if claim != key and claim in claim_pages():
            return f"[{words or claim}]({site()}{claim_pages()[claim]}.html#{key})"
        if key not in labels():
            raise self.error(f"nothing is labelled {key!r}")
        label = labels()[key]
        return f"[{words or label.text}]({site()}{label.page}.html#{label.anchor})"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
