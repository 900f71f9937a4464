"""Make the built pages fast on a slow line, after everything else has been written.

- One style sheet in the place of a dozen, without the rules for which no page and no script has an element.
- Scripts wait until the page is there; those of the search wait until somebody searches (course.js).
- Pictures below the first load when a reader comes near, and keep their place until then.
- The theme no longer asks one element after the other whether it scrolls, which lays the page out hundreds of
  times; course.js asks them all at once.
"""

import hashlib
import os
import re
import struct
from pathlib import Path

BUNDLE = "_static/book.css"
SHEET = re.compile(
    r'<link(?=[^>]*rel="stylesheet")(?![^>]*media=)[^>]*href="(?:\.\./)*(?P<file>_static/[^"?]+\.css)[^>]*>\s*'
)
SCRIPT = re.compile(r'<script (?!defer)(?P<rest>[^>]*src="[^"]+")></script>')
# the search: loaded by course.js when its field is used
SEARCH = re.compile(r'\s*<script [^>]*src="[^"]*(?:searchtools|language_data|searchindex)\.js"></script>')
# hints that let scripts overtake the style sheet, and a script that is empty here
NEEDLESS = re.compile(
    r'\s*<link rel="preload" as="script"[^>]*>|\s*<script [^>]*src="[^"]*/fontawesome\.js[^>]*></script>'
)
# sphinx-exercise gives these to every exercise of a page; nothing leads to them
SHARED_ID = re.compile(r' id="(?:exercise|solution)-content"')
# the theme's loop over what may scroll; course.js does its work
THEME = "_static/scripts/pydata-sphinx-theme.js"
SLOW_LOOP = re.compile(
    r"(\w)\.tabIndex=\1\.scrollWidth>\1\.clientWidth\|\|\1\.scrollHeight>\1\.clientHeight\?0:-1"
)
LEFT_OUT = "/* see slim_pages.py */"
# these lines need a script that now waits; a module waits too, in order
WAITING = re.compile(r"<script>(?=\s*DOCUMENTATION_OPTIONS\.)")
IMAGE = re.compile(r"<img (?P<rest>[^>]*?)(?P<end>\s*/?>)")
SOURCE = re.compile(r'src="(?P<file>[^"?]+)"')
CSS_PART = re.compile(r"/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|[{};]", re.DOTALL)
CSS_URL = re.compile(r"""url\((?P<quote>["']?)(?!data:|#)(?P<file>[^)"']+)(?P=quote)\)""")
CSS_IMPORT = re.compile(r"""@import\s+(?:url\()?["']?(?P<file>[^"')]+\.css)["']?\)?\s*;""")
CLASS = re.compile(r"\.(-?[A-Za-z_][\w-]*)")
CLASSES = re.compile(r"""\bclass=(?:"([^"]*)"|'([^']*)'|([\w-]+))""")
INLINE = re.compile(r"<script[^>]*>(.*?)</script>", re.DOTALL)
WORD = re.compile(r"[\w-]+")
# scripts put these names together from parts
COMPOSED = ("bs-", "tooltip", "dropdown", "collaps", "modal", "offcanvas")


def read_sheet(path: Path, static: Path) -> str:
    """Return a style sheet with what it imports, its addresses relative to ``static``."""
    text = path.read_text(encoding="utf-8").removeprefix("\ufeff")

    def moved(found: re.Match) -> str:
        target = (path.parent / found["file"].partition("?")[0].partition("#")[0]).resolve()
        return f'url("{os.path.relpath(target, static.resolve())}")'

    parts = []
    for found in CSS_IMPORT.finditer(text):
        parts.append(read_sheet(path.parent / found["file"], static))
    return "\n".join([*parts, CSS_URL.sub(moved, CSS_IMPORT.sub("", text)).replace('@charset "UTF-8";', "")])


def used_rules(css: str, words: set[str]) -> str:
    """Return a style sheet without the rules whose classes nothing can have.

    Raises
    ------
    ValueError
        If a brace has no partner.
    """
    kept: list[str] = []
    stack, prelude, last = [kept], [], 0
    for found in CSS_PART.finditer(css):
        mark = found[0]
        if mark.startswith("/*"):
            prelude.append(css[last : found.start()])
        elif mark not in "{};":
            prelude.append(css[last : found.end()])
        elif mark == "{":
            head = ("".join(prelude) + css[last : found.start()]).strip()
            prelude = []
            stack.append([head])
        else:
            prelude.append(css[last : found.start()] + (";" if mark == ";" else ""))
            text = "".join(prelude).strip()
            prelude = []
            if mark == ";":
                stack[-1].append(text)
            else:
                head, *body = [*stack.pop(), *([text] if text else [])]
                rule = f"{used_selectors(head, words)}{{{''.join(body)}}}"
                if body and not rule.startswith("{"):
                    stack[-1].append(rule)
        last = found.end()
    if len(stack) != 1:
        raise ValueError("a style sheet has braces without a partner")
    return "\n".join(kept)


