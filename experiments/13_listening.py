"""Chapter 13: four ways to read Morse code at equal CPU seconds: who copies long messages, who looks where.

One thread, about seven minutes a seed.
"""

from collections import Counter

import numpy as np
import torch
from _store import run_and_store

from attncourse.measures import exact_match, pointing_accuracy
from attncourse.recurrent_decoders import BahdanauDecoder
from attncourse.speech import AudioEncoder, LocationAwareDecoder, build_recogniser, recognition_loss
from attncourse.speech_features import SAMPLES_PER_FRAME, gold_frames, log_band_energies
from attncourse.speech_measures import character_error_rate, monotonicity
from attncourse.tasks.morse import MORSE_CODE, MorseTask
from attncourse.tasks.pairs import END
from attncourse.training import learning_rate_factor, set_seed, train

TASK = MorseTask()
TRAINED_LENGTHS = (2, 8)
POOL, PART, BATCH_SIZE, TESTED = 12_000, 500, 32, 200
LENGTHS = (5, 8, 16, 32)
NOISES = (0.1, 0.12, 0.15, 0.2)  # standard deviation; 0.1 in training
CPU_SECONDS = {
    "content": 40.0,
    "location-aware": 40.0,
    "monotonic": 40.0,
    "ctc": 40.0,
    "content-twice": 80.0,
    "location-aware-twice": 80.0,
    "monotonic-twice": 80.0,
}
# Tried on seed 0 with 25 s and messages of their own: 0.002, 0.004 and 0.008 for content, monotonic and ctc.
# On 2 to 8 letters content had .39, .32 and .36, monotonic .10, .04 and .04, ctc 0 throughout.
LEARNING_RATES = dict.fromkeys(CPU_SECONDS, 4e-3)
WARMUP_STEPS = 50
FIRST_STEPS = 120
HALF_WINDOW = 15  # states on either side of the last look: what a filter of width 31 sees
SAMPLES_PER_STATE = AudioEncoder.stride * SAMPLES_PER_FRAME
QUICK = {"seed": 0, "settings": {"kinds": []}, "key": "first_steps.loss", "tolerance": 0.05}


def run_seed(seed, *, kinds=tuple(CPU_SECONDS)):
    """Train every model on the same messages of 2 to 8 letters, and score it on fresh ones of 5 to 32."""
    torch.set_num_threads(1)
    pool = training_pool(seed)
    _, history = fit("location-aware", pool, seed, steps=FIRST_STEPS, learning_rate=4e-3)
    values = {"first_steps": {"loss": np.mean(history.losses[-20:])}}
    tests = held_out(seed) if kinds else {}
    values["shuffled"] = {name: shuffled_error_rate(test, seed) for name, test in tests.items()}
    for kind in kinds:
        model, history = fit(
            kind.removesuffix("-twice"),
            pool,
            seed,
            cpu_seconds=CPU_SECONDS[kind],
            learning_rate=LEARNING_RATES[kind],
        )
        values[kind] = {
            "steps": history.steps,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "tests": {
                name: scores(model, test, looks=name.isdigit() and not kind.endswith("-twice"))
                for name, test in tests.items()
            },
        }
        if seed == 0 and not kind.endswith("-twice"):
            values[kind]["example"] = example(model, tests["16"])
        if kind in ("content", "location-aware"):
            model.decoder = with_window(model.decoder)
            values[kind]["window"] = {
                str(n): scores(model, tests[str(n)], looks=False)["error_rate"] for n in (8, 16, 32)
            }
    return rounded(values)


class Recordings:
    """Hold messages as a model reads them, with the states of the encoder in which each letter sounds."""

    def __init__(self, batches):
        parts = [
            (*log_band_energies(batch.audio, batch.lengths), batch.target, batch.letter_spans)
            for batch in batches
        ]
        features, frames, target, spans = zip(*parts, strict=True)
        self.features, self.target = (torch.from_numpy(stacked(arrays, 0)) for arrays in (features, target))
        self.frames, self.spans = torch.from_numpy(np.concatenate(frames)), stacked(spans, -1)
        self.n_letters = (self.target > END).sum(dim=1).numpy()

    def take(self, rows):
        """Return features, frames and targets of some messages, as padded as the longest needs."""
        n_frames, n_target = int(self.frames[rows].max()), int(self.n_letters[rows].max()) + 1
        return self.features[rows, :n_frames], self.frames[rows], self.target[rows, :n_target]

    def gold(self, n_states, *, with_pause=False):
        """Return the states (message, target, state) of every letter, or of the letter and its pause."""
        spans = self.spans
        if with_pause:  # up to the next letter; behind the last one there is nothing to mix it up with
            spans = spans.copy()
            last = np.arange(len(spans)), self.n_letters - 1
            spans[:, :-1, 1] = np.where(spans[:, 1:, 0] >= 0, spans[:, 1:, 0], spans[:, :-1, 1])
            spans[last[0], last[1], 1] = n_states * SAMPLES_PER_STATE
        return gold_frames(spans, n_states, samples_per_frame=SAMPLES_PER_STATE)


