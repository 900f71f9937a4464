"""What stands on a slide: blocks of HTML with the height they will take, and how they fill slides.

Heights are estimates in pixels of a slide of 1280 × 720; ``tools/slides/slides.js`` shrinks what is still too
high. The sizes here are those of ``tools/slides/slides.css``.
"""

import base64
import html
import math
import re
import struct
from dataclasses import dataclass, field

from slide_text import code_html, words_of

WIDTH, CAPACITY, GAP = 1170, 545, 16
# So much more may stand on a slide if that keeps a cell together, or a figure with its claims.
SHRINK, SQUEEZED_FIGURE = 1.1, 1.17
FIGURE_ROOM = 420  # the least that a figure needs, caption included
CODE_SIZES = (13, 20)
MAX_CODE_LINES, MAX_OUTPUT_LINES = 25, 24
NARROW, BESIDE = 2.05, 510  # a figure of this shape leaves room beside it, for claims of this height
MERGED = 320  # sections below this height share a slide
LETTER = 0.5  # width of a letter over its size; 0.6 in code
CLAIM = re.compile(
    r"✓ (?P<id>[a-z0-9-]+)(?: \[(?P<source>S\d+) (?P<verdict>[^\]]+)\])? · (?P<text>.+): (?P<bound>[^:]+)"
)


@dataclass
class Block:
    """A piece of a slide: its HTML, the height that it needs, and its kind."""

    html: str
    height: float
    kind: str
    beside: float = math.inf  # its height in a narrow column; for a figure 0 if it leaves room for one


@dataclass
class Slide:
    """A slide: where it stands, what it shows, what the speaker reads."""

    chapter: str
    section: str
    heading: str
    horizontal: bool = False
    kind: str = "usual"
    blocks: list[Block] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    continued: bool = False

    @property
    def used(self) -> float:
        """The height of what stands on it."""
        if self.kind == "side":
            return CAPACITY
        return sum(block.height + GAP for block in self.blocks)

    def has_room_beside(self, block: Block) -> bool:
        """Say whether a block can stand beside the figure."""
        figures = [one for one in self.blocks if one.kind == "figure"]
        others = [one for one in self.blocks if one.kind != "figure"]
        room = BESIDE - sum(one.beside for one in others if one.beside < math.inf)
        return (
            self.kind == "usual"
            and block.beside <= room
            and [one.beside for one in figures] == [0]
            and all(one.kind == "text" for one in others)
        )

    @property
    def html(self) -> str:
        """The slide without its notes."""
        body = "\n".join(block.html for block in self.blocks)
        level = "h1" if self.kind == "title" else "h2"
        long = ' class="long"' if self.continued or len(words_of(self.heading)) > 62 else ""
        again = ' <span class="again">(continued)</span>' if self.continued else ""
        kind = self.kind
        if kind == "usual" and all(block.kind == "text" for block in self.blocks):
            kind = "words"
        section = "" if words_of(self.section) == words_of(self.heading) else self.section
        crumb = " · ".join(filter(None, [self.chapter, section]))
        return (
            f'<div class="slide {kind}">\n<p class="crumb">{crumb}</p>\n'
            f'<{level}{long}>{self.heading}{again}</{level}>\n<div class="body">\n{body}\n</div>\n</div>'
        )


class Filler:
    """Puts blocks on slides, one after the other; a block that does not fit begins a new slide."""

    def __init__(self, chapter: str) -> None:
        self.slides: list[Slide] = []
        self._chapter = chapter

    @property
    def now(self) -> Slide:
        """The slide at work."""
        return self.slides[-1]

    def begin(self, heading: str, *, section: str, horizontal: bool = False, kind: str = "usual") -> None:
        """Begin a slide with a heading."""
        self.slides.append(Slide(self._chapter, section, heading, horizontal, kind))

    def put(self, *blocks: Block) -> None:
        """Put blocks on the slide, together if one slide can hold them."""
        if len(blocks) == 1 and self.now.has_room_beside(blocks[0]):
            self.now.kind = "side"
            self.now.blocks += blocks
            return
        below_figure = blocks[0].kind == "claims" and any(one.kind == "figure" for one in self.now.blocks)
        if below_figure and self.now.used + blocks[0].height < CAPACITY * SQUEEZED_FIGURE:
            self.now.blocks += blocks  # the picture gives way
            return
        total = sum(block.height + GAP for block in blocks)
        if self.now.blocks and self.now.used + total > CAPACITY * SHRINK and total <= CAPACITY * SHRINK:
            self._continue()
        for index, block in enumerate(blocks):
            # a sentence that leads in stays with what it leads to
            after = blocks[index + 1].height + GAP if block.kind == "text" and index + 1 < len(blocks) else 0
            if self.now.blocks and self.now.used + block.height + after > CAPACITY * SHRINK:
                self._continue()
            self.now.blocks.append(block)

    def put_if_room(self, block: Block) -> bool:
        """Put a block on the slide if it fits; say whether it did."""
        fits = self.now.used + block.height <= CAPACITY
        if fits:
            self.now.blocks.append(block)
        return fits

    def merge_small(self) -> None:
        """Let a section that is short stand below the short one in front of it."""
        merged = self.slides[:1]
        for slide in self.slides[1:]:
            last = merged[-1]
            alike = slide.kind == last.kind == "usual" and not (slide.horizontal or slide.continued)
            pictures = any(block.kind in ("figure", "widget") for block in last.blocks + slide.blocks)
            height = last.used + slide.used + 60
            if alike and not pictures and max(last.used, slide.used) < MERGED and height < CAPACITY:
                last.blocks += [Block(f"<h3>{slide.heading}</h3>", 44, "heading"), *slide.blocks]
                last.notes += slide.notes
            else:
                merged.append(slide)
        self.slides = merged

    def _continue(self) -> None:
        last, again = self.now, self.now.kind in ("usual", "side")
        self.slides.append(Slide(self._chapter, last.section, last.heading, continued=again))


