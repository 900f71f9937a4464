"""The picture on the first page shows the numbers that chapter 2 computes."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from attncourse import reference
from tests.support.book import BOOK

SVG = "{http://www.w3.org/2000/svg}"


def numbers(text):
    return [float(number) for number in re.findall(r"-?[\d.]+", text.replace("−", "-"))]


@pytest.mark.book
def test_the_figure_shows_chapter_2s_numbers():
    picture = ElementTree.parse(BOOK / "_assets" / "attention.svg").getroot()
    shown = {
        kind: [numbers(text.text) for text in picture.iterfind(f".//{SVG}g[@class='{kind}']/{SVG}text")]
        for kind in ("weight", "value")
    }
    output = numbers(picture.find(f".//{SVG}text[@class='output']").text)
    # The query and the keys of "small" in "cats chase small mice" (chapter 2).
    query, key = np.array([[1.0, -1.0]]), np.array([[1.0, 1], [0, 0], [0, -1], [1, -1]])
    weights = reference.masked_softmax(reference.dot_product_scores(query, key, scale=1.0))
    np.testing.assert_allclose(np.ravel(shown["weight"]), weights[0].round(2))
    np.testing.assert_allclose(output, reference.weighted_sum(weights, np.array(shown["value"]))[0].round(2))
