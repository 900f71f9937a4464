"""The list for a person: hostile code is on it, the whole bank is not, and no text breaks it."""

import functools
import inspect
import textwrap
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncourse.classroom._code import MAX_CHARACTERS
from attncourse.classroom.bank import FOLDER, exercise_paths, read_exercise
from attncourse.classroom.suspicion import SHOWN, imports_of, ready_made_for, remarks_on
from attncourse.exercises import exercise_ids
from attncourse.exercises._catalogue import exercise, load

pytestmark = pytest.mark.exercises
SPLIT_HEADS = {"attncourse.multihead.split_heads"}
GIVEN = {"numpy as np", "torch", "torch.nn.functional as F", "attncourse.exercises.check", "math"}

# --- hostile code: what is written, and what the remark must say ---------------------------------------

HOSTILE = [
    # modules that no exercise uses
    ("import subprocess", "imports subprocess"),
    ("import os\nos._exit(0)", "imports os"),
    ("import os.path as p", "imports os.path"),
    ("from sys import modules", "imports sys"),
    ("def f(x):\n    import socket\n    return x", "imports socket"),
    ("import ctypes", "imports ctypes"),
    ("import signal", "imports signal"),
    ("import threading", "imports threading"),
    ("import gc\ngc.get_objects()", "imports gc"),
    ("import inspect\ninspect.stack()", "imports inspect"),
    ("import sqlite3", "imports sqlite3"),
    ("import ast", "imports ast"),
    ("import requests", "imports requests"),
    ("from . import grader", "imports ."),
    ("import math as m, pickle as p", "imports pickle"),
    # the same modules inside harmless ones
    ("import torch\ntorch.os.system('ls')", "uses torch.os"),
    ("import random\nrandom._os.kill(1, 9)", "uses random._os"),
    ("from torch import os", "uses torch.os"),
    # the inside of the checker
    ("from attncourse.exercises import _catalogue", "imports attncourse.exercises._catalogue"),
    ("import attncourse.exercises.multihead.split_heads as s", "imports attncourse.exercises.multihead"),
    ("from attncourse.exercises._catalogue import exercise", "belongs to the checker"),
    ("import attncourse.exercises as e\ne._check.difference", "uses attncourse.exercises._check"),
    ("from attncourse import exercises\nexercises._run", "uses attncourse.exercises._run"),
    ("from attncourse import classroom", "imports attncourse.classroom"),
    ("check.__globals__['exercise']", "uses __globals__"),
    ("getattr(check, '__glo' + 'bals__')", "names __globals__ in a text"),
    # texts that are run, files, the keyboard
    ("exec('x = 1')", "uses exec"),
    ("value = eval('1 + 1')", "uses eval"),
    ("e = exec\ne('x = 1')", "uses exec"),
    ("exec('x = 1')\nexec = None", "uses exec"),
    ("compile('x', 'x', 'eval')", "uses compile"),
    ("__import__('os').system('ls')", "uses __import__"),
    ("import importlib", "imports importlib"),
    ("open('answers.txt').read()", "uses open"),
    ("with open('x', 'w') as f: pass\nopen = 3", "uses open"),
    ("input()", "uses input"),
    ("breakpoint()", "uses breakpoint"),
    ("np.load('reference.npy', allow_pickle=True)", "uses numpy.load"),
    ("from torch import load", "uses torch.load"),
    ("torch.hub.load('a/b', 'c')", "reads or writes files"),
    # built-in and global names
    ("getattr(__builtins__, 'ex' + 'ec')('x = 1')", "uses exec"),
    ("getattr(__builtins__, 'ex' + 'ec')('x = 1')", "uses __builtins__"),
    ("__builtins__['eval']", "uses __builtins__"),
    ("globals()['check'] = None", "uses globals()"),
    ("locals()['check'] = None", "uses locals()"),
    ("vars()['check'] = None", "uses vars()"),
    ("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    e.__traceback__.tb_frame.f_back", "uses f_back"),
    ("(0).__class__.__base__.__subclasses__()", "uses __subclasses__"),
    # assignments into other people's modules
    ("np.testing.assert_allclose = lambda *a, **k: None", "assigns to numpy.testing.assert_allclose"),
    ("import numpy.testing as t\nt.assert_allclose = print", "assigns to numpy.testing.assert_allclose"),
    ("from numpy import testing\ntesting.assert_allclose = print", "assigns to numpy.testing.assert_allc"),
    ("t = np.testing\nu = t\nu.assert_allclose = print", "assigns to numpy.testing.assert_allclose"),
    ("def f():\n    t = np.testing\n    t.assert_allclose = print", "assigns to numpy.testing.assert_allc"),
    ("(t := np.testing).assert_allclose = print", "assigns to numpy.testing.assert_allclose"),
    ("setattr(np.testing, 'assert_allclose', print)", "assigns to numpy.testing.assert_allclose"),
    ("getattr(np, 'testing').assert_allclose = print", "assigns to numpy.testing.assert_allclose"),
    ("vars(np.testing)['assert_allclose'] = print", "assigns to numpy.testing.assert_allclose"),
    ("np.testing.__dict__['assert_allclose'] = print", "assigns to numpy.testing.assert_allclose"),
    ("np.testing.__dict__.update(assert_allclose=print)", "uses the names of numpy.testing as a dict"),
    ("vars(np.testing).update(assert_allclose=print)", "uses the names of numpy.testing as a dict"),
    ("type(np.testing).__setattr__(np.testing, 'a', 1)", "assigns to numpy.testing.a"),
    ("object.__setattr__(torch, 'allclose', print)", "assigns to torch.allclose"),
    ("torch.__setattr__('allclose', print)", "assigns to torch.allclose"),
    ("import sys\nsys.modules['torch'].allclose = print", "assigns to torch.allclose"),
    ("import importlib\nimportlib.import_module('torch').allclose = print", "assigns to torch.allclose"),
    ("torch.nn.Linear.forward = print", "assigns to torch.nn.Linear.forward"),
    ("torch.allclose, torch.equal = print, print", "assigns to torch.allclose"),
    ("for torch.allclose in [print]: pass", "assigns to torch.allclose"),
    ("del torch.allclose", "assigns to torch.allclose"),
    ("import attncourse.attention as a\na.attend = print", "assigns to attncourse.attention.attend"),
    ("layer = nn.Linear(2, 2)\ntype(layer).forward = print", "assigns to forward in the class of an object"),
    ("layer = nn.Linear(2, 2)\nlayer.__class__.forward = print", "in the class of an object"),
    ("from unittest import mock\nmock.patch('numpy.allclose').start()", "patches numpy.allclose"),
    ("from unittest.mock import patch\npatch.object(torch, 'x')", "patches torch"),
    # names of the exercise
    ("def check(*args):\n    return args", "defines check anew"),
    ("check = print", "defines check anew"),
    ("from attncourse.attention import attend as check", "defines check anew"),
    ("def f():\n    global check\n    check = print", "defines check anew"),
    ("class torch:\n    pass", "defines torch anew"),
    ("import torch\ntorch = None", "defines torch anew"),
    ("import random as np", "defines np anew"),
    # objects that answer as they like
    ("class A:\n    def __eq__(self, other):\n        return True", "defines __eq__ in the class A"),
    ("class A:\n    __eq__ = lambda self, other: True", "defines __eq__ in the class A"),
    ("class A:\n    pass\nA.__eq__ = print", "assigns to __eq__"),
    ("A = type('A', (), {'__eq__': print})", "names __eq__ in a text"),
    ("class A:\n    def __array_ufunc__(self, *a): ...", "defines __array_ufunc__"),
    ("class A(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, *a): ...",
     "defines __torch_function__"),
    ("class A(float):\n    def __float__(self):\n        return 3.0", "defines __float__"),
    # the notebook
    ("get_ipython().ast_transformers.append(print)", "uses get_ipython"),
    ("get_ipython().ast_transformers.append(print)", "uses ast_transformers"),
    ("get_ipython().display_pub.publish({})", "uses display_pub"),
    ("class T(NodeTransformer):\n    pass", "uses NodeTransformer"),
    ("shell.displayhook = print", "uses displayhook"),
    ("print(In[-1])", "uses In"),
    ("from IPython import get_ipython", "imports IPython"),
    # shell and magics
    ("!cat /etc/passwd", "runs a command in a shell"),
    ("files = !ls", "runs a command in a shell"),
    ("%%bash\nls", "uses the magic %%bash"),
    ("%sx ls", "uses the magic %sx"),
    ("\n\n%run x.py", "uses the magic %run"),
    ("%%time\nimport subprocess", "imports subprocess"),
    ("r = %timeit -o -n 1 exec('x = 1')", "uses exec"),
    ("    import subprocess", "imports subprocess"),
    # places and packed data
    ("where = '/home/teacher/course'", "names /home/ in a text"),
    ("where = '/etc'", "names /etc in a text"),
    ("where = f'file:///etc/{1}'", "names //etc/ in a text"),
    ("where = '/ho' + 'me/teacher'", "names /home/ in a text"),
    ("where = 'gradebook.db'", "names gradebook in a text"),
    ("where = b'../../source/HW1'", "names ../ in a text"),
    (f"data = {'Q2hlY2s9' * 40!r}", "holds a text of 320 characters that looks packed"),
    (f"data = {b'x' + bytes(range(128, 256)) * 2!r}", "holds a text of 257 characters that looks packed"),
    # ready-made answers
    ("from attncourse.multihead import split_heads", "split_heads, which does what the exercise"),
    ("import attncourse.multihead as m\nanswer = m.split_heads", "uses attncourse.multihead.split_heads"),
    ("import attncourse\nanswer = attncourse.multihead.split_heads", "uses attncourse.multihead.split_heads"),
    ("from attncourse.transformer import split_heads as s", "uses attncourse.transformer.split_heads"),
    ("from attncourse.multihead import *", "imports everything from attncourse.multihead"),
    ("getattr(__import__('attncourse.multihead'), 'multihead')", "uses __import__"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), HOSTILE)