def used_selectors(head: str, words: set[str]) -> str:
    """Return those selectors of a rule that can fit an element; the heads of @rules stay as they are."""
    if head.startswith("@"):
        return head

    def possible(selector: str) -> bool:
        plain = re.sub(r":not\([^()]*(?:\([^()]*\)[^()]*)*\)", "", selector)
        if ":is(" in plain or ":where(" in plain or ":has(" in plain:
            return True
        return all(name in words or name.startswith(COMPOSED) for name in CLASS.findall(plain))

    return ",".join(one.strip() for one in split_selectors(head) if possible(one))


def split_selectors(head: str) -> list[str]:
    """Split a list of selectors at the commas outside parentheses and brackets."""
    parts, depth, start = [], 0, 0
    for place, mark in enumerate(head):
        depth += (mark in "([") - (mark in ")]")
        if mark == "," and depth == 0:
            parts.append(head[start:place])
            start = place + 1
    return [*parts, head[start:]]


def slim_page(text: str, name: str, root: Path, sheets: list[str], version: str) -> str:
    """Return the HTML of a page with the changes that the top of this file lists."""
    up = "../" * name.count("/")
    link = f'<link rel="stylesheet" type="text/css" href="{up}{BUNDLE}?v={version}" />\n'
    first = [True]

    def one_link(found: re.Match) -> str:
        if found["file"] not in sheets:
            return found[0]
        made, first[0] = (link if first[0] else ""), False
        return made

    text = SHEET.sub(one_link, text)
    if first[0]:
        return text  # the page for wrong addresses, whose own addresses are of another kind
    text = SHARED_ID.sub("", NEEDLESS.sub("", text))
    if name != "search.html":
        text = SEARCH.sub("", text)
    text = SCRIPT.sub(r"<script defer \g<rest>></script>", text)
    text = WAITING.sub('<script type="module">', text)
    article = text.find("<article")
    seen = [False]

    def image(found: re.Match) -> str:
        rest, source = found["rest"], SOURCE.search(found["rest"])
        if not source or "logo__image" in rest or "loading=" in rest:
            return found[0]
        size = png_size(root / Path(name).parent / source["file"])
        if size and not re.search(r"\b(?:width|height)=", rest):
            rest += f' width="{size[0]}" height="{size[1]}"'
        in_article = found.start() > article
        if in_article and not seen[0]:
            seen[0] = True  # what a reader sees at once does not wait
            return f"<img {rest}{found['end']}"
        return f'<img loading="lazy" {rest}{found["end"]}'

    return IMAGE.sub(image, text)


def png_size(path: Path) -> tuple[int, int] | None:
    """Return width and height of a PNG file in pixels."""
    if path.suffix != ".png" or not path.is_file():
        return None
    with path.open("rb") as file:
        return struct.unpack(">II", file.read(24)[16:])


def without_slow_loop(script: str) -> str:
    """Return the theme's script without the loop that asks what scrolls.

    Raises
    ------
    ValueError
        If the loop is not where it was, as after an update of the theme.
    """
    text, count = SLOW_LOOP.subn(LEFT_OUT, script)
    if count != 1 and LEFT_OUT not in script:
        raise ValueError(
            f"{THEME}: expected one loop over what scrolls, found {count}; see course.js, mark()"
        )
    return text


def slim_site(app, error) -> None:
    """Change every page of a site that was built without an error."""
    if error or app.builder.name not in ("html", "dirhtml"):
        return
    root = Path(app.outdir)
    bundle = root / BUNDLE
    pages = {}
    for path in root.rglob("*.html"):
        name = path.relative_to(root).as_posix()
        if not name.startswith("_"):
            pages[name] = path.read_text(encoding="utf-8")
    new = {name: text for name, text in pages.items() if f"{BUNDLE}?" not in text}
    if bundle.is_file() and len(new) < len(pages):  # only some pages were written again
        listed = bundle.read_text(encoding="utf-8").partition("\n")[0]
        sheets = listed.removeprefix("/* ").removesuffix(" */").split()
    else:
        lists = [[found["file"] for found in SHEET.finditer(text)] for text in new.values()]
        lists = [one for one in lists if one]
        sheets = [file for file in lists[0] if all(file in other for other in lists)] if lists else []
    theme = root / THEME
    if theme.is_file():
        theme.write_text(without_slow_loop(theme.read_text(encoding="utf-8")), encoding="utf-8")
    scripts = [file.read_text(encoding="utf-8") for file in (root / "_static").rglob("*.js")]
    scripts += [script for text in pages.values() for script in INLINE.findall(text)]
    words = set(WORD.findall("\n".join(scripts)))
    for text in pages.values():
        for found in CLASSES.findall(text):
            words |= set("".join(found).split())
    css = "\n".join(read_sheet(root / file, root / "_static") for file in sheets)
    bundle.write_text(f"/* {' '.join(sheets)} */\n{used_rules(css, words)}\n", encoding="utf-8")
    version = hashlib.sha256(bundle.read_bytes()).hexdigest()[:8]
    for name, text in pages.items():
        if name in new:
            text = slim_page(text, name, root, sheets, version)
        else:
            text = re.sub(rf"{re.escape(BUNDLE)}\?v=\w+", f"{BUNDLE}?v={version}", text)
        if text != pages[name]:
            (root / name).write_text(text, encoding="utf-8")


def setup(app) -> dict[str, object]:
    """Register the last step of the build."""
    app.connect("build-finished", slim_site, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
