"""The slides of every chapter are complete, need no network, and say what they cannot show."""

import base64
import json
import re
import struct
import zlib
from functools import cache

import pytest
from bs4 import BeautifulSoup
from slide_blocks import MAX_CODE_LINES, code_parts, even_parts
from slide_code import pieces_of_code, split_printed
from slide_plan import Planner
from slide_text import Mathematics, SlideError, Text, not_too_short
from slides import deck, main, write

from tests.support.book import chapters, name_of

pytestmark = pytest.mark.book
EVERY = pytest.mark.parametrize("path", chapters(), ids=name_of)
FEWEST, MOST = 40, 72
# roles, directives and their options, fences, marks of formulas, dollars, stars
RAW = re.compile(
    r"\{[a-z:]+\}[\[`]|\{[a-z-]+\} |:{3,}|`{3,}|^:[a-z]+: |[\ue000\ue001]|\$[^$\n]+\$|\*\*\w", re.MULTILINE
)
VERBATIM = {"pre", "code", "annotation", "script", "style"}


@cache
def page(path):
    """Return the deck of a chapter, parsed."""
    return BeautifulSoup(deck(path)[0], "html.parser")


def slides(path):
    """Return the slides of a deck in order."""
    return page(path).select(".slide")


def cells(path):
    """Return the cells of a stored notebook, without those of solutions."""
    kept, inside = [], False
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        inside = inside and "{solution-end}" not in source
        if not inside:
            kept.append({**cell, "source": source})
        inside = inside or ("{solution-start}" in source and "{solution-end}" not in source)
    return kept


# --- every chapter -----------------------------------------------------------------------------------


@EVERY
def test_each_heading_begins_a_slide(path):
    texts = [cell["source"] for cell in cells(path) if cell["cell_type"] == "markdown"]
    n_sections = sum(len(re.findall(r"^## ", text, re.MULTILINE)) for text in texts)
    found = slides(path)
    assert len(page(path).select(".slides > section")) == n_sections + 1
    assert FEWEST <= len(found) <= MOST
    assert "title" in found[0]["class"]
    assert page(path).h1.get_text() == re.match(r"# (.+)", texts[0])[1]


@EVERY
def test_no_markup_is_left(path):
    for slide in page(path).select(".slide, aside.notes"):
        found = [text for text in slide.strings if not any(one.name in VERBATIM for one in text.parents)]
        assert not RAW.search("".join(found))


@EVERY
def test_nothing_is_loaded_from_elsewhere(path):
    tags = page(path).select("script, link, img, audio, iframe")
    wanted = [tag.get("src") or tag.get("href") for tag in tags]
    assert all(one is None or re.match(r"assets/|data:", one) for one in wanted)
    assert not re.search(
        r"url\(\s*['\"]?https?:|@import|\bsrcset=", " ".join(map(str, page(path).select("style")))
    )


@EVERY
def test_answers_do_not_stand_beside_their_questions(path):
    quiz = next(cell["source"] for cell in cells(path) if cell["id"] == "check-yourself")
    reasons = re.findall(r"^\*\*(?:Yes|No)\.\*\* (.{20})", quiz, re.MULTILINE)
    found = slides(path)
    asked = [index for index, slide in enumerate(found) if "question" in slide["class"]]
    assert len(asked) == quiz.count(":class: quiz")
    for index in asked:
        question, answer = found[index], found[index + 1]
        assert "answer" in answer["class"]
        assert len(answer.select("li.right")) == 1
        assert len(answer.select("li")) == len(question.select("li")) >= 3
        beside = question.find_parent("section").get_text()
        assert not re.search("[✓✗]", beside)
        assert not any(reason in beside for reason in reasons)


