"""What every interactive figure is made of: one element with style, script, data and a table."""

import html
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from attncourse._checks import check_finite, check_floats

# Numbers that are given are kept to this many decimals: the page and the table then start from the same ones.
KEPT_PLACES = 3
# The explorers that need more style than what all share.
OWN_STYLES = {name: [f"{name}.css"] for name in ("sentence", "mask", "online-softmax")}


@dataclass(frozen=True, repr=False)
class Explorer:
    """An interactive figure: HTML for a page, plain text for everything else.

    Parameters
    ----------
    html : str
        One element that holds its data, style and script, and a table for readers without scripts.
    text : str
        What is shown, in words that are the same on every machine.
    """

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        """Return the plain text."""
        return self.text


@dataclass(frozen=True)
class Sheet:
    """A table that can be written as HTML and as plain text.

    Parameters
    ----------
    name : str
        What the table holds.
    corner : str
        The heading of the first column.
    columns : sequence of str
        The headings of the others.
    rows : sequence of (str, sequence of str)
        The name of each row and its cells.
    """

    name: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]

    def html(self) -> str:
        """Return a table in a part that can be folded."""
        rows = [
            (name, "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)) for name, cells in self.rows
        ]
        return table_html(self.name, self.corner, self.columns, rows)

    def text(self) -> str:
        """Return lines with aligned columns."""
        lines = [[self.corner, *self.columns], *([name, *cells] for name, cells in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                [
                    line[0].ljust(widths[0]),
                    *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
                ]
            )
            for line in lines
        )


def table_html(name: str, corner: str, columns: Sequence[str], rows: Sequence[tuple[str, str]]) -> str:
    """Return a table in a part that can be folded; the cells of its rows are HTML already."""
    heads = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    body = "\n".join(f'<tr><th scope="row">{html.escape(row)}</th>{cells}</tr>' for row, cells in rows)
    name = html.escape(name)
    return (
        f'<details data-table open="open"><summary>{name}</summary><div class="av-scroll" tabindex="0" '
        f'role="group" aria-label="{name}">\n<table><thead><tr><th scope="col">{html.escape(corner)}</th>'
        f"{heads}</tr></thead>\n<tbody>{body}</tbody></table></div></details>"
    )


def figure_html(
    figure: str, label: str, *, says: str, tables: Sequence[str], data: dict[str, Any], assets: Sequence[str]
) -> str:
    """Return the element of a figure: title, place for its live part, sentence, tables, data, style, script.

    Parameters
    ----------
    figure : str
        The name of the figure; its script starts every element of this name.
    label : str
        What is shown, in a few words.
    says : str
        A sentence on what is shown at first, for readers without scripts.
    tables : sequence of str
        Tables in HTML.
    data : dict
        What the script reads.
    assets : sequence of str
        Files of the package, with their ending: styles and scripts, in order.

    Returns
    -------
    str
        HTML that loads nothing.
    """
    # "<" could end the script element; in JSON it can be written as an escape.
    stored = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    style = "\n".join(asset_text(name) for name in assets if name.endswith(".css"))
    script = "\n".join(asset_text(name) for name in assets if name.endswith(".js"))
    label = html.escape(label)
    return (
        f'<div class="av" data-figure="{figure}" role="group" aria-label="{label}">'
        f"<style>\n{style}\n</style>\n"
        f'<p class="av-title">{label}</p>\n<div data-live hidden="hidden"></div>\n'
        f'<p data-says aria-live="polite">{html.escape(says)}</p>\n{"".join(tables)}\n'
        f'<script type="application/json">{stored}</script>\n'
        f"<script>\n(() => {{\n{script}\n}})();\n</script></div>"
    )


def explorer_of(figure: str, label: str, *, says: str, sheet: Sheet, data: dict[str, Any]) -> Explorer:
    """Return the explorer of one name, with the style and script of that name, and one table.

    Returns
    -------
    Explorer
        Its plain text is the label and the table.
    """
    parts = [
        "shell.css",
        "controls.css",
        *OWN_STYLES.get(figure, []),
        "shell.js",
        "arithmetic.js",
        "controls.js",
        f"{figure}.js",
    ]
    assets = [f"explorers/{part}" for part in parts]
    page = figure_html(figure, label, says=says, tables=[sheet.html()], data=data, assets=assets)
    return Explorer(page, f"{label}\n{sheet.text()}")


@cache
def asset_text(name: str) -> str:
    """Return a style or script of the package without comments, indents and some spaces."""
    text = files("attncourse").joinpath(name).read_text(encoding="utf-8")
    if name.endswith(".css"):
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        text = re.sub(r" *([{};]) *", r"\1", text)
        text = re.sub(r"([:,]) ", r"\1", text).replace(";}", "}")
    else:
        # operators and braces, which no sentence holds
        text = re.sub(r" (=>|===|&&|\|\||[?:]) ", r"\1", text)
        text = re.sub(r"(?<=\{) | (?=\})", "", text)
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def fixed_number(number: float, places: int) -> str:
    """Return a number with a fixed number of decimals; a tie goes up, whatever the last bit says."""
    steps = math.floor(abs(number) * 10**places + 0.5 + 1e-9)
    return ("−" if number < 0 and steps else "") + f"{steps / 10**places:.{places}f}"


def short_number(number: float) -> str:
    """Return a given number without trailing zeros."""
    return f"{number:.{KEPT_PLACES}f}".rstrip("0").rstrip(".").replace("-", "−")


def kept_numbers(name: str, array: Any, *, axes: int) -> np.ndarray:
    """Return numbers as float64, rounded to the decimals that a figure keeps.

    Raises
    ------
    TypeError
        If they are no floating-point array.
    ValueError
        If they have another number of axes, are empty, or not finite.
    """
    check_floats(name, array, min_axes=axes)
    check_finite(name, array)
    if len(array.shape) != axes:
        raise ValueError(f"{name} must have {axes} axes, got {name}.shape={tuple(array.shape)}")
    numbers = np.asarray(array.detach().cpu() if hasattr(array, "detach") else array, dtype=np.float64)
    return np.round(numbers, KEPT_PLACES) + 0.0  # no negative zero


def visible(token: str) -> str:
    """Return a token as it can be seen: "␣" for spaces at its ends, "⏎" and "⇥" for breaks and tabs.

    Parameters
    ----------
    token : str
        A token.

    Returns
    -------
    str
        The same, or what stands for it; "∅" for the empty string.
    """
    text = str(token).replace("\n", "⏎").replace("\t", "⇥")
    inner = text.strip(" ")
    before = len(text) - len(text.lstrip(" "))
    after = len(text) - len(inner) - before
    return "␣" * before + inner + "␣" * after or "∅"


def check_names(name: str, names: Sequence[str], count: int, what: str, *, at_most: int) -> list[str]:
    """Require one name for each of a few things, and return the names as they can be seen.

    Raises
    ------
    ValueError
        If their number differs, or is more than a phone has room for.
    """
    if len(names) != count:
        raise ValueError(f"{name} must name each of the {count} {what}, got {len(names)} names")
    if not 2 <= count <= at_most:
        raise ValueError(f"{name} must be 2 … {at_most}, got {count} names")
    return [visible(one) for one in names]
