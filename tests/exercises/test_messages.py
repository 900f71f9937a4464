"""Messages from a process that may lie: whatever it sends, reading ends, and what is read is plain data."""

import itertools
import json
import os
import signal
import sys
import threading
import time
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncourse.exercises import _run
from attncourse.exercises._exercise import call
from attncourse.exercises._run import (
    MAX_HEADER,
    MAX_MESSAGE,
    MAX_TEXT,
    PRINT_LIMIT,
    UNREADABLE,
    answer_calls,
    gather,
    read_messages,
    send,
)
from attncourse.exercises._wire import Opaque, encode

pytestmark = pytest.mark.exercises
SOON = 20.0  # seconds until a test gives up; nothing here waits
RIGHT = {"kind": "output", "changed": []}


@contextmanager
def pipe_with(data):
    """A pipe that holds some bytes and whose writer is gone."""
    receive, send_to = os.pipe()

    def write():
        left = data
        try:
            while left:
                left = left[os.write(send_to, left) :]
        except BrokenPipeError:
            pass  # the reader has heard enough
        finally:
            os.close(send_to)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield receive
    finally:
        os.close(receive)
        writer.join()


def read(data):
    with pipe_with(data) as receive:
        return list(read_messages(receive, time.monotonic() + SOON))


def packed(header, data=b"", *, n_head=None, n_data=None):
    """Return one message as `send` packs it, or with lengths of one's own."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    lengths = (len(head) if n_head is None else n_head, len(data) if n_data is None else n_data)
    return b"%012d%012d" % lengths + head + data


def gathered(*headers, n_cases):
    return gather(iter([(one, b"") if isinstance(one, dict) else one for one in headers]), n_cases)


messages = st.lists(
    st.tuples(st.dictionaries(st.text(), st.integers() | st.text() | st.none()), st.binary()), max_size=4
)


@given(messages)
def test_what_is_sent_arrives_in_order(sent):
    receive, send_to = os.pipe()
    try:
        for header, data in sent:
            send(send_to, header, data)
        os.close(send_to)
        assert list(read_messages(receive, time.monotonic() + SOON)) == sent
    finally:
        os.close(receive)


def test_a_message_larger_than_a_pipe_arrives():
    data = bytes(range(256)) * 2**14
    [(header, back)] = read(packed({"n": 1}, data))
    assert header == {"n": 1}
    assert back == data


@given(st.binary(max_size=200))
def test_reading_ends_whatever_comes(noise):
    assert all(isinstance(header, dict) for header, _ in read(noise))


@given(st.binary(max_size=60))
def test_noise_behind_a_message_does_not_take_it_back(noise):
    assert read(packed(RIGHT, b"abc") + noise)[0] == (RIGHT, b"abc")


@given(st.binary(max_size=200), st.integers(0, 3))
def test_gathering_noise_gives_no_more_than_was_asked_for(noise, n_cases):
    data = b"".join(packed({"kind": "output"}, noise) for _ in range(5)) + noise
    outcomes, printed, n_printed = gather(iter(read(data)), n_cases)
    assert len(outcomes) == n_cases
    assert {one.kind for one in outcomes} <= {"raised", "output"}
    assert (printed, n_printed) == ("", 0)


@pytest.mark.parametrize(
    "forged",
    [
        packed(b"[1, 2]"),
        packed(b"not JSON"),
        packed(b"\xff\xfe\xfd"),
        packed(b"[" * 30_000),
        packed(b'{"a":' * 10_000),
        packed(b"9" * 5_000),
        packed(b"", n_head=0),
        packed(b"{}", n_head=MAX_HEADER + 1),
        packed(b"{}", n_data=MAX_MESSAGE + 1),
        b"-00000000001000000000000{}",
        b"+00000000002000000000000{}",
        "٠".encode() * 24,
        b"0" * 23,
    ],
    ids=[
        "a list", "no JSON", "no text", "deep list", "deep dictionary", "huge number", "nothing",
        "long header", "long data", "negative", "signed", "other digits", "too short",
    ],
)  # fmt: skip
def test_what_is_no_message_ends_the_reading(forged):
    assert read(forged) == []
    assert read(packed(RIGHT) + forged) == [(RIGHT, b"")]


def test_a_message_that_never_ends_is_not_waited_for():
    receive, send_to = os.pipe()
    try:
        os.write(send_to, packed({}, b"abc", n_data=10))
        begin = time.monotonic()
        assert list(read_messages(receive, begin + 0.3)) == []
        assert time.monotonic() - begin < SOON
        assert list(read_messages(receive, begin - 1)) == []
    finally:
        os.close(receive)
        os.close(send_to)


def test_a_header_as_long_as_allowed_is_read():
    header = {"error": "x" * (MAX_HEADER - len('{"error": ""}'))}
    assert read(packed(header)) == [(header, b"")]


@pytest.mark.parametrize("depth", [10, 500, *range(880, 1010, 5)])
@pytest.mark.parametrize("name", ["error", "kind", "changed", "kept", "n_characters"])
def test_deep_nesting_in_a_header_is_no_error(name, depth):
    """JSON may be read as deep as Python allows; what is done with it must not go deeper."""
    deep = b"[" * depth + b"]" * depth
    kind = b'"printed"' if name in ("kept", "n_characters") else b'"output"'
    start = b"" if name == "kind" else b'"kind": ' + kind + b", "
    head = b"{" + start + b'"' + name.encode() + b'": ' + deep + b"}"
    with pipe_with(packed(head, encode(1))) as receive:
        outcomes, printed, _ = gather(read_messages(receive, time.monotonic() + SOON), 1)
    assert len(outcomes) <= 1
    assert len(printed) <= PRINT_LIMIT


def test_outcomes_say_what_was_said():
    outcomes, _, _ = gathered(
        (RIGHT, encode(3)),
        ({"kind": "output", "changed": ["x", "y"]}, encode((1, 2.5))),
        {"kind": "raised", "error": "raises ValueError: no"},
        {"kind": "time"},
        n_cases=9,
    )
    assert [one.output for one in outcomes] == [3, (1, 2.5), None, None]
    assert [one.kind for one in outcomes] == ["output", "output", "raised", "time"]
    assert outcomes[1].changed == ("x", "y")
    assert outcomes[2].error == "raises ValueError: no"


@pytest.mark.parametrize(
    "header",
    [{}, {"kind": "graded"}, {"kind": "ended"}, {"kind": "not run"}, {"kind": None}, {"kind": ["output"]},
     {"kind": {"output": 1}}, {"kind": 3}],
)  # fmt: skip
def test_an_unknown_kind_is_nothing_that_can_be_read(header):
    [outcome], _, _ = gathered((header, encode(3)), n_cases=2)
    assert (outcome.kind, outcome.error, outcome.output) == ("raised", UNREADABLE, None)


def test_an_output_that_is_no_encoding_is_an_error_of_that_call_alone():
    outcomes, _, _ = gathered((RIGHT, b"\x80\x04K\x03."), (RIGHT, encode(5)), n_cases=2)
    assert [one.kind for one in outcomes] == ["raised", "output"]
    assert outcomes[0].error == UNREADABLE
    assert outcomes[1].output == 5


def test_data_of_an_error_is_not_read():
    [outcome], _, _ = gathered(({"kind": "raised", "error": "no"}, encode(3)), n_cases=1)
    assert outcome.output is None


def test_texts_are_cut_and_are_texts():
    long = {"kind": "raised", "error": "x" * 60_000, "changed": ["y" * 1000, 7, None, ["z"]]}
    [outcome], _, _ = gathered(long, n_cases=1)
    assert outcome.error == "x" * MAX_TEXT
    assert outcome.changed == ("y" * 60, "7", "None", "['z']")
    [outcome], _, _ = gathered({"kind": "raised", "error": {"a": 1}, "changed": "xy"}, n_cases=1)
    assert outcome.error == "{'a': 1}"
    assert outcome.changed == ()


def test_more_answers_than_questions_are_left_out():
    answers = [(RIGHT, encode(number)) for number in range(5)]
    outcomes, printed, n_printed = gathered(*answers, {"kind": "printed", "kept": "late"}, n_cases=2)
    assert [one.output for one in outcomes] == [0, 1]
    assert (printed, n_printed) == ("", 0)
    assert gathered(*answers, n_cases=0) == ([], "", 0)


def test_what_was_printed_ends_the_answers():
    said = {"kind": "printed", "kept": "hello", "n_characters": 5000}
    outcomes, printed, n_printed = gathered((RIGHT, encode(1)), said, (RIGHT, encode(2)), n_cases=2)
    assert [one.output for one in outcomes] == [1]
    assert (printed, n_printed) == ("hello", 5000)


@pytest.mark.parametrize("n_characters", [None, "many", 2.5, [1], {}])
def test_a_made_up_number_of_characters_is_not_believed(n_characters):
    said = {"kind": "printed", "kept": "abc", "n_characters": n_characters}
    assert gathered(said, n_cases=1) == ([], "abc", 3)


def test_what_was_printed_is_cut_and_is_text():
    assert gathered({"kind": "printed", "kept": "x" * 5000}, n_cases=1)[1] == "x" * PRINT_LIMIT
    assert gathered({"kind": "printed", "kept": [1]}, n_cases=1)[1:] == ("[1]", 3)


# --- the process that answers ----------------------------------------------------------------------------

linux = pytest.mark.skipif(sys.platform != "linux", reason="answers have a process of their own on Linux")


def answered(answer, n_cases=2, seconds=10.0):
    """Return what a process that answers sends, and how it ended."""
    cases = [{"x": torch.arange(4.0)} for _ in range(n_cases)]
    receive, send_to = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of forks beside threads
        pid = os.fork()
    if pid == 0:
        try:
            os.close(receive)
            answer_calls(send_to, call, answer, cases, 0, seconds)
        finally:
            os._exit(0)
    os.close(send_to)
    try:
        outcomes, printed, n_printed = gather(read_messages(receive, time.monotonic() + 60), n_cases)
    finally:
        os.close(receive)
        _, status = os.waitpid(pid, 0)
    return outcomes, printed, n_printed, status


@linux
def test_answers_are_sent_with_what_they_printed_and_changed(capfd):
    def answer(x):
        print("here", flush=True)
        os.write(1, b"past Python")
        x[0] = 5
        return x + 1

    outcomes, printed, n_printed, status = answered(answer)
    assert [one.output.tolist() for one in outcomes] == [[6.0, 2.0, 3.0, 4.0]] * 2  # a fresh copy each time
    assert outcomes[0].changed == ("x",)
    assert (printed, n_printed, status) == ("here\nhere\n", 10, 0)
    assert capfd.readouterr() == ("", "")


@linux
def test_a_copy_that_an_answer_forks_says_nothing():
    def answer(x):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            os.fork()
        return x

    outcomes, printed, _, _ = answered(answer, n_cases=1)
    assert len(outcomes) == 1
    assert torch.equal(outcomes[0].output, torch.arange(4.0))
    assert printed == ""


@linux
def test_a_loop_in_c_is_ended_and_what_came_before_is_kept():
    calls = []

    def answer(x):
        calls.append(x)
        return x if len(calls) == 1 else sum(itertools.repeat(0))

    outcomes, _, _, status = answered(answer, n_cases=3, seconds=0.5)
    assert [one.kind for one in outcomes] == ["output"]
    assert os.WTERMSIG(status) == signal.SIGPROF


@linux
def test_memory_has_a_limit():
    [outcome], *_ = answered(lambda x: np.ones(20 * 2**30, dtype="uint8"), n_cases=1)
    assert outcome.kind == "memory"
    assert outcome.error.startswith("asks for more memory than 2 GiB")


@linux
def test_calls_are_answered_where_no_file_says_how_much_memory_is_used(monkeypatch):
    monkeypatch.setattr(_run, "STATM", "/nowhere/statm")  # as on macOS
    [outcome], *_ = answered(lambda x: 3.5, n_cases=1)
    assert outcome.output == 3.5


class Thing:
    """Would be equal to everything."""

    def __eq__(self, other):
        return True

    __hash__ = None


@linux
def test_what_is_no_plain_data_arrives_as_the_name_of_its_type():
    [outcome], *_ = answered(lambda x: [Thing(), print, 2**99999], n_cases=1)
    names = ("Thing", "builtin_function_or_method", "integer of more than ten thousand digits")
    assert outcome.output == tuple(map(Opaque, names))


def test_calls_without_an_answer_are_filled_in():
    run = _run.complete([_run.Outcome(3)], 3, "ended", "said", 4)
    assert [one.kind for one in run.outcomes] == ["output", "ended", "not run"]
    assert (run.printed, run.n_printed) == ("said", 4)
    assert [one.kind for one in _run.complete([], 1, "time", "", 0).outcomes] == ["time"]
    assert _run.complete([_run.Outcome(3)], 1, "time", "", 0).outcomes == (_run.Outcome(3),)
