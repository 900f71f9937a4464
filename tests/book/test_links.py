"""Every reference and link inside the book leads somewhere."""

import pytest

from tests.support.book import BOOK, chapters, none_of, pages, read_page
from tests.support.links import collect, link_problems, slug, toc_problems
from tests.support.sample import sample

pytestmark = pytest.mark.book
BIB = "@article{bahdanau2015,\n  title = {T}\n}\n@misc{ vaswani2017 , x}\n"
GLOSSARY = """\
(glossary)=
# Glossary

```{glossary}
query
  What a position looks for.

attention weight
  A share.
```

```python
(not-a-label)=
# not a heading
```
"""


def problems(folder, *changes):
    page = sample(folder, *changes)
    (folder / "glossary.md").write_text(GLOSSARY, encoding="utf-8")
    all_pages = [page, read_page(folder / "glossary.md")]
    targets = collect(all_pages, BIB, folder)
    return targets.problems + [one for p in all_pages for one in link_problems(p, targets, folder)]


def test_references_in_the_book_lead_somewhere():
    assert chapters(), "no chapter found: this test would pass by checking nothing"
    all_pages = pages()
    targets = collect(all_pages, (BOOK / "references.bib").read_text(encoding="utf-8"))
    none_of(targets.problems + [problem for page in all_pages for problem in link_problems(page, targets)])


def test_the_table_of_contents_names_every_page_once():
    none_of(toc_problems((BOOK / "_toc.yml").read_text(encoding="utf-8"), pages()))


def test_the_sample_is_clean(tmp_path):
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("{term}`query`", "{term}`quarry`", "{term} leads nowhere: 'quarry'"),
        ("{term}`query`", "{term}`queries <quarry>`", "{term} leads nowhere: 'quarry'"),
        ("`bahdanau2015`", "`bahdanau2014`", "references.bib has no 'bahdanau2014'"),
        ("`bahdanau2015`", "`bahdanau2015,gone2020`", "references.bib has no 'gone2020'"),
        ("{cite}", "{cite:t}`gone`, {cite}", "references.bib has no 'gone'"),
        ("{numref}`fig-04-line`", "{numref}`fig-04-lime`", "{numref} leads nowhere: 'fig-04-lime'"),
        ("{numref}`fig-04-line`", "{ref}`there <fig-04-lime>`", "{ref} leads nowhere: 'fig-04-lime'"),
        ("{eq}`eq-04-softmax`", "{eq}`eq-04-softmin`", "{eq} leads nowhere: 'eq-04-softmin'"),
        ("{eq}`eq-04-softmax`", "{eq}`fig-04-line`", "{eq} leads nowhere: 'fig-04-line'"),
        ("(#its-limits)", "(#her-limits)", "no heading or label 'her-limits'"),
        ("(#its-limits)", "(glossary.md#letters)", "no heading or label 'letters' in glossary.md"),
        ("(#its-limits)", "(05-gone.ipynb)", "no file '05-gone.ipynb'"),
        ("(#its-limits)", "(/gone.md)", "no file '/gone.md'"),
        ("[the limits](#its-limits)", "{doc}`gone`", "{doc} leads nowhere: 'gone'"),
        ("[the limits](#its-limits)", "{download}`gone.csv`", "{download} leads nowhere: 'gone.csv'"),
        ("[the limits](#its-limits)", "![alt](gone.png)", "no file 'gone.png'"),
        ("[the limits](#its-limits)", "{ref}`not-a-label`", "{ref} leads nowhere: 'not-a-label'"),
        ("[the limits](#its-limits)", "{ref}`claim-04-gone`", "{ref} leads nowhere: 'claim-04-gone'"),
        ("One point", ":::{solution} ex-gone\nNo.\n:::\nOne point", "a solution of no exercise: 'ex-gone'"),
        ("One point", ":::{figure} gone.png\nNo.\n:::\nOne point", "[limits]:3: no file 'gone.png'"),
        ("(sample)=", "(glossary)=", "the label glossary already stands in"),
    ],
)
def test_a_reference_to_nothing_is_reported(tmp_path, old, new, problem):
    found = problems(tmp_path, (old, new))
    assert len(found) == 1, found
    assert problem in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "{term}`Attention weights <attention weight>`",
        "{ref}`sample` and {ref}`this <sample>`",
        "{ref}`claim-04-recall`",
        "[a](glossary.md), [b](glossary.md#glossary), [c](/glossary), [d](#sample)",
        "[a](https://example.org/gone#x), <https://example.org>, [m](mailto:a@b)",
        "{doc}`glossary` and {doc}`/04-sample` and {doc}`G <glossary>`",
        "`{ref}` is a role, ``{ref}`gone` `` an example, `[x](gone.md)` too",
        "```{math}\n:label: eq-04-b\nx\n```\n{eq}`eq-04-b`",
        ":::{exercise}\n:label: ex-04-a\nDo.\n:::\n\n{ref}`ex-04-a`\n\n:::{solution} ex-04-a\nDone.\n:::",
        ":::{figure} glossary.md\nA file that is there.\n:::",
        "```\n{ref}`gone`\n```",
    ],
)
def test_a_reference_to_something_passes(tmp_path, text):
    assert problems(tmp_path, ("One point", f"{text}\n\nOne point")) == []


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Its limits", "its-limits"),
        ("What `claim` prints, and *why*?", "what-claim-prints-and-why"),
        ("Queries, keys & values", "queries-keys--values"),
        ("A [link](x.md) – here", "a-link--here"),
    ],
)
def test_anchors_are_made_as_the_build_makes_them(heading, anchor):
    from myst_parser.mdit_to_docutils.base import default_slugify

    assert slug(heading) == anchor
    if "`" not in heading and "[" not in heading:
        assert default_slugify(heading) == anchor


def test_the_table_of_contents_and_the_files_must_agree(tmp_path):
    page = sample(tmp_path)
    toc = "root: index\nparts:\n- chapters:\n  - file: 04-sample\n    sections:\n    - file: gone.md\n"
    assert toc_problems(toc, [page], tmp_path) == [
        "_toc.yml names gone, which is missing",
        "_toc.yml names index, which is missing",
    ]
    assert toc_problems("root: 04-sample\n", [page], tmp_path) == []
    assert toc_problems("format: jb-book\n", [page], tmp_path) == ["04-sample is not in _toc.yml"]
