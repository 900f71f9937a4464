"""Derive the slides of a chapter from the structure of its notebook.

Each heading begins a slide: ``##`` to the right, ``###`` downwards. What can be read at a glance stands on
it: the question or the first sentence of a section, the sentence that leads into an equation or a list,
equations, lists, tables, figures with the sentence after them, new words, short code, what `show_source`
shows, printed lines, claims, and the quiz. All other prose becomes notes for the speaker. Solutions of
exercises stay out.
"""

import base64
import html
import re
from pathlib import Path

from book_text import BOOK, first_uses, glossary, labels
from markdown_it.token import Token
from slide_blocks import (
    CAPACITY,
    CLAIM,
    GAP,
    Block,
    Filler,
    Slide,
    claims,
    code,
    code_parts,
    definitions,
    equation,
    even_parts,
    figure,
    item_height,
    items_list,
    output,
    paragraph,
    row_height,
    table,
    takeaway,
    text_height,
)
from slide_code import pieces_of_code, shown_names, split_printed
from slide_text import MAX_LEAD, Text, not_too_short, words_of

MAX_ITEM, MAX_TOPICS, WIDTH_OF_BOX = 190, 5, 1110
ADMONITIONS = {"note": "", "tip": "Tip", "warning": "Take care", "important": "Important", "admonition": ""}
VERDICT = re.compile(r"\*\*(Yes|No)\.\*\*\s*")
FIRST_NOTE = "Arrow keys or space lead on, S opens this view, O shows all slides, F fills the screen."


