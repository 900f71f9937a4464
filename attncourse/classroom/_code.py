"""Read a student's code as text: trees of cells, and what the names in them stand for. Nothing is run."""

import ast
import builtins
import re
import textwrap
import warnings
from collections import ChainMap
from collections.abc import Iterator
from dataclasses import dataclass

from IPython.core.inputtransformer2 import TransformerManager

MAX_CHARACTERS = 100_000  # of one cell; the longest solution of the bank has some thousand
MAX_WORK = 400_000  # IPython reads the whole cell once more for each line of its own: about a second
MAX_CHAIN = 30  # a.b.c…, "a" + "b" + …: a part of a longer one is looked at by itself

# What `%time` and its like time is ordinary code, and is read as such; the line keeps its number.
TIMER = re.compile(
    r"^%%(?:timeit|time|capture|prun)\b[^\n]*"
    r"|^([ \t]*(?:[\w, ]+=[ \t]*)?)%(?:timeit|time)(?:[ \t]+-[a-zA-Z]+(?:[ \t]*\d+)?)*[ \t]+",
    re.MULTILINE,
)
ESCAPE = re.compile(r"^[ \t]*[%!?/,;]|=[ \t]*[%!]|\?[ \t]*$", re.MULTILINE)
BUILTIN = frozenset(dir(builtins))
# Nobody calls a variable so: these are what they are, whatever the code does later on.
FIXED = frozenset({"getattr", "setattr", "delattr", "vars", "globals", "__builtins__"})

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
SCOPES = (*FUNCTIONS, ast.ClassDef, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


# --- from text to trees -------------------------------------------------------------------------------


def _tree(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape is the author's affair
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def too_long(text: str) -> str:
    """Return why a cell is not read at all, or an empty text."""
    if len(text) > MAX_CHARACTERS:
        return f"{len(text):,} characters"
    n_escapes = len(ESCAPE.findall(text))
    if n_escapes * len(text) > MAX_WORK and _tree(text) is None:
        return f"{n_escapes:,} lines for IPython among {len(text):,} characters"
    return ""


def parsed(text: str) -> ast.Module | None:
    """Return the tree of a cell, its lines numbered as in the cell, or None if it is no code."""
    if too_long(text):
        return None
    if (tree := _tree(text)) is None and (tree := _tree(textwrap.dedent(text))) is None:
        if not ESCAPE.search(text):
            return None
        text = TIMER.sub(r"\1", text)
        if (tree := _tree(text)) is None:
            return _from_ipython(text)
    return tree


def _from_ipython(text: str) -> ast.Module | None:
    """Return the tree of what IPython makes of a cell; it takes away blank lines in front."""
    n_blank = text[: len(text) - len(text.lstrip())].count("\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = _tree(TransformerManager().transform_cell(text))
    except Exception:  # it reads unfinished code with a tokenizer, which fails in many ways
        return None
    return None if tree is None else ast.increment_lineno(tree, n_blank)


def text_of(node: ast.AST | None, depth: int = 0) -> str | None:
    """Return a text that stands in the code, also in pieces: ``"ex" + "ec"``."""
    if depth > MAX_CHAIN:
        return None
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bytes):
            return node.value.decode("latin-1")
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [node.left, node.right]
    elif isinstance(node, ast.JoinedStr):
        parts = [one.value if isinstance(one, ast.FormattedValue) else one for one in node.values]
    else:
        return None
    pieces = [text_of(one, depth + 1) for one in parts]
    return None if None in pieces else "".join(pieces)


# --- names --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scope:
    """The names that are known at a place of the code.

    Parameters
    ----------
    names : ChainMap
        Each name's dotted path, such as ``"numpy.testing"``; None where it is the author's own.
    outermost : bool
        Whether this is the notebook's own level.
    shared : frozenset of str
        The names that a function declares global.
    """

    names: ChainMap[str, str | None]
    outermost: bool = False
    shared: frozenset[str] = frozenset()

    def inside(self, node: ast.AST) -> "Scope":
        """Return the scope that a function, a class or a comprehension opens."""
        shared = {name for one in _members(node) if isinstance(one, ast.Global) for name in one.names}
        inner = Scope(self.names.new_child(), shared=frozenset(shared))
        inner.bind(node)
        return inner

    def bind(self, node: ast.AST) -> None:
        """Enter what the code of this scope binds, in order; what stands for an import goes first."""
        own = self.names.maps[0]
        for inner in _members(node):
            for path, name in imported_by(inner):
                own[name] = path
            for target, value in assigned_by(inner):
                path = self.path(value)
                if path and target.id not in self.shared:
                    own[target.id] = path
            for name in bound_by(inner):
                if name not in self.shared | FIXED:
                    own.setdefault(name, None)

    def path(self, node: ast.AST | None, depth: int = 0) -> str | None:
        """Return the dotted path of what an expression stands for, or None if it is the author's own."""
        depth += 1
        if depth > MAX_CHAIN:
            return None
        if isinstance(node, ast.Name):
            if node.id in self.names:
                return self.names[node.id]
            return f"builtins.{node.id}" if node.id in BUILTIN else None
        if isinstance(node, ast.NamedExpr):
            return self.path(node.value, depth)
        base = name = None
        if isinstance(node, ast.Attribute):
            base, name = self.path(node.value, depth), node.attr
        elif isinstance(node, ast.Subscript):
            holder, name = self.path(node.value, depth) or "", text_of(node.slice)
            if holder == "sys.modules":
                return name
            base = holder.removesuffix(".__dict__") if holder.endswith(".__dict__") else None
        elif isinstance(node, ast.Call) and node.args:
            function = self.path(node.func, depth)
            if function in ("builtins.__import__", "importlib.import_module"):
                return text_of(node.args[0])
            if function == "builtins.vars":
                base, name = self.path(node.args[0], depth), "__dict__"
            elif function == "builtins.getattr" and len(node.args) > 1:
                base, name = self.path(node.args[0], depth), text_of(node.args[1])
        return f"{base}.{name}" if base and name else None


def _members(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a scope in order, without those of the scopes inside it."""
    stack = list(ast.iter_child_nodes(node))[::-1]
    while stack:
        inner = stack.pop()
        yield inner
        if not isinstance(inner, SCOPES):
            stack.extend(list(ast.iter_child_nodes(inner))[::-1])


def imported_by(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the path and the name of everything that a statement imports."""
    if isinstance(node, ast.Import):
        for one in node.names:
            yield (one.name, one.asname) if one.asname else (one.name.partition(".")[0],) * 2
    elif isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        for one in node.names:
            yield f"{module}.{one.name}", one.asname or one.name


def assigned_by(node: ast.AST) -> Iterator[tuple[ast.Name, ast.AST]]:
    """Yield the names that a statement binds to one expression each, and the expression."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from _pairs(target, node.value)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield from _pairs(node.target, node.value)


def _pairs(target: ast.AST, value: ast.AST) -> Iterator[tuple[ast.Name, ast.AST]]:
    if isinstance(target, ast.Name):
        yield target, value
    elif isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
        for inner, its_value in zip(target.elts, value.elts, strict=False):
            yield from _pairs(inner, its_value)


def bound_by(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node makes the author's own: definitions, parameters, targets."""
    if isinstance(node, DEFINITIONS):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name
