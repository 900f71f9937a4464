"""Settings of all tests, and the table of seconds and peak memory of every notebook that nbval ran."""

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from notebooks import BUDGET_MIB, BUDGET_SECONDS, over_budget, peak_mib

ROOT = Path(__file__).resolve().parents[1]

# The same examples at every run (a red test is red tomorrow too), and no clock: CI machines stall.
settings.register_profile("course", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("course")

# Two workers with two threads each fight over two cores: a test of 4 s once took 118 s.
# OMP_NUM_THREADS=2 in the environment still tests that.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Kernels that nbval starts in book/ must find the package, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Train on one thread: on busy cores, threads that wait for each other take thirty times as long."""
    import torch  # not before OMP_NUM_THREADS is set above

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class NotebookBudget:
    """Measure the notebooks that nbval runs.

    The hooks of a conftest.py see only what lies below its folder, and the notebooks lie in book/: so these
    are the hooks of a plugin.
    """

    key = "notebook budget"

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.peak: dict[str, float] = defaultdict(float)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Add a cell's seconds and its kernel's peak to its notebook; reports carry them under xdist."""
        manager = getattr(getattr(item.parent, "kernel", None), "km", None)
        pid = getattr(getattr(manager, "provisioner", None), "pid", None)
        start = time.perf_counter()
        try:
            return (yield)
        finally:
            if pid is not None:
                name = item.parent.nodeid
                self.seconds[name] += time.perf_counter() - start
                self.peak[name] = max(self.peak[name], peak_mib(pid))
                item.user_properties.append((self.key, [name, self.seconds[name], self.peak[name]]))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the slowest notebook first; one over budget is marked, not failed: machines may be busy."""
        worst: dict[str, tuple[float, float]] = {}
        for reports in terminalreporter.stats.values():
            for report in reports:
                for key, value in getattr(report, "user_properties", []):
                    if key == self.key:
                        name, seconds, peak = value
                        before = worst.get(name, (0.0, 0.0))
                        worst[name] = (max(before[0], seconds), max(before[1], peak))
        if worst:
            terminalreporter.section(f"notebooks (budget {BUDGET_SECONDS} s, {BUDGET_MIB} MiB)")
            for name, (seconds, peak) in sorted(worst.items(), key=lambda row: -row[1][0]):
                mark = over_budget(seconds, peak)
                terminalreporter.write_line(f"{seconds:7.1f} s {peak:6.0f} MiB  {name}{mark}")


def pytest_configure(config: pytest.Config) -> None:
    """Measure notebooks, wherever they lie."""
    config.pluginmanager.register(NotebookBudget(), "notebook-budget")
