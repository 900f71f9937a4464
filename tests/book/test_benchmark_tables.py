"""The page on speed shows what `make bench` stored, and what is stored keeps what the project promises."""

import json
from itertools import pairwise
from xml.etree import ElementTree

import benchmark_picture
import benchmark_tables
import pytest
from benchmark_tables import NAMES, OURS, ResultError, lines, long_rows, main, outputs, read_results

from tests.support.book import BOOK

pytestmark = pytest.mark.book
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def results():
    return read_results()


@pytest.fixture
def copied(tmp_path, results):
    """Return a folder with a copy of all results, and a function that changes one of them."""
    for name, result in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")

    def change(name, what, value):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {what: value}), encoding="utf-8")

    return tmp_path, change


# --- the page -----------------------------------------------------------------------------------------------


def test_the_stored_page_and_picture_are_what_the_results_say(results):
    page = (BOOK / "how-fast.md").read_text(encoding="utf-8")
    for path, text in outputs(page, results).items():
        assert path.read_text(encoding="utf-8") == text, "run python tools/benchmark_tables.py write"


def test_the_page_says_where_it_was_measured(results):
    page = (BOOK / "how-fast.md").read_text(encoding="utf-8")
    machine, versions = results["layers"]["machine"], results["layers"]["versions"]
    assert machine["cpu"] in page
    assert f"PyTorch {versions['torch']}" in page
    assert results["layers"]["date"] in page


def test_every_measured_row_stands_on_the_page(results):
    parts = {name: part(results) for name, part in benchmark_tables.PARTS.items()}
    rows = results["layers"]["values"]["rows"]
    assert parts["layers"].count("causal, ") == parts["layers with weights"].count("causal, ")
    assert parts["layers"].count("\n| ") - 3 == len(rows)  # the first head begins the text
    assert parts["decoding"].count("\n| ") - 3 == len(results["decoding"]["values"]["rows"])
    assert parts["recurrent"].count("\n| ") - 3 == len(results["recurrent"]["values"]["rows"])
    assert parts["training"].count("\n| ") - 1 == len(results["training"]["values"]["rows"])
    assert parts["project"].count(".ipynb)") == len(results["project"]["values"]["chapters"]) == 17


def cells(text):
    """Return the rows of a part's first table as dicts from head to cell."""
    lines_ = text.split("\n\n")[0].split("\n")
    head, _, *rows = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines_)
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_every_number_stands_under_its_name(results):
    parts = {name: part(results) for name, part in benchmark_tables.PARTS.items()}
    for part, kind in (("layers", "without weights"), ("layers with weights", "with weights")):
        rows = [row for row in results["layers"]["values"]["rows"] if row["threads"] == 1]
        for shown, row in zip(cells(parts[part]), rows, strict=True):
            stored = {
                "ours": row[kind]["MultiHeadAttention"],
                "PyTorch": row[kind]["nn.MultiheadAttention"],
            }
            if kind == "without weights":
                stored["Keras"] = row[kind]["Keras MultiHeadAttention"]
            assert {name: shown[name] for name in stored} == {
                name: f"{one['ratio']:.2f}\u00a0×" for name, one in stored.items()
            }
            (least,) = [one for one in row[kind].values() if one["ratio"] == 1 and one not in stored.values()]
            assert shown["least, ms"] == benchmark_tables.milliseconds(least["seconds"])
    for part, causal in (("causal", True), ("full", False)):
        for shown, row in zip(cells(parts[part]), long_rows(results, causal, False, 1), strict=True):
            assert shown["tokens"] == f"{row['tokens']:,}"
            for name, one in row["ways"].items():
                if name != "torch's kernel":
                    assert shown[name] == benchmark_tables.times(one["ratio"])
    for shown, row in zip(cells(parts["memory"]), long_rows(results, True, False, 1), strict=True):
        for name, one in row["ways"].items():
            assert shown[f"{name}, MB"] == benchmark_tables.three(one["bytes"] / 1e6)


def test_check_and_write(tmp_path, monkeypatch, capsys, results):
    page, picture = tmp_path / "how-fast.md", tmp_path / "long-texts.svg"
    stored = (BOOK / "how-fast.md").read_text(encoding="utf-8")
    page.write_text(stored.replace("| processor |", "| cooker |"), encoding="utf-8")
    monkeypatch.setattr(benchmark_tables, "PAGE", page)
    monkeypatch.setattr(benchmark_tables, "PICTURE", picture)
    assert main(["check"]) == 1
    assert (
        "how-fast.md, long-texts.svg: run python tools/benchmark_tables.py write" in capsys.readouterr().out
    )
    assert main(["write"]) == 0
    assert page.read_text(encoding="utf-8") == stored
    assert picture.read_bytes() == (BOOK / "_assets" / "long-texts.svg").read_bytes()
    assert main(["check"]) == 0
    page.write_text("nothing", encoding="utf-8")
    assert main(["write"]) == 1
    assert "must hold the marks of 'machine'" in capsys.readouterr().err


