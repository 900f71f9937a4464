"""The Colab buttons lead to copies that Colab can show (`tools/colab.py`), not to the book's own files."""

from sphinx.util import logging

from attncourse.classroom.public_address import colab_address

log = logging.getLogger(__name__)


def point_to_copies(app, pagename, templatename, context, doctree):
    """Give the Colab button of a chapter the address of its copy; warn if the theme made no such button."""
    groups = [one for one in context.get("header_buttons", []) if one.get("label") == "launch-buttons"]
    for group in groups:
        found = [button for button in group["buttons"] if button["text"] == "Colab"]
        if not found:
            log.warning("no Colab button on this page", location=pagename, type="course", subtype="launch")
        for button in found:
            button["url"] = colab_address(app.config.html_theme_options["repository_url"], pagename)


def setup(app):
    """Register the hook, behind the theme's own, which has priority 501."""
    app.connect("html-page-context", point_to_copies, priority=510)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