def test_hostile_code_is_on_the_list(source, expected):
    remarks = remarks_on(source, allowed=GIVEN, ready_made=SPLIT_HEADS)
    assert any(expected in one for one in remarks), remarks


# --- honest code ---------------------------------------------------------------------------------------

HONEST = [
    "import math\nimport itertools\nfrom functools import partial\nfrom collections.abc import Callable",
    "import numpy as np\nimport torch\nfrom torch import nn\nimport torch.nn.functional as F",
    "import matplotlib.pyplot as plt\nplt.rcParams['figure.dpi'] = 120\nplt.plot([1, 2])\nplt.show()",
    "from attncourse.exercises import check\ncheck('multihead.split-heads', print).points(4)",
    "import attncourse.exercises\nattncourse.exercises.check('x', print)",
    "from attncourse.attention import attend\nfrom attncourse.tasks.dates import DateTask",
    "def attend(query, key, value, input, compile=False):\n    input = input + 1\n    return query @ input",
    "input = torch.zeros(2)\ninput[0] = 1.0\nprint(input)",
    "model = nn.Linear(2, 3)\nmodel.eval()\nmodel.weight.data[0] = 1\nmodel.bias.requires_grad = False",
    "class Layer(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.check = 1\n"
    "        setattr(self, 'size', 3)\n        self.__dict__['x'] = 1\n        self.__class__.__name__",
    "list = [1]\nlist[0] = 2\nsum = {}\nsum['a'] = 1",
    "def f(F, np):\n    F.scale = 1\n    np.x = 2\n    return [math for math in range(3)]",
    "def f(check):\n    torch = check\n    return torch",
    "def f():\n    return locals(), vars(f)",
    "np.testing.assert_allclose(1.0, 1.0)\nassert torch.allclose(torch.ones(1), torch.ones(1))",
    "torch.signal.windows.hann(4)\nnp.random.seed(0)\nnp.random.default_rng(0)",
    "%matplotlib inline\n%timeit -n 10 -r 2 math.exp(1.0)\nmath?",
    "%%time\nx = torch.zeros(3)\nx.sum()",
    '"""Divide a/b, and/or the mean /var of (batch, n_tokens)."""\ntext = "one /home run"\nrule = "=" * 300',
    f"'''{'-' * 250}\n{'注意力机制的权重' * 100}'''",
    "from dataclasses import dataclass\n@dataclass\nclass Two:\n    x: float\n    def size(self): ...",
    "F = torch.nn.functional\nfrom torch.nn import functional as F\nnp = np",
    "for i, _ in enumerate(range(3)):\n    print(i, _)",
    "if __name__ == '__main__':\n    print(__doc__)",
    "print('\\d')  # a text with an escape that Python warns of",
    "for frame in range(3):\n    print(f'{frame:.3f}', r'\\alpha')",
    "",
    "\n\n# nothing but a comment",
]


