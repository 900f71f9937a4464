"""Running and storing notebooks: the same bytes every time, and nothing lost when a cell fails."""

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from chapter_text import pack
from notebooks import (
    SCRUB,
    main,
    normal_form,
    over_budget,
    problems_of_form,
    run,
    scrub,
    write_atomically,
)
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TEXT = """\
%% md intro
# A small notebook

%% code imports
import os
import time
import matplotlib.pyplot as plt
from attncourse import __version__

%% code stream
print("one", flush=True)
time.sleep(0.05)
print("two", os.path.basename(os.getcwd()))

%% code address
object()

%% code figure {"mystnb": {"figure": {"caption": "c", "name": "fig-x"}, "image": {"alt": "a"}}}
plt.figure(figsize=(2, 2))
plt.plot([0, 1], [0, 1])
plt.show()

%% code timing {"tags": ["nbval-ignore-output"]}
print(time.perf_counter_ns())
"""


@pytest.fixture
def notebook(tmp_path):
    folder = tmp_path / "book"
    folder.mkdir()
    path = folder / "01-small.ipynb"
    path.write_text(pack(TEXT), encoding="utf-8")
    return path


def cells_of(path):
    return {cell["id"]: cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]}


def test_running_twice_gives_the_same_bytes(notebook, capsys):
    assert run(notebook).endswith("stored")
    first = notebook.read_bytes()
    assert run(notebook).endswith("unchanged")
    assert notebook.read_bytes() == first
    cells = cells_of(notebook)
    assert cells["stream"]["outputs"][0]["text"] == ["one\n", "two book\n"], (
        "one stream, run in its own folder"
    )
    assert cells["address"]["outputs"][0]["data"]["text/plain"] == ["<object at 0xADDRESS>"]
    assert [cells[name]["execution_count"] for name in ("imports", "stream", "timing")] == [1, 2, 5]
    assert set(cells["figure"]["outputs"][0]["data"]) == {"image/png", "text/plain"}
    assert problems_of_form(notebook) == []

    # --refresh renews the timing and nothing else
    assert main(["run", "--refresh", str(notebook)]) == 0
    renewed = cells_of(notebook)
    assert renewed.pop("timing")["outputs"] != cells.pop("timing")["outputs"]
    assert renewed == cells

    # so does a change of the tagged cell's own source
    timing = cells_of(notebook)["timing"]
    text = TEXT.replace("print(time.perf", "print(1 + time.perf")
    notebook.write_text(pack(text, json.loads(notebook.read_text("utf-8"))), encoding="utf-8")
    run(notebook)
    renewed_timing = cells_of(notebook)["timing"]
    assert renewed_timing["outputs"] != timing["outputs"]


def test_a_failing_cell_is_named_and_the_file_stays(notebook, capsys):
    text = TEXT.replace("object()", "1 / 0")
    notebook.write_text(pack(text), encoding="utf-8")
    before = notebook.read_bytes()
    assert main(["run", str(notebook)]) == 1
    assert "cell 'address' raised ZeroDivisionError: division by zero" in capsys.readouterr().err
    assert notebook.read_bytes() == before
    assert [p.name for p in notebook.parent.iterdir()] == [notebook.name], "no temporary file is left"


def test_a_dead_kernel_and_an_endless_cell_are_named(tmp_path, capsys):
    dead, endless, good = (tmp_path / f"{name}.ipynb" for name in ("dead", "endless", "good"))
    dead.write_text(pack("%% code fatal\nimport os\nos._exit(1)\n"), encoding="utf-8")
    endless.write_text(pack("%% code sleepy\nimport time\ntime.sleep(60)\n"), encoding="utf-8")
    good.write_text(pack("%% code fine\nprint(1)\n"), encoding="utf-8")
    assert main(["run", "--timeout", "2", str(dead), str(endless), str(good)]) == 1
    shown = capsys.readouterr()
    assert "the kernel died in cell 'fatal'" in shown.err
    assert "cell 'sleepy' ran longer than 2 seconds" in shown.err
    assert "good.ipynb  stored" in shown.out, "one bad notebook does not stop the others"


def test_stderr_is_pointed_at(tmp_path, capsys):
    path = tmp_path / "noisy.ipynb"
    path.write_text(pack("%% code loud\nimport sys\nprint('x', file=sys.stderr)\n"), encoding="utf-8")
    assert "stderr must be empty, look at: loud" in run(path)


