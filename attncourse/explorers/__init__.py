"""Interactive figures, each one HTML output that loads nothing and needs no kernel.

A cell ends with one of them. Its script computes with numbers that the output holds, rounded so that they are
the same on every machine; its table and its plain text come from the package.
"""

from attncourse.explorers.examples import EXAMPLES
from attncourse.explorers.mask import mask_explorer
from attncourse.explorers.online import online_softmax_stepper
from attncourse.explorers.scale import scale_explorer
from attncourse.explorers.sentence import sentence_explorer
from attncourse.explorers.shell import Explorer
from attncourse.explorers.temperature import temperature_explorer

__all__ = [
    "EXAMPLES",
    "Explorer",
    "mask_explorer",
    "online_softmax_stepper",
    "scale_explorer",
    "sentence_explorer",
    "temperature_explorer",
]