@pytest.mark.parametrize("source", HONEST)
def test_honest_code_is_not(source):
    assert remarks_on(source, allowed=GIVEN, ready_made=SPLIT_HEADS) == ()


def cells_of(one):
    return [cell for cell in one.cells if cell.kind == "code"]


def own_imports(one):
    return imports_of([cell.starter() for cell in cells_of(one) if cell.tag != "solution"])


@pytest.mark.parametrize("path", exercise_paths(), ids=lambda path: path.stem)
def test_the_bank_is_not_on_the_list(path):
    """Starter and solution of every version; no solution uses what the package has ready."""
    for seed in range(read_exercise(path).n_versions):
        one = read_exercise(path, seed)
        handed_in = [cell for cell in cells_of(one) if cell.tag != "solution"]
        ready_made = ready_made_for(one.id, seed) if one.has_checker else ()
        for source in ([cell.starter() for cell in handed_in], [cell.solved() for cell in handed_in]):
            assert remarks_on(source, allowed=own_imports(one), ready_made=ready_made) == ()
            for cell in source:
                assert remarks_on(cell, allowed=own_imports(one), ready_made=ready_made) == ()


def is_ours(answer):
    return answer.__module__.startswith("attncourse.exercises.")


def sources_of(answer):
    """Return the code of an answer, with the imports of its module that an exercise may use."""
    if isinstance(answer, dict):
        return [source for part in answer.values() for source in sources_of(part)]
    if isinstance(answer, functools.partial):
        return sources_of(answer.func)
    if not (inspect.isclass(answer) or inspect.isfunction(answer)) or not is_ours(answer):
        return [repr(answer)]
    module = inspect.getsource(inspect.getmodule(answer))
    known = [line for line in module.splitlines() if line.startswith(("import ", "from torch", "from numpy"))]
    return ["\n".join(known) + "\n" + textwrap.dedent(inspect.getsource(answer))]