def test_budget_measures_and_judges(tmp_path, capsys):
    path = tmp_path / "big.ipynb"
    # 300 MiB in the kernel and 200 MiB in a child process, both freed before the cell ends
    child = "import time; x = bytearray(200 * 2**20); time.sleep(1)"
    source = (
        f"import subprocess, sys\nx = bytearray(300 * 2**20)\ndel x\n"
        f"_ = subprocess.run([sys.executable, '-c', '{child}'])"
    )
    path.write_text(pack(f"%% code memory\n{source}\n"), encoding="utf-8")
    before = path.read_bytes()
    assert main(["budget", str(path)]) == 0
    shown = capsys.readouterr().out
    seconds, mib = map(float, re.search(r"([\d.]+) s +(\d+) MiB", shown).groups())
    assert 500 < mib < 900
    assert 0.5 < seconds < 60
    assert "OVER" not in shown
    assert path.read_bytes() == before, "measuring stores nothing"


def test_budget_fails_when_over(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("notebooks.BUDGET_MIB", 10)
    path = tmp_path / "small.ipynb"
    path.write_text(pack("%% code one\n1\n"), encoding="utf-8")
    assert main(["budget", str(path)]) == 1
    assert "OVER BUDGET" in capsys.readouterr().out


def test_the_budget_has_two_edges():
    assert over_budget(60, 1024) == ""
    assert over_budget(60.1, 1) == over_budget(1, 1025) == "  OVER BUDGET"


def test_check_lists_what_is_not_in_normal_form(notebook, capsys):
    run(notebook)
    assert main(["check", str(notebook)]) == 0
    assert capsys.readouterr().out == ""
    plain = notebook.read_text(encoding="utf-8")
    for broken in (
        plain.replace('"execution_count": 3', '"execution_count": 7'),
        plain.replace('"metadata": {}', '"metadata": {"collapsed": true}', 1),
        json.dumps(json.loads(plain)),
        plain.replace("0xADDRESS", "0x7f5ac01d2b30"),
        plain.rstrip("\n"),
        plain.replace('"kernelspec"', '"orig_nbformat"'),
        "{}",
        "no json",
    ):
        assert broken != plain
        notebook.write_text(broken, encoding="utf-8")
        assert main(["check", str(notebook)]) == 1, broken[:200]
        assert "01-small.ipynb: not " in capsys.readouterr().out


def test_the_stored_image_has_a_palette_and_no_text_chunk():
    import matplotlib.pyplot as plt

    file = io.BytesIO()
    figure, axes = plt.subplots(figsize=(6, 4))
    axes.imshow(np.linspace(0, 1, 64).reshape(8, 8))
    axes.plot([0, 7], [7, 0])
    figure.savefig(file, format="png")
    plt.close(figure)
    assert b"matplotlib" in file.getvalue(), "the planted version stamp"
    output = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"image/png": base64.encodebytes(file.getvalue()).decode()},
    }
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "source": "x",
        "execution_count": 9,
        "outputs": [output],
    }
    text = normal_form({"cells": [cell]})
    stored = json.loads(text)["cells"][0]
    image = base64.b64decode(stored["outputs"][0]["data"]["image/png"])
    assert b"matplotlib" not in image
    before, after = (
        np.asarray(Image.open(io.BytesIO(one)).convert("RGB"), float) for one in (file.getvalue(), image)
    )
    assert Image.open(io.BytesIO(image)).mode == "P"
    assert len(image) < 0.6 * len(file.getvalue())
    assert (abs(before - after).max(axis=2) > 16).mean() < 0.002, "as good as unseen"
    assert stored["execution_count"] == 1
    assert normal_form(json.loads(text)) == text, "a fixed point"


@pytest.mark.parametrize(
    "cell",
    [
        {"cell_type": "raw", "id": "a", "metadata": {}, "source": ""},
        {"cell_type": "markdown", "metadata": {}, "source": ""},
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "", "attachments": {"x": {}}},
    ],
)
def test_the_normal_form_refuses_what_it_would_lose(cell):
    with pytest.raises(ValueError, match="must be code or markdown, with an id and without attachments"):
        normal_form({"cells": [cell]})


def test_scrubbing_again_changes_nothing_and_leaves_numbers_alone():
    once = scrub("<f at 0x7f00aabbccdd> /tmp/ipykernel_12/345.py took 3.2 s, 0xff")
    assert once == "<f at 0xADDRESS> CELL took 3.2 s, 0xff"
    assert scrub(once) == once
    weights = '"2s0k0x0a00000000"'  # of the head viewer: two digits of base 36 hold a number, "0x" is 33
    assert scrub(weights) == weights


def test_nbval_scrubs_what_the_normal_form_scrubs():
    lines = (ROOT / "tests" / "nbval.cfg").read_text(encoding="ascii").splitlines()
    pairs = re.findall(r"regex: (.*)\nreplace: (.*)", "\n".join(lines))
    assert pairs == list(SCRUB)


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_tool_runs_as_a_script(notebook):
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "notebooks.py", "check", notebook],
        check=False,
        capture_output=True,
        text=True,
        cwd=notebook.parent,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
