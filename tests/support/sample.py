"""A small chapter that keeps every rule, for tests that plant one fault in it."""

import json
from pathlib import Path

from chapter_text import pack

from tests.support.book import Page, read_page

TEXT = """\
%% md intro
(sample)=
# A sample chapter

Which position should a {term}`query` read?
The model recalls at least 0.95 {claim}`04-recall` of the symbols, as {cite}`bahdanau2015` found.
See {numref}`fig-04-line`, {eq}`eq-04-softmax` and [the limits](#its-limits).

$$
a = b
$$ (eq-04-softmax)

%% code imports
import matplotlib.pyplot as plt
from attncourse.display import claim

%% code measure
measured = [0.5, 0.97]
claim("04-recall", "the model recalls", measured[-1], at_least=0.95, source="S04", verdict="holds")

%% code line {"mystnb": {"figure": {"caption": "It rises.", "name": "fig-04-line"}, \
"image": {"alt": "A line."}}}
plt.figure(figsize=(2, 2))
plt.plot(measured)
plt.show()

%% md limits
## Its limits

One point is no curve (cf. Chapter 9, e.g. A. Graves et al. Says so).
"""
CLAIM_LINE = "✓ 04-recall [S04 holds] · the model recalls: at least 0.95\n"
# A PNG of one pixel with a palette, as stored: the rules look at its kind and size only.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABAQMAAAAl21bKAAAAA1BMVEWA/4A401gIAAAACklEQVR42mNgAAAAAgAB5Sfe/AAA"
    "AABJRU5ErkJggg=="
)


def sample(folder: Path, *changes: tuple[str, str], name: str = "04-sample.ipynb") -> Page:
    """Store the sample with outputs, as if it had been run, with texts replaced.

    A change is made in the text form if it occurs there, else in the finished file.
    """
    text, later = TEXT, []
    for old, new in changes:
        if old in text:
            text = text.replace(old, new)
        else:
            later.append((old, new))
    notebook = json.loads(pack(text))
    outputs = {
        "measure": {"output_type": "stream", "name": "stdout", "text": CLAIM_LINE},
        "line": {
            "output_type": "display_data",
            "metadata": {},
            "data": {"image/png": PNG, "text/plain": "<Figure size 200x200 with 1 Axes>"},
        },
    }
    count = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            cell["execution_count"] = count
            cell["outputs"] = [outputs[cell["id"]]] if cell["id"] in outputs else []
    path = folder / name
    path.write_text(json.dumps(notebook), encoding="utf-8")
    stored = pack(text, notebook)
    for old, new in later:
        assert old in stored, f"the fault {old!r} cannot be planted"
        stored = stored.replace(old, new)
    path.write_text(stored, encoding="utf-8")
    return read_page(path)
