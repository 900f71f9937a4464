"""Where lines may break: not before a mark, a percent sign or a comma, nor inside a short word of code."""

import html
import re

from docutils import nodes

SHORT_FORMULA = 20  # letters and signs; a longer one may need the break
SHORT_WORD = 20  # letters of a word of code that need not break
CLOSING = tuple(",.;:?!)")
PERCENT = re.compile(r"(?<=\d) %")
TEX_COMMAND, TEX_LAYOUT = re.compile(r"\\[A-Za-z]+"), re.compile(r"[{}_^\\\s]")
NAME_PARTS = re.compile(r"[._](?=\w)")


def keep_marks_with_their_words(app, doctree):
    """Put a space that does not break before every ✓, so that none begins a line."""
    for mark in doctree.findall(nodes.superscript):
        where = mark.parent.index(mark)
        before = mark.parent[where - 1] if where else None
        if "claim-ref" in mark["classes"] and isinstance(before, nodes.Text) and before[-1:] in (" ", "\n"):
            mark.parent[where - 1] = nodes.Text(before.rstrip() + "\N{NO-BREAK SPACE}")


def keep_percent_signs_with_their_numbers(app, doctree):
    """Put a space that does not break before every percent sign."""
    for text in list(doctree.findall(nodes.Text)):
        if " %" in text and not isinstance(text.parent, nodes.FixedTextElement | nodes.literal | nodes.math):
            where = next(place for place, node in enumerate(text.parent) if node is text)
            text.parent[where] = nodes.Text(PERCENT.sub("\N{NO-BREAK SPACE}%", text))


def letters(formula):
    """Return about how many letters and signs a formula shows."""
    return len(TEX_LAYOUT.sub("", TEX_COMMAND.sub("x", formula)))


def keep_marks_with_their_formulas(app, doctree):
    """Let no line begin with the comma or full stop that follows a short formula."""
    for formula in list(doctree.findall(nodes.math)):
        parent, where = formula.parent, formula.parent.index(formula)
        after = parent[where + 1] if where + 1 < len(parent) else None
        if (
            isinstance(after, nodes.Text)
            and after.startswith(CLOSING)
            and letters(formula.astext()) <= SHORT_FORMULA
        ):
            word = nodes.inline(classes=["math-word"])
            parent[where + 1] = nodes.Text(after[1:])  # by place: texts are equal if they say the same
            parent[where] = word
            word += [formula, nodes.Text(after[0])]


def mark_code_of_short_words(app, doctree):
    """Let the style sheet keep words of code whole where all of them are short."""
    for code in doctree.findall(nodes.literal):
        if all(len(word) <= SHORT_WORD for word in code.astext().split()):
            code["classes"].append("short-words")


class Html(str):
    """A text that a template must not escape again."""

    def __html__(self):
        """Return the text itself: how templates ask."""
        return self


def breaking(entries):
    """Return entries of the index whose names may break at their dots and underscores."""
    return [(Html(NAME_PARTS.sub(r"\g<0><wbr>", html.escape(name))), *rest) for name, *rest in entries]


def let_index_names_break(app, pagename, templatename, context, doctree):
    """Let long names in the index break where their parts end."""
    if pagename == "genindex":
        context["genindexentries"] = [
            (
                letter,
                [(name, (links, breaking(below), key)) for name, (links, below, key) in breaking(entries)],
            )
            for letter, entries in context["genindexentries"]
        ]


def setup(app):
    """Register everything above."""
    app.connect("doctree-read", keep_marks_with_their_words)
    app.connect("doctree-read", keep_percent_signs_with_their_numbers)
    app.connect("doctree-read", keep_marks_with_their_formulas)
    app.connect("doctree-read", mark_code_of_short_words)
    app.connect("html-page-context", let_index_names_break)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
