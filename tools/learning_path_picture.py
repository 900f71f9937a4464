"""Draw which chapter needs which: a lower triangle, like the mask of a reader who turns pages forwards."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

LABELS, CELL, TOP, BOTTOM, TEXT = 156, 13, 28, 6, 11.5  # about as wide as a phone's column; fonts differ
PAD = 2


def needed_through(needs: Mapping[int, Iterable[int]]) -> dict[int, set[int]]:
    """Return for every chapter all chapters below it, those of its needs included."""
    found: dict[int, set[int]] = {}
    for number in sorted(needs):
        found[number] = set(needs[number]).union(*(found[one] for one in needs[number]))
    return found


def description(needs: Mapping[int, Iterable[int]]) -> str:
    """Return the picture in words."""
    lines = []
    for number in sorted(needs):
        before = sorted(needs[number])
        words = ", ".join(map(str, before)) if before else "no other chapter"
        lines.append(f"Chapter {number} needs {words}.")
    return " ".join(lines)


def picture(
    names: Mapping[int, str],
    needs: Mapping[int, Iterable[int]],
    parts: Sequence[tuple[str, tuple[int, ...]]],
) -> str:
    """Return the SVG: a row and a column for each chapter, a square for each need.

    Parameters
    ----------
    names : mapping
        A short name by chapter.
    needs : mapping
        The chapters that each chapter names under "What you need".
    parts : sequence
        Caption and chapters of each part; a line is drawn between parts.
    """
    numbers = sorted(names)
    below = needed_through(needs)
    width, height = LABELS + CELL * len(numbers) + 3, TOP + CELL * len(numbers) + BOTTOM

    def middle(position: int) -> float:
        return CELL * position + CELL / 2

    drawn = []
    for column, number in enumerate(numbers):
        x = LABELS + middle(column)
        y = TOP - 6 - 9 * (number > 9 and number % 2)  # neighbours of two digits would read as one number
        drawn.append(f'<text x="{x:g}" y="{y}" text-anchor="middle" font-size="9">{number}</text>')
    for row, number in enumerate(numbers):
        y = TOP + middle(row)
        label = escape(f"{number}  {names[number]}")
        drawn.append(f'<text x="{LABELS - 6}" y="{y + 4:g}" text-anchor="end">{label}</text>')
        for column, other in enumerate(numbers[:row]):
            x, top = LABELS + CELL * column, TOP + CELL * row
            size = CELL - 2 * PAD
            if other in needs[number]:
                drawn.append(f'<rect x="{x + PAD}" y="{top + PAD}" width="{size}" height="{size}" rx="1.5"/>')
            elif other in below[number]:
                drawn.append(f'<circle cx="{x + CELL / 2:g}" cy="{y:g}" r="1.6"/>')
        x = LABELS + CELL * row
        drawn.append(
            f'<rect x="{x + PAD}" y="{y - CELL / 2 + PAD:g}" width="{CELL - 2 * PAD}" '
            f'height="{CELL - 2 * PAD}" rx="1.5" fill="none" stroke="currentColor" stroke-opacity="0.7"/>'
        )
    for _, chapters in parts[:-1]:
        y = TOP + CELL * (numbers.index(chapters[-1]) + 1)
        drawn.append(
            f'<line x1="4" x2="{width - 3}" y1="{y}" y2="{y}" stroke="currentColor" stroke-opacity="0.5"/>'
        )
    body = "\n".join(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-labelledby="learning-path-title learning-path-desc" '
        f'fill="currentColor" font-family="system-ui, sans-serif" font-size="{TEXT}">\n'
        '<title id="learning-path-title">Which chapter needs which</title>\n'
        f'<desc id="learning-path-desc">{description(needs)}</desc>\n{body}\n</svg>\n'
    )
