"""Draw how the time of attention grows with the text: lines on two logarithmic axes, named where they end."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 300, 50, 98, 22, 40
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4")
GAP = 13  # between two names, so that none covers another

Points = Sequence[tuple[float, float]]


def power(value: float) -> str:
    """Return a power of ten as a time: 0.001 is 1 ms."""
    return f"{value * 1000:g} ms" if value < 1 else f"{value:g} s"


def spread(places: Mapping[str, float]) -> dict[str, float]:
    """Return where the names stand: near their lines' ends, from top to bottom, never closer than GAP."""
    found, last = {}, -math.inf
    for name in sorted(places, key=places.__getitem__):
        last = found[name] = max(places[name], last + GAP)
    return found


def description(lines: Mapping[str, Points]) -> str:
    """Return the picture in words: the first and the last point of every line."""
    parts = []
    for name, points in lines.items():
        (few, short), (many, long) = points[0], points[-1]
        parts.append(f"{name}: {short:.2g} seconds at {few:,} tokens, {long:.2g} at {many:,}.")
    return " ".join(parts)


def picture(lines: Mapping[str, Points]) -> str:
    """Return the SVG.

    Parameters
    ----------
    lines : mapping of str to sequence of (tokens, seconds)
        The points of each line by its name, from left to right; at most five lines.

    Raises
    ------
    ValueError
        If there are more lines than kinds of dashes.
    """
    if len(lines) > len(DASHES):
        raise ValueError(f"lines must be at most {len(DASHES)}, got {len(lines)}")
    tokens = sorted({x for points in lines.values() for x, _ in points})
    values = [y for points in lines.values() for _, y in points]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(x / tokens[0]) / math.log(tokens[-1] / tokens[0])

    def down(y: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - math.log10(y)) / (high - low)

    drawn = ['<text x="4" y="12">seconds of the processor</text>']
    for exponent in range(low, high + 1):
        y = down(10.0**exponent)
        drawn.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
            'stroke-opacity="0.25"/>'
        )
        drawn.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{power(10.0**exponent)}</text>')
    for x in tokens:
        drawn.append(
            f'<text x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x // 1024}k</text>'
        )
    drawn.append(f'<text x="{LEFT}" y="{HEIGHT - 6}">tokens (k: times 1,024)</text>')
    # Names stand in each other's way only where their lines end together.
    ends: dict[float, dict[str, float]] = {}
    for name, points in lines.items():
        ends.setdefault(points[-1][0], {})[name] = down(points[-1][1])
    names = {name: place for together in ends.values() for name, place in spread(together).items()}
    for (name, points), dashes in zip(lines.items(), DASHES, strict=False):
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        drawn.append(
            f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-width="1.8"{dashed}/>'
        )
        x, y = across(points[-1][0]), down(points[-1][1])
        drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>')
        drawn.append(f'<text x="{x + 7:.1f}" y="{names[name] + 4:.1f}">{escape(name)}</text>')
    body = "\n".join(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-labelledby="long-texts-title long-texts-desc" '
        'fill="currentColor" font-family="system-ui, sans-serif" font-size="11.5">\n'
        '<title id="long-texts-title">How the time of attention grows with the text</title>\n'
        f'<desc id="long-texts-desc">{escape(description(lines))}</desc>\n{body}\n</svg>\n'
    )
