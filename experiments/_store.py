"""Run an experiment over its seeds and store what came out, with what is needed to repeat it.

An experiment is a file ``experiments/NN_name.py`` with ``run_seed(seed, **settings)``, which returns a dict
of numbers (nested dicts, lists and arrays are fine), and with ``QUICK``, which makes one stored number again
within a minute::

    QUICK = {"seed": 0, "settings": {"models": ["gru"]}, "key": "gru.accuracy", "tolerance": 0.02}

    if __name__ == "__main__":
        run_and_store(__file__, run_seed, seeds=(0, 1, 2))

``key`` is the path of the number in what ``run_seed`` returns; with the settings of ``QUICK``, ``run_seed``
must return the same number there as in the full run, within the tolerance.
"""

import hashlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "book" / "results"
UNFINISHED = ROOT / "_build" / "experiments"
PACKAGES = ("numpy", "torch", "matplotlib", "scipy", "scikit-learn", "sacrebleu", "nltk", "babel")


def run_and_store(
    file: str | Path,
    run_seed: Callable[..., dict[str, Any]],
    *,
    seeds: Iterable[int] = (0, 1, 2),
    settings: dict[str, Any] | None = None,
    results: Path = RESULTS,
    unfinished: Path = UNFINISHED,
) -> Path:
    """Run every seed and store the values as ``book/results/NN_name.json``.

    A run that is killed continues with the seeds that are missing, unless the experiment, the package, the
    settings or the versions have changed since.

    Parameters
    ----------
    file : str or Path
        The experiment's own ``__file__``.
    run_seed : callable
        Called as ``run_seed(seed, **settings)``; returns what JSON can hold, without NaN.
    seeds : iterable of int
        At least three.
    settings : dict, optional
        Passed to ``run_seed`` and stored.
    results, unfinished : Path
        Folders of finished and unfinished results.

    Returns
    -------
    Path
        The stored file.

    Raises
    ------
    ValueError
        If there are fewer than three different seeds, or a value is NaN or infinite.
    """
    file, seeds, settings = Path(file), tuple(seeds), dict(settings or {})
    if len(set(seeds)) != len(seeds) or len(seeds) < 3:
        raise ValueError(f"seeds must be at least three different ones, got seeds={seeds}")
    part = unfinished / f"{file.stem}.json"
    state = _fingerprint(file, settings)
    done = json.loads(part.read_text(encoding="utf-8")) if part.exists() else {}
    if done.get("state") != state:
        done = {"state": state, "values": {}, "seconds": {}}
    for seed in tqdm(seeds, desc=file.stem, unit="seed"):
        if str(seed) not in done["values"]:
            start = time.perf_counter()
            values = run_seed(seed, **settings)
            done["values"][str(seed)] = values
            done["seconds"][str(seed)] = round(time.perf_counter() - start, 1)
            write(part, done)
    stored = {
        "command": " ".join(["python", f"{file.parent.name}/{file.name}", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "seconds": {str(seed): done["seconds"][str(seed)] for seed in seeds},
        "seeds": list(seeds),
        "settings": settings,
        "values": {str(seed): done["values"][str(seed)] for seed in seeds},
        "versions": versions(),
    }
    path = results / f"{file.stem}.json"
    write(path, stored)
    part.unlink()
    return path


def machine() -> dict[str, Any]:
    """Return what decides how fast this machine is, without its name."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8", errors="replace"))
        cpu = found[1].strip() if found else cpu
    torch = sys.modules.get("torch")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch_threads": torch.get_num_threads() if torch else None,
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on, where installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _fingerprint(file: Path, settings: dict[str, Any]) -> str:
    """Return a text that changes when anything changes that a half-finished run depends on."""
    digest = hashlib.sha256(file.read_bytes())
    for path in sorted((ROOT / "attncourse").rglob("*.py")):
        digest.update(path.read_bytes())
    digest.update(json.dumps([settings, versions()], sort_keys=True).encode())
    return digest.hexdigest()


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    # allow_nan=False: NaN is no JSON, and a result that is no number is no result
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False, default=_plain)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(path)


def _plain(value: Any) -> Any:
    """Return a NumPy or torch scalar or array as numbers that JSON can hold.

    Raises
    ------
    TypeError
        If the value is something else.
    """
    if not hasattr(value, "tolist"):
        raise TypeError(f"values must be numbers, texts, lists or dicts, got {type(value).__name__}")
    return value.tolist()
