"""The package holds the only copy: no cell binds a name that the package owns."""

import pytest

from tests.support.book import chapters, name_of, none_of, notebooks, read_page
from tests.support.progression import owned_names, second_copy_problems
from tests.support.sample import sample

pytestmark = pytest.mark.book
OWNERS = {"attend": "attention", "GRUCell": "recurrent", "COLOURS": "viz", "claim": "display"}


@pytest.mark.parametrize("path", notebooks(), ids=name_of)
def test_no_cell_of_the_book_makes_a_second_copy(path):
    none_of(second_copy_problems(read_page(path), owned_names()))


def test_the_book_has_chapters():
    assert chapters(), "no chapter found: the test above would pass by checking nothing"


def test_the_package_owns_its_public_names():
    owners = owned_names()
    assert owners["show_source"] == "display"
    assert {"tasks", "reference", "attention"} <= set(owners.values())
    assert not any(name.startswith("_") for name in owners)
    assert "np" not in owners, "what a module imports is not its own"


def test_owned_names_are_definitions_and_assignments(tmp_path):
    (tmp_path / "m.py").write_text(
        "import os\nA = 1\nB: int = 2\nC, D = 3, 4\n_E = 5\ndef f(): x = 1\nclass G: y = 1\n"
    )
    assert owned_names(tmp_path) == dict.fromkeys(["A", "B", "C", "D", "f", "G"], "m")


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("def attend(x):\n    return x", "attend"),
        ("async def attend(x):\n    return x", "attend"),
        ("class GRUCell:\n    pass", "GRUCell"),
        ("COLOURS = 1", "COLOURS"),
        ("x, (COLOURS, y) = 1, (2, 3)", "COLOURS"),
        ("COLOURS: int = 1", "COLOURS"),
        ("COLOURS += 1", "COLOURS"),
        ("if (attend := 3):\n    pass", "attend"),
        ("for attend in []:\n    pass", "attend"),
        ("with open('x') as attend:\n    pass", "attend"),
        ("try:\n    pass\nexcept OSError as attend:\n    pass", "attend"),
        ("import torch as attend", "attend"),
        ("from torch import attend", "attend"),
        ("from torch import x as attend", "attend"),
        ("from attncourse.scores import DotScore as attend", "attend"),
        ("def outer():\n    def attend(x):\n        return x", "attend"),
        ("if True:\n    def attend(x):\n        return x", "attend"),
    ],
)
def test_a_second_copy_is_reported(tmp_path, code, name):
    page = sample(tmp_path, ("measured = [", f"{code}\nmeasured = ["))
    problem = f"04-sample.ipynb[measure]: binds {name}, which attncourse.{OWNERS[name]} owns"
    found = second_copy_problems(page, OWNERS)
    assert len(found) == 1
    assert found[0].startswith(problem)


@pytest.mark.parametrize(
    "code",
    [
        "from attncourse.attention import attend",
        "from attncourse.attention import attend as kept",
        "def draft(x):\n    attend = x\n    return attend",
        "class Draft:\n    def attend(self):\n        return 1",
        "x = [attend for attend in range(3)]",
        "x = attend(3)",
        "x.attend = 3",
        "def draft(attend):\n    return attend",
    ],
)
def test_using_the_package_or_a_local_name_is_fine(tmp_path, code):
    page = sample(tmp_path, ("measured = [", f"{code}\nmeasured = ["))
    assert second_copy_problems(page, OWNERS) == []
