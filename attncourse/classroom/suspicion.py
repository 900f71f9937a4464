"""Say what in a student's code a person should look at: a list for a reader, never a verdict.

The code is read as text and never run. What an honest answer to an exercise rarely needs is named with its
line: modules that no exercise uses, commands for a shell, the inside of the checker, assignments into
somebody else's module, classes that equal everything.

A determined author gets past this list, since Python can name everything in other ways, and an honest one may
stand on it. Scores do not rest on it: they come from new inputs, given to the answer in a process that knows
neither reference nor tests.
"""

import ast
import functools
import inspect
import re
from collections import ChainMap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from types import CodeType, FunctionType
from typing import Any

from attncourse.classroom import _unusual as unusual
from attncourse.classroom._code import (
    SCOPES,
    Scope,
    assigned_by,
    bound_by,
    imported_by,
    parsed,
    text_of,
    too_long,
)
from attncourse.exercises._catalogue import exercise

SHOWN = 80
EACH_KIND = 2
READY = "which does what the exercise asks for, or a part of it"


def remarks_on(
    source: str | Sequence[str], *, allowed: Collection[str] = (), ready_made: Collection[str] = ()
) -> tuple[str, ...]:
    """List what in a student's code an honest answer rarely needs, each with its line.

    A determined author gets past this, and an honest one may be on the list: it is for a person, who looks at
    the line. Scores do not rest on it. A cell that does not parse cannot have run, and gives no remark.

    Parameters
    ----------
    source : str or sequence of str
        The code of one cell, or of several. What is imported in one is known in the others.
    allowed : collection of str
        What the exercise's own cells import, as `imports_of` returns it: ``"numpy as np"``,
        ``"attncourse.masks.window_mask"``. These may be imported and used, and should not be defined anew.
    ready_made : collection of str
        Objects of the package that do what the exercise asks for, as `ready_made_for` returns them.

    Returns
    -------
    tuple of str
        At most two of each kind; the second then says how many more there are.
    """
    cells = [source] if isinstance(source, str) else list(source)
    reader = _Reader(allowed, ready_made)
    reader.read(cells)
    return tuple(_told(reader.findings, cells))


def imports_of(source: str | Sequence[str]) -> frozenset[str]:
    """Return what cells import, in the form that `remarks_on` takes: ``"numpy as np"``, ``"math"``.

    Parameters
    ----------
    source : str or sequence of str
        The code of one cell, or of several. A cell that does not parse counts for nothing.
    """
    trees = map(parsed, [source] if isinstance(source, str) else source)
    pairs = {pair for tree in trees if tree for node in ast.walk(tree) for pair in imported_by(node)}
    return frozenset(path if name == path.rpartition(".")[2] else f"{path} as {name}" for path, name in pairs)


def ready_made_for(exercise_id: str, seed: int = 0) -> set[str]:
    """Return the package's objects that the reference of an exercise is, or calls itself.

    Building blocks that the exercise's own cells import are among them; `remarks_on` leaves them out.

    Parameters
    ----------
    exercise_id : str
        The exercise, such as ``"multihead.split-heads"``.
    seed : int
        Chooses the version.

    Returns
    -------
    set of str
        Dotted names, such as ``"attncourse.multihead.split_heads"``; empty where the reference computes
        everything itself.
    """
    reference = exercise(exercise_id, seed).reference
    parts = list(reference.values()) if isinstance(reference, Mapping) else [reference]
    called = [inner for part in parts for inner in _called_by(part)]
    return {f"{one.__module__}.{one.__qualname__}" for one in [*parts, *called] if _computes(one)}


# --- the reference ------------------------------------------------------------------------------------


def _computes(value: Any) -> bool:
    """Say whether a value is a function or class of the package that computes something."""
    if not isinstance(value, FunctionType | type) or is_dataclass(value):
        return False
    package, _, rest = value.__module__.partition(".")
    is_record = inspect.isclass(value) and issubclass(value, tuple)
    return package == "attncourse" and not is_record and not rest.startswith(("_", "exercises", "tasks"))


