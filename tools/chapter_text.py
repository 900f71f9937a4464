"""Write a chapter as one text file, and turn it into a notebook and back.

Usage::

    python tools/chapter_text.py unpack book/01-name.ipynb draft.txt
    python tools/chapter_text.py pack draft.txt book/01-name.ipynb

The stored notebook is the only source; the text is for editing. A line ``%% md id`` or ``%% code id`` starts
a cell, and may end in the cell's metadata as JSON (``tags`` and ``mystnb``). ``pack`` keeps the stored
outputs of cells whose id and source are unchanged; the others have none until ``tools/notebooks.py run``.
Inside a cell, a line that starts with ``%% `` is written with a backslash before it.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from notebooks import CELL_METADATA, normal_form, write_atomically

KINDS = {"md": "markdown", "code": "code"}
ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class TextError(ValueError):
    """A chapter's text that is not in the form above."""


def unpack(notebook: dict) -> str:
    """Return the text form of a notebook, without its outputs.

    Raises
    ------
    TextError
        If the notebook has a raw cell or a cell without id.
    """
    names = {kind: word for word, kind in KINDS.items()}
    parts = []
    for cell in notebook["cells"]:
        if cell["cell_type"] not in names or "id" not in cell:
            raise TextError(f"cell {cell.get('id')!r} must be code or markdown and have an id")
        header = f"%% {names[cell['cell_type']]} {cell['id']}"
        metadata = {key: cell["metadata"][key] for key in CELL_METADATA if cell["metadata"].get(key)}
        if metadata:
            header += " " + json.dumps(metadata, ensure_ascii=False, sort_keys=True)
        source = re.sub(r"(?m)^(\\*%%(?: |$))", r"\\\1", "".join(cell["source"]).strip("\n"))
        parts.append(f"{header}\n{source}\n" if source else f"{header}\n")
    return "\n".join(parts)


def parse(text: str) -> list[dict]:
    """Return the cells of a text form, without outputs.

    Raises
    ------
    TextError
        With the number of the line at fault.
    """
    cells: list[dict] = []
    lines_of: dict[str, int] = {}
    sources: list[list[str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line == "%%" or line.startswith("%% "):
            cell = _header(line, number)
            if cell["id"] in lines_of:
                raise TextError(f"line {number}: id {cell['id']!r} is taken by line {lines_of[cell['id']]}")
            lines_of[cell["id"]] = number
            cells.append(cell)
            sources.append([])
        elif cells:
            sources[-1].append(re.sub(r"^\\(\\*%%(?: |$))", r"\1", line))
        elif line.strip():
            raise TextError(f"line {number}: text before the first cell; start it with '%% md id'")
    if not cells:
        raise TextError("line 1: no cell; start one with '%% md id' or '%% code id'")
    for cell, source in zip(cells, sources, strict=True):
        cell["source"] = "\n".join(source).strip("\n")
    return cells


def pack(text: str, stored: dict | None = None) -> str:
    """Return the notebook file of a text form, with the outputs of ``stored`` where the code is unchanged."""
    before = {cell["id"]: cell for cell in (stored or {"cells": []})["cells"] if cell["cell_type"] == "code"}
    cells = parse(text)
    for cell in cells:
        old = before.get(cell["id"])
        if cell["cell_type"] == "code" and old and "".join(old["source"]).strip("\n") == cell["source"]:
            cell |= {"outputs": old["outputs"], "execution_count": old["execution_count"]}
    return normal_form({"cells": cells})


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("unpack", help="write the text form of a notebook")
    command.add_argument("notebook", type=Path)
    command.add_argument("text", type=Path, nargs="?", help="where to (default: standard output)")
    command = commands.add_parser("pack", help="write the notebook of a text form")
    command.add_argument("text", type=Path)
    command.add_argument("notebook", type=Path)
    options = parser.parse_args(arguments)
    try:
        if options.command == "unpack":
            text = unpack(json.loads(options.notebook.read_text(encoding="utf-8")))
            if options.text:
                write_atomically(options.text, text)
            else:
                sys.stdout.write(text)
        else:
            old = options.notebook.read_text(encoding="utf-8") if options.notebook.exists() else None
            packed = pack(options.text.read_text(encoding="utf-8"), json.loads(old) if old else None)
            write_atomically(options.notebook, packed)
    except TextError as error:
        print(f"{options.text or options.notebook}: {error}", file=sys.stderr)
        return 1
    return 0


def _header(line: str, number: int) -> dict:
    """Return the cell that a header line starts, without its source.

    Raises
    ------
    TextError
        If the line is no header, or its id or metadata are wrong.
    """
    words = line.split(maxsplit=3)
    if len(words) < 2 or words[1] not in KINDS:
        raise TextError(f"line {number}: a cell is '%% md id' or '%% code id', got {line!r}")
    if len(words) < 3 or not ID.fullmatch(words[2]) or len(words[2]) > 64:
        raise TextError(f"line {number}: a cell needs a kebab-case id after {words[1]!r}, got {line!r}")
    try:
        metadata = json.loads(words[3]) if len(words) > 3 else {}
    except json.JSONDecodeError as error:
        raise TextError(
            f"line {number}: bad JSON: {error.msg} at column {error.colno}: {words[3]}"
        ) from error
    if not isinstance(metadata, dict) or set(metadata) - set(CELL_METADATA):
        raise TextError(
            f"line {number}: metadata must be an object with tags and mystnb only, got {words[3]}"
        )
    return {"cell_type": KINDS[words[1]], "id": words[2], "metadata": metadata}


if __name__ == "__main__":
    sys.exit(main())