def stacked(arrays, filler):
    """Return arrays (batch, n, …) of unequal n one below the other, filled up behind the shorter ones."""
    n = max(array.shape[1] for array in arrays)
    widths = [[(0, 0), (0, n - array.shape[1])] + [(0, 0)] * (array.ndim - 2) for array in arrays]
    padded = [np.pad(a, width, constant_values=filler) for a, width in zip(arrays, widths, strict=True)]
    return np.concatenate(padded)


def training_pool(seed):
    """Draw the messages to train on, part by part, as sound takes far more room than its features."""
    rng = np.random.default_rng([seed, 0])
    return Recordings(TASK.sample(TRAINED_LENGTHS, PART, rng) for _ in range(POOL // PART))


def rounded(values):
    """Return nested dicts and lists with four decimals, which is more than 200 messages can tell."""
    if isinstance(values, dict):
        return {key: rounded(value) for key, value in values.items()}
    if isinstance(values, list | np.ndarray):
        return [rounded(value) for value in values]
    return round(float(values), 4) if isinstance(values, float | np.floating) else values


def held_out(seed):
    """Draw fresh messages: four lengths, three kinds of repetition at 8 letters, four levels of noise."""
    rng = np.random.default_rng([seed, 1])
    tests = {str(n): TASK.sample(n, TESTED, rng) for n in LENGTHS}
    letters = np.array(list(MORSE_CODE))
    different = ["".join(rng.permutation(letters)[:8]) for _ in range(TESTED)]
    of_two = ["".join(rng.permutation(np.resize(rng.permutation(letters)[:2], 8))) for _ in range(TESTED)]
    tests |= {"different": TASK.send(different, rng), "of-two": TASK.send(of_two, rng)}
    for noise in NOISES[1:]:
        tests[f"noise-{noise}"] = MorseTask(noise=noise).sample(8, TESTED, rng)
    return {name: Recordings([test]) for name, test in tests.items()}


def fit(kind, pool, seed, *, learning_rate, **budget):
    """Train one model; the longest message grows from 2 to 8 letters over the first half of its budget."""
    rng = np.random.default_rng([seed, 2])
    set_seed(seed)
    model = build_recogniser(kind, len(TASK.vocabulary))
    rows_up_to = {n: np.flatnonzero(pool.n_letters <= n) for n in range(2, 9)}
    longest = 2

    def schedule(step, progress):
        nonlocal longest
        longest = min(8, 2 + int(14 * progress))
        return learning_rate_factor(step, progress, WARMUP_STEPS)

    history = train(
        model,
        lambda: pool.take(rng.choice(rows_up_to[longest], BATCH_SIZE)),
        lambda model, batch: recognition_loss(model, *batch),
        learning_rate=learning_rate,
        schedule=schedule,
        **budget,
    )
    return model.eval(), history


def listen(model, test):
    """Return what a model writes on its own, up to twice as much as was sent, and with which weights."""
    limit = {"max_tokens": 2 * test.target.shape[1]} if hasattr(model, "decoder") else {}
    written, weights = model.greedy_decode(test.features, test.frames, return_weights=True, **limit)
    return written.numpy(), weights.numpy()


def example(model, test):
    """Return what a model writes for the first message, where it looks, and where the letters are."""
    written, weights = listen(model, test)
    letters = up_to_end(written[0].tolist())
    spans = test.spans[0, : test.n_letters[0]] / SAMPLES_PER_STATE
    return {
        "sent": "".join(TASK.vocabulary.decode(test.target[0].numpy())),
        "written": "".join(TASK.vocabulary.decode(written[0])),
        "looks": [int(row.argmax()) if row.any() else None for row in weights[0, : len(letters)]],
        "starts": spans[:, 0].round(1),
        "ends": spans[:, 1].round(1),
    }


def scores(model, test, *, looks):
    """Return how far what a model writes is from what was sent, and whether it looks at the right letters."""
    source, frames, target = test.features, test.frames, test.target.numpy()
    written, weights = listen(model, test)
    exact = exact_match(written, target)
    found = {
        "error_rate": character_error_rate(written, target),
        "exact_match": exact.mean(),
        "right_in_any_order": right_in_any_order(written, target),
    }
    if not looks:
        return found
    letters = weights * (written > END)[:, :, None]  # without the look that ends a message
    found |= {
        "edits": edits(written, target),
        "monotonicity": share_forward(letters),
        "end_goes_back": end_goes_back(weights, written),
        "faults": faults(written, weights, test),
    }
    if exact.any():
        maps = np.zeros((*target.shape, weights.shape[-1]), dtype=weights.dtype)
        width = min(maps.shape[1], weights.shape[1])
        maps[:, :width] = weights[:, :width]
        found["pointing_right"] = pointing(maps, test, exact)
    if hasattr(model, "decoder"):
        with torch.no_grad():
            maps = model(source, frames, test.target, return_weights=True)[1].numpy()
        found["monotonicity_forced"] = share_forward(maps * (target > END)[:, :, None])
        found["pointing_forced"] = pointing(maps, test, np.ones(len(maps), dtype=bool))
    return found


def right_in_any_order(written, target):
    """Return the share of the letters sent that were written too, at whatever place."""
    found = 0
    for row, wanted in zip(written.tolist(), target.tolist(), strict=True):
        found += (Counter(up_to_end(row)) & Counter(up_to_end(wanted))).total()
    return found / (target > END).sum()


def shuffled_error_rate(test, seed):
    """Return the error rate of whoever writes the right letters in a random order."""
    rng = np.random.default_rng([seed, 3])
    target = test.target.numpy()
    written = target.copy()
    for row, n in zip(written, test.n_letters, strict=True):
        row[:n] = rng.permutation(row[:n])
    return character_error_rate(written, target)


def end_goes_back(weights, written):
    """Return the share of ended messages whose last look, the one that ends, lies before the look before."""
    back = []
    for rows, tokens in zip(weights, written, strict=True):
        place = np.flatnonzero(tokens == END)
        if len(place) and place[0] and rows[place[0]].any():
            back.append(rows[place[0]].argmax() < rows[place[0] - 1].argmax())
    return np.mean(back) if back else None


def share_forward(weights):
    """Return the share of looks that do not go back, None if no message has two looks."""
    two = (weights.any(axis=-1).sum(axis=1) > 1).any()
    return monotonicity(weights) if two else None


def pointing(maps, test, rows):
    """Return how often a peak lies on its letter: of the map, of another message's map, and by chance."""
    letter, stretch = (test.gold(maps.shape[-1], with_pause=pause)[rows] for pause in (False, True))
    maps = maps[rows]
    others = np.roll(maps, 1, axis=0)
    real = np.arange(maps.shape[-1]) < -(-test.frames.numpy()[rows] // AudioEncoder.stride)[:, None]
    with_letter = letter.any(axis=-1)
    return {
        "messages": len(maps),
        "letter": pointing_accuracy(maps, letter),
        "letter_or_pause": pointing_accuracy(maps, stretch),
        "other_map": pointing_accuracy(others, letter),
        "other_letter_or_pause": pointing_accuracy(others, stretch),
        "chance": (letter.sum(-1) / real.sum(-1)[:, None])[with_letter].mean(),
    }


def edits(written, target):
    """Return letters replaced, left out and added, each over the letters sent."""
    counts = np.zeros(3)
    for row, wanted in zip(written.tolist(), target.tolist(), strict=True):
        counts += edit_counts(up_to_end(row), up_to_end(wanted))
    return dict(zip(("replaced", "left_out", "added"), counts / (target > END).sum(), strict=True))


def edit_counts(written, wanted):
    """Follow one cheapest way from a text to another and count its replacements, omissions and additions."""
    cost = np.zeros((len(written) + 1, len(wanted) + 1), dtype=int)
    cost[:, 0], cost[0] = range(len(written) + 1), range(len(wanted) + 1)
    for i, token in enumerate(written, start=1):
        for j, other in enumerate(wanted, start=1):
            cost[i, j] = min(cost[i - 1, j - 1] + (token != other), cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    i, j = len(written), len(wanted)
    counts = np.zeros(3)
    while i or j:
        if i and j and cost[i, j] == cost[i - 1, j - 1] + (written[i - 1] != wanted[j - 1]):
            counts[0] += written[i - 1] != wanted[j - 1]
            i, j = i - 1, j - 1
        elif j and cost[i, j] == cost[i, j - 1] + 1:
            counts[1] += 1
            j -= 1
        else:
            counts[2] += 1
            i -= 1
    return counts


def up_to_end(tokens):
    """Return the letters of a row of tokens."""
    return [token for token in tokens[: tokens.index(END)] if token] if END in tokens else tokens


FAULTS = ("none", "stays", "skips", "goes back", "ends early", "never ends", "off the end")


def faults(written, weights, test):
    """Return by which letters the looks go, and how the first departure from one-after-the-other happens.

    A look belongs to the letter whose sound, or the pause behind it, holds the peak; a state that holds the
    end of a pause and the beginning of the next letter belongs to both.
    """
    stretch = test.gold(weights.shape[-1], with_pause=True)
    first, places, visits = [], [], []
    for tokens, rows, gold, n_letters in zip(written, weights, stretch, test.n_letters, strict=True):
        ends = np.flatnonzero(tokens == END)
        n_written = int(ends[0]) if len(ends) else len(tokens)
        seen = []
        for step, row in enumerate(rows[:n_written]):
            holds = np.flatnonzero(gold[:, row.argmax()])  # none: the silence before the first letter
            nearest = min(holds, key=lambda letter, step=step: abs(letter - step)) if len(holds) else 0
            seen.append(int(nearest) if row.any() else None)
        fault, place = first_fault(seen, int(n_letters), bool(len(ends)))
        first.append(fault)
        places.append(place / n_letters)
        count = np.bincount([letter for letter in seen if letter is not None], minlength=n_letters)
        visits.append([(count == 0).mean(), (count > 1).mean(), n_written / n_letters])
    never, again, length = np.mean(visits, axis=0)
    begins = [place for fault, place in zip(first, places, strict=True) if fault != "none"]
    return {
        "first": {fault: first.count(fault) / len(first) for fault in FAULTS},
        "begins_in_quarter": np.histogram(begins, bins=4, range=(0, 1))[0] / len(first),
        "never_looked_at": never,
        "looked_at_again": again,
        "written_over_sent": length,
    }


def first_fault(seen, n_letters, ended):
    """Return the first departure from looking at letter 0, 1, … n - 1 and ending, and at which letter."""
    for step, letter in enumerate(seen):
        if letter == step and step < n_letters:
            continue
        place = min(step, n_letters)
        if letter is None:
            return "off the end", place
        if step >= n_letters:
            return "never ends" if letter == n_letters - 1 else "goes back", place
        return ("skips" if letter > step else "stays" if letter == step - 1 else "goes back"), place
    if len(seen) < n_letters:
        return "ends early", len(seen)
    return ("none" if ended else "never ends"), n_letters


class _ContentInWindow(BahdanauDecoder):
    def look_back(self, state, key, memory):
        return super().look_back(state, key, in_window(memory, state))


class _LocationInWindow(LocationAwareDecoder):
    def look_back(self, state, key, memory):
        return super().look_back(state, key, in_window(memory, state))


def in_window(memory, state):
    """Return the memory with a mask that leaves only states near the peak of the last look."""
    places = torch.arange(memory.states.shape[1])
    near = (places - state.weights.argmax(dim=-1, keepdim=True)).abs() <= HALF_WINDOW  # peak 0 before step 1
    return memory._replace(mask=memory.mask & near)


def with_window(decoder):
    """Return a copy of a trained decoder that sees only a window around its last look."""
    kind = _LocationInWindow if isinstance(decoder, LocationAwareDecoder) else _ContentInWindow
    copy = kind(
        decoder.target_embedding.num_embeddings,
        decoder.score.key_proj.in_features,
        d_hidden=decoder.cell.hidden_size,
    )
    copy.load_state_dict(decoder.state_dict())
    return copy.eval()


if __name__ == "__main__":
    run_and_store(__file__, run_seed, seeds=(0, 1, 2))
