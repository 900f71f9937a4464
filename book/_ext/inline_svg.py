"""Put the book's own diagrams into the page as SVG, so that they follow light and dark.

A page shows a drawing by ``{figure} _assets/name.svg``. In HTML the drawing takes the place of ``<img>``; the
other builders keep the file. A drawing that cannot be shown safely stays a file, and the build warns.
"""

import re
from pathlib import Path
from xml.etree import ElementTree

from docutils import nodes
from sphinx.util import logging

log = logging.getLogger(__name__)

SVG = "http://www.w3.org/2000/svg"
# Drawings share one style, which the page loads once; each file has a copy, to look right on its own.
STYLE_SHEET = "diagram.css"
FOR_THE_FILE_ALONE = {"title", "desc", "metadata", "style"}
DANGEROUS = {
    "script",
    "foreignObject",
    "iframe",
    "image",
    "set",
    "animate",
    "animateTransform",
    "animateMotion",
}
OUTSIDE = re.compile(r"@import|url\(\s*['\"]?(?!#)|javascript:", re.IGNORECASE)
LOCAL_REFERENCE = re.compile(r"(?<=url\(#)[^)]+")


def local_name(name):
    """Return a tag or an attribute without its namespace."""
    return name.rpartition("}")[2]


def faults(drawing):
    """Return what forbids to put a drawing into a page, in words.

    Parameters
    ----------
    drawing : Element
        The root of a parsed SVG file. Not modified.

    Returns
    -------
    list of str
        One entry for each fault.
    """
    found = []
    if drawing.tag != f"{{{SVG}}}svg":
        return [f"the root is <{local_name(drawing.tag)}>, not <svg>"]
    if len((drawing.get("viewBox") or "").split()) != 4:
        found.append("it has no viewBox, and so cannot scale")
    for element in drawing.iter():
        tag = local_name(element.tag)
        if tag in DANGEROUS:
            found.append(f"it holds <{tag}>")
        if tag == "style" and OUTSIDE.search(element.text or ""):
            found.append("its style refers to something outside")
        for name, text in element.attrib.items():
            attribute = local_name(name)
            if attribute.lower().startswith("on"):
                found.append(f"it holds a script, {attribute}")
            elif (attribute == "href" and not text.startswith("#")) or OUTSIDE.search(text):
                found.append(f"it refers to something outside, {text[:60]}")
    return found


def inline(drawing, alt, prefix):
    """Return the drawing as text for a page.

    Parameters
    ----------
    drawing : Element
        The root of a parsed SVG file. Modified.
    alt : str
        What the drawing shows, in words: its name for screen readers.
    prefix : str
        What to put before every id, so that ids are unique on the page.

    Returns
    -------
    str
        An ``<svg>`` element without a style, size and title of its own.
    """
    for parent in list(drawing.iter()):
        for child in [c for c in parent if local_name(c.tag) in FOR_THE_FILE_ALONE]:
            parent.remove(child)
    for element in drawing.iter():
        for name, text in element.attrib.items():
            if name == "id":
                text = prefix + text
            elif local_name(name) == "href":
                text = f"#{prefix}{text[1:]}"
            element.set(name, LOCAL_REFERENCE.sub(lambda found: prefix + found.group(), text))
    for name in ("width", "height", "font-family", "aria-labelledby", "aria-describedby"):
        drawing.attrib.pop(name, None)
    drawing.attrib |= {"role": "img", "aria-label": alt}
    ElementTree.register_namespace("", SVG)
    return ElementTree.tostring(drawing, encoding="unicode")


def show_drawings(app, doctree, docname):
    """Replace every picture of an SVG file of ours by the drawing itself, if the page is HTML."""
    if app.builder.format != "html":
        return
    for number, image in enumerate(list(doctree.findall(nodes.image)), start=1):
        path = Path(app.srcdir, image["uri"])
        if path.suffix != ".svg" or path.parent != Path(app.srcdir, "_assets"):
            continue
        try:
            drawing = ElementTree.parse(path).getroot()
            found = faults(drawing)
        except ElementTree.ParseError as error:
            found = [f"it cannot be parsed: {error}"]
        for fault in found:
            log.warning("diagram %s: %s", path.name, fault, location=image, type="course", subtype="svg")
        if not found:
            text = inline(drawing, image.get("alt", ""), f"{path.stem}-{number}-")
            image.replace_self(nodes.raw("", text, format="html"))


def link_style(app, pagename, templatename, context, doctree):
    """Load the drawings' style on pages that show one."""
    if 'class="diagram"' in (context.get("body") or ""):
        app.add_css_file(STYLE_SHEET)


def setup(app):
    """Register everything above."""
    app.connect("doctree-resolved", show_drawings)
    app.connect("html-page-context", link_style)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
