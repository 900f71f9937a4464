"""SVG drawings for paper: the light palette, then vector PDF by librsvg's `rsvg-convert`.

The drawings follow light and dark on the site by CSS's `light-dark()`, which librsvg does not know.
"""

import re
import shutil
import subprocess
from pathlib import Path

from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms.images import ImageConverter

PAIR = re.compile(r"light-dark\(\s*((?:[^(),]|\([^()]*\))+),(?:[^()]|\([^()]*\))+\)")
# What librsvg would leave out without a word.
UNKNOWN = re.compile(r"\b(light-dark|var|color-mix)\(")
PROGRAM = "rsvg-convert"
# As narrow as the fonts of browsers; what it lacks (√, ≠) comes from DejaVu.
FONT = "TeX Gyre Heros, DejaVu Sans"


def light(svg: str) -> str:
    """Return a drawing with the first colour in place of every pair of colours, and the font of paper.

    Raises
    ------
    ValueError
        If CSS is left that the program would not understand.
    """
    svg = PAIR.sub(lambda found: found[1].strip(), svg).replace("system-ui", FONT)
    # the comments of a drawing may speak of these functions
    unknown = UNKNOWN.search(re.sub(r"/\*.*?\*/", "", svg, flags=re.DOTALL))
    if unknown:
        raise ValueError(f"a drawing must have plain colours or light-dark(), got {unknown.group()}…)")
    return svg


class SvgToPdf(ImageConverter):
    """Sphinx's converter from SVG to PDF."""

    conversion_rules = [("image/svg+xml", "application/pdf")]  # noqa: RUF012 (as the base class has it)

    def is_available(self) -> bool:
        """Say whether the program is installed.

        Raises
        ------
        ExtensionError
            If it is not: a drawing would be missing.
        """
        if shutil.which(PROGRAM) is None:
            raise ExtensionError(f"{PROGRAM} is missing: apt-get install librsvg2-bin")
        return True

    def convert(self, _from: str, _to: str) -> bool:
        """Write a PDF of a drawing.

        Raises
        ------
        ExtensionError
            If that is impossible.
        """
        try:
            drawing = light(Path(_from).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ExtensionError(f"{_from}: {error}") from error
        command = [PROGRAM, "--format=pdf", "--dpi-x=96", "--dpi-y=96", f"--output={_to}"]
        done = subprocess.run(command, input=drawing, text=True, capture_output=True, check=False)
        if done.returncode:
            raise ExtensionError(f"{PROGRAM} could not draw {_from}: {done.stderr.strip()}")
        return True
