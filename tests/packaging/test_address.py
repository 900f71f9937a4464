"""The public address stands in `_config.yml`; its copies agree, and one command changes them all."""

import subprocess
from pathlib import Path

import address
import pytest

ROOT = Path(__file__).resolve().parents[2]
OLD, NEW = "https://github.com/example-org/attention-course", "https://github.com/Uni-X/att"

pytestmark = pytest.mark.packaging


@pytest.fixture
def tree(tmp_path):
    """Provide a small repository with the address in every form."""
    files = {
        "_config.yml": f"title: x\nrepository:\n  # the address\n  url: {OLD}\n  branch: main\nhtml: {{}}\n",
        "README.md": (
            f"![b]({OLD}/actions/workflows/tests.yml/badge.svg)\n"
            "[site](https://example-org.github.io/attention-course/)\n"
            "[binder](https://mybinder.org/v2/gh/example-org/attention-course/main)\n"
            f"git clone {OLD}.git\n"
            "Thanks to https://github.com/karpathy/minGPT and https://jalammar.github.io/illustrated-transformer/.\n"
        ),
        "CITATION.cff": f"repository-code: {OLD}\nurl: https://example-org.github.io/attention-course/\n",
        "pyproject.toml": f'[project.urls]\nRepository = "{OLD}"\n',
        "book/01-a.ipynb": f'{{"source": ["pip install git+{OLD}\\n"]}}\n',
        "book/index.md": "https://colab.research.google.com/github/example-org/attention-course/blob/main/a.ipynb\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def test_copies_in_this_repository_agree(capsys):
    assert address.main(["check"]) == 0, capsys.readouterr().out


def test_check_finds_every_form(tree):
    copies = address.find_copies(tree)
    assert all(copy.agrees for copy in copies)
    assert [(copy.path, copy.line) for copy in copies] == [
        ("CITATION.cff", 1), ("CITATION.cff", 2),
        ("README.md", 1), ("README.md", 2), ("README.md", 3), ("README.md", 4),
        ("_config.yml", 4), ("book/01-a.ipynb", 1), ("book/index.md", 1), ("pyproject.toml", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("README.md", "gh/example-org/attention-course", "gh/someone/fork"),
        ("README.md", "example-org.github.io/attention-course", "example-org.github.io/old-name"),
        ("CITATION.cff", "example-org/attention-course", "example-org/attention-curse"),
        ("CITATION.cff", "https://example-org.github.io/attention-course/", "https://else.github.io/where/"),
        ("pyproject.toml", OLD, "https://github.com/someone/fork"),
        ("book/01-a.ipynb", OLD, "https://github.com/someone/fork"),
        ("book/index.md", "example-org/", "someone/"),
    ],
)
def test_check_fails_when_a_copy_differs(tree, capsys, name, before, after):
    path = tree / name
    path.write_text(path.read_text(encoding="utf-8").replace(before, after, 1), encoding="utf-8")
    assert address.main(["check"], tree) == 1
    assert f"DIFFERS {name}" in capsys.readouterr().out


def test_set_changes_every_copy_and_nothing_else(tree):
    assert address.main(["set", NEW], tree) == 0
    left = "".join(
        p.read_text(encoding="utf-8")
        for p in tree.rglob("*.*")
        if p.suffix in {".md", ".yml", ".cff", ".toml", ".ipynb"}
    )
    assert "example-org" not in left
    readme = (tree / "README.md").read_text(encoding="utf-8")
    assert "https://uni-x.github.io/att/" in readme
    assert "git clone https://github.com/Uni-X/att.git" in readme
    assert "karpathy/minGPT" in readme
    assert "jalammar.github.io/illustrated-transformer" in readme


def test_set_and_back_is_the_identity(tree):
    before = {p: p.read_bytes() for p in tree.rglob("*.md")}
    address.main(["set", NEW], tree)
    address.main(["set", OLD], tree)
    assert {p: p.read_bytes() for p in before} == before


@pytest.mark.parametrize(
    "bad", ["github.com/a/b", "https://github.com/a", "https://gitlab.com/a/b", "https://github.com/a/b/c"]
)
def test_set_refuses_what_is_no_repository(tree, capsys, bad):
    with pytest.raises(SystemExit):
        address.main(["set", bad], tree)
    assert "repository must be https://github.com/OWNER/NAME, got repository=" in capsys.readouterr().err


def test_site_of_an_owner_has_no_folder():
    assert address.site_address("https://github.com/Uni-X/uni-x.github.io") == "https://uni-x.github.io/"