@EVERY
def test_pictures_keep_their_texts(path):
    described = [cell["metadata"].get("mystnb", {}).get("image", {}).get("alt") for cell in cells(path)]
    shown = [image["alt"] for image in page(path).select(".slide img")]
    assert [alt for alt in described if alt] == [alt for alt in shown if alt in described]
    assert all(len(alt) > 20 for alt in shown)
    captions = [caption.get_text() for caption in page(path).select(".body > figure > figcaption")]
    assert all(re.match(r"Figure \d+\.\d+\. \S", caption) for caption in captions)
    assert len(captions) == len(shown)


@EVERY
def test_each_claim_is_on_one_slide(path):
    printed = [
        found
        for cell in cells(path)
        for output in cell.get("outputs", [])
        for found in re.findall(r"^✓ ([\w-]+)", "".join(output.get("text", "")), re.MULTILINE)
    ]
    shown = [item["id"].removeprefix("claim-") for item in page(path).select(".claims li")]
    assert sorted(shown) == sorted(printed)


@EVERY
def test_no_slide_is_empty_and_prose_is_in_the_notes(path):
    usual = [slide for slide in slides(path) if {"usual", "side"} & set(slide["class"])]
    assert all(slide.select_one(".body").get_text(strip=True) or slide.img for slide in usual)
    notes = " ".join(note.get_text() for note in page(path).select("aside.notes"))
    for cell in cells(path)[1:]:
        first = re.match(r"[A-Z][\w ,]{30,60}\.$", cell["source"].split("\n")[0])
        if cell["cell_type"] == "markdown" and first:
            assert first[0] in notes


def test_the_folder_holds_all_that_is_loaded(tmp_path):
    decks = write(chapters()[:2], tmp_path)
    for name in ("index.html", *(name for name, *_ in decks)):
        parsed = BeautifulSoup((tmp_path / name).read_text(encoding="utf-8"), "html.parser")
        assert parsed.html["lang"] == "en-GB"
        assert parsed.title.get_text().endswith("slides")
        for tag in parsed.select("script[src], link[href]"):
            target = tag.get("src") or tag["href"]
            assert target.startswith("data:") or (tmp_path / target).is_file()
    for style in (tmp_path / "assets").rglob("*.css"):
        for target in re.findall(r"url\(['\"]?([^'\")]+)", style.read_text(encoding="utf-8")):
            assert target.startswith(("data:", "#")) or (style.parent / target).is_file(), target
    listed = [link["href"] for link in parsed_index(tmp_path).select("li > a")]
    assert listed == [name for name, *_ in decks]


def parsed_index(folder):
    """Return the page that lists the decks."""
    return BeautifulSoup((folder / "index.html").read_text(encoding="utf-8"), "html.parser")


# --- small notebooks ---------------------------------------------------------------------------------


def markdown(source, name="text"):
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": source}


def code(source, *outputs, tags=(), **mystnb):
    cell = {"cell_type": "code", "id": "code", "source": source, "outputs": list(outputs)}
    return cell | {"metadata": {"tags": list(tags), "mystnb": mystnb}}


