"""Chapter 9: what temperature, top-k and top-p do to the texts a language model writes, and greedy loops.

One thread, about two minutes a seed.
"""

from collections import Counter
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from _language import CPU_SECONDS, N_TOKENS, NGram, topics, trained, windowed
from _store import run_and_store

from attncourse.decoding import generate
from attncourse.sampling import greedy, sample
from attncourse.text_measures import character_bits

# Name of a way to choose: its arguments to `sample`; none stands for the likeliest character.
WAYS = (
    {"greedy": None}
    | {f"temperature {value:g}": {"temperature": value} for value in (0.25, 0.5, 0.7, 0.85, 1.0, 1.2)}
    | {f"top-k {value}": {"top_k": value} for value in (2, 5, 10, 20)}
    | {f"top-p {value:g}": {"top_p": value} for value in (0.5, 0.7, 0.8, 0.9, 0.95)}
)
N_PROMPTS, N_WRITTEN = 32, 160
LONG = 512  # characters of the greedy texts that are searched for loops
SPECIAL = (0, 1, 2)  # padding, start and end are no characters
RUN = 10  # characters in a row that count as a repetition
COPIED_RUN = 30  # characters in a row that count as copied from the training text
JUDGE_ORDER = 5
N_ROUNDS = 6  # most frequent cycles whose text is stored
QUICK = {
    "seed": 0,
    "settings": {"ways": [], "models": []},
    "key": "text.5-gram bits",
    "tolerance": 0.1,
}


def run_seed(seed, *, ways=tuple(WAYS), models=("transformer", "lstm")):
    """Train a writer and a judge, let the writer go on from held-out texts, and measure what it writes."""
    torch.set_num_threads(1)
    task = topics(seed)
    prompts, real = beginnings(task)
    measure = Measure(task, seed, neural="lstm" in models)
    values = {"text": measure(prompts, real), "loops": {}}
    for kind in models:
        model, _ = trained(kind, seed, cpu_seconds=CPU_SECONDS)
        values["loops"][kind] = loops(model, prompts, task)
    for name in ways:
        model, _ = trained("transformer", seed, cpu_seconds=CPU_SECONDS)
        generator = torch.Generator().manual_seed(seed)
        choose = greedy if WAYS[name] is None else partial(sample, generator=generator, **WAYS[name])
        written = write(model, prompts, N_WRITTEN, choose)
        values[name] = measure(prompts, written) | {
            "example": text_of(task, prompts[0]) + "|" + text_of(task, written[0])
        }
    return values


def beginnings(task):
    """Return prompts from all over the held-out text, and how each goes on in truth."""
    width = N_TOKENS + N_WRITTEN
    starts = np.linspace(0, len(task.held_out) - width, N_PROMPTS).astype(int)
    pieces = task.held_out[starts[:, None] + np.arange(width)]
    return pieces[:, :N_TOKENS], pieces[:, N_TOKENS:]


def write(model, prompts, n_tokens, choose):
    """Return what a model writes behind every prompt, seeing the last characters alone."""
    return generate(
        windowed(model),
        torch.from_numpy(prompts),
        max_tokens=n_tokens,
        choose=choose,
        forbidden_tokens=SPECIAL,
    ).numpy()


class Measure:
    """Measure texts behind prompts: how repetitive, how likely under two judges, how much of it is words."""

    def __init__(self, task, seed, *, neural):
        self.task = task
        self.ngram = NGram(task, JUDGE_ORDER)
        self.lstm = trained("lstm", seed, cpu_seconds=CPU_SECONDS)[0] if neural else None
        text = text_of(task, task.train)
        self.words = set(words_of(text))
        self.runs = {text[place : place + COPIED_RUN] for place in range(len(text) - COPIED_RUN + 1)}

    def __call__(self, prompts, written):
        """Return the numbers of one way to choose."""
        n_prompt = prompts.shape[1]
        whole = np.concatenate([prompts, written], axis=1)
        texts = [text_of(self.task, row) for row in whole]
        # A word counts if it stands between two others: neither begun by the prompt nor cut off at the end.
        words = [words_of(text[n_prompt:])[1:-1] for text in texts]
        every = [word for row in words for word in row]
        pairs = [pair for row in words for pair in pairwise(row)]
        copied = [
            text[place - COPIED_RUN : place] in self.runs
            for text in texts
            for place in range(n_prompt + COPIED_RUN, len(text) + 1)
        ]
        values = {
            "repeated": np.mean([repeated(text, n_prompt) for text in texts]),
            "distinct_word_pairs": len(set(pairs)) / max(len(pairs), 1),
            "known_words": sum(word in self.words for word in every) / max(len(every), 1),
            "words": len(every),
            "copied": np.mean(copied),
            "5-gram bits": np.mean([self.ngram.bits(row, n_prompt).mean() for row in whole]),
        }
        if self.lstm is not None:
            values["lstm bits"] = np.mean(
                [
                    character_bits(self.lstm, row, n_tokens=N_TOKENS, n_context=N_TOKENS).mean()
                    for row in whole
                ]
            )
        return values


def repeated(text, start):
    """Return the share of runs written that stand earlier in the same text, prompt included."""
    seen = {text[place - RUN : place] for place in range(RUN, start + RUN)}
    again = 0
    for place in range(start + RUN, len(text) + 1):
        run = text[place - RUN : place]
        again += run in seen
        seen.add(run)
    return again / (len(text) - start - RUN + 1)


def loops(model, prompts, task):
    """Return how many greedy texts end in a cycle.

    The next character depends on the last ones alone. Once the last ``N_TOKENS`` characters have all stood
    behind each other before, the text goes round for ever.
    """
    whole = np.concatenate([prompts, write(model, prompts, LONG, greedy)], axis=1)
    periods, onsets, rounds = [], [], Counter()
    for row in whole:
        first = {}
        for end in range(N_TOKENS, len(row) + 1):
            window = row[end - N_TOKENS : end].tobytes()
            if window in first:
                period = end - first[window]
                periods.append(period)
                rounds[least_rotation(text_of(task, row[end - period : end]))] += 1
                onsets.append(first[window] - N_TOKENS)  # characters written before the window first stood
                break
            first[window] = end
    return {
        "share": len(periods) / len(whole),
        "periods": sorted(periods),
        "rounds": dict(rounds.most_common(N_ROUNDS)),
        "median_period": float(np.median(periods)) if periods else 0.0,
        "median_onset": float(np.median(onsets)) if onsets else 0.0,
    }


def least_rotation(text):
    """Return a cycle's text from the place where it comes first in order, so that equal cycles look equal."""
    return min(text[place:] + text[:place] for place in range(len(text)))


def text_of(task, tokens):
    """Return characters as one text."""
    return "".join(task.vocabulary.decode(tokens))


def words_of(text):
    """Return what stands between white space, without punctuation around it."""
    bare = (word.strip("\"'“”‘’.,;:!?()[]{}*`") for word in text.split())
    return [word for word in bare if word]


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
