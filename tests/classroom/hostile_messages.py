"""Answers aimed at their readers: the trusted side of the pipe, and the instructor's browser."""

from tests.classroom.handing_in import (
    ANYTHING,
    LETTER,
    SUSPECT,
    WRONG,
    WRONG_BODY,
    Case,
    answer_cell,
    at_top,
    editing,
    inside,
)
from tests.classroom.hostile_processes import MARK, hostile

UNIMPRESSED = "0 points: what comes over the pipe is compared, not believed."

ENCODER = """
import json

import attncourse.exercises._run as run
import attncourse.exercises._wire as wire

verdict = '{"kind": "passed", "passed": true, "score": 4.0, "points": 4.0, "state": "graded"}'
run.encode = wire.encode = lambda value: verdict.encode()
json.dumps = lambda *_, **__: verdict
"""
ENCODER_AT_TOP = """
try:
    import json
    import sys

    for name, module in list(sys.modules.items()):
        if name.startswith("attncourse.") and hasattr(module, "difference"):
            module.difference = lambda *_, **__: None
        if hasattr(module, "_wire") or name.endswith("_wire"):
            module.encode = lambda value: b'{"kind": "plain", "value": true}'
except Exception:
    pass
"""

TERMINAL = f"""
import os
import stat

for number in range(256):
    try:
        kind = os.fstat(number).st_mode
        if stat.S_ISCHR(kind) or stat.S_ISFIFO(kind) or stat.S_ISREG(kind):
            os.set_blocking(number, False)
            os.write(number, b"\\x1b[2J\\x1b]0;title\\x07{MARK}\\n")
    except OSError:
        pass
"""


def to_every_descriptor(message: str) -> str:
    """Return what writes an expression of bytes to every open file, pipe and socket of the process."""
    return f"""
import json
import os


def framed(header, data=b""):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return b"%012d%012d" % (len(head), len(data)) + head + data


message = {message}
for number in range(3, 256):
    try:
        os.set_blocking(number, False)
        os.write(number, message)
    except (OSError, ValueError):
        pass
"""


GARBAGE = to_every_descriptor("os.urandom(4096)")
NO_END = to_every_descriptor('b"9" * 24 + b"x"')
DEEP = to_every_descriptor('framed({"kind": "output", "changed": []}, b"[" * 30_000)')
VERDICT = to_every_descriptor(
    'b"".join(framed({"kind": "output", "changed": []}, b\'{"kind": "plain", "value": true}\')'
    " for _ in range(64))"
)
ODD_TYPES = to_every_descriptor(
    'framed({"kind": "output", "changed": []}, json.dumps({"kind": "tensor", "dtype": "save",'
    ' "shape": [10**15, -1], "data": "AAAA"}).encode()) + framed({"kind": ["x"]}) + framed(b"\\xff\\xfe")'
)

BROWSER_MARK = "attackTheBrowser"  # must stand in no page of feedback as code
SCRIPT = f"<script>{BROWSER_MARK}()</script>"
IMAGE = f'<img src="x" onerror="{BROWSER_MARK}()">'
SHOWS_SCRIPT = f"""
from IPython.display import HTML, SVG, Javascript, Markdown, display

display(HTML('{SCRIPT}{IMAGE}'))
display(Javascript("{BROWSER_MARK}()"))
display(Markdown('{IMAGE}[x](javascript:{BROWSER_MARK}())'))
display(SVG('<svg xmlns="http://www.w3.org/2000/svg" onload="{BROWSER_MARK}()">{SCRIPT}</svg>'))
"""
RAISES_SCRIPT = f"""
print('{SCRIPT}')
raise ValueError('{SCRIPT}{IMAGE}')
"""
LETTER_SCRIPT = f"""Dear friend,

{SCRIPT}{IMAGE} [a link](javascript:{BROWSER_MARK}()) <svg onload={BROWSER_MARK}()>

<iframe srcdoc="{SCRIPT.replace("<", "&lt;")}"></iframe>
"""

MESSAGE_CASES = (
    hostile("patches-the-encoder", "Patches how outputs are carried, at every call",
            inside(ENCODER, WRONG_BODY), 0.0, ANYTHING, UNIMPRESSED),
    hostile("patches-what-it-finds", "Patches comparing and carrying wherever it finds them",
            at_top(ENCODER_AT_TOP, WRONG), 0.0, SUSPECT, UNIMPRESSED, fools_inside=True),
    hostile("garbage-on-the-pipe", "Writes noise into every open file and pipe",
            inside(GARBAGE, WRONG_BODY), 0.0, ANYTHING, UNIMPRESSED),
    hostile("message-without-end", "Announces a message of a terabyte", inside(NO_END, WRONG_BODY), 0.0,
            ANYTHING, UNIMPRESSED),
    hostile("deep-message", "Sends a message nested 30,000 deep", inside(DEEP, WRONG_BODY), 0.0, ANYTHING,
            UNIMPRESSED),
    hostile("forged-messages", "Sends forged messages that say true", inside(VERDICT, WRONG_BODY), 0.0,
            ANYTHING, UNIMPRESSED),
    hostile("odd-messages", "Sends messages with impossible types and sizes", inside(ODD_TYPES, WRONG_BODY),
            0.0, ANYTHING, UNIMPRESSED),
    hostile("writes-to-the-terminal", "Writes to the terminal of whoever grades", at_top(TERMINAL, WRONG),
            0.0, SUSPECT, "Nothing of it reaches the terminal; the answer gets what it deserves."),
    hostile("shows-a-script", "Shows scripts in its output", at_top(SHOWS_SCRIPT), 1.0, ANYTHING,
            "Scripts do not reach the feedback page; the answer gets what it deserves."),
    hostile("raises-a-script", "Prints and raises a text with a script", inside(RAISES_SCRIPT), 0.0,
            ANYTHING, "The text is shown as text."),
    Case("script-in-a-letter", "Scripts in a question in words", "hostile", LETTER,
         editing(LETTER, lambda notebook, _: answer_cell(notebook, LETTER).update(source=LETTER_SCRIPT)),
         None, "manual", ANYTHING, "Scripts do not reach the feedback page; the letter waits for a person."),
)  # fmt: skip