def stream(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def shown(data):
    return {"output_type": "display_data", "data": data, "metadata": {}}


def picture(width=200, height=100):
    """Return an output with a white picture."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress((b"\0" + b"\xff" * width) * height)),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return shown({"image/png": base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode("ascii")})


def planned(tmp_path, *cells):
    """Return the slides of a notebook with a title and these cells."""
    path = tmp_path / "04-sample.ipynb"
    notebook = {"cells": [markdown("# A title\n\nWhat is it?\n", "intro"), *cells]}
    return Planner(path, Text(path.name, Mathematics())).plan(notebook)


QUESTION = "::::{{admonition}} 1. Why?\n:class: quiz\n\n:::{{dropdown}} So.\n{}\n:::\n::::"
DESCRIBED = {"image": {"alt": "A white rectangle, twice as wide as high."}, "figure": {"caption": "White."}}


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (":::{mermaid}\nA --> B\n:::", "04-sample.ipynb, cell 'planted': the directive {mermaid} cannot be"),
        ("```{raw} html\n<b>\n```", r"cell 'planted': the directive {raw} cannot"),
        (":::{note}\n```{tabs}\n```\n:::", r"cell 'planted': the directive {tabs} cannot"),
        ("A {guilabel}`File`.", r"cell 'planted': the role {guilabel} is not known"),
        ("As {cite}`nobody1900` says.", "the bibliography has no 'nobody1900'"),
        ("A {term}`flying carpet`.", "the glossary has no term 'flying carpet'"),
        ("See {eq}`eq-04-nothing`.", "nothing is labelled 'eq-04-nothing'"),
        ("![](x.png)", "cell 'planted': image cannot be shown"),
        (":::{figure} _assets/attention.svg\n:::", "a picture needs a text alternative, :alt:"),
        (":::{figure} _assets/nothing.svg\n:alt: Nothing.\n:::", "there is no file _assets/nothing.svg"),
        (QUESTION.format("Yes."), "question 1. must hold dropdowns"),
        (QUESTION.format("**No.** It is not."), "question 1. must have one right option"),
    ],
)  # fmt: skip
def test_what_a_slide_cannot_show_is_an_error(tmp_path, source, problem):
    with pytest.raises(SlideError, match=re.escape(problem)):
        planned(tmp_path, markdown(f"## Here\n\n{source}", "planted"))


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        (code("draw()", picture()), "cell 'code': a picture needs a text alternative, mystnb.image.alt"),
        (code("draw()", shown({"application/x": "1"})), "an output of the types ['application/x'] cannot"),
        (code("draw()", shown({"text/markdown": "# Hello"})), "an output in Markdown must be a listing"),
    ],
)
def test_an_output_that_a_slide_cannot_show_is_an_error(tmp_path, cell, problem):
    with pytest.raises(SlideError, match=re.escape(problem)):
        planned(tmp_path, markdown("## Here"), cell)


def test_a_formula_that_katex_cannot_read_is_an_error():
    mathematics = Mathematics()
    with pytest.raises(SlideError, match=r"KaTeX cannot read '\\\\frac\{1'"):
        mathematics.fill(mathematics.mark(r"\frac{1"))


def test_a_question_leads_and_other_prose_goes_to_the_speaker(tmp_path):
    lead = "The first sentence of the section is here.\nAnd what does the second one ask of the reader?"
    slide = planned(tmp_path, markdown(f"## Here\n\n{lead}\n\nOther prose is long."))[-1]
    assert "And what does the second one ask of the reader?" in slide.html
    assert "first sentence" not in slide.html
    assert "Other prose" not in slide.html
    assert all(words in " ".join(slide.notes) for words in ("first sentence", "second one", "Other prose"))


def test_a_section_of_prose_alone_shows_how_its_paragraphs_begin(tmp_path):
    slide = planned(tmp_path, markdown("## Here\n\nLead.\n\nOne. \nMore.\n\nTwo.\nMore."))[-1]
    assert re.findall("<li>(.*)</li>", slide.html) == ["One.", "Two."]


def test_the_sentence_that_leads_in_stands_above(tmp_path):
    slide = planned(tmp_path, markdown("## Here\n\nLead.\n\nThen for one\n\n$$\nx = 1\n$$"))[-1]
    assert slide.html.index("Then for one") < slide.html.index("equation")


def test_claims_wait_for_the_figure_behind_them(tmp_path):
    claim = stream("✓ 04-one · share of it: at least 0.5\n")
    drawn = code("draw()", picture(), tags=["hide-input"], **DESCRIBED)
    after = markdown("It is as white as snow.", "after")
    slide = planned(tmp_path, markdown("## Here"), code("claim()", claim), drawn, after)[-1]
    assert slide.kind == "side"
    order = [slide.html.index(words) for words in ("<img", "It is as white as snow", "share of it")]
    assert order == sorted(order)
    assert "at least 0.5" in slide.html


def test_solutions_stay_out(tmp_path):
    start = (
        ":::{exercise} Try it\n:label: ex-1\n\nDo this.\n:::\n\n:::{solution-start} ex-1\n:::\n\nIt is 42."
    )
    made = planned(
        tmp_path,
        markdown(f"## Exercises\n\n{start}"),
        code("print(42)", stream("42\n42\n42\n")),
        markdown("Also 42."),
        markdown(":::{solution-end}\n:::"),
        markdown("## After\n\nLast."),
    )
    everything = " ".join(slide.html + " ".join(slide.notes) for slide in made)
    assert "Exercise: Try it" in everything
    assert "42" not in everything
    assert made[-1].heading == "After"


def test_links_lead_to_other_decks_or_to_the_site(tmp_path):
    text = Text("04-sample.ipynb", Mathematics())
    assert text.target("07-multi-head-attention.ipynb#a-part") == "07-multi-head-attention.html"
    assert re.fullmatch(r"https://\S+/exercises/scaled-x.html", text.target("exercises/scaled-x.md"))
    assert text.target("https://example.org/x") == "https://example.org/x"


def test_short_code_is_shown_whole_and_of_long_code_the_definitions():
    draft = "def draft(x):\n    return x"
    check = "\n".join(f"y{n} = draft({n})" for n in range(20))
    short = f"{draft}\n\nassert draft(1) == 1"
    assert pieces_of_code(f"import torch\n\n\n{short}") == [short]
    assert pieces_of_code(f"{draft}\n\n\n{check}") == [draft]
    assert pieces_of_code(check) == []
    assert pieces_of_code("for x in range(3):\n    print(x)") == []
    assert pieces_of_code("x = 1\nprint(x)") == ["x = 1\nprint(x)"]
    assert pieces_of_code('claim("04-x", "y", 1, at_least=0)\nshow_source(draft)') == []


def test_printed_lines_and_claims_are_parted():
    text, found = split_printed("a\n✓ 04-x [S04 holds with conditions] · this: near 1 (within 0.1)\nb\n")
    assert text == "a\nb"
    assert [(one["id"], one["source"], one["verdict"], one["bound"]) for one in found] == [
        ("04-x", "S04", "holds with conditions", "near 1 (within 0.1)")
    ]


def test_long_listings_are_cut_without_loss():
    body = "\n".join(f"    x{n} = {n}\n    if x{n}:\n        pass" for n in range(30))
    source = f'def f(\n    x: int,\n) -> int:\n    """Do."""\n{body}\n\n    return x'
    parts = code_parts(source)
    assert re.sub(r"\n+", "\n", "\n".join(parts)) == re.sub(r"\n+", "\n", source)
    assert all(part.count("\n") < MAX_CODE_LINES + 2 for part in parts)
    assert not any(part.startswith("        ") for part in parts)


def test_parts_fit_and_are_about_equal():
    heights = [3, 3, 3, 3, 3, 3, 3]
    assert [len(heights[part]) for part in even_parts(heights, 12)] == [4, 3]
    assert even_parts([1, 1], 5) == [slice(0, None)]


def test_a_short_question_brings_what_it_asks_about():
    assert not_too_short(["A key is drawn at random.", "Which one?"], 1).startswith("A key")
    assert not_too_short(["For long (left).", "It fails after a gap of thirty."], 0).endswith("thirty.")


def test_the_command_line_names_what_is_wrong(tmp_path, capsys):
    path = tmp_path / "04-bad.ipynb"
    path.write_text(json.dumps({"cells": [markdown("# T\n\n:::{mermaid}\n:::", "intro")]}), encoding="utf-8")
    assert main([str(path), "--out", str(tmp_path / "out")]) == 1
    problem = "04-bad.ipynb, cell 'intro': the directive {mermaid} cannot be shown on a slide\n"
    assert capsys.readouterr().err == problem