@pytest.mark.parametrize("exercise_id", exercise_ids())
def test_mistakes_and_variants_are_not_on_the_list(exercise_id):
    """Wrong is not suspicious. Whether it is ready-made is not asked: a variant may well be."""
    path = FOLDER / f"{exercise_id.replace('.', '-')}.md"
    for seed in range(read_exercise(path).n_versions):
        task = exercise(exercise_id, seed)
        allowed = own_imports(read_exercise(path, seed))
        answers = [one.answer for one in task.mistakes] + [*task.variants.values(), *task.accepted.values()]
        for source in {source for answer in answers for source in sources_of(answer)}:
            assert remarks_on(source, allowed=allowed) == (), source


# --- the form of a remark ------------------------------------------------------------------------------


def test_a_remark_gives_line_and_code():
    assert remarks_on("x = 1\n\nimport subprocess  # for speed") == (
        "imports subprocess (line 3: import subprocess  # for speed)",
    )


def test_with_several_cells_the_remark_gives_the_cell_and_names_are_known_across():
    cells = ["import numpy.testing as t", "x = 1", "\n\nt.assert_allclose = print"]
    assert remarks_on(cells) == (
        "assigns to numpy.testing.assert_allclose, which belongs to a module "
        "(cell 3, line 3: t.assert_allclose = print)",
    )


