"""Messages to a firm: one sentence asks for something and decides who must read it, others mention things.

Counting words cannot tell which of the things that a message mentions it asks about.
"""

from dataclasses import dataclass, fields

import numpy as np

from attncourse._checks import check_count, check_rows, check_type
from attncourse.tasks._sentences import check_range, is_held_out, pad_rows
from attncourse.tasks.pairs import PADDING, Vocabulary

# The things that each department looks after.
TOPICS = {
    "billing": ("invoice", "payment", "receipt", "bill", "fee", "discount", "price", "deposit"),
    "delivery": ("parcel", "courier", "shipment", "package", "box", "driver", "delivery", "crate"),
    "repairs": ("screen", "battery", "motor", "handle", "switch", "lid", "cable", "hinge"),
    "accounts": ("password", "login", "profile", "username", "email", "account", "pin", "passcode"),
    "sales": ("catalogue", "model", "sample", "brochure", "demo", "offer", "range", "colour"),
    "staff": ("interview", "vacancy", "internship", "contract", "training", "shift", "salary", "uniform"),
}
DEPARTMENTS = tuple(TOPICS)
# A star marks the words that make a sentence a request, and "@" the place of the thing. Every word stands in
# sentences that ask for nothing too.
REQUESTS = (
    "*please *send me news of the @ .",
    "*could you *check the @ for me ?",
    "*i *need help with the @ today .",
    "*can *somebody look at the @ ?",
    "*i *would like to change the @ .",
    "*you must *explain the @ to us .",
    "*help me *find out about the @ .",
    "*we *ask you to look at the @ .",
)
MENTIONS = (
    "please do not send me news of the @ .",
    "you could not check the @ for me .",
    "i did not need help with the @ today .",
    "somebody can look at the @ by now .",
    "why would i like to change the @ ?",
    "did nobody explain the @ to us ?",
    "you did help me find out about the @ .",
    "we did not ask you to look at the @ .",
    "somebody did check the @ for us .",
    "must i explain how i like the @ ?",
)
FILLERS = (
    "thank you for the quick answer .",
    "it is raining here again .",
    "we are very busy today .",
    "i like your new shop .",
    "my sister did find you .",
    "could we be any happier ?",
    "please have a good day .",
    "you must be busy too .",
)
_VOCABULARY = Vocabulary(
    word
    for sentence in (*REQUESTS, *MENTIONS, *FILLERS, *(" ".join(things) for things in TOPICS.values()))
    for word in sentence.replace("*", "").split()
    if word != "@"
)


