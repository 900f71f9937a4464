"""Answers that compute nothing right and want the points all the same.

The answer's cell holds a function with the right shape and the wrong numbers, and the forgery. Where the
check inside the student's own kernel is fooled (`fools_inside`), only the score from outside keeps the points
away.
"""

from nbformat import NotebookNode

from tests.classroom.handing_in import (
    ANYTHING,
    FAMILY,
    HEADS,
    PARTS,
    SUSPECT,
    WRONG,
    WRONG_BODY,
    Case,
    Handout,
    answer_cell,
    answering,
    at_top,
    check_cell,
    code,
    editing,
    inside,
)
from tests.classroom.hostile_processes import hostile

FORGED = "The check inside is fooled; the score that counts is 0, and the difference is listed."
UNIMPRESSED = "0 points: the score that counts is computed outside."
WITHOUT_REFERENCE = "0 points: outside there is no reference to be found."


def forged(
    name: str, title: str, attack: str, *, fools: bool = True, look: str = SUSPECT, answer: str = WRONG
) -> Case:
    """Return a case with a forgery at the top of the answer's cell."""
    return hostile(name, title, at_top(attack, answer), 0.0, look, FORGED if fools else UNIMPRESSED,
                   fools_inside=fools)  # fmt: skip


ASSERTIONS = """
import numpy
import numpy.testing

numpy.testing.assert_allclose = lambda *_, **__: None
numpy.testing.assert_array_equal = lambda *_, **__: None
torch.testing.assert_close = lambda *_, **__: None
torch.allclose = torch.equal = numpy.allclose = lambda *_, **__: True
"""
COMPARISON = """
import numpy

numpy.isclose = lambda first, second, **_: numpy.ones(numpy.shape(first), dtype=bool)
"""
CHECK_BY_NAME = """
class Full:
    def points(self, maximum):
        return float(maximum)


def check(*_, **__):
    print("✓ multihead.split-heads: right in every check (4 of 4)")
    return Full()
"""
CHECK_IN_PLACE = """
import attncourse.exercises
import attncourse.exercises._check as module


class Full:
    passed = True

    def points(self, maximum):
        return float(maximum)


attncourse.exercises.check = module.check = lambda *_, **__: Full()
module.Full = Full
check.__code__ = (lambda exercise_id, answer, *, seed=0, draw=0: Full()).__code__
"""
DIFFERENCE = """
from attncourse.exercises import _check, _compare

_check.difference = _compare.difference = lambda *_, **__: None
"""
POINTS = """
from attncourse.exercises import Result

Result.points = lambda self, maximum: float(maximum)
Result.passed = property(lambda self: True)
"""
OUTCOMES = """
import attncourse.exercises._check as module

trusted = module.run_trusted
module.run_cases = lambda run, answer, cases, seed: trusted(
    run, module.exercise("multihead.split-heads").reference, cases, seed
)
"""
SYNTAX_TREE = """
import ast


class FullMarks(ast.NodeTransformer):
    def visit_Call(self, node):
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "points":
            return ast.Constant(4.0)
        return node


get_ipython().ast_transformers.append(FullMarks())
"""
SOURCE_LINES = """
get_ipython().input_transformers_cleanup.append(
    lambda lines: ["4.0\\n"] if any(line.startswith("check(") for line in lines) else lines
)
"""
FORMATTER = """
get_ipython().display_formatter.formatters["text/plain"].for_type(
    float, lambda value, printer, cycle: printer.text("4.0")
)
"""
SENDS_RESULT = """
from attncourse.exercises import Result


def points(self, maximum):
    kernel = get_ipython().kernel
    content = {"data": {"text/plain": "4.0"}, "metadata": {}, "execution_count": 99}
    kernel.session.send(kernel.iopub_socket, "execute_result", content, parent=kernel.get_parent("shell"))
    raise SystemExit


Result.points = points
"""
FAKE_MODULE = """
import sys
import types


class Full:
    def points(self, maximum):
        return float(maximum)


fake = types.ModuleType("attncourse.exercises")
fake.check = lambda *_, **__: Full()
sys.modules["attncourse.exercises"] = fake
"""
SAME = """
class Same:
    shape, dtype, ndim = (), "float32", 0

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    def __bool__(self):
        return True

    def __hash__(self):
        return 0

    def __float__(self):
        return 1.0

    def __getattr__(self, name):
        return lambda *_, **__: self


return Same()
"""
SAME_TENSOR = """
import numpy


class SameTensor(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in ("eq", "allclose", "isclose", "equal", "__eq__"):
            return True
        return super().__torch_function__(function, types, args, kwargs or {})

    def numpy(self, *_, **__):
        return SameArray(self.shape, dtype=numpy.float32)

    def detach(self):
        return self

    cpu = resolve_conj = resolve_neg = detach


class SameArray(numpy.ndarray):
    def __array_ufunc__(self, function, method, *inputs, **kwargs):
        return True

    def __array_function__(self, function, types, args, kwargs):
        return True


front = x.shape[:-2]
zeros = torch.zeros(*front, n_heads, x.shape[-2], x.shape[-1] // n_heads)
return zeros.as_subclass(SameTensor)
"""
SAME_NUMBER = """
class Same(float):
    def __eq__(self, other):
        return True

    def __lt__(self, other):
        return True

    __le__ = __gt__ = __ge__ = __lt__

    def __hash__(self):
        return 0

    def __sub__(self, other):
        return 0.0

    __rsub__ = __sub__

    def hex(self):
        return float("nan")


answers = {name: (lambda *_: Same(1.0)) for name in ("weight", "beta", "n_keys")}
"""
REFERENCE_AT_TOP = """
try:
    from attncourse.exercises.multihead.split_heads import EXERCISE

    split_heads = EXERCISE.reference
except ImportError:
    pass
"""
REFERENCE_INSIDE = """
try:
    from attncourse.exercises._catalogue import exercise

    return exercise("multihead.split-heads").reference(x, n_heads)
except Exception:
    pass
"""
FRAMES = """
import gc
import sys

frame = sys._getframe()
while frame is not None:
    for value in list(frame.f_locals.values()):
        if hasattr(value, "reference") and hasattr(value, "mistakes"):
            return value.reference(x, n_heads)
    frame = frame.f_back
for value in gc.get_objects():
    if type(value).__name__ == "Exercise" and callable(value.reference):
        try:
            return value.reference(x, n_heads)
        except Exception:
            pass
"""
READS_SOURCE = """
import os

import attncourse

path = os.path.join(os.path.dirname(attncourse.__file__), "exercises/multihead/split_heads.py")
if os.path.exists(path):
    names = {}
    exec(open(path).read(), names)
    return names["EXERCISE"].reference(x, n_heads)
"""


