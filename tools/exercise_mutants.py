"""Try the checkers on answers that are wrong in ways nobody listed: the book's solutions, changed a little.

Usage::

    python tools/exercise_mutants.py                                 every exercise
    python tools/exercise_mutants.py book/exercises/NAME.md ...      some

A change is one of: another comparison or arithmetic operator, a constant one larger or smaller, a truth
value turned round, a sign or a ``not`` dropped, a keyword dropped, the first two arguments exchanged, a
bound of a slice dropped, a method replaced by its neighbour (``tril`` by ``triu``), a condition that
always or never holds, a statement left out. Changed solutions that do not run at all are not counted.
What a check lets pass is printed; those that compute the same as before are listed in
``tools/equivalent_mutants.txt``, and do not count either.
"""

import ast
import contextlib
import copy
import io
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from attncourse.classroom.bank import ROOT, exercise_paths, read_exercise, run_cells

EQUIVALENT = ROOT / "tools" / "equivalent_mutants.txt"
WANTED = 0.95
LIMIT_SECONDS = 30
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
}  # fmt: skip
OPERATORS = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div, ast.Add), ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,), ast.Mod: (ast.FloorDiv,), ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitAnd,), ast.BitXor: (ast.BitAnd,),
}  # fmt: skip
PAIRS = (
    ("min", "max"), ("argmin", "argmax"), ("amin", "amax"), ("sum", "mean"),
    ("tril", "triu"), ("exp", "sqrt"), ("cos", "sin"),
    ("softmax", "log_softmax"), ("tanh", "sigmoid"), ("any", "all"), ("zeros", "ones"),
    ("zeros_like", "ones_like"), ("ceil", "floor"), ("var", "std"),
)  # fmt: skip
NEIGHBOURS = {one: other for pair in PAIRS for one, other in (pair, pair[::-1])}
NEIGHBOURS |= {"log": "sqrt", "relu": "tanh", "abs": "neg", "repeat_interleave": "repeat"}
# The order of the first two arguments makes no difference.
SYMMETRIC = {"transpose", "swapaxes", "swapdims", "maximum", "minimum", "min", "max", "equal", "gcd"}


def _nodes(tree: ast.AST) -> list[ast.AST]:
    """Return the nodes of a solution that may be changed: no docstrings, no annotations."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [node for node in ast.walk(tree) if id(node) not in docstrings]


def _constants(node: ast.Constant) -> Iterator[ast.Constant]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield from (ast.Constant(value + 1), ast.Constant(value - 1))
    elif isinstance(value, float):
        yield from (ast.Constant(value * 1.5), ast.Constant(value + 1.0))


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in the place of a node."""
    if isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for new in COMPARISONS[type(node.ops[0])]:
            yield ast.Compare(node.left, [new()], node.comparators)
    elif isinstance(node, ast.BinOp):
        for new in OPERATORS.get(type(node.op), ()):
            yield ast.BinOp(node.left, new(), node.right)
        yield from (node.left, node.right) if isinstance(node.op, ast.BitAnd | ast.BitOr) else ()
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.Slice):
        if node.lower is not None:
            yield ast.Slice(None, node.upper, node.step)
        if node.upper is not None:
            yield ast.Slice(node.lower, None, node.step)
    elif isinstance(node, ast.Call):
        yield from _calls(node)


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    for index in range(len(node.keywords)):
        yield ast.Call(node.func, node.args, node.keywords[:index] + node.keywords[index + 1 :])
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    starred = any(isinstance(one, ast.Starred) for one in node.args[:2])
    if len(node.args) >= 2 and not starred and name not in SYMMETRIC:
        yield ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
    if isinstance(node.func, ast.Attribute):
        if node.func.attr in NEIGHBOURS:
            other = ast.Attribute(node.func.value, NEIGHBOURS[node.func.attr], ast.Load())
            yield ast.Call(other, node.args, node.keywords)
        if not (
            isinstance(node.func.value, ast.Name) and node.func.value.id in ("torch", "np", "math", "F", "nn")
        ):
            yield node.func.value  # the method is left out
    elif isinstance(node.func, ast.Name) and node.func.id in ("min", "max", "any", "all"):
        yield ast.Call(ast.Name(NEIGHBOURS[node.func.id], ast.Load()), node.args, node.keywords)


