"""The head viewer: stands alone, is small, shows what was given, and says the same on every machine."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from attncourse.head_viewer import check_links, head_viewer, visible
from tests.support.hygiene import html_problems

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<b>",
    '"',
    "'",
    "",
    " ",
    "😀",
    "a\nb",
    "&amp;",
    "-->",
    "<!--",
]


class Tables(HTMLParser):
    """The texts of the tables of a page, and the elements that it is made of."""

    def __init__(self, page):
        super().__init__()
        self.tables, self.tags, self._cell = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        if tag in {"td", "th"}:
            self._cell = False

    def handle_data(self, data):
        if self._cell:
            self.tables[-1][-1][-1] += data


def softmax_weights(*shape):
    scores = np.random.default_rng(3).normal(size=shape) * 2
    return np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)


def data_of(viewer):
    [text] = re.findall(r'<script type="application/json">(.*?)</script>', viewer.html, re.DOTALL)
    return json.loads(text)


def decoded(data):
    """Return the stored weights as an array, heads first and their mean last."""
    maps = [[int(text[i : i + 2], 36) for i in range(0, len(text), 2)] for text in data["weights"]]
    return np.reshape(maps, (-1, len(data["queries"]), len(data["keys"]))) / 10 ** data["places"]


@pytest.mark.parametrize("places", [1, 2, 3])
def test_weights_come_back_rounded_with_their_mean_last(places):
    weights = softmax_weights(3, 5, 7)
    data = data_of(head_viewer(weights, list("abcde"), list("tuvwxyz"), places=places))
    expected = np.concatenate([weights, weights.mean(0, keepdims=True)])
    np.testing.assert_allclose(decoded(data), expected, rtol=0, atol=0.5 * 10**-places + 1e-12)
    assert data["names"] == ["head 0", "head 1", "head 2", "mean of 3 heads"]
    assert data["heads"] == 3


def test_one_head_has_no_mean_and_two_axes_are_one_head():
    flat, one = (head_viewer(weights, "abc") for weights in (np.eye(3), np.eye(3)[None]))
    assert flat == one
    assert data_of(one)["names"] == ["head 0"]
    assert len(Tables(one.html).tables) == 1
    np.testing.assert_array_equal(decoded(data_of(one))[0], np.eye(3))


def test_tables_hold_the_chosen_head_and_the_strongest_keys():
    weights = np.array([[[0.25, 0.75], [1, 0]], [[0, 0], [0.5, 0.5]]])
    mask = np.array([[True, True], [True, False]])
    chosen, strongest = Tables(head_viewer(weights, "pq", "ab", head=1, mask=mask).html).tables
    assert chosen == [["query \\ key", "a", "b"], ["p", "0", "0"], ["q", ".50", "–"]]
    assert strongest == [
        ["query \\ head", "head 0", "head 1", "mean of 2 heads"],
        ["p", "b .75", "–", "b .38"],
        ["q", "a 1.00", "a .50", "a .75"],
    ]


def test_mask_and_gold_links_are_stored_and_marked():
    gold = np.array([[False, True, False], [True, False, False]])
    viewer = head_viewer(
        np.full((2, 3), 0.25), "pq", "abc", gold=gold, mask=torch.tensor([[True, False, True]])
    )
    data = data_of(viewer)
    assert data["gold"] == [[0, 1], [1, 0]]
    assert data["mask"] == ["101", "101"]
    assert viewer.html.count("<td class='gold'>") == 2
    assert not {"mask", "gold"} & set(data_of(head_viewer(np.eye(2), "ab")))


@pytest.mark.parametrize(("n_heads", "n_tokens"), [(8, 24), (12, 32)])
def test_output_is_small(n_heads, n_tokens):
    words = [f"word{i % 10}" for i in range(n_tokens)]
    viewer = head_viewer(softmax_weights(n_heads, n_tokens, n_tokens), words)
    assert len(viewer.html.encode()) <= 60_000


def test_output_keeps_the_rules_for_stored_html():
    viewer = head_viewer(softmax_weights(2, 3, 3), ["https://x.org", "b", "c"])
    assert html_problems({"text/html": viewer._repr_html_(), "text/plain": repr(viewer)}) == []
    assert "http" not in head_viewer(np.eye(2), "ab").html
    assert " id=" not in viewer.html, "two equal viewers on a page would share it"


def test_tokens_cannot_break_out():
    plain, hostile = (head_viewer(np.eye(11), tokens, label="<i>") for tokens in ("abcdefghijk", HOSTILE))
    assert Tables(hostile.html).tags == Tables(plain.html).tags
    assert data_of(hostile)["queries"] == [visible(token) for token in HOSTILE]
    [table] = Tables(hostile.html).tables
    assert table[0][1:] == [row[0] for row in table[1:]] == [visible(token) for token in HOSTILE]
    names = head_viewer(np.ones((2, 1, 1)), "a", head_names=["<b>", "</script>"], label='"')
    assert names.html.count("</script>") == 2
    assert 'aria-label="&quot;"' in names.html


@pytest.mark.parametrize(
    ("token", "shown"),
    [("", "∅"), (" ", "␣"), (" a", "␣a"), ("a  ", "a␣␣"), ("New York", "New York"), ("a\n\t", "a⏎⇥")],
)
def test_spaces_are_visible(token, shown):
    assert visible(token) == shown


def test_plain_text_says_what_is_shown_without_weights():
    first, second = (
        head_viewer(weights, ["it", "sat"], ["a", " "], head_names=["x", "y"], label="Cross")
        for weights in (np.full((2, 2, 2), 0.5), np.full((2, 2, 2), 0.25))
    )
    assert repr(first) == repr(second) == "Cross\nheads: x, y, mean of 2 heads\nqueries: it sat\nkeys: a ␣"
    assert first.html != second.html


def test_last_bits_and_the_kind_of_array_change_nothing():
    weights = np.round(softmax_weights(2, 3, 3), 2)
    before = weights.copy()
    # with two places the mean of two heads could lie on the edge between two roundings
    viewer = head_viewer(weights, "abc", places=3)
    assert head_viewer(weights + 1e-7, "abc", places=3) == viewer
    tensor = torch.tensor(weights, dtype=torch.float32, requires_grad=True)
    assert head_viewer(tensor, "abc", places=3) == viewer
    np.testing.assert_array_equal(weights, before)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"weights": [[1.0]]}, TypeError, "weights must be an array or tensor, got weights of type list"),
        (
            {"weights": np.ones(2)},
            ValueError,
            r"weights must have at least 2 axes, got weights\.shape=\(2,\)",
        ),
        (
            {"weights": np.ones((1, 1, 2, 3))},
            ValueError,
            r"weights must be those of one example, .* got weights\.shape=\(1, 1, 2, 3\)",
        ),
        ({"weights": np.ones((0, 2, 3))}, ValueError, r"and not empty, got weights\.shape=\(0, 2, 3\)"),
        (
            {"weights": np.full((2, 3), 1.5)},
            ValueError,
            "weights must lie between 0 and 1, got .* 1.5 to 1.5",
        ),
        ({"weights": np.full((2, 3), -1.0)}, ValueError, "weights must lie between 0 and 1, got .* -1 to -1"),
        ({"weights": np.full((2, 3), np.nan)}, ValueError, "weights must lie between 0 and 1, got .* nan"),
        (
            {"queries": "abc"},
            ValueError,
            "queries must name each of the 2 queries .* got 3 tokens, weights.sh",
        ),
        ({"keys": None}, ValueError, "keys must name each of the 3 keys of the weights, got 2 tokens"),
        ({"head_names": ["a", "b"]}, ValueError, r"head_names must hold one name a head \(1\), got 2 names"),
        ({"head": 1}, ValueError, "head must be below 1, got head=1"),
        ({"query": -1}, ValueError, "query must be at least 0, got query=-1"),
        ({"query": 2}, ValueError, "query must be below 2, got query=2"),
        ({"places": 4}, ValueError, "places must be at most 3, got places=4"),
        ({"places": 1.0}, TypeError, "places must be an integer, got places=1.0"),
        ({"mask": np.ones((2, 3))}, TypeError, "mask must be boolean"),
        ({"mask": np.ones((3, 2), bool)}, ValueError, "mask must broadcast to the scores"),
        (
            {"gold": np.ones((2, 3))},
            TypeError,
            r"gold must be boolean \(True = a link\), got gold\.dtype=float64",
        ),
        (
            {"gold": np.ones((3, 2), bool)},
            ValueError,
            r"gold must have shape .*=\(2, 3\), got gold\.shape=\(3, 2\)",
        ),
        ({"gold": [True]}, TypeError, "gold must be an array or tensor, got gold of type list"),
    ],
)
def test_bad_input(arguments, error, text):
    good = {"weights": np.full((2, 3), 0.25), "queries": "pq", "keys": "abc"}
    with pytest.raises(error, match=text):
        head_viewer(**(good | arguments))


def test_links_are_checked_under_the_name_given():
    with pytest.raises(TypeError, match="links must be boolean"):
        check_links("links", np.eye(2), (2, 2))
