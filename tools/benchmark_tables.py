"""Write the tables of the page on speed from what ``make bench`` measured.

Usage::

    python tools/benchmark_tables.py write     write the tables in book/how-fast.md, and its picture
    python tools/benchmark_tables.py check     say whether they are up to date; exit 1 if not

No number on the page is typed by hand. Each table stands between two comments; the text around them is kept.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools")]

from benchmark_picture import picture  # noqa: E402 (beside this file)
from exercise_pages import chapter_file, chapter_title  # noqa: E402
from notebooks import write_atomically  # noqa: E402
from page_parts import MarkError, filled, table  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "book" / "how-fast.md"
PICTURE = ROOT / "book" / "_assets" / "long-texts.svg"
TOOL = "tools/benchmark_tables.py"
NAMES = ("layers", "long_texts", "decoding", "recurrent", "training", "project")
OURS, TORCHS = "MultiHeadAttention", "nn.MultiheadAttention"
LAYERS = {OURS: "ours", TORCHS: "PyTorch", "Keras MultiHeadAttention": "Keras"}
TIMES = "\N{NO-BREAK SPACE}×"
KERNEL = "torch's kernel"
WAYS = (KERNEL, "blockwise", "square", "window of 256", "linear")
THREADS = {1: "one thread", 2: "two threads"}
Results = Mapping[str, Mapping[str, Any]]
Row = Mapping[str, Any]


class ResultError(ValueError):
    """The stored results do not belong together."""


def read_results(folder: Path = RESULTS) -> dict[str, dict]:
    """Return what the benchmarks stored, by name.

    Raises
    ------
    ResultError
        If one is missing, or was measured on another machine or with other versions than the rest.
    """
    missing = [name for name in NAMES if not (folder / f"{name}.json").exists()]
    if missing:
        raise ResultError(f"no results of {missing}: run make bench")
    found = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES}
    parts = found["project"]["values"].keys()
    if left := {"chapters", "book", "tests"} - parts:
        raise ResultError(f"no results of {sorted(left)} in project.json: run python benchmarks/project.py")
    for what in ("machine", "versions"):
        kinds = {json.dumps(_plain(one[what]), sort_keys=True) for one in found.values()}
        if len(kinds) > 1:
            raise ResultError(
                f"the results come from different {what}: run make bench again\n" + "\n".join(kinds)
            )
    return found


def _plain(what: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out how many threads torch has at the end of a script: each measurement names its own."""
    return {name: value for name, value in what.items() if name != "torch_threads"}


def machine_text(results: Results) -> str:
    """Return where, when and with what the numbers were measured."""
    one = results["layers"]
    machine, versions = one["machine"], one["versions"]
    days = sorted({result["date"] for result in results.values()})
    minutes = round(sum(result["seconds"] for result in results.values()) / 60)
    rows = [
        ("processor", f"{machine['cpu']}, {machine['cores']} cores, no GPU"),
        ("system", machine["system"]),
        (
            "versions",
            f"Python {versions['python']}, PyTorch {versions['torch']}, NumPy {versions['numpy']}, "
            f"Keras {versions['keras']} on PyTorch",
        ),
        ("measured", f"{' to '.join(dict.fromkeys((days[0], days[-1])))}, {minutes} minutes in all"),
    ]
    return table(("what", "value"), rows)


def milliseconds(seconds: float) -> str:
    """Return milliseconds with three digits."""
    return three(1000 * seconds)


def three(value: float) -> str:
    """Return a number with three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def times(ratio: float) -> str:
    """Return a ratio as it stands in the tables."""
    return f"{ratio:.2f}{TIMES}" if ratio < 10 else f"{ratio:.1f}{TIMES}"


def between(values: Iterable[float]) -> str:
    """Return the smallest and the largest of some ratios."""
    ordered = sorted(values)
    return f"{ordered[0]:.2f} to {ordered[-1]:.2f}"


def way(row: Row) -> str:
    """Return what a row of a measurement computes."""
    return (
        f"{'causal' if row['causal'] else 'full'}, {'forward and backward' if row['backward'] else 'forward'}"
    )


def folded(title: str, text: str) -> str:
    """Return a part of the page that opens at a click."""
    return f":::{{dropdown}} {title}\n{text}\n:::"


def by_threads(text: Callable[[int], str]) -> str:
    """Return a table for one thread, and the one for two threads below it, folded."""
    return f"{text(1)}\n\n{folded('The same on two threads', text(2))}"


# --- (a) layers -------------------------------------------------------------------------------------


def layers_table(rows: Sequence[Row], kind: str, n_threads: int) -> str:
    """Return how long a layer takes, and the others' times over it."""
    (least,) = rows[0][kind].keys() - LAYERS.keys()
    others = [name for name in LAYERS if name in rows[0][kind]]  # not the order in which they are stored
    found = []
    for row in rows:
        if row["threads"] == n_threads:
            size = f"{row['batch']}{TIMES} {row['tokens']:,}{TIMES} {row['d_model']}"
            ratios = [times(row[kind][name]["ratio"]) for name in others]
            found.append((size, way(row), milliseconds(row[kind][least]["seconds"]), *ratios))
    head = ("batch × tokens × d_model", "what", "least, ms", *(LAYERS[name] for name in others))
    return table(head, found)