def _places(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Yield parent, field, index and node of everything below a tree."""
    for parent in _nodes(tree):
        for field, value in ast.iter_fields(parent):
            for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(node, ast.AST):
                    yield parent, field, index, node


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST | None) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def mutants(code: str) -> Iterator[tuple[str, str]]:
    """Yield (what was changed, changed code) for every small change of a solution."""
    tree = ast.parse(code)
    changeable = {id(node) for node in _nodes(tree)}
    seen = {ast.unparse(tree)}
    for parent, field, index, node in list(_places(tree)):
        if id(node) not in changeable:
            continue
        options = list(replacements(node))
        if isinstance(node, ast.If | ast.While):
            options += [
                _with_test(node, value) for value in ((True, False) if isinstance(node, ast.If) else (False,))
            ]
        if field in ("body", "orelse") and _can_go(node):
            options.append(ast.Pass())
        for new in options:
            _put(parent, field, index, ast.copy_location(copy.deepcopy(new), node))
            text = ast.unparse(ast.fix_missing_locations(tree))
            _put(parent, field, index, node)
            if text not in seen:
                seen.add(text)
                yield _change(code, text), text


def _with_test(node: ast.If | ast.While, value: bool) -> ast.AST:
    new = copy.copy(node)
    new.test = ast.Constant(value)
    return new


def _can_go(node: ast.AST) -> bool:
    """Say whether a statement can be left out without leaving a name unbound for certain."""
    if isinstance(node, ast.AugAssign | ast.If | ast.For):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript | ast.Attribute)


def _change(code: str, text: str) -> str:
    """Return the line that differs, before and after."""
    before, after = ast.unparse(ast.parse(code)).splitlines(), text.splitlines()
    for first, second in zip(before, after, strict=False):
        if first != second:
            return f"{first.strip()}  →  {second.strip()}"
    return f"{before[-1].strip()}  →  (gone)"


def _too_late(number: int, frame: object) -> None:
    raise TimeoutError("a loop without end")


def runs(path: Path, text: str) -> tuple[bool, bool]:
    """Return whether a changed solution can be defined at all, and whether the check gives it full points."""
    exercise = read_exercise(path)
    signal.signal(signal.SIGALRM, _too_late)  # the check limits calls, and this the definition of the answer
    signal.alarm(LIMIT_SECONDS)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            value = run_cells(exercise, solved=True, answer=text)
    except Exception:  # whatever a senseless change raises when it is defined
        return False, False
    finally:
        signal.alarm(0)
    return True, value == exercise.meta["points"]


def main(names: list[str]) -> int:
    """Change the solutions, check them, and print what passes."""
    listed = EQUIVALENT.read_text(encoding="utf-8").splitlines() if EQUIVALENT.exists() else []
    equal = {line.partition("  # ")[0].strip() for line in listed}
    n_tried = n_passed = n_equal = 0
    for path in [Path(name) for name in names] or exercise_paths():
        exercise = read_exercise(path)
        if not exercise.has_checker:
            continue
        start, tried, passed = time.perf_counter(), 0, []
        for change, text in mutants(exercise.tagged("answer")[0].solved()):
            ran, right = runs(path, text)
            tried += ran
            if right:
                passed.append(f"{exercise.slug}: {change}")
        same = [one for one in passed if one in equal]
        seconds = time.perf_counter() - start
        print(f"{exercise.slug}: {tried} tried, {len(passed)} pass ({len(same)} the same), {seconds:.0f} s")
        for one in passed:
            if one not in equal:
                print(f"    {one}")
        n_tried, n_passed, n_equal = n_tried + tried, n_passed + len(passed), n_equal + len(same)
    n_wrong, n_missed = n_tried - n_equal, n_passed - n_equal
    rate = 1 - n_missed / max(1, n_wrong)
    print(
        f"{n_wrong} wrong solutions, {n_missed} pass: {rate:.2%} are caught; {n_equal} more compute the same"
    )
    return 0 if rate >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