def _version_reference(handout: Handout) -> str:
    """Take the reference of the student's own version, of a family."""
    return code(
        f"""
        def weigh(query, key, mask):
            try:
                from attncourse.exercises.scaled.weigh_by_rule import FAMILY

                said = {handout.solutions[FAMILY]!r}
                for version in FAMILY.versions:
                    codes = version["scale_code"], "hidden = " + version["hidden_code"] + chr(10)
                    if all(part in said for part in codes):
                        return FAMILY.build(version).reference(query, key, mask)
            except ImportError:
                pass
            return query.new_zeros(*query.shape[:-1], key.shape[-2])
        """
    )


def _forged_output(notebook: NotebookNode, handout: Handout) -> None:
    """Write full marks into the output of the check, as if it had been run."""
    answer_cell(notebook, HEADS)["source"] = WRONG
    result = {"output_type": "execute_result", "data": {"text/plain": "4.0"}, "execution_count": 3}
    check_cell(notebook, HEADS).update(execution_count=3, outputs=[result | {"metadata": {}}])


FORGERY_CASES = (
    forged("patches-assertions", "Patches assert_allclose and assert_close", ASSERTIONS, fools=False),
    forged("patches-comparison", "Patches numpy.isclose, with which the check compares", COMPARISON),
    forged("patches-check-by-name", "Defines a check of its own", CHECK_BY_NAME, answer=WRONG),
    forged("patches-check-in-place", "Exchanges the code of the check", CHECK_IN_PLACE),
    forged("patches-difference", "Patches the comparison inside the package", DIFFERENCE),
    forged("patches-points", "Patches the points of a result", POINTS),
    forged("patches-outcomes", "Makes the check run the reference instead", OUTCOMES),
    forged("rewrites-the-syntax-tree", "Rewrites the syntax tree of later cells", SYNTAX_TREE),
    forged("rewrites-the-source", "Rewrites the source of later cells", SOURCE_LINES),
    forged("forges-the-display", "Shows every number as full marks", FORMATTER),
    forged("sends-a-result", "Sends a result of its own from the check's cell", SENDS_RESULT),
    Case("fake-module", "Puts a fake package in the place of the course's", "hostile", HEADS,
         answering(HEADS, WRONG, first=[code(FAKE_MODULE)]), 0.0, "graded", SUSPECT, FORGED, True),
    Case("forged-output-in-the-file", "Writes full marks into the saved output", "hostile", HEADS,
         editing(HEADS, _forged_output), 0.0, "graded", "", "Outputs that come in do not count: 0 points."),
    hostile("always-equal", "An object whose __eq__ is always true", inside(SAME, ""), 0.0, ANYTHING,
            UNIMPRESSED),
    hostile("always-equal-tensor", "A tensor that says it equals every other", inside(SAME_TENSOR, ""), 0.0,
            ANYTHING, UNIMPRESSED),
    hostile("always-equal-number", "A number that equals every other", code(SAME_NUMBER), 0.0, ANYTHING,
            UNIMPRESSED, slug=PARTS),
    hostile("imports-the-reference", "Takes the checker's reference as its answer",
            WRONG + "\n\n\n" + code(REFERENCE_AT_TOP), 0.0, SUSPECT, WITHOUT_REFERENCE, fools_inside=True),
    hostile("calls-the-reference", "Calls the checker's reference from the function",
            inside(REFERENCE_INSIDE, WRONG_BODY), 0.0, SUSPECT, WITHOUT_REFERENCE, fools_inside=True),
    hostile("calls-the-reference-of-a-version", "Calls the reference of the student's own version",
            _version_reference, 0.0, SUSPECT, WITHOUT_REFERENCE, slug=FAMILY, fools_inside=True),
    hostile("reads-the-frames", "Looks for the reference in the memory of whoever calls",
            inside(FRAMES, WRONG_BODY), 0.0, SUSPECT, WITHOUT_REFERENCE, fools_inside=True),
    hostile("reads-the-checker", "Reads the checker's file and runs it", inside(READS_SOURCE, WRONG_BODY),
            0.0, SUSPECT, WITHOUT_REFERENCE, fools_inside=True),
    hostile("calls-the-package", "Calls the course's own split_heads, which the package offers to all",
            "from attncourse.multihead import split_heads", 1.0, r"(?i:import|multihead|package|reference)",
            "What the package offers may be used; a remark tells you."),
)  # fmt: skip
