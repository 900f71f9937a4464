"""Run notebooks and store them in one normal form, so that running an unchanged notebook changes no byte.

Usage::

    python tools/notebooks.py run book/01-name.ipynb ...      execute in a fresh kernel and store
    python tools/notebooks.py check book/*.ipynb              list the files that are not in normal form
    python tools/notebooks.py budget book/*.ipynb             seconds and peak memory against the budget

``run`` keeps the old file if a cell fails. Outputs of cells tagged ``nbval-ignore-output`` (timings, mostly)
differ at every run, so an unchanged such cell keeps the output that is stored; ``--refresh`` replaces it.
"""

import argparse
import base64
import io
import json
import os
import re
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BUDGET_SECONDS = 60
BUDGET_MIB = 1024
IGNORED = "nbval-ignore-output"
CELL_METADATA = ("mystnb", "tags")
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# What differs between runs in a text output; tests/nbval.cfg holds the same pairs.
SCRUB = (
    (r"\b0x[0-9a-fA-F]{6,16}\b", "0xADDRESS"),
    (r"/tmp/ipykernel_[0-9]+/[0-9]+\.py", "CELL"),
)
PNG_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"tIME", b"eXIf")
# A plot has few colours: with one byte a pixel it takes a third of the space, and nobody sees a difference.
PALETTE = 256


class CellFailed(Exception):
    """A cell raised an error, ran too long or killed the kernel."""


def strip_png(encoded: str) -> str:
    """Return the PNG without its text and time chunks (matplotlib writes its version there)."""
    raw = base64.b64decode(encoded)
    kept, position = [raw[:8]], 8
    while position < len(raw):
        (length,) = struct.unpack(">I", raw[position : position + 4])
        chunk = raw[position : position + 12 + length]
        position += len(chunk)
        if chunk[4:8] not in PNG_TEXT_CHUNKS:
            kept.append(chunk)
    return base64.b64encode(b"".join(kept)).decode("ascii")


def pack_png(encoded: str) -> str:
    """Return the PNG with one byte a pixel and without text chunks; one that has a palette keeps it."""
    picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
    if picture.mode == "P":
        return strip_png(encoded)
    # the page behind a figure is white, also where matplotlib left it transparent
    opaque = Image.new("RGBA", picture.size, "white")
    opaque.alpha_composite(picture.convert("RGBA"))
    few = opaque.convert("RGB").quantize(PALETTE, kmeans=1, dither=Image.Dither.NONE)
    file = io.BytesIO()
    few.save(file, format="PNG", optimize=True)
    return strip_png(base64.b64encode(file.getvalue()).decode("ascii"))


def scrub(text: str) -> str:
    """Replace what differs between two runs: addresses and the kernel's temporary file names."""
    for pattern, replacement in SCRUB:
        text = re.sub(pattern, replacement, text)
    return text


def normal_outputs(outputs: list[dict], count: int | None) -> list[dict]:
    """Return a cell's outputs with streams joined, texts scrubbed and images stripped."""
    result: list[dict] = []
    for output in outputs:
        output = json.loads(json.dumps(output))
        kind = output["output_type"]
        if kind == "stream":
            output["text"] = scrub(_joined(output["text"]))
            before = result[-1] if result else None
            if before and before["output_type"] == "stream" and before["name"] == output["name"]:
                before["text"] += output["text"]
                continue
        elif kind in {"display_data", "execute_result"}:
            # The text beside a figure ("<Figure size … with 1 Axes>") stays: nbval ignores images, but it
            # compares this text, and fails if it is missing.
            for mime, data in output["data"].items():
                text = _joined(data)
                if mime == "image/png":
                    output["data"][mime] = pack_png(text)
                elif isinstance(text, str):
                    output["data"][mime] = scrub(text)
            if kind == "execute_result":
                output["execution_count"] = count
        result.append(output)
    return result