def layers_text(kind: str) -> Callable[[Results], str]:
    """Return what writes the tables of one kind of layer."""

    def text(results: Results) -> str:
        rows = results["layers"]["values"]["rows"]
        ratios = [row[kind][OURS]["ratio"] for row in rows]
        to_torch = [row[kind][OURS]["to torch's"] for row in rows]
        said = (
            f"Over all {len(rows)} rows, `{OURS}` takes {between(ratios)} times as long as the "
            f"least, and {between(to_torch)} times as long as `{TORCHS}`."
        )
        return by_threads(lambda n: layers_table(rows, kind, n)) + f"\n\n{said}"

    return text


def price_text(results: Results) -> str:
    """Return what weights cost at each size."""
    rows = [row for row in results["layers"]["values"]["rows"] if row["threads"] == 1]
    sizes = list(dict.fromkeys(row["tokens"] for row in rows))
    ways = list(dict.fromkeys(way(row) for row in rows))
    price = {(row["tokens"], way(row)): times(row["price of weights"]) for row in rows}
    return table(("tokens", *ways), [(f"{n:,}", *(price[n, one] for one in ways)) for n in sizes])


# --- (b) long texts ---------------------------------------------------------------------------------


def long_rows(results: Results, causal: bool, backward: bool, n_threads: int) -> list[Row]:
    """Return the rows of one measurement."""
    wanted = (causal, backward, n_threads)
    rows = results["long_texts"]["values"]["rows"]
    return [row for row in rows if (row["causal"], row["backward"], row["threads"]) == wanted]


def long_time(results: Results, causal: bool, backward: bool, n_threads: int) -> str:
    """Return the times for each length, as ratios to torch's kernel."""
    rows = long_rows(results, causal, backward, n_threads)
    ways = [one for one in WAYS[1:] if one in rows[0]["ways"]]
    found = [
        (
            f"{row['tokens']:,}",
            milliseconds(row["ways"][KERNEL]["seconds"]),
            *(times(row["ways"][one]["ratio"]) if one in row["ways"] else "–" for one in ways),
        )
        for row in rows
    ]
    return table(("tokens", f"{KERNEL}, ms", *ways), found)


def long_text(causal: bool) -> Callable[[Results], str]:
    """Return what writes the tables of times, causal or not."""

    def text(results: Results) -> str:
        back = f"{long_time(results, causal, True, 1)}"
        return (
            by_threads(lambda n: long_time(results, causal, False, n))
            + "\n\n"
            + folded("Forward and backward, one thread", back)
        )

    return text


def memory_text(results: Results) -> str:
    """Return the extra memory of each way, in megabytes."""
    rows = long_rows(results, True, False, 1)
    ways = [one for one in WAYS if one in rows[0]["ways"]]
    found = [
        (
            f"{row['tokens']:,}",
            *(three(row["ways"][one]["bytes"] / 1e6) if one in row["ways"] else "–" for one in ways),
        )
        for row in rows
    ]
    return table(("tokens", *(f"{one}, MB" for one in ways)), found)


def exponents_text(results: Results) -> str:
    """Return how time grows: the exponent of each way, forward, one thread."""
    found = [one for one in results["long_texts"]["values"]["exponents"] if one["threads"] == 1]
    ways = sorted({one["way"] for one in found}, key=WAYS.index)
    kinds = list(dict.fromkeys(way(one) for one in found))
    exponent = {(one["way"], way(one)): f"{one['exponent']:.2f}" for one in found}
    return table(("", *kinds), [(one, *(exponent.get((one, kind), "–") for kind in kinds)) for one in ways])


