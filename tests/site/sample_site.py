"""A site of one page (sample.html) that keeps to every rule, so that a test can break one of them."""

from pathlib import Path

PAGE = Path(__file__).with_name("sample.html")


def write_sample(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write the site with some texts of its page replaced, and return its folder."""
    text = PAGE.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, f"the sample has no {old!r}"
        text = text.replace(old, new, 1)
    (folder / "index.html").write_text(text, encoding="utf-8")
    return folder
