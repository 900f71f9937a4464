"""Choose what a slide shows of a code cell: which code, and which of the printed lines are claims."""

import ast
import re

from slide_blocks import CLAIM, MAX_CODE_LINES

MAX_LINES_OF_CODE, MAX_DEFINITION = 18, 22
# Statements that a slide does not need: what they show stands beside the code.
SILENT = {"claim", "show_source", "use_course_style", "set_num_threads", "set_printoptions", "show"}


def split_printed(text: str) -> tuple[str, list[re.Match]]:
    """Return the lines of a printed text without its claims, and the claims."""
    found = [(line, CLAIM.fullmatch(line.rstrip())) for line in text.split("\n")]
    rest = "\n".join(line for line, claim in found if claim is None)
    return rest.strip("\n"), [claim for _, claim in found if claim]


def _called(node: ast.stmt) -> str:
    """Return the bare name of the function that a statement calls, or ""."""
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call):
        return ""
    return getattr(call.func, "attr", None) or getattr(call.func, "id", "")


def _only_prints(node: ast.stmt) -> bool:
    """Say whether a statement does nothing but print, be it in a loop."""
    if isinstance(node, ast.For):
        return all(map(_only_prints, node.body))
    return _called(node) == "print"


def shown_names(source: str) -> list[str]:
    """Return what a cell gives to `show_source`, as written."""
    return [
        ast.unparse(node.value.args[0]) for node in ast.parse(source).body if _called(node) == "show_source"
    ]


def pieces_of_code(source: str) -> list[str]:
    """Return the code of a cell that a slide shows: all of it if it is short, else short definitions.

    Imports, settings and the calls whose result stands beside the code do not count.
    """
    lines, tree = source.split("\n"), ast.parse(source)
    shown, pieces, end = [], [], 0
    for node in tree.body:
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
        before, end = lines[end : first - 1], node.end_lineno
        if isinstance(node, ast.Import | ast.ImportFrom) or _called(node) in SILENT:
            continue
        shown += [line for line in before if line.startswith("#") or not line] + lines[first - 1 : end]
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and end - first < MAX_DEFINITION:
            pieces.append("\n".join(lines[first - 1 : end]))
    whole = re.sub(r"\n{3,}", "\n\n", "\n".join(shown)).strip("\n")
    if not whole or all(_only_prints(node) for node in ast.parse(whole).body):
        return []
    if whole.count("\n") < MAX_LINES_OF_CODE:
        return [whole]
    both = sum(piece.count("\n") + 2 for piece in pieces[:2])
    return pieces[: 2 if both <= MAX_CODE_LINES else 1]