def test_a_cell_that_does_not_parse_does_not_hide_the_others():
    assert remarks_on(["def f(:", "import os"]) == ("imports os (cell 2, line 1: import os)",)


def test_lines_are_cut_and_hold_no_control_characters():
    line = "import os; x = '\t\x1b[31m\u202e\ud800" + "x" * 300 + "'"
    (remark,) = remarks_on(line.encode("utf-8", "replace").decode().replace("?", "\x85"))
    assert remark.isprintable()
    shown = remark.partition("line 1: ")[2].removesuffix(")")
    assert len(shown) == SHOWN
    assert shown.endswith("…")


def test_every_kind_stands_there_twice_at_most():
    source = "\n".join(f"import {name}" for name in ("os", "sys", "socket", "gc", "os")) + "\n!ls\n!ls"
    remarks = remarks_on(source)
    assert remarks == (
        "imports os (line 1: import os)",
        "imports sys (line 2: import sys) and 2 more",
        "runs a command in a shell (line 6: !ls)",
    )
    assert len(remarks_on("\n".join(source for source, _ in HOSTILE if "!" not in source))) <= 30


def test_line_numbers_count_as_in_the_cell():
    assert "(line 4: !ls)" in remarks_on("\n\n\n!ls")[0]
    assert "(line 3: import os)" in remarks_on("%%time\n\nimport os")[0]
    assert "(line 2: import os)" in remarks_on("x = 1\r\nimport os\r\n")[0]


def test_what_the_exercise_imports_may_be_imported_and_used():
    own = "import scipy.special\nfrom einops import rearrange\nfrom attncourse.multihead import split_heads"
    assert len(remarks_on(own, ready_made=SPLIT_HEADS)) == 3
    assert remarks_on(own, allowed=imports_of(own), ready_made=SPLIT_HEADS) == ()
    assert remarks_on("import einops", allowed={"einops.rearrange"}) != ()


def test_imports_are_given_with_the_names_they_bind():
    cells = ["import numpy as np, math", "from torch import nn\nimport torch.nn.functional", "def ("]
    assert imports_of(cells) == {"numpy as np", "math", "torch.nn", "torch"}


# --- ready-made answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exercise_id", "expected"),
    [
        ("multihead.split-heads", {"attncourse.multihead.split_heads"}),  # is the package's
        ("scaled.three-faults", {"attncourse.attention.scaled_dot_product_attention"}),  # calls it
        ("vision.set-loss", {"attncourse.detection_loss.detection_loss"}),  # and makes a record for it
        ("types.sparsemax", {"attncourse.sparsemax.sparsemax"}),  # a dictionary of parts
        ("order.turn-pairs", {"attncourse.positions.rotate"}),  # partial
        ("recurrence.mend-the-reader", {"attncourse.recurrent.raise_forget_bias"}),  # a class
        ("focus.by-hand", set()),  # numbers
        ("scaled.weigh-by-rule", set()),  # computes everything itself
    ],
)
def test_ready_made_answers_are_what_the_reference_is_or_calls(exercise_id, expected):
    assert ready_made_for(exercise_id) == expected


def test_ready_made_answers_depend_on_the_version():
    n_versions = len(load("applications.best-span-by-rule").versions)
    found = [ready_made_for("applications.best-span-by-rule", seed) for seed in range(n_versions)]
    assert {"attncourse.span_reader.best_span"} in found
    assert set() in found