class Planner:
    """Makes the slides of one notebook."""

    def __init__(self, path: Path, text: Text) -> None:
        number = int(path.name[:2])
        self._text, self._fill = text, Filler(f"Chapter {number}")
        self._section, self._known = "", set()
        self._leadin, self._after_figure, self._in_solution, self._silent = "", False, False, False
        self._lead_open, self._topics = False, []
        self._held: list[re.Match] = []  # claims that wait for the figure behind them

    def plan(self, notebook: dict) -> list[Slide]:
        """Return the slides of a stored notebook."""
        for cell in notebook["cells"]:
            self._text.cell = cell["id"]
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                blocks = list(self._text.blocks(source))
                for index, (tokens, text) in enumerate(blocks):
                    following = blocks[index + 1][0][0].type if index + 1 < len(blocks) else ""
                    self._markdown(tokens, text, following)
            elif not self._in_solution:
                self._code_cell(cell, source)
        self._end_section()
        self._fill.merge_small()
        return self._fill.slides

    # --- Markdown ------------------------------------------------------------------------------------

    def _markdown(self, tokens: list[Token], source: str, following: str) -> None:
        """Take one block of a Markdown cell."""
        first, kind = tokens[0], tokens[0].type
        directive = kind in ("colon_fence", "fence") and first.info.startswith("{")
        if not (kind == "paragraph_open" and self._after_figure):
            self._release()
        if self._in_solution:
            self._in_solution = not (directive and first.info.startswith("{solution-end}"))
        elif kind == "heading_open":
            self._heading(int(first.tag[1]), tokens[1].content)
        elif kind == "paragraph_open":
            self._paragraph(source.split("\n"), following)
            self._release()
        elif directive:
            self._directive(first)
        elif kind in ("math_block", "math_block_label"):
            self._visible(equation(self._shown(source), first.content))
            self._note(source)
        elif kind in ("bullet_list_open", "ordered_list_open"):
            self._list(tokens, source)
        elif kind == "table_open":
            self._table(source)
        elif kind == "fence":
            show = code if first.info == "python" else output
            self._visible(show(first.content.rstrip("\n")))
        elif kind not in ("myst_target", "myst_line_comment", "hr"):
            self._text.refuse(first)

    def _shown(self, source: str, *, inline: bool = False) -> str:
        """Return the HTML for a slide."""
        return self._text.html(source, inline=inline)

    def _note(self, source: str) -> None:
        """Give a text to the speaker."""
        self._fill.now.notes.append(self._text.html(source, plain=True))

    def _heading(self, level: int, source: str) -> None:
        """Begin a section."""
        self._end_section()
        heading = self._shown(source, inline=True)
        if level == 1:
            self._fill.begin(heading, section="", horizontal=True, kind="title")
            self._section = ""
        elif level == 2:
            self._section = heading
            self._fill.begin(heading, section=heading, horizontal=True)
        else:
            self._fill.begin(heading, section=self._section)
        self._lead_open, self._silent = True, False

    def _end_section(self) -> None:
        """Show the first sentences of the paragraphs if a section has nothing else to show."""
        self._release()
        if self._fill.slides and not any(block.kind != "text" for block in self._fill.now.blocks):
            topics = [line for line in self._topics if len(words_of(line)) <= MAX_ITEM][:MAX_TOPICS]
            if len(topics) > 1 and not self._fill.now.continued:
                self._fill.put(items_list([self._shown(line, inline=True) for line in topics]))
        self._leadin, self._after_figure, self._topics = "", False, []

    def _paragraph(self, lines: list[str], following: str) -> None:
        """Give a paragraph to the speaker; show of it what a slide needs."""
        self._note("\n".join(lines))
        terms = [
            term
            for term in dict.fromkeys(self._text.terms)
            if term not in self._known and first_uses().get(term) == self._text.name
        ]
        if self._silent:
            return
        leads_in = not re.search(r"[.?!)](\s*\{claim\}`[^`]*`)*$", lines[-1])
        leads_in = leads_in or (following.startswith("math_block") and lines[-1].endswith(":"))
        self._leadin = lines[-1] if leads_in and len(words_of(lines[-1])) <= MAX_LEAD else ""
        candidates = lines[:-1] if self._leadin else lines
        if self._lead_open:
            self._lead(candidates)
        elif self._after_figure and candidates and len(words_of(candidates[0])) <= MAX_LEAD:
            line = self._shown(not_too_short(candidates, 0), inline=True)
            self._fill.now.blocks.append(takeaway(line))
        elif candidates:
            self._topics.append(candidates[0])
        self._after_figure = False
        if terms and self._fill.now.kind != "title":
            self._define(terms)

    def _lead(self, lines: list[str]) -> None:
        """Show the question of a section, or else its first sentence, under the heading."""
        self._lead_open = False
        every = range(len(lines))
        questions = [index for index in every if lines[index].endswith("?")]
        for index in every if self._fill.now.kind == "title" else [*questions, *every]:
            if len(words_of(lines[index])) <= MAX_LEAD:
                shown = self._shown(not_too_short(lines, index), inline=True)
                self._fill.put(paragraph(shown, "lead", 29))
                return

    def _define(self, terms: list[str]) -> None:
        """Show what the glossary says about words that are new."""
        self._known.update(terms)
        # shown or read out: without formulas, so that one rendering serves both
        entries = [(term, self._text.html(glossary()[term], plain=True, inline=True)) for term in terms]
        if not self._fill.put_if_room(definitions(entries)):
            self._fill.now.notes += [f"<p><b>{term}</b>: {meaning}</p>" for term, meaning in entries]

    def _release(self) -> None:
        """Show the claims that were held."""
        held, self._held = self._held, []
        if held:
            self._leadin = ""  # it led to the code that measures
            for block in claims(held):
                self._visible(block)

    def _visible(self, *blocks: Block) -> None:
        """Put blocks on a slide, the sentence that leads into them above if there is room for both."""
        self._lead_open = self._lead_open and all(block.kind == "equation" for block in blocks)
        self._after_figure = False
        if self._leadin:
            above = paragraph(self._shown(self._leadin, inline=True), "leadin", 25)
            if above.height + blocks[0].height < CAPACITY:
                blocks = (above, *blocks)
            self._leadin = ""
        self._fill.put(*blocks)

    def _list(self, tokens: list[Token], source: str) -> None:
        """Show a list, of long entries the first sentence; cut it where a slide is full."""
        lines = source.split("\n")
        begin = tokens[0].map[0]
        spans = [token.map for token in tokens if token.type == "list_item_open" and token.level == 1]
        items = []
        for low, high in spans:
            entry = re.sub(r"^(?:[-*+]|\d+[.)])\s+", "", "\n".join(lines[low - begin : high - begin]).strip())
            sentences = [line.strip() for line in entry.split("\n\n")[0].split("\n")]
            whole = " ".join(sentences)
            shown = whole if len(words_of(whole)) <= MAX_ITEM else sentences[0]
            items.append(self._shown(shown, inline=True))
        start = int(tokens[0].attrs.get("start", 1)) if tokens[0].tag == "ol" else None
        for part in even_parts([item_height(item) for item in items], CAPACITY - 50):
            self._visible(items_list(items[part], start=start and start + part.start))
        self._note(source)

    def _table(self, source: str) -> None:
        """Show a table, cut where a slide is full."""
        rows = re.findall(r"<tr>.*?</tr>", self._shown(source), re.DOTALL)
        head, rows = rows[0], rows[1:]
        for part in even_parts([row_height(row, [head, *rows]) for row in rows], CAPACITY - 60):
            self._visible(table(head, rows[part]))

    # --- directives ----------------------------------------------------------------------------------

    def _directive(self, token: Token) -> None:
        """Show a directive.

        Raises
        ------
        SlideError
            If the directive is not known.
        """
        name, title, options, body = self._text.directive(token)
        if name == "admonition" and "quiz" in options.get("class", ""):
            self._question(title, body)
        elif name in ADMONITIONS:
            self._admonition(title or ADMONITIONS[name], body)
        elif name == "exercise":
            self._exercise(title, body)
        elif name == "figure":
            self._figure_directive(title, options, body)
        elif name == "solution-start":
            self._in_solution = True
        elif name not in ("solution", "solution-end"):
            self._text.refuse(token)

    def _admonition(self, title: str, body: str) -> None:
        """Show the first sentences of a note in a box, or all of it if it is short."""
        parts, whole = [], len(words_of(body)) <= 420
        for tokens, source in self._text.blocks(body):
            lines = source.split("\n")
            if tokens[0].type == "paragraph_open":
                # of "**What you will build:** …" every part counts
                marked = [line for line in lines if line.startswith("**")]
                parts += [source] if whole else (marked or lines[:1])
            elif tokens[0].type.startswith(("bullet_list", "ordered_list", "math_block")):
                parts.append(source)
            else:
                self._text.refuse(tokens[0])
        inner = "\n".join(self._shown(part) for part in parts)
        head = f'<p class="label">{html.escape(title)}</p>' if title else ""
        height = sum(text_height(part, 24, WIDTH_OF_BOX) + 14 for part in parts) + 40 + (34 if head else 0)
        self._visible(Block(f'<div class="box">{head}{inner}</div>', height, "box"))
        self._note(body)

    def _exercise(self, title: str, body: str) -> None:
        """Show an exercise on a slide of its own."""
        heading = f"Exercise: {self._shown(title, inline=True)}"
        if all(block.kind == "text" for block in self._fill.now.blocks):  # nothing but an introduction
            self._fill.now.heading, self._fill.now.blocks = heading, []
        else:
            self._fill.begin(heading, section=self._section)
        inner = self._shown(body)
        self._visible(Block(f'<div class="exercise">{inner}</div>', text_height(body, 24) + 90, "exercise"))
        self._fill.now.notes.append("<p>The solution is in the chapter.</p>")

    def _figure_directive(self, target: str, options: dict[str, str], body: str) -> None:
        """Show a picture that a file of the book holds.

        Raises
        ------
        SlideError
            If it has no text alternative, or there is no such file.
        """
        path = BOOK / target
        if not options.get("alt"):
            raise self._text.error("a picture needs a text alternative, :alt:")
        if not path.is_file():
            raise self._text.error(f"there is no file {target}")
        kind = {".svg": "svg+xml", ".png": "png"}[path.suffix]
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        self._picture(f"data:image/{kind};base64,{data}", options["alt"], body, options.get("name", ""))

    def _question(self, title: str, body: str) -> None:
        """Show a question with its options, and on the next slide the answer."""
        number, _, question = title.partition(" ")
        options = []
        for tokens, _ in self._text.blocks(body):
            name, option, _, why = self._text.directive(tokens[0])
            verdict = VERDICT.match(why)
            if name != "dropdown" or verdict is None:
                raise self._text.error(f"question {number} must hold dropdowns that begin with Yes or No")
            options.append((option, verdict[1] == "Yes", why[verdict.end() :]))
        if sum(right for _, right, _ in options) != 1:
            raise self._text.error(f"question {number} must have one right option")
        number = number.rstrip(".")
        asked = self._shown(question, inline=True)
        if not self._silent:  # the slide of the section's heading becomes that of the first question
            self._silent = True
            self._fill.now.heading, self._fill.now.kind, self._fill.now.blocks = asked, "question", []
        else:
            self._fill.begin(asked, section=self._section, kind="question")
        shown = "".join(f"<li>{self._shown(option, inline=True)}</li>" for option, *_ in options)
        self._fill.put(Block(f'<ol class="options">{shown}</ol>', 400, "options"))
        self._fill.now.notes = ["<p>Let everybody choose by show of hands before the next slide answers.</p>"]
        letter = "ABCDEFGH"[[right for _, right, _ in options].index(True)]
        self._fill.begin(f"Question {number}: {letter} is right", section=self._section, kind="answer")
        self._fill.put(paragraph(asked, "asked", 22))
        shown = "".join(
            f'<li class="{"right" if right else "wrong"}"><b>{"✓" if right else "✗"} '
            f"{self._shown(option, inline=True)}</b> {self._shown(' '.join(why.split()), inline=True)}</li>"
            for option, right, why in options
        )
        self._fill.put(Block(f'<ol class="options">{shown}</ol>', 400, "options"))

    # --- code cells ----------------------------------------------------------------------------------

    def _code_cell(self, cell: dict, source: str) -> None:
        """Show the code that must be read, and what it printed or drew."""
        tags = cell["metadata"].get("tags", [])
        outputs = [] if "hide-output" in tags else cell["outputs"]
        texts = [line for one in outputs for line in "".join(one.get("text", "")).splitlines()]
        # The output says more than the code behind it: claims, pictures, players.
        enough = any(map(CLAIM.fullmatch, texts)) or any(
            mime in one.get("data", {}) for one in outputs for mime in ("image/png", "text/html")
        )
        pieces = [] if "hide-input" in tags or enough else pieces_of_code(source)
        if not texts and not any(re.search(r"^(def|class) ", piece, re.MULTILINE) for piece in pieces):
            pieces = []  # settings, or a check that prints nothing
        blocks: list[Block] = []
        unexplained = not pieces and "hide-input" not in tags
        titles = [f"The version we keep: <code>{html.escape(name)}</code>" for name in shown_names(source)]
        pictures = []
        for one in outputs:
            data = {mime: "".join(value) for mime, value in one.get("data", {}).items()}
            if one["output_type"] == "stream":
                text, found = split_printed("".join(one["text"]))
                self._held += found
                if text and not (unexplained and text.count("\n") < 2):
                    blocks.append(output(text))
            elif "image/png" in data:
                pictures.append("data:image/png;base64," + "".join(data["image/png"].split()))
            elif "text/markdown" in data:
                listing = re.fullmatch(r"(`{3,})python\n(.*)\n\1\n?", data["text/markdown"], re.DOTALL)
                if listing is None:
                    raise self._text.error("an output in Markdown must be a listing")
                self._put_code(pieces, blocks)
                pieces, blocks = [], []
                self._listing(listing[2], titles.pop(0) if titles else "")
            elif "text/html" in data:
                height = 120 if "<audio" in data["text/html"] else 520
                blocks.append(Block(f'<div class="widget">{data["text/html"]}</div>', height, "widget"))
            else:
                raise self._text.error(f"an output of the types {sorted(data)} cannot be shown on a slide")
        self._put_code(pieces, blocks)
        if enough and self._held:
            count = source.count("\n") + 1
            self._fill.now.notes.append(
                f"<p>The {count} lines of code that measured this are in the chapter.</p>"
            )
        described = cell["metadata"].get("mystnb", {})
        for picture in pictures:
            alt, shown = described.get("image", {}).get("alt"), described.get("figure", {})
            if not alt:
                raise self._text.error("a picture needs a text alternative, mystnb.image.alt")
            self._picture(picture, alt, shown.get("caption", ""), shown.get("name", ""))

    def _put_code(self, pieces: list[str], outputs: list[Block]) -> None:
        """Put what belongs to one cell on slides, the code smaller if that brings all of it on one."""
        for squeeze in (1, 0.88, 0.78, 1):
            blocks = [code(piece, squeeze=squeeze) for piece in pieces] + outputs
            if sum(block.height + GAP for block in blocks) <= CAPACITY:
                break
        if blocks:
            self._visible(*blocks)

    def _listing(self, source: str, title: str) -> None:
        """Show a listing, cut at blank lines if it is long."""
        parts = code_parts(source)
        for index, part in enumerate(parts):
            count = f" ({index + 1} of {len(parts)})" if len(parts) > 1 else ""
            self._visible(code(part, title + count if title else ""))

    def _picture(self, image: str, alt: str, caption: str, name: str) -> None:
        """Show a picture, with room for one sentence of what it shows."""
        number = f"<b>{labels()[name].text}.</b> " if name in labels() else ""
        self._visible(figure(image, alt, number + self._shown(caption, inline=True)))
        self._after_figure = True
