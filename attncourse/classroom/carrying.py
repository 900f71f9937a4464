"""Pack what a stranger's process needs to run an answer: the calls and their inputs, nothing that answers.

A checker's module holds the reference, the known mistakes and the properties. Some checkers also say *how* an
answer is called: they build a class, copy weights into it, take gradients. That part, and the classes of its
inputs, are cut out of the module's source here, with the names that they use; the rest stays behind.

The inputs travel as a pickle. They go from us to the stranger; what comes back is plain data
(`attncourse.exercises._wire`).
"""

import ast
import io
import pickle
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attncourse.exercises._exercise import Exercise

PACKAGE = "attncourse.exercises"
# Modules of that package that know no exercise: they go along whole (`attncourse.classroom.bare`).
COMMON = ("_answer", "_compare", "_exercise", "_run", "_wire")


class _Noting(pickle.Pickler):
    """Note every class and function that a pickle names instead of holding."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.named: set[tuple[str, str]] = set()

    def reducer_override(self, value: Any) -> Any:
        """Note where the definition of a value, or of its class, lies."""
        named = value if hasattr(value, "__qualname__") else type(value)
        module, name = getattr(named, "__module__", None), named.__qualname__
        if module:
            self.named.add((module, name.partition(".")[0]))
        return NotImplemented


def _is_checker(module: str) -> bool:
    return module.startswith(PACKAGE + ".") and module.removeprefix(PACKAGE + ".") not in COMMON


def _targets(target: ast.expr) -> list[str]:
    """Return the names that an assignment binds, or whose value it changes: ``a[b] = c`` changes ``a``."""
    if isinstance(target, ast.Tuple | ast.List):
        return [name for one in target.elts for name in _targets(one)]
    if isinstance(target, ast.Starred | ast.Subscript | ast.Attribute):
        return _targets(target.value)
    return [target.id] if isinstance(target, ast.Name) else []


def _bound(statement: ast.stmt) -> list[str]:
    """Return the names that a statement of a module defines or changes."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
    if isinstance(statement, ast.Assign):
        return [name for target in statement.targets for name in _targets(target)]
    return _targets(statement.target) if isinstance(statement, ast.AnnAssign | ast.AugAssign) else []


def _only(statement: ast.stmt, names: set[str]) -> ast.stmt:
    """Return an import with the wanted names alone; any other statement as it is."""
    if not isinstance(statement, ast.Import | ast.ImportFrom):
        return statement
    kept = [one for one in statement.names if (one.asname or one.name.partition(".")[0]) in names]
    if isinstance(statement, ast.Import):
        return ast.Import(names=kept)
    return ast.ImportFrom(module=statement.module, names=kept, level=statement.level)


def cut(source: str, names: Iterable[str]) -> tuple[str, list[tuple[str, str]]]:
    """Return the part of a module that defines some names, and what it takes from other modules.

    Parameters
    ----------
    source : str
        The module's source.
    names : iterable of str
        Names of its top level.

    Returns
    -------
    part : str
        The statements that define them, and the names that those use, in their order; without comments.
    taken : list of (str, str)
        Module and name of every ``from module import name`` among them.

    Raises
    ------
    ValueError
        If the module does not define one of the names.
    """
    body = ast.parse(source).body
    places: dict[str, list[ast.stmt]] = {}
    for statement in body:
        for name in _bound(statement):
            places.setdefault(name, []).append(statement)
    wanted, open_names = set(), list(names)
    if missing := sorted(set(open_names) - places.keys()):
        raise ValueError(f"names must be defined at the top level of the module, got {missing}")
    while open_names:
        name = open_names.pop()
        if name in wanted or name not in places:
            continue
        wanted.add(name)
        for statement in places[name]:
            if not isinstance(statement, ast.Import | ast.ImportFrom):
                open_names += _bound(statement)
                open_names += [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]
    kept = [_only(one, wanted) for one in body if wanted & set(_bound(one))]
    taken = [
        (one.module, alias.name) for one in kept if isinstance(one, ast.ImportFrom) for alias in one.names
    ]
    return "\n\n".join(map(ast.unparse, kept)) + "\n", taken


def _sources(named: Iterable[tuple[str, str]]) -> dict[str, str]:
    # Modules that others need come first.
    wanted: dict[str, set[str]] = {}
    todo = [pair for pair in named if _is_checker(pair[0])]
    while todo:
        module, name = todo.pop()
        if name in wanted.setdefault(module, set()):
            continue
        if f"{module}.{name}" in sys.modules:
            raise ValueError(
                f"a checker's run must import names, not modules of other checkers, got {name} of {module}"
            )
        wanted[module].add(name)
        todo += [pair for pair in cut(_source(module), wanted[module])[1] if _is_checker(pair[0])]
    parts = {module: cut(_source(module), names) for module, names in wanted.items()}
    return {module: parts[module][0] for module in _needed_first(parts)}


def _needed_first(parts: Mapping[str, tuple[str, list[tuple[str, str]]]]) -> Iterator[str]:
    done: set[str] = set()

    def visit(module: str) -> Iterator[str]:
        if module in done:
            return
        done.add(module)
        for other, _ in parts[module][1]:
            if other in parts:
                yield from visit(other)
        yield module

    for module in sorted(parts):
        yield from visit(module)


def _source(module: str) -> str:
    return Path(sys.modules[module].__file__).read_text(encoding="utf-8")


def kind_of(reference: Any) -> str:
    """Return what kind of thing an answer must be: "class", "dict" or "function"."""
    if isinstance(reference, type):
        return "class"
    return "dict" if isinstance(reference, Mapping) else "function"


def pack(task: Exercise, cases: Sequence[dict[str, Any]]) -> tuple[dict[str, str], bytes]:
    """Pack how an answer is called, and its inputs.

    Parameters
    ----------
    task : Exercise
        What the checker knows.
    cases : sequence of dict
        The inputs of every call.

    Returns
    -------
    sources : dict
        Name of a module to the part of its source that must stand there before the pickle is loaded, in
        this order.
    pickled : bytes
        ``(task.run, cases)``.

    Raises
    ------
    ValueError
        If what is needed cannot be cut out.
    """
    file = io.BytesIO()
    noting = _Noting(file)
    noting.dump((task.run, list(cases)))
    return _sources(noting.named), file.getvalue()