def test_results_that_do_not_belong_together_are_refused(copied):
    folder, change = copied
    assert set(read_results(folder)) == set(NAMES)
    change("decoding", "machine", {"cpu": "another", "torch_threads": 1})
    with pytest.raises(ResultError, match=r"different machine: run make bench again(.|\n)*another"):
        read_results(folder)
    change("project", "values", {"book": {}, "chapters": []})
    with pytest.raises(ResultError, match=r"no results of \['tests'\] in project\.json: run python"):
        read_results(folder)
    (folder / "training.json").unlink()
    with pytest.raises(ResultError, match=r"no results of \['training'\]: run make bench"):
        read_results(folder)


# --- the picture --------------------------------------------------------------------------------------------


def test_the_picture_holds_a_line_for_every_way(results):
    drawing = ElementTree.fromstring(benchmark_picture.picture(lines(results)))
    texts = [text.text for text in drawing.iter(f"{SVG}text")]
    assert set(lines(results)) <= set(texts)
    found = drawing.findall(f"{SVG}polyline")
    assert [len(line.get("points").split()) for line in found] == [len(p) for p in lines(results).values()]
    assert len({line.get("stroke-dasharray") for line in found}) == len(found)
    for line in found:  # longer texts take longer: further right is higher up
        points = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
        assert all(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(points))


def test_names_at_the_lines_do_not_cover_each_other():
    places = benchmark_picture.spread({"a": 10.0, "b": 12.0, "c": 80.0, "d": 11.0})
    assert sorted(places, key=places.get) == ["a", "d", "b", "c"]
    heights = sorted(places.values())
    assert all(b - a >= benchmark_picture.GAP for a, b in pairwise(heights))
    assert places["c"] == 80.0


def test_more_lines_than_dashes_are_refused():
    with pytest.raises(ValueError, match="lines must be at most 5, got 6"):
        benchmark_picture.picture({str(n): [(1024, 1.0), (2048, 2.0)] for n in range(6)})


# --- what the project promises, in what is stored -----------------------------------------------------------


@pytest.mark.parametrize(("kind", "most"), [("without weights", 1.05), ("with weights", 1.1)])
def test_the_layer_is_as_fast_as_the_least(results, kind, most):
    rows = results["layers"]["values"]["rows"]
    assert len(rows) == 4 * 2 * 2 * 2
    assert max(row[kind][OURS]["ratio"] for row in rows) <= most


def test_the_layer_is_never_slower_than_that_of_torch(results):
    rows = results["layers"]["values"]["rows"]
    assert max(row["without weights"][OURS]["to torch's"] for row in rows) <= 1.02  # noise of a round


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(("causal", "most"), [(True, 1.35), (False, 1.5)])
def test_blockwise_attention_reads_a_long_text_near_the_limit(results, n_threads, causal, most):
    (row,) = [r for r in long_rows(results, causal, False, n_threads) if r["tokens"] == 32_768]
    assert row["ways"]["blockwise"]["ratio"] <= most
    if n_threads == 1:
        assert row["ways"]["blockwise"]["bytes"] <= 60e6


def test_the_window_is_linear(results):
    found = [one for one in results["long_texts"]["values"]["exponents"] if one["way"].startswith("window")]
    assert {(one["threads"], one["backward"]) for one in found} == {
        (t, b) for t in (1, 2) for b in (True, False)
    }
    assert max(one["exponent"] for one in found) <= 1.1


def test_decoding_with_a_cache_is_much_faster(results):
    rows = [row for row in results["decoding"]["values"]["rows"] if row["context"] == 1024]
    assert len(rows) == 3 * 2
    assert min(row["times faster"]["KVCache"] for row in rows) >= 30
    assert max(row["to no checks"] for row in rows) <= 1.1


def test_nobody_waits_long(results):
    values = results["project"]["values"]
    assert max(row["seconds"] for row in values["chapters"]) <= 45
    assert max(row["MiB"] for row in values["chapters"]) <= 1000
    assert values["book"]["cold"] <= 60
    assert values["tests"]["seconds"] <= 12 * 60