@pytest.mark.parametrize("exercise_id", exercise_ids())
def test_ready_made_answers_are_public_objects_outside_the_checkers(exercise_id):
    for name in ready_made_for(exercise_id):
        assert name.startswith("attncourse.")
        assert not name.startswith(("attncourse.exercises", "attncourse._checks"))


# --- nothing breaks it ---------------------------------------------------------------------------------

BREAKING = {
    "null byte": "x = 1\0",
    "brackets": "(" * 10_000,
    "brackets that close": "(" * 10_000 + ")" * 10_000,
    "signs": "-" * 50_000 + "1",
    "a long sum": "x = " + "+".join(["1"] * 20_000),
    "a long chain": "x" + ".a" * 20_000,
    "long chains": ("x" + ".a" * 900 + "\n") * 100,
    "long sums of texts": ("'a'" + "+'b'" * 700 + "\n") * 70,
    "functions in functions": "\n".join(" " * depth + "def f(x):" for depth in range(90))
    + "\n"
    + " " * 90
    + "x",
    "many functions": "def f(x): global y; return lambda z: [z for z in x]\n" * 1_900,
    "calls of calls": "f" + "(1)" * 20_000,
    "lambdas": "lambda:" * 3_000 + "1",
    "nested blocks": "\n".join("    " * depth + "if x:" for depth in range(150)),
    "5 MB of text": "x = 'a'\n" * 625_000,
    "5 MB in a line": "x" * 5_000_000,
    "5 MB that do not parse": "%%(" * 1_600_000,
    "surrogates": "x = '\ud800'",
    "a number too long": "x = " + "1" * 10_000,
    "many magics": "!ls\n" * 2_000,
    "some magics in much text": "!ls\n" * 40 + "x = 1\n" * 1_600,
    "open text": "x = '''\n%time\n",
    "no indentation": "def f():\n!ls\n  return",
    "an unclear indentation": "def f():\n  x\n y\n!ls",
    "magics without end": "!\n" * 401,
    "form feeds": "\f\x0b\x1c\x85\u2028!ls",
    "byte order mark": "\ufeff%%time\nx",
    "empty f-string": "f'{}'",
}


@pytest.mark.parametrize("source", BREAKING.values(), ids=BREAKING)
def test_no_text_breaks_it(source):
    start = time.process_time()
    remarks = remarks_on(source)
    assert all(remark.isprintable() and len(remark) < 400 for remark in remarks)
    assert time.process_time() - start < 10


def test_what_was_not_looked_at_is_said():
    assert "100,001 characters, too many to look at" in remarks_on("#" + "x" * MAX_CHARACTERS)[0]
    assert (
        "2,000 lines for IPython among 8,000 characters, too many" in remarks_on(BREAKING["many magics"])[0]
    )


def test_code_that_does_not_parse_gives_no_remark():
    assert remarks_on("import os\ndef f(:") == ()
    assert remarks_on("!ls\nimport os\ndef f(:") == ()


WORDS = ["import os", "check", "=", "\n", "    ", "!ls", "%%bash\n", "%time ", "(", ")", "lambda x:", "np."]
PIECES = st.lists(st.sampled_from(WORDS), max_size=20).map("".join)


@pytest.mark.properties
@given(st.text(st.characters(), max_size=300) | PIECES)
def test_no_drawn_text_breaks_it(source):
    remarks = remarks_on(source, allowed=["", " as ", source[:20]], ready_made=[source[:20]])
    assert all(remark.isprintable() for remark in remarks)
    assert remarks_on([source, source]) is not None
    imports_of(source)


def test_an_ordinary_answer_is_read_within_20_ms():
    bank = [[cell.solved() for cell in cells_of(read_exercise(path))] for path in exercise_paths()]
    source = max(bank, key=lambda cells: len("".join(cells)))

    def seconds():
        start = time.process_time()
        remarks_on(source)
        return time.process_time() - start

    assert min(seconds() for _ in range(5)) < 0.02
