"""The directive ``{explorer} NAME``: an interactive figure of the package on a Markdown page.

HTML pages get the figure, which holds its own table for readers without scripts. All other formats get what
the directive holds, for example a figure, or else the figure's plain text.
"""

import sys
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import only
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from attncourse.explorers import EXAMPLES


class ExplorerDirective(SphinxDirective):
    """Show one of ``attncourse.explorers.EXAMPLES``."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the figure for HTML, and what stands for it elsewhere."""
        name = self.arguments[0]
        if name not in EXAMPLES:
            raise self.error(f"explorer must be one of {', '.join(sorted(EXAMPLES))}, got {name}")
        explorer = EXAMPLES[name]()
        shown = only(expr="html")
        shown += nodes.raw("", explorer.html, format="html")
        other = only(expr="not html")
        if self.env.app.builder.format == "html":
            # not even read: a figure that HTML leaves out would still take a number
            return [shown]
        if self.content:
            self.state.nested_parse(self.content, self.content_offset, other)
        else:
            other += nodes.literal_block("", explorer.text, language="text")
        return [shown, other]


def setup(app):
    """Register the directive."""
    app.add_directive("explorer", ExplorerDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