def normal_form(notebook: dict) -> str:
    """Return the text of the file that stores a notebook: one text for notebooks that say the same.

    Counts run 1..n over the cells that were executed, metadata is cut to ``tags`` and ``mystnb``, ids stay,
    outer blank lines of a source go, keys are sorted, texts are stored line by line.

    Raises
    ------
    ValueError
        If a cell carries something that the normal form would lose.
    """
    cells, position = [], 0
    for cell in notebook["cells"]:
        kind, name = cell["cell_type"], cell.get("id")
        if kind not in {"code", "markdown"} or cell.get("attachments") or not name:
            raise ValueError(f"cell {name!r} must be code or markdown, with an id and without attachments")
        source = _joined(cell["source"]).strip("\n")
        metadata = {key: cell["metadata"][key] for key in CELL_METADATA if cell["metadata"].get(key)}
        clean = {"cell_type": kind, "id": name, "metadata": metadata, "source": source}
        if kind == "code":
            position += bool(source)
            executed = cell.get("execution_count") is not None or bool(cell.get("outputs"))
            count = position if executed and source else None
            clean |= {"execution_count": count, "outputs": normal_outputs(cell.get("outputs", []), count)}
        cells.append(clean)
    stored = nbformat.from_dict(
        {"cells": cells, "metadata": NOTEBOOK_METADATA, "nbformat": 4, "nbformat_minor": 5}
    )
    nbformat.validate(stored)
    stored = nbformat.v4.rwbase.split_lines(stored)
    return json.dumps(stored, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def problems_of_form(path: Path) -> list[str]:
    """Return what keeps a stored notebook from being in normal form: one line, or none."""
    text = path.read_text(encoding="utf-8")
    try:
        if normal_form(json.loads(text)) == text:
            return []
    except (ValueError, KeyError, TypeError, nbformat.ValidationError) as error:
        return [f"{path}: not a notebook that can be stored: {type(error).__name__}: {error}"]
    return [f"{path}: not in normal form, run tools/notebooks.py run {path}"]


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by a complete one, or leave the old one as it was."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def peak_mib(pid: int) -> float:
    """Return the largest memory that a process has held so far, in MiB; 0 if it is gone.

    Without /proc (macOS) it is the memory held now, which repeated calls turn into a peak.
    """
    try:
        if not Path("/proc/self/status").exists():
            return psutil.Process(pid).memory_info().rss / 2**20
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except (OSError, psutil.Error):
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def tree_peaks(pid: int) -> dict[int, float]:
    """Return the peak in MiB of a process and of each of its descendants."""
    try:
        pids = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return {}
    return {one: peak_mib(one) for one in pids}


class Memory:
    """The peak of a kernel's process tree, sampled while a notebook runs."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self._peaks: dict[int, float] = {}

    def sample(self) -> None:
        """Look at every process of the tree once; a peak of a process that ended is kept."""
        for pid, peak in (tree_peaks(self.pid) if self.pid else {}).items():
            self._peaks[pid] = max(peak, self._peaks.get(pid, 0.0))

    @property
    def mib(self) -> float:
        """The sum of the peaks, an upper bound of the peak of the sum."""
        return sum(self._peaks.values())

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Sample five times a second in the background."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.2):
                self.sample()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def execute(path: Path, *, timeout: int = 300) -> tuple[dict, float, float]:
    """Run a notebook from a fresh kernel in its own folder, with this repository importable.

    Returns
    -------
    tuple
        The executed notebook, the seconds it took, and the peak memory of the kernel in MiB.

    Raises
    ------
    CellFailed
        With the id of the cell and its error.
    """
    from nbclient import NotebookClient  # half a second that `check` need not pay
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    memory, current = Memory(), {"id": "(none)"}
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # else every kernel warns about its local connection
        resources={"metadata": {"path": str(path.resolve().parent)}},
    )

    def before(cell: dict, **_: object) -> None:
        current["id"] = cell["id"]
        memory.pid = client.km.provisioner.pid

    def after(**_: object) -> None:
        memory.sample()

    client.on_cell_start, client.on_cell_executed = before, after
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    start = time.perf_counter()
    try:
        with memory.watching():
            client.execute(env=environment)
    except CellExecutionError as error:
        trace = re.sub(r"\x1b\[[0-9;]*m", "", error.traceback)
        raise CellFailed(
            f"{path}: cell {current['id']!r} raised {error.ename}: {error.evalue}\n{trace}"
        ) from error
    except CellTimeoutError as error:
        raise CellFailed(f"{path}: cell {current['id']!r} ran longer than {timeout} seconds") from error
    except DeadKernelError as error:
        raise CellFailed(f"{path}: the kernel died in cell {current['id']!r} (out of memory?)") from error
    return notebook, time.perf_counter() - start, memory.mib


def keep_ignored_outputs(executed: dict, stored: dict) -> None:
    """Put back the stored outputs of unchanged cells whose outputs differ at every run.

    A cell counts as unchanged when its id and source are as stored, and it has been executed before.
    """
    before = {cell["id"]: cell for cell in stored["cells"] if cell["cell_type"] == "code" and "id" in cell}
    for cell in executed["cells"]:
        if cell["cell_type"] != "code" or IGNORED not in cell["metadata"].get("tags", []):
            continue
        old = before.get(cell["id"])
        if (
            old
            and old.get("execution_count") is not None
            and _joined(old["source"]).strip("\n") == _joined(cell["source"]).strip("\n")
        ):
            cell["outputs"] = old["outputs"]


def run(path: Path, *, refresh: bool = False, timeout: int = 300) -> str:
    """Execute a notebook, store it in normal form, and return one line about it.

    Raises
    ------
    CellFailed
        If a cell fails; the file is then as it was.
    """
    stored = json.loads(path.read_text(encoding="utf-8"))
    executed, seconds, mib = execute(path, timeout=timeout)
    if not refresh:
        keep_ignored_outputs(executed, stored)
    text = normal_form(executed)
    changed = text != path.read_text(encoding="utf-8")
    if changed:
        write_atomically(path, text)
    noisy = [cell["id"] for cell in executed["cells"] if _has_stderr(cell)]
    return (
        f"{seconds:6.1f} s {mib:6.0f} MiB {len(text.encode()) / 1000:6.0f} kB  {path}"
        f"  {'stored' if changed else 'unchanged'}"
        + (f"; stderr must be empty, look at: {', '.join(noisy)}" if noisy else "")
    )


def over_budget(seconds: float, mib: float) -> str:
    """Return "" or the words that mark a notebook over its budget."""
    return "  OVER BUDGET" if seconds > BUDGET_SECONDS or mib > BUDGET_MIB else ""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("run", "execute and store"),
        ("check", "list files that are not in normal form"),
        ("budget", "measure seconds and peak memory"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("files", nargs="+", type=Path)
        if name != "check":
            command.add_argument("--timeout", type=int, default=300, help="seconds that one cell may take")
        if name == "run":
            command.add_argument("--refresh", action="store_true", help=f"also renew cells tagged {IGNORED}")
    options = parser.parse_args(arguments)
    bad = 0
    if options.command == "budget":
        print(f"budget: {BUDGET_SECONDS} s, {BUDGET_MIB} MiB")
    for path in options.files:
        if options.command == "check":
            found = problems_of_form(path)
            bad += len(found)
            print(*found, sep="\n", end="\n" if found else "")
            continue
        try:
            if options.command == "run":
                print(run(path, refresh=options.refresh, timeout=options.timeout), flush=True)
            else:
                _, seconds, mib = execute(path, timeout=options.timeout)
                mark = over_budget(seconds, mib)
                bad += bool(mark)
                print(f"{seconds:6.1f} s {mib:6.0f} MiB  {path}{mark}", flush=True)
        except CellFailed as error:
            bad += 1
            print(error, file=sys.stderr, flush=True)
    return int(bad > 0)


def _joined(text: object) -> object:
    """Return a notebook's text, which the file may hold as a list of lines, as one string."""
    return "".join(text) if isinstance(text, list) else text


def _has_stderr(cell: dict) -> bool:
    """Say whether a cell wrote to stderr."""
    return any(output.get("name") == "stderr" for output in cell.get("outputs", []))


if __name__ == "__main__":
    sys.exit(main())