def _called_by(value: Any) -> Iterator[Any]:
    """Yield what a function or class of a checker names in its own code."""
    if isinstance(value, functools.partial):
        yield value.func
        yield from _called_by(value.func)
    elif inspect.isclass(value) and value.__module__.startswith(unusual.INSIDE):
        yield from value.__bases__
        for member in vars(value).values():
            yield from _called_by(member)
    elif isinstance(value, FunctionType) and value.__module__.startswith(unusual.INSIDE):
        known = {**value.__globals__, **inspect.getclosurevars(value).nonlocals}
        yield from (known[name] for name in _names_in(value.__code__) if name in known)


def _names_in(code: CodeType) -> Iterator[str]:
    yield from (*code.co_names, *code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


# --- what is told -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Finding:
    kind: str
    text: str
    cell: int
    line: int


def _shown(text: str, size: int = SHOWN) -> str:
    """Return a text without control characters, on one line and cut."""
    start = text.lstrip()[: 2 * size]
    clean = "".join(one if one.isprintable() else " " for one in start).strip()
    return clean if len(clean) <= size else clean[: size - 1] + "…"


def _told(findings: Sequence[_Finding], cells: Sequence[str]) -> Iterator[str]:
    """Yield the remarks: for each kind the first two that differ, and how many others there are."""
    first: dict[str, dict[str, _Finding]] = {}
    for one in sorted(findings, key=lambda one: (one.cell, one.line)):
        first.setdefault(one.kind, {}).setdefault(one.text, one)
    for of_one_kind in first.values():
        for number, one in enumerate(list(of_one_kind.values())[:EACH_KIND], start=1):
            lines = re.split(r"\r\n|\r|\n", cells[one.cell - 1])
            line = _shown(lines[one.line - 1]) if one.line <= len(lines) else ""
            where = f"cell {one.cell}, line {one.line}" if len(cells) > 1 else f"line {one.line}"
            more = len(of_one_kind) - number if number == EACH_KIND else 0
            yield f"{_shown(one.text, 2 * SHOWN)} ({where}: {line})" + (f" and {more} more" if more else "")


# --- what the code does -------------------------------------------------------------------------------


class _Reader:
    """Goes through the trees of all cells and keeps what it finds."""

    def __init__(self, allowed: Collection[str], ready_made: Collection[str]) -> None:
        entries = [one.partition(" as ") for one in allowed]
        self.given = {name or path.rpartition(".")[2]: path for path, _, name in entries}
        self.given["check"] = unusual.CHECK
        self.allowed = frozenset(self.given.values())
        self.ready_made = frozenset(ready_made)
        self.ready_names = {one.rpartition(".")[2] for one in ready_made}
        self.findings: list[_Finding] = []
        self.told: set[int] = set()  # nodes that were looked at as part of a longer one
        self.text, self.cell, self.line = "", 0, 0

    def read(self, cells: Sequence[str]) -> None:
        """Read all cells: first what their names stand for, then what is done with them."""
        trees = [parsed(cell) for cell in cells]
        scope = Scope(ChainMap({}, {**unusual.USUAL, **self.given}), outermost=True)
        for method in (scope.bind, lambda tree: self.walk(tree, scope)):
            for number, (text, tree) in enumerate(zip(cells, trees, strict=True), start=1):
                self.text, self.cell, self.line = text, number, 1
                if tree is not None:
                    method(tree)
        for self.cell, cell in enumerate(cells, start=1):
            if why := too_long(cell):
                self.line = 1
                self.found("size", f"holds {why}, too many to look at")

    def found(self, kind: str, text: str) -> None:
        """Keep a finding at the line that is being read."""
        self.findings.append(_Finding(kind, text, self.cell, self.line))

    def walk(self, tree: ast.AST, scope: Scope) -> None:
        """Look at every node, each with the names that are known at its place."""
        stack = [(tree, scope)]
        while stack:
            node, scope = stack.pop()
            self.line = getattr(node, "lineno", self.line)
            self.look(node, scope)
            if isinstance(node, SCOPES):
                scope = scope.inside(node)
            stack.extend((inner, scope) for inner in reversed(list(ast.iter_child_nodes(node))))

    def look(self, node: ast.AST, scope: Scope) -> None:
        """Look at one node."""
        self.bound(node, scope)
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.imported(node)
        elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call):
            self.used(node, scope)
            self.changed(node, scope)
            self.named(node, scope)
        elif isinstance(node, ast.ClassDef):
            self.defined(node)
        elif isinstance(node, ast.Constant | ast.BinOp | ast.JoinedStr):
            self.words(text_of(node) or "")

    def bound(self, node: ast.AST, scope: Scope) -> None:
        """Look whether a name of the exercise gets another meaning."""
        pairs = [(name, path) for path, name in imported_by(node)]
        for target, value in assigned_by(node):
            pairs.append((target.id, scope.path(value)))
            self.told.add(id(target))
        if id(node) not in self.told and not isinstance(node, ast.arg):
            pairs += [(name, None) for name in bound_by(node)]
        for name, path in pairs:
            if path != self.given.get(name, path) and (scope.outermost or name in scope.shared):
                self.found("redefinition", f"defines {name} anew, which the exercise imports")

    def imported(self, node: ast.Import | ast.ImportFrom) -> None:
        """Look at an import."""
        if isinstance(node, ast.Import):
            pairs = [(one.name, one.name) for one in node.names]
        else:
            pairs = [(node.module or ".", path) for path, _ in imported_by(node)]
        for module, path in pairs:
            root = path.partition(".")[0]
            given = any(f"{path}.".startswith(f"{one}.") for one in self.allowed)
            if self.belongs_inside(path):
                self.found("checker", f"imports {path}, which belongs to the checker")
            elif root not in unusual.MODULES and not given:
                self.found("system" if root in unusual.SYSTEM else "import", f"imports {module}")
            elif path.endswith(".*") and any(one.startswith(path[:-1]) for one in self.ready_made):
                self.found("ready-made", f"imports everything from {module}, {READY}")
            else:
                self.used_path(path)

    def belongs_inside(self, path: str) -> bool:
        """Say whether something belongs to the checker, and not to those whom it checks."""
        inside = any(f"{path}.".startswith(f"{one}.") for one in unusual.INSIDE)
        return inside and path not in (unusual.CHECK, unusual.INSIDE[0]) and path not in self.allowed

    def used(self, node: ast.AST, scope: Scope) -> None:
        """Look at an expression that stands for something imported or built in."""
        path = scope.path(node)
        if path and isinstance(getattr(node, "ctx", None), ast.Load | None) and id(node) not in self.told:
            self.used_path(path)
        if path and not isinstance(node, ast.Name):
            self.told.add(id(node.args[0] if isinstance(node, ast.Call) else node.value))

    def used_path(self, path: str) -> None:
        """Look at the dotted path of what is used."""
        parts = path.split(".")
        if parts[0] == "builtins":
            if parts[-1] in unusual.DYNAMIC:
                self.found("dynamic", f"uses {parts[-1]}")
            elif parts[-1] in ("builtins", "globals"):
                self.found("behind", f"uses {'__builtins__' if parts[-1] == 'builtins' else 'globals()'}")
            return
        if self.belongs_inside(path):
            self.found("checker", f"uses {path}, which belongs to the checker")
        elif parts[0] == "attncourse" and path not in self.allowed and self.ready_names & set(parts[2:]):
            self.found("ready-made", f"uses {path}, {READY}")
        if any(part.lstrip("_") in unusual.HIDDEN for part in parts[1:]):
            self.found("system", f"uses {path}")
        if "__dict__" in parts:
            self.found("behind", f"uses the names of {path.partition('.__dict__')[0]} as a dictionary")
        if any(f"{path}.".startswith(f"{one}.") for one in unusual.FILES):
            self.found("files", f"uses {path}, which reads or writes files")

    def changed(self, node: ast.AST, scope: Scope) -> None:
        """Look whether something that is not the author's is assigned to, or deleted."""
        if isinstance(node, ast.Call):
            owner, name = self.set_by(node, scope)
        elif isinstance(node, ast.Name) or isinstance(node.ctx, ast.Load):
            return
        else:
            owner = node.value
            name = node.attr if isinstance(node, ast.Attribute) else text_of(node.slice)
        base = scope.path(owner)
        is_item = isinstance(node, ast.Subscript)
        if base and not (is_item and base.startswith("matplotlib.")):  # plt.rcParams["figure.dpi"]
            what = f"[{name or '…'}]" if is_item and not base.endswith(".__dict__") else f".{name or '…'}"
            whole = base.removesuffix(".__dict__") + what
            self.found("assignment", f"assigns to {whole}, which belongs to a module")
        elif self.is_type(owner, scope):
            self.found("assignment", f"assigns to {name or 'a name'} in the class of an object")
        elif isinstance(node, ast.Attribute) and name in unusual.OVERRIDES:
            self.found("override", f"assigns to {name}")

    def is_type(self, node: ast.AST | None, scope: Scope) -> bool:
        """Say whether an expression is ``x.__class__`` or ``type(x)``: all objects have what is set there."""
        if isinstance(node, ast.Call):
            return scope.path(node.func) == "builtins.type"
        return isinstance(node, ast.Attribute) and node.attr == "__class__"

    def set_by(self, node: ast.Call, scope: Scope) -> tuple[ast.AST | None, str | None]:
        """Return the object and the name that a call sets, such as ``setattr``, or None twice."""
        function, arguments = scope.path(node.func) or "", [*node.args, None, None]
        if function in ("builtins.setattr", "builtins.delattr"):
            return arguments[0], text_of(arguments[1])
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("__setattr__", "__delattr__"):
            owner = node.func.value
            if function.startswith(("builtins.type.", "builtins.object.")) or self.is_type(owner, scope):
                return arguments[0], text_of(arguments[1])
            return owner, text_of(arguments[0])
        if function.startswith("unittest.mock.patch"):
            what = text_of(arguments[0]) or scope.path(arguments[0]) or "an object"
            self.found("assignment", f"patches {what}")
        return None, None

    def named(self, node: ast.AST, scope: Scope) -> None:
        """Look at the name itself of a variable, an attribute, or a function that is called."""
        if isinstance(node, ast.Call):
            self.called(node, scope)
        name = getattr(node, "id", getattr(node, "attr", ""))
        is_magic = name == "get_ipython" and name not in self.text  # which is told as a magic
        is_own = isinstance(node, ast.Name) and name in scope.names and scope.names[name] is None
        if is_magic or is_own:
            return
        if isinstance(node, ast.Name) and name in unusual.HISTORY:
            self.found("kernel", f"uses {name}, the notebook's history")
        elif name in unusual.KERNEL:
            self.found("kernel", f"uses {name}")
        elif name in unusual.BEHIND:
            self.found("behind", f"uses {name}")

    def called(self, node: ast.Call, scope: Scope) -> None:
        """Look at a call by its function's name."""
        name, first = getattr(node.func, "id", ""), text_of(node.args[0]) if node.args else None
        if name in unusual.DYNAMIC:  # also where a variable of that name is bound somewhere
            self.found("dynamic", f"uses {name}")
        elif name in ("locals", "vars") and scope.outermost and not node.args:
            self.found("behind", f"uses {name}() for the notebook's names")
        elif isinstance(node.func, ast.Attribute) and (
            getattr(getattr(node.func.value, "func", None), "id", "") == "get_ipython"
        ):
            self.magic(node.func.attr, first or "")

    def magic(self, method: str, name: str) -> None:
        """Look at what IPython makes of a line that begins with ``!`` or ``%``."""
        if method in ("system", "getoutput"):
            self.found("shell", "runs a command in a shell")
        elif method in ("run_line_magic", "run_cell_magic") and name not in unusual.QUIET_MAGICS:
            self.found("shell", f"uses the magic {'%%' if method == 'run_cell_magic' else '%'}{name}")

    def defined(self, node: ast.ClassDef) -> None:
        """Look at what a class answers for its objects."""
        for inner in node.body:
            names = [*bound_by(inner), *(target.id for target, _ in assigned_by(inner))]
            for name in sorted(unusual.OVERRIDES.intersection(names)):
                self.line = inner.lineno
                self.found("override", f"defines {name} in the class {node.name}")

    def words(self, text: str) -> None:
        """Look at a text: a place on the disk, the name of something hidden, or packed data."""
        if text in unusual.BEHIND | unusual.KERNEL:
            self.found("behind", f"names {text} in a text")
        elif text in unusual.OVERRIDES:
            self.found("override", f"names {text} in a text")
        elif place := unusual.PLACE.search(text):
            self.found("place", f"names {place[0].strip()} in a text")
        if unusual.PACKED.search(text):
            self.found("packed", f"holds a text of {len(text):,} characters that looks packed")
