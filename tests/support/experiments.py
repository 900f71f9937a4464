"""Long experiments: what is stored can be made again with one command."""

import ast
import importlib.util
import inspect
import json
import re
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support.book import BOOK, ROOT, Page, calls_in
from tests.support.hygiene import ABSOLUTE_PATH

EXPERIMENTS = ROOT / "experiments"
RESULTS = BOOK / "results"
FIELDS = {
    "command": str,
    "date": str,
    "machine": dict,
    "versions": dict,
    "seeds": list,
    "seconds": dict,
    "values": dict,
}
QUICK = {"seed": int, "settings": dict, "key": str, "tolerance": float}


def experiments(folder: Path = EXPERIMENTS) -> list[Path]:
    """Return the experiments in order."""
    return sorted(folder.glob("[0-9][0-9]_*.py"))


def pair_problems(folder: Path = EXPERIMENTS, results: Path = RESULTS) -> list[str]:
    """Return the experiments without a stored result, and the results that no experiment makes."""
    made = {path.stem for path in experiments(folder)}
    stored = {path.stem for path in results.glob("*.json")}
    return [f"{name}.py has no stored result; run `make experiments`" for name in sorted(made - stored)] + [
        f"results/{name}.json: no experiment makes it" for name in sorted(stored - made)
    ]


def result_problems(path: Path) -> list[str]:
    """Return what a stored result lacks."""
    text = path.read_text(encoding="utf-8")
    stored = json.loads(text)
    found = [
        f"{path.name}: {name} is missing or no {kind.__name__}"
        for name, kind in FIELDS.items()
        if not isinstance(stored.get(name), kind) or not stored[name]
    ]
    if found:
        return found
    seeds = stored["seeds"]
    if len(set(seeds)) < 3:
        found.append(f"{path.name}: {len(set(seeds))} seeds, at least 3")
    for name in ("values", "seconds"):
        if set(stored[name]) != {str(seed) for seed in seeds}:
            found.append(f"{path.name}: {name} must hold every seed and no other")
    if stored["command"].split()[:2] != ["python", f"experiments/{path.stem}.py"]:
        found.append(f"{path.name}: the command must be 'python experiments/{path.stem}.py'")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", stored["date"]) or not _is_date(stored["date"]):
        found.append(f"{path.name}: {stored['date']!r} is no date")
    missing = {"python", "numpy"} - set(stored["versions"])
    found += [f"{path.name}: the version of {name} is missing" for name in sorted(missing)]
    if ABSOLUTE_PATH.search(text):
        found.append(f"{path.name}: holds an absolute path")
    return found


def load(path: Path) -> ModuleType:
    """Import an experiment, whose name no import statement can spell."""
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    # Not spec.loader.exec_module: a file rewritten within one second may be read from its old bytecode.
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), module.__dict__)
    return module


def module_problems(name: str, module: ModuleType, stored: dict[str, Any]) -> list[str]:
    """Return what keeps one stored number of an experiment from being made again within a minute."""
    run_seed, quick = getattr(module, "run_seed", None), getattr(module, "QUICK", None)
    if not callable(run_seed) or next(iter(inspect.signature(run_seed).parameters), None) != "seed":
        return [f"{name}: run_seed(seed, **settings) is missing"]
    if not isinstance(quick, dict) or set(quick) != set(QUICK):
        return [f"{name}: QUICK must hold {', '.join(QUICK)}"]
    found = [
        f"{name}: QUICK[{key!r}] must be of type {kind.__name__}"
        for key, kind in QUICK.items()
        if not isinstance(quick[key], kind)
    ]
    if found:
        return found
    if quick["seed"] not in stored["seeds"]:
        found.append(f"{name}: QUICK's seed {quick['seed']} is not stored")
    elif not isinstance(number_at(stored["values"][str(quick["seed"])], quick["key"]), int | float):
        found.append(f"{name}: no number is stored at QUICK's key {quick['key']!r}")
    if not quick["tolerance"] > 0:
        found.append(f"{name}: QUICK's tolerance must be above 0")
    return found


def rerun_problems(name: str, module: ModuleType, stored: dict[str, Any]) -> list[str]:
    """Return whether the quick run gives another number than the stored one."""
    quick = module.QUICK
    before = number_at(stored["values"][str(quick["seed"])], quick["key"])
    again = number_at(module.run_seed(quick["seed"], **quick["settings"]), quick["key"])
    if again is not None and abs(again - before) <= quick["tolerance"]:
        return []
    return [f"{name}: {quick['key']} was {before}, now {again}, tolerance {quick['tolerance']}"]


def number_at(values: Any, key: str) -> Any:
    """Return the value at a path such as ``"gru.accuracy"`` or ``"curve.0"``, None if there is none."""
    for part in key.split("."):
        try:
            values = values[int(part)] if isinstance(values, list) else values[part]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return values


def use_problems(page: Page, results: Path = RESULTS) -> list[str]:
    """Return the results that a notebook reads and that are not stored."""
    found = []
    for cell in page.code_cells:
        for name, call in calls_in(cell):
            first = call.args[0] if call.args else None
            if (
                name == "stored_result"
                and isinstance(first, ast.Constant)
                and not (results / f"{first.value}.json").is_file()
            ):
                found.append(f"{page.name}[{cell['id']}]: no stored result {first.value!r}")
    return found


def _is_date(text: str) -> bool:
    """Say whether a text is a day of the calendar."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