# --- blocks ------------------------------------------------------------------------------------------


def text_height(text: str, size: float, width: float = WIDTH) -> float:
    """Return the height of a paragraph."""
    return max(1, math.ceil(len(words_of(text)) * size * LETTER / width)) * size * 1.35


def paragraph(text: str, style: str, size: float) -> Block:
    """Return a paragraph of a style."""
    return Block(f'<p class="{style}">{text}</p>', text_height(text, size), "text")


def takeaway(text: str) -> Block:
    """Return the sentence after a figure, which appears when the speaker asks for it."""
    return Block(
        f'<p class="so fragment">{text}</p>', text_height(text, 25), "text", text_height(text, 22, 395) + GAP
    )


def equation(text: str, tex: str) -> Block:
    """Return a display equation."""
    rows = tex.count(r"\\") + 1
    tall = 78 if re.search(r"\\(d?frac|sum|prod|int|left|begin\{[bpc])", tex) else 48
    return Block(text, rows * tall + 12, "equation")


def items_list(items: list[str], *, start: int | None = None) -> Block:
    """Return a list; ``start`` is the first number of a numbered one."""
    tag, number = ("ul", "") if start is None else ("ol", f' start="{start}"')
    inner = "\n".join(f"<li>{item}</li>" for item in items)
    return Block(f"<{tag}{number}>\n{inner}\n</{tag}>", sum(item_height(item) for item in items), "list")


def item_height(item: str) -> float:
    """Return the height of an entry of a list."""
    return text_height(item, 25, WIDTH - 40) + 9


def table(head: str, rows: list[str]) -> Block:
    """Return a table with the head and rows given."""
    size = 21 if len(rows) <= 9 else 19
    inner = f"<thead>{head}</thead>\n<tbody>{''.join(rows)}</tbody>"
    height = sum(row_height(row, [head, *rows], size) for row in [head, *rows])
    return Block(f'<div class="scroll"><table style="--size: {size}">{inner}</table></div>', height, "table")


def row_height(row: str, rows: list[str], size: float = 21) -> float:
    """Return the height of a row, as if each column were as wide as its longest cell asks for."""
    widest = [max(column) for column in zip(*map(_cell_lengths, rows), strict=True)]
    own = _cell_lengths(row)
    per_line = WIDTH / (size * LETTER) * 0.92
    scale = min(1.0, per_line / sum(widest))
    lines = max(math.ceil(mine / max(8, wide * scale)) for mine, wide in zip(own, widest, strict=True))
    return lines * size * 1.3 + 12


def _cell_lengths(row: str) -> list[int]:
    return [len(words_of(cell)) + 3 for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)]


def code_size(lines: list[str]) -> float:
    """Return the size at which lines of code fit on a slide."""
    longest = max((len(line) for line in lines), default=1) or 1
    fits = min((WIDTH - 30) / (0.602 * longest), (CAPACITY - 40) / (1.38 * len(lines)))
    return max(CODE_SIZES[0], min(CODE_SIZES[1], math.floor(fits * 2) / 2))


def code(source: str, title: str = "", *, squeeze: float = 1) -> Block:
    """Return a listing, ``squeeze`` times as large as would fit on a slide."""
    lines = source.split("\n")
    size = max(CODE_SIZES[0], code_size(lines) * squeeze)
    head = f'<p class="label">{title}</p>' if title else ""
    return Block(
        f'{head}<pre class="code" style="--size: {size}"><code>{code_html(source)}</code></pre>',
        len(lines) * size * 1.38 + 26 + (34 if title else 0),
        "code",
    )