def lines(results: Results) -> dict[str, list[tuple[int, float]]]:
    """Return the lines of the picture: causal, forward, one thread."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in long_rows(results, True, False, 1):
        for one in filter(row["ways"].__contains__, WAYS):
            found.setdefault(one, []).append((row["tokens"], row["ways"][one]["seconds"]))
    return found


# --- (c) to (e) -------------------------------------------------------------------------------------


def decoding_table(rows: Sequence[Row], n_threads: int) -> str:
    """Return for each context: a token with the cache, and how many times faster that is."""
    found = []
    for row in rows:
        if row["threads"] == n_threads:
            spent, faster = row["milliseconds"], row["times faster"]
            found.append(
                (
                    f"{row['context']:,}",
                    row["model"],
                    three(spent["everything again"]),
                    three(spent["KVCache"]),
                    f"{faster['KVCache']:.1f}{TIMES}",
                    f"{faster['torch.cat']:.1f}{TIMES}",
                    times(row["to no checks"]),
                    f"{row['bytes of a layer'] / 1024:,.0f} KiB",
                )
            )
    head = (
        "context",
        "heads",
        "everything again, ms",
        "with `KVCache`, ms",
        "faster by",
        "with `torch.cat`, faster by",
        "`KVCache` over one without checks",
        "a layer's cache",
    )
    return table(head, found)


def decoding_text(results: Results) -> str:
    """Return the tables of decoding."""
    rows = results["decoding"]["values"]["rows"]
    return by_threads(lambda n: decoding_table(rows, n))


def recurrent_text(results: Results) -> str:
    """Return our cells' times beside torch's."""
    rows = results["recurrent"]["values"]["rows"]

    def one_table(n_threads: int) -> str:
        found = [
            (
                row["kind"],
                f"{row['batch']}{TIMES} {row['tokens']}{TIMES} {row['features']}",
                "forward and backward" if row["backward"] else "forward",
                milliseconds(row["ways"]["torch's layer"]["seconds"]),
                times(row["ways"]["torch's cell"]["ratio"]),
                times(row["ways"]["our cell"]["ratio"]),
            )
            for row in rows
            if row["threads"] == n_threads
        ]
        head = (
            "cell",
            "batch × tokens × features",
            "what",
            "torch's layer, ms",
            "torch's cell, step by step",
            "our cell, step by step",
        )
        return table(head, found)

    return by_threads(one_table)


def training_text(results: Results) -> str:
    """Return how fast the chapters' models learn."""
    values = results["training"]["values"]
    rows = []
    for row in values["rows"]:
        reached = ", ".join("not reached" if one is None else f"{one:g}" for one in row["seconds to target"])
        rows.append(
            (
                row["name"],
                f"[{row['chapter']}]({chapter_file(row['chapter']).name})",
                row["batch"],
                f"{row['examples a second']:,}",
                f"{row['target']:g}",
                reached,
                ", ".join(f"{one:.2f}" for one in row["best"]),
            )
        )
    head = (
        "model",
        "chapter",
        "batch",
        "examples a second",
        "target",
        "seconds to it, three seeds",
        f"best within {values['cpu_seconds']} s",
    )
    return table(head, rows)


# --- (f) the project --------------------------------------------------------------------------------


def project_text(results: Results) -> str:
    """Return how long each chapter, the book and the tests take."""
    values = results["project"]["values"]
    rows = []
    for number, row in enumerate(values["chapters"], start=1):
        link = f"[{number}. {chapter_title(number)}]({chapter_file(number).name})"
        rows.append((link, f"{row['seconds']:.0f}", f"{row['processor seconds']:.0f}", f"{row['MiB']:,}"))
    chapters = table(("chapter", "seconds", "of the processor", "most memory, MiB"), rows)
    book, tests = values["book"], values["tests"]
    rows = [
        ("the book from nothing, `jupyter-book build`", f"{book['cold']:.0f} s"),
        ("the book once more, one page touched", f"{book['warm']:.0f} s"),
        (f"`make test` ({tests['passed']})", f"{tests['seconds'] / 60:.1f} min"),
    ]
    return f"{chapters}\n\n{table(('what', 'time'), rows)}"


PARTS: dict[str, Callable[[Results], str]] = {
    "machine": machine_text,
    "layers": layers_text("without weights"),
    "layers with weights": layers_text("with weights"),
    "price": price_text,
    "causal": long_text(True),
    "full": long_text(False),
    "memory": memory_text,
    "exponents": exponents_text,
    "decoding": decoding_text,
    "recurrent": recurrent_text,
    "training": training_text,
    "project": project_text,
}


def outputs(page: str, results: Results) -> dict[Path, str]:
    """Return the page and its picture as the results make them."""
    return {
        PAGE: filled(page, {name: part(results) for name, part in PARTS.items()}, TOOL),
        PICTURE: picture(lines(results)),
    }


def main(arguments: list[str] | None = None) -> int:
    """Write or check the tables; return the exit status."""
    parser = argparse.ArgumentParser(description="Write the tables of the page on speed.")
    parser.add_argument("command", choices=("write", "check"))
    command = parser.parse_args(arguments).command
    try:
        made = outputs(PAGE.read_text(encoding="utf-8"), read_results())
    except (MarkError, ResultError) as error:
        print(error, file=sys.stderr)
        return 1
    stale = [
        path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if command == "write":
        for path in stale:
            write_atomically(path, made[path])
    elif stale:
        print(f"{', '.join(path.name for path in stale)}: run python tools/benchmark_tables.py write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