@dataclass(frozen=True)
class RequestBatch:
    """Hold messages with the department that each asks, and the words that say so.

    Parameters
    ----------
    tokens : ndarray of int64, shape (batch, n_tokens)
        Words and marks of the messages, then ``PADDING``.
    lengths : ndarray of int64, shape (batch,)
        Tokens before the padding.
    label : ndarray of int64, shape (batch,)
        Place in ``DEPARTMENTS`` of the department that is asked.
    evidence : ndarray of bool, shape (batch, n_tokens)
        The words that decide: those that make the sentence a request, and the thing it asks about.
    sentences : ndarray of int64, shape (batch, n_tokens)
        Number of the sentence that a token stands in, from 0; -1 in the padding.
    asked : ndarray of int64, shape (batch,)
        Number of the sentence that asks.
    topics : ndarray of int64, shape (batch, n_tokens)
        Place in ``DEPARTMENTS`` of the department that a thing belongs to; -1 at all other tokens.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    label: np.ndarray
    evidence: np.ndarray
    sentences: np.ndarray
    asked: np.ndarray
    topics: np.ndarray

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self.tokens)

    @property
    def evidence_sentence(self) -> np.ndarray:
        """Return the tokens of the sentence that asks, bool of shape (batch, n_tokens)."""
        return self.sentences == self.asked[:, None]

    @property
    def counting_ceiling(self) -> float:
        """Return how often the best guess is right that knows what is mentioned, and nothing else.

        To it, a thing is as likely to be asked about as any other in its message, so the best guess is the
        department with the most things: right in (things of that department) / (things) of all cases.
        A reader who knew the ways to ask and the held-out pairs as well could exclude some things.
        """
        counts = (self.topics[:, :, None] == np.arange(len(DEPARTMENTS))).sum(axis=1)
        return float((counts.max(axis=1) / counts.sum(axis=1)).mean())

    def take(self, rows: np.ndarray) -> "RequestBatch":
        """Return some of the messages, as padded as the longest of them needs.

        Parameters
        ----------
        rows : ndarray of int, shape (n_rows,)
            Which messages, in which order; a message may come twice.

        Returns
        -------
        RequestBatch
            Copies of these messages.

        Raises
        ------
        TypeError
            If ``rows`` is not an array of integers.
        ValueError
            If ``rows`` is empty.
        """
        check_rows("rows", rows)
        n_tokens = self.lengths[rows].max()
        arrays = ((field.name, getattr(self, field.name)[rows]) for field in fields(self))
        return RequestBatch(
            **{name: array[:, :n_tokens] if array.ndim == 2 else array for name, array in arrays}
        )


@dataclass(frozen=True)
class RequestTask:
    """Describe a family of messages; ``sample`` draws from it.

    A message has one sentence that asks for something, and at least two that mention things without asking;
    the rest of its sentences mention things or speak of nothing in particular. The sentences stand in any
    order. All things of a message are different; the departments of all of them are drawn alike, whether
    asked about or only mentioned.

    Parameters
    ----------
    n_sentences : (int, int)
        Sentences of a message: any number from the first to the second, all equally likely. At least 3, at
        most 40.

    Raises
    ------
    TypeError
        If ``n_sentences`` is not a pair of integers.
    ValueError
        If a number is out of range.

    Notes
    -----
    One in five pairs of a way to ask and a thing is held out: training messages never ask about this thing
    in this way. Used from chapter 17 on.
    """

    n_sentences: tuple[int, int] = (3, 6)

    def __post_init__(self) -> None:
        """Check the numbers once.

        Raises
        ------
        TypeError
            If ``n_sentences`` is not a pair.
        ValueError
            If a number is out of range.
        """
        most = sum(map(len, TOPICS.values())) - 8  # so that every draw finds a thing that is not in use
        check_range("n_sentences", self.n_sentences, at_least=3, at_most=most)

    @property
    def vocabulary(self) -> Vocabulary:
        """Return the words of the messages, numbered."""
        return _VOCABULARY

    def sample(self, batch_size: int, rng: np.random.Generator, *, held_out: bool = False) -> RequestBatch:
        """Draw messages.

        Parameters
        ----------
        batch_size : int
            Number of messages.
        rng : numpy.random.Generator
            Source of randomness.
        held_out : bool
            Whether every message asks in one of the held-out pairs; otherwise none does.

        Returns
        -------
        RequestBatch
            The messages with their departments and the words that decide.

        Raises
        ------
        TypeError
            If an argument is of the wrong type.
        ValueError
            If ``batch_size`` is below 1.
        """
        check_count("batch_size", batch_size)
        check_type("rng", rng, np.random.Generator)
        check_type("held_out", held_out, bool)
        messages = [self._message(rng, held_out) for _ in range(batch_size)]
        rows = {name: [message[name] for message in messages] for name in messages[0]}
        return RequestBatch(
            tokens=pad_rows(rows["tokens"], PADDING),
            lengths=np.array([len(tokens) for tokens in rows["tokens"]]),
            label=np.array(rows["label"]),
            evidence=pad_rows(rows["evidence"], 0).astype(bool),
            sentences=pad_rows(rows["sentences"], -1),
            asked=np.array(rows["asked"]),
            topics=pad_rows(rows["topics"], -1),
        )

    def _message(self, rng: np.random.Generator, held_out: bool) -> dict[str, int | list[int]]:
        """Draw one message: the tokens with what is known about each."""
        n_sentences = int(rng.integers(self.n_sentences[0], self.n_sentences[1] + 1))
        n_mentions = int(rng.integers(2, n_sentences))
        form, asked_thing = _draw_request(rng, held_out)
        things = [asked_thing, *_draw_things(rng, n_mentions, asked_thing)]
        kinds = rng.permutation([0] + [1] * n_mentions + [2] * (n_sentences - 1 - n_mentions))
        asked = int(np.flatnonzero(kinds == 0)[0])
        message = {"tokens": [], "evidence": [], "sentences": [], "topics": []}
        for number, kind in enumerate(kinds):
            if kind == 0:
                text, thing = REQUESTS[form], things[0]
            elif kind == 1:
                text, thing = MENTIONS[rng.integers(len(MENTIONS))], things.pop()
            else:
                text, thing = FILLERS[rng.integers(len(FILLERS))], None
            words = text.split()
            places = [word == "@" for word in words]
            message["evidence"] += [kind == 0 and (word == "@" or word[0] == "*") for word in words]
            message["topics"] += [thing[0] if here else -1 for here in places]
            message["sentences"] += [number] * len(words)
            message["tokens"] += _VOCABULARY.encode(
                [
                    _name(thing) if here else word.removeprefix("*")
                    for word, here in zip(words, places, strict=True)
                ]
            )
        return message | {"label": things[0][0], "asked": asked}


def _name(thing: tuple[int, int]) -> str:
    """Return the word for a thing: the place of its department, and its own in the department's list."""
    department, place = thing
    return TOPICS[DEPARTMENTS[department]][place]


def _draw_thing(rng: np.random.Generator) -> tuple[int, int]:
    """Draw a department and one of its things."""
    department = int(rng.integers(len(DEPARTMENTS)))
    return department, int(rng.integers(len(TOPICS[DEPARTMENTS[department]])))


def _draw_request(rng: np.random.Generator, held_out: bool) -> tuple[int, tuple[int, int]]:
    """Draw a way to ask and a thing, from the held-out pairs or from all others."""
    while True:
        form, thing = int(rng.integers(len(REQUESTS))), _draw_thing(rng)
        if is_held_out(form, thing[0] + thing[1]) == held_out:
            return form, thing


def _draw_things(rng: np.random.Generator, n_things: int, taken: tuple[int, int]) -> list[tuple[int, int]]:
    """Draw things to mention, all different and none of them ``taken``."""
    things: list[tuple[int, int]] = []
    while len(things) < n_things:
        thing = _draw_thing(rng)
        if thing != taken and thing not in things:
            things.append(thing)
    return things