def even_parts(heights: list[float], room: float) -> list[slice]:
    """Cut a sequence of things with heights into parts that fit into ``room``, about equally high."""
    n_parts = max(1, math.ceil(sum(heights) / room))
    goal, parts, begin, height = sum(heights) / n_parts, [], 0, 0.0
    for index, one in enumerate(heights):
        if index > begin and (height + one > room or height + one / 2 > goal):
            parts.append(slice(begin, index))
            begin, height = index, 0.0
        height += one
    return [*parts, slice(begin, None)]


def code_parts(source: str) -> list[str]:
    """Cut a long listing at blank lines into parts that fit on a slide."""
    paragraphs = re.split(r"\n\n+", source.strip("\n"))
    parts = even_parts([one.count("\n") + 2 for one in paragraphs], MAX_CODE_LINES + 1)
    return [piece for part in parts for piece in _statements("\n\n".join(paragraphs[part]))]


def _statements(source: str) -> list[str]:
    """Cut a listing that is still too long where a statement of the function begins."""
    lines = source.split("\n")
    if len(lines) <= MAX_CODE_LINES + 2:
        return [source]
    starts = [0, *(n for n, line in enumerate(lines) if n > 1 and re.match(r" {4}[^\s)\]}*]", line))]
    # parameters in their own lines are indented in the same way: the body begins behind the docstring
    body = next((n for n, line in enumerate(lines) if line.rstrip().endswith('"""')), 1)
    starts = [n for n in starts if n == 0 or n > body]
    groups = [lines[low:high] for low, high in zip(starts, [*starts[1:], None], strict=True)]
    parts = even_parts([len(group) for group in groups], MAX_CODE_LINES)
    return ["\n".join(line for group in groups[part] for line in group).strip("\n") for part in parts]


def output(text: str) -> Block:
    """Return what a cell printed; very long lines are broken."""
    lines = text.split("\n")
    size = min(18.0, max(15.0, code_size(lines)))
    broken = sum(max(1, math.ceil(0.602 * size * len(line) / (WIDTH - 40))) for line in lines)
    shown = min(broken, MAX_OUTPUT_LINES)
    return Block(
        f'<pre class="output" style="--size: {size}"><samp>{html.escape(text)}</samp></pre>',
        shown * size * 1.38 + 22,
        "output",
    )


def claims(found: list[re.Match]) -> list[Block]:
    """Return claims as lists of what was checked, with the bound of each; a list fits on a slide."""
    heights = [_claim_height(one) for one in found]
    return [_claim_list(found[part], sum(heights[part])) for part in even_parts(heights, CAPACITY - 10)]


def _claim_height(one: re.Match) -> float:
    verdict = " source claim S00: " + one["verdict"] if one["source"] else ""
    return text_height(one["text"] + verdict, 21, WIDTH - 290) + 13


def _claim_list(found: list[re.Match], height: float) -> Block:
    rows = []
    for one in found:
        verdict = ""
        if one["source"]:
            style = "bad" if one["verdict"] == "false" else "partly" if " " in one["verdict"] else "good"
            verdict = f' <span class="verdict {style}">source claim {one["source"]}: {one["verdict"]}</span>'
        rows.append(
            f'<li id="claim-{one["id"]}"><span class="tick">✓</span>'
            f"<span>{html.escape(one['text'])}{verdict}</span><b>{html.escape(one['bound'])}</b></li>"
        )
    head = '<p class="claims-head"><span>measured</span><span>bound that is checked</span></p>'
    inner = "\n".join(rows)
    narrow = sum(text_height(one["text"] + (one["verdict"] or ""), 21, 385) + 38 for one in found)
    listed = f'<ul class="claims">\n{inner}\n</ul>'
    return Block(f'<div class="measured">{head}{listed}</div>', height + 26, "claims", narrow)


def figure(image: str, alt: str, caption: str) -> Block:
    """Return a picture with its text alternative and caption."""
    beside = math.inf
    if image.startswith("data:image/png;base64,"):
        width, height = struct.unpack(">II", base64.b64decode(image.partition(",")[2][:32])[16:24])
        beside = 0 if width / height < NARROW else math.inf
    return Block(
        f'<figure><img src="{image}" alt="{html.escape(alt)}"><figcaption>{caption}</figcaption></figure>',
        FIGURE_ROOM,
        "figure",
        beside,
    )


def definitions(entries: list[tuple[str, str]]) -> Block:
    """Return terms with what the glossary says about them."""
    inner = "\n".join(f"<div><dt>{term}</dt><dd>{meaning}</dd></div>" for term, meaning in entries)
    height = sum(text_height(f"{term}: {meaning}", 22, WIDTH - 60) + 10 for term, meaning in entries)
    return Block(f'<dl class="terms">\n{inner}\n</dl>', height + 20, "definitions")
