"""Write the page that gives a verdict on every claim of the sources, from what the chapters' cells printed.

Usage::

    python tools/ledger.py write     write book/ledger.md
    python tools/ledger.py check     say whether it is up to date; exit 1 if not

Texts come from book/ledger.yml. Verdicts, bounds and links come from the stored claims, so that the page
cannot say what no cell measured: [[01-chain-rnn]] in a text becomes the bound of that claim and a link to its
cell.
"""

import argparse
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.book import Page, chapters, read_page  # noqa: E402 (the rules and the page read one way)
from tests.support.claims import SOURCES, Claim, claims_of  # noqa: E402

TEXTS = ROOT / "book" / "ledger.yml"
PAGE = ROOT / "book" / "ledger.md"
MARK = re.compile(r"\[\[([a-z0-9-]+)\]\]")
VERDICTS = ("holds", "holds with conditions", "false")
TASKS = (
    "machine translation", "text summarisation", "sentiment analysis", "text classification",
    "question answering", "language modelling", "image captioning", "object detection",
    "image segmentation", "speech recognition",
)  # fmt: skip

OVERVIEW = """
## All claims

| | claim | sources | verdict | tested in chapter |
|---|---|---|---|---|
"""
TASK_TABLE = """| task | the example here | what was measured | chapter |
|---|---|---|---|
"""


class LedgerError(ValueError):
    """The texts and the stored claims do not fit together."""


def problems(texts: dict, claims: list[Claim]) -> list[str]:
    """Return what is missing or wrong in the texts or among the claims."""
    found = []
    known = {one.id: one for one in claims}
    entries, tasks = texts["claims"], [row["task"] for row in texts["tasks"]]
    topics = [name for topic in texts["topics"] for name in topic["claims"]]
    found += [f"{name}: no entry" for name in sorted(SOURCES - set(entries))]
    found += [f"{name}: the sources make no such claim" for name in entries if name not in SOURCES]
    found += [
        f"{name}: stands under {topics.count(name)} topics" for name in entries if topics.count(name) != 1
    ]
    found += [f"{task}: no row among the tasks" for task in TASKS if tasks.count(task) != 1]
    for name, entry in entries.items():
        marks = MARK.findall(entry["answer"])
        testing = tested_by(name, claims)
        if not testing:
            found.append(f"{name}: no cell tests it")
        for chapter, cells in testing.items():
            if not set(cells) & set(marks):
                found.append(f"{name}: its text quotes no claim of chapter {chapter} ({', '.join(cells)})")
        found += [f"{name}: no cell prints the claim {one}" for one in marks if one not in known]
    for row in texts["tasks"]:
        marks = MARK.findall(row["measured"])
        if not any(one.startswith(f"{row['chapter']}-") for one in marks):
            found.append(f"{row['task']}: its row quotes no claim of chapter {row['chapter']}")
        found += [f"{row['task']}: no cell prints the claim {one}" for one in marks if one not in known]
    return found


def tested_by(name: str, claims: list[Claim]) -> dict[str, list[str]]:
    """Return the claims that test one claim of the sources, by chapter."""
    found: dict[str, list[str]] = {}
    for one in claims:
        if one.source == name:
            found.setdefault(one.id[:2], []).append(one.id)
    return found


def verdict(name: str, claims: list[Claim]) -> str:
    """Return the verdict on one claim of the sources: that of its cells if they agree."""
    verdicts = {one.verdict for one in claims if one.source == name}
    return verdicts.pop() if len(verdicts) == 1 else "holds with conditions"


def quoted(text: str, claims: list[Claim]) -> str:
    """Return a text with every mark replaced by the bound of its claim and a link to the cell."""
    known = {one.id: one for one in claims}
    return MARK.sub(lambda mark: f"{known[mark[1]].bound} {{claim}}`{mark[1]}`", text)


def page(texts: dict, claims: list[Claim], read: list[Page]) -> str:
    """Return the whole page.

    Raises
    ------
    LedgerError
        If a claim of the sources has no text, no cell or no quotation, or a text names an unknown claim.
    """
    wrong = problems(texts, claims)
    if wrong:
        raise LedgerError("\n".join(wrong))
    entries = texts["claims"]
    files = {f"{one.chapter:02d}": one.name for one in read}
    verdicts = {name: verdict(name, claims) for name in sorted(entries)}
    links = {
        name: ", ".join(f"[{int(chapter)}]({files[chapter]})" for chapter in tested_by(name, claims))
        for name in verdicts
    }
    counts = ", ".join(f"{list(verdicts.values()).count(one)} {one}" for one in VERDICTS)
    text = texts["intro"] + f"\nOf the {len(entries)} claims, the verdicts are: {counts}.\n" + OVERVIEW
    for name, said in verdicts.items():
        row = (
            f"[{name}](#{name.lower()})",
            entries[name]["says"],
            entries[name]["sources"],
            said,
            links[name],
        )
        text += f"| {' | '.join(row)} |\n"
    text += "\n" + texts["tasks_intro"] + "\n" + TASK_TABLE
    for row in texts["tasks"]:
        link = f"[{int(row['chapter'])}]({files[row['chapter']]})"
        text += f"| {row['task']} | {row['example']} | {quoted(row['measured'], claims)} | {link} |\n"
    for topic in texts["topics"]:
        text += f"\n## {topic['title']}\n"
        for name in topic["claims"]:
            entry = entries[name]
            text += f"\n({name.lower()})=\n### {name}: {verdicts[name]}\n\n*{entry['says']}*\n\n"
            text += f"{quoted(entry['answer'].strip(), claims)}\n"
            text += f"Tested in chapter {links[name]}.\n"
    return text


def current() -> str:
    """Return the page that the stored chapters and the texts make."""
    read = [read_page(path) for path in chapters()]
    texts = yaml.safe_load(TEXTS.read_text(encoding="utf-8"))
    return page(texts, [one for chapter in read for one in claims_of(chapter)], read)


def main(arguments: list[str] | None = None) -> int:
    """Write or check the page; return the exit status."""
    parser = argparse.ArgumentParser(description="Write the page of verdicts from the stored claims.")
    parser.add_argument("command", choices=("write", "check"))
    command = parser.parse_args(arguments).command
    try:
        text = current()
    except LedgerError as error:
        print(error, file=sys.stderr)
        return 1
    if command == "write":
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print(f"{PAGE.relative_to(ROOT)} is not what the chapters say: run python tools/ledger.py write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
