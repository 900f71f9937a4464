"""Beam search finds what trying everything finds, and never less than the greedy path."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attncourse.beam_search import beam_search
from attncourse.decoding import CachedLanguageModel, CachedTransformer, generate, pad_left
from attncourse.tasks.pairs import END, PADDING, START
from attncourse.transformer import Transformer, TransformerMemory
from attncourse.transformer_language_model import TransformerLanguageModel
from tests.support.random_text_model import RandomTextModel

# Log-probabilities of the same text from the same float64 logits, summed in another order.
CLOSE = {"rel": 1e-9, "abs": 1e-9}
POWERS = [0.0, 0.6, 1.0, 2.5]


def everything(model, prompt, max_tokens, *, length_power, end_token=END, forbidden=()):
    """Score every continuation, by trying all: they end, or are cut off at ``max_tokens``."""
    tokens = [token for token in range(model.vocab_size) if token not in forbidden]
    others = [token for token in tokens if token != end_token]
    ended = [
        (*body, end_token)
        for n_tokens in range(max_tokens)
        for body in itertools.product(others, repeat=n_tokens)
        if end_token in tokens
    ]
    cut = list(itertools.product(others, repeat=max_tokens))

    def log_probability(written):
        total, so_far = 0.0, list(prompt)
        for token in written:
            logits = model.logits_of(so_far).clone()
            logits[list(forbidden)] = -math.inf
            total += logits.log_softmax(dim=0)[token].item()
            so_far.append(token)
        return total

    scored = [
        (log_probability(written) / len(written) ** length_power, list(written)) for written in ended + cut
    ]
    return sorted(scored, reverse=True)


def as_lists(hypotheses):
    return [hypothesis.tokens.tolist() for hypothesis in hypotheses]


# Against trying everything


@pytest.mark.parity
@pytest.mark.parametrize("length_power", POWERS)
@pytest.mark.parametrize("seed", range(5))
def test_enough_beams_find_the_best_of_all(seed, length_power):
    model = RandomTextModel(4, seed=seed)
    max_tokens = 4
    n_beams = 4 * 3 ** (max_tokens - 1)  # more than there are continuations of any length
    best = everything(model, [3, 1], max_tokens, length_power=length_power)
    (found,) = beam_search(
        model, torch.tensor([[3, 1]]), n_beams=n_beams, max_tokens=max_tokens, length_power=length_power
    )
    assert found[0].tokens.tolist() == best[0][1]
    assert found[0].score == pytest.approx(best[0][0], **CLOSE)


@pytest.mark.parity
def test_another_end_and_forbidden_tokens():
    for seed in range(5):
        model = RandomTextModel(5, seed=seed)
        options = {"length_power": 1.0, "end_token": 4}
        best = everything(model, [2], 3, forbidden=(0, 1), **options)
        (found,) = beam_search(
            model, torch.tensor([[2]]), n_beams=27, max_tokens=3, forbidden_tokens=(0, 1), **options
        )
        assert found[0].tokens.tolist() == best[0][1]
        assert not {0, 1} & set(itertools.chain(*as_lists(found)))


@pytest.mark.parity
def test_all_is_found_where_the_search_cannot_stop_early():
    # Without an end nothing finishes: every continuation is cut off, and all of them are returned in order.
    model = RandomTextModel(3)
    best = everything(model, [1], 3, length_power=0.0, forbidden=(END,))
    (found,) = beam_search(model, torch.tensor([[1]]), n_beams=8, max_tokens=3, forbidden_tokens=(END,))
    assert as_lists(found) == [written for _, written in best]


def plain_beam_search(model, prompt, *, n_beams, max_tokens, length_power):
    """Search with lists, one continuation at a time, to the end; return the best score and its text."""

    def log_probabilities(written):
        return model.logits_of([*prompt, *written]).log_softmax(dim=0).tolist()

    live, finished, greedy = [(0.0, [])], [], (0.0, [])
    for _ in range(max_tokens):
        candidates = [
            (total + step, [*written, token])
            for total, written in live
            for token, step in enumerate(log_probabilities(written))
        ]
        candidates.sort(key=lambda candidate: -candidate[0])
        finished += [candidate for candidate in candidates[:n_beams] if candidate[1][-1] == END]
        live = [candidate for candidate in candidates if candidate[1][-1] != END][:n_beams]
        if greedy[1][-1:] != [END]:
            steps = log_probabilities(greedy[1])
            greedy = (greedy[0] + max(steps), [*greedy[1], steps.index(max(steps))])
    scored = [(total / len(text) ** length_power, text) for total, text in [*finished, *live, greedy]]
    return max(scored)


@pytest.mark.parity
@pytest.mark.parametrize("n_beams", [1, 2, 3, 5])
@pytest.mark.parametrize("length_power", POWERS)
def test_equals_a_search_with_lists(n_beams, length_power):
    for seed in range(60):
        model = RandomTextModel(3 + seed % 4, seed=seed, spread=0.5 + seed % 3)
        options = {"n_beams": n_beams, "max_tokens": 1 + seed % 7, "length_power": length_power}
        score, text = plain_beam_search(model, [1, 0], **options)
        (found,) = beam_search(model, torch.tensor([[1, 0]]), **options)
        assert found[0].tokens.tolist() == text
        assert found[0].score == pytest.approx(score, **CLOSE)


# Against the greedy path


@pytest.mark.properties
@settings(deadline=None)
@given(
    seed=st.integers(0, 2**20),
    n_beams=st.integers(1, 4),
    vocab_size=st.integers(3, 6),
    max_tokens=st.integers(1, 7),
    length_power=st.sampled_from(POWERS),
    spread=st.sampled_from([0.3, 2.0, 10.0]),
)
def test_never_below_the_greedy_path(seed, n_beams, vocab_size, max_tokens, length_power, spread):
    model = RandomTextModel(vocab_size, seed=seed, spread=spread)
    prompt = torch.tensor([[1], [2]])
    options = {"max_tokens": max_tokens, "length_power": length_power}
    found = beam_search(model, prompt, n_beams=n_beams, **options)
    greedy = generate(model, prompt, max_tokens=max_tokens, stop_tokens=[END])
    for item, (hypotheses, path) in enumerate(zip(found, greedy.tolist(), strict=True)):
        path = path[: path.index(END) + 1] if END in path else path
        score = model.log_probability([item + 1], path) / len(path) ** length_power
        assert hypotheses[0].score >= score - 1e-9
        if n_beams == 1 and length_power == 0:
            assert as_lists(hypotheses) == [path]


@pytest.mark.properties
@settings(deadline=None)
@given(
    seed=st.integers(0, 2**20),
    n_beams=st.integers(1, 5),
    max_tokens=st.integers(1, 6),
    length_power=st.sampled_from(POWERS),
)
def test_what_is_returned_is_what_it_says(seed, n_beams, max_tokens, length_power):
    model = RandomTextModel(4, seed=seed, is_told=True)
    options = {"n_beams": n_beams, "max_tokens": max_tokens, "length_power": length_power}
    (found,) = beam_search(model, torch.tensor([[3, 1]]), **options)
    texts = as_lists(found)
    assert 1 <= len(texts) <= n_beams
    assert len({tuple(text) for text in texts}) == len(texts), "no text twice"
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    for hypothesis, text in zip(found, texts, strict=True):
        assert END not in text[:-1]
        assert text[-1] == END or len(text) == max_tokens
        assert hypothesis.log_probability == pytest.approx(model.log_probability([3, 1], text), **CLOSE)
        assert hypothesis.score == pytest.approx(
            hypothesis.log_probability / len(text) ** length_power, **CLOSE
        )


def chain(table):
    """Return next_logits from a table: the probabilities after the last token."""
    rows = torch.tensor(table, dtype=torch.float64)
    return lambda tokens: rows[tokens[:, -1]].log()


def test_by_hand():
    # After START (1): token 3 with 0.5, token 4 with 0.4, the end (2) with 0.1. After 3 all is even; 4 ends.
    model = chain(
        [
            [0.2, 0.2, 0.2, 0.2, 0.2],
            [0.0, 0.0, 0.1, 0.5, 0.4],
            [0.2, 0.2, 0.2, 0.2, 0.2],
            [0.0, 0.0, 0.3, 0.4, 0.3],
            [0.0, 0.0, 0.9, 0.0, 0.1],
        ]
    )
    start = torch.tensor([[START]])
    assert generate(model, start, max_tokens=3, stop_tokens=[END]).tolist() == [[3, 3, 3]]
    ((best, *_),) = beam_search(model, start, n_beams=2, max_tokens=3)
    assert best.tokens.tolist() == [4, END]
    assert best.log_probability == pytest.approx(math.log(0.4 * 0.9), **CLOSE)
    # Per token, 4 END has ln 0.36 / 2 = -0.51 against ln 0.08 / 3 = -0.84 of the greedy path.
    ((best, *_),) = beam_search(model, start, n_beams=2, max_tokens=3, length_power=1.0)
    assert best.score == pytest.approx(math.log(0.36) / 2, **CLOSE)


def test_one_beam_loses_what_two_find():
    model = chain(
        [
            [0.2] * 5,
            [0.0, 0.0, 0.0, 0.51, 0.49],
            [0.2] * 5,
            [0.3, 0.3, 0.4, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0, 0.0],
        ]
    )
    start = torch.tensor([[START]])
    assert as_lists(beam_search(model, start, n_beams=1, max_tokens=4)[0]) == [[3, END]]
    assert as_lists(beam_search(model, start, n_beams=2, max_tokens=4)[0])[0] == [4, END]


def test_the_greedy_path_is_carried_along_where_the_beams_leave_it():
    # Greedy: 3 (0.4), 6 (0.3 of it), END: 0.12 in all. Both beams follow 4, as 0.31 · 0.5 is more;
    # but behind 7 and 8 nothing has more than a tenth.
    even = [0.0] * 9 + [0.1] * 10
    table = [even for _ in range(19)]
    table[1] = [0.0, 0.0, 0.0, 0.4, 0.31, 0.29] + [0.0] * 13
    table[3] = [0.0] * 6 + [0.3, 0.0, 0.0] + [0.07] * 10
    table[4] = [0.0] * 7 + [0.5, 0.5] + [0.0] * 10
    table[6] = [0.0, 0.0, 1.0] + [0.0] * 16
    (found,) = beam_search(chain(table), torch.tensor([[START]]), n_beams=2, max_tokens=5)
    assert found[0].tokens.tolist() == [3, 6, END]
    assert found[0].log_probability == pytest.approx(math.log(0.12), **CLOSE)


def test_a_finished_beam_is_kept_when_longer_ones_look_better_for_a_while():
    # The end has 0.3 at once. 3 is likelier, but leads to twenty even choices: all that follows is unlikely.
    table = [[0.05] * 20 for _ in range(20)]
    table[1] = [0.0, 0.0, 0.3, 0.7] + [0.0] * 16
    (found,) = beam_search(chain(table), torch.tensor([[START]]), n_beams=2, max_tokens=6)
    assert found[0].tokens.tolist() == [END]
    assert found[0].log_probability == pytest.approx(math.log(0.3), **CLOSE)


def test_length_power_decides_between_short_and_long():
    # END at once has 0.5; 3 3 3 END has 0.5 · 0.8³.
    table = [[0.2] * 4, [0.0, 0.0, 0.5, 0.5], [0.25] * 4, [0.0, 0.0, 0.2, 0.8]]
    start = torch.tensor([[START]])
    ((short, *_),) = beam_search(chain(table), start, n_beams=3, max_tokens=8)
    ((long, *_),) = beam_search(chain(table), start, n_beams=3, max_tokens=8, length_power=1.0)
    assert short.tokens.tolist() == [END]
    assert long.tokens.tolist() == [3] * 8
    assert long.score == pytest.approx((math.log(0.5) + 7 * math.log(0.8)) / 8, **CLOSE)


# The stopping rule


@pytest.mark.properties
@settings(deadline=None)
@given(seed=st.integers(0, 2**20), n_beams=st.integers(1, 4), length_power=st.sampled_from(POWERS))
def test_stopping_early_loses_nothing(seed, n_beams, length_power):
    """A search that never thinks itself settled finds no better continuation."""
    model = RandomTextModel(4, seed=seed)
    options = {"n_beams": n_beams, "max_tokens": 6, "length_power": length_power}
    prompt = torch.tensor([[3]])
    (found,) = beam_search(model, prompt, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "attncourse.beam_search._Found.bound",
            lambda self, total: math.inf if total > -math.inf else total,
        )
        (patient,) = beam_search(model, prompt, **options)
    assert found[0].tokens.tolist() == patient[0].tokens.tolist()
    assert found[0].score == patient[0].score


def test_it_stops_as_soon_as_nothing_can_win():
    table = [[0.2] * 4, [0.0, 0.0, 0.9, 0.1], [0.25] * 4, [0.0, 0.0, 0.5, 0.5]]
    calls = []

    def model(tokens):
        calls.append(tokens.shape)
        return chain(table)(tokens)

    beam_search(model, torch.tensor([[START]]), n_beams=2, max_tokens=50)
    assert calls == [(1, 1)]
    calls.clear()
    # Per token, ten more tokens of 0.5 each would be better than 0.9 · 0.1 …: not settled at once.
    beam_search(model, torch.tensor([[START]]), n_beams=2, max_tokens=50, length_power=1.0)
    assert len(calls) > 1


# Batches


@pytest.mark.properties
@settings(deadline=None)
@given(seed=st.integers(0, 2**20), n_beams=st.integers(1, 3), length_power=st.sampled_from(POWERS))
def test_prompts_of_a_batch_do_not_meet(seed, n_beams, length_power):
    model = RandomTextModel(4, seed=seed)
    prompts = torch.tensor([[3, 1], [1, 1], [3, 3]])
    options = {"n_beams": n_beams, "max_tokens": 5, "length_power": length_power}
    together = beam_search(model, prompts, **options)
    for item in range(3):
        (alone,) = beam_search(model, prompts[item : item + 1], **options)
        assert as_lists(together[item]) == as_lists(alone)
        assert [h.score for h in together[item]] == pytest.approx([h.score for h in alone], **CLOSE)


def language_model(**options):
    torch.manual_seed(0)
    model = TransformerLanguageModel(9, d_model=16, n_heads=4, n_layers=2, **options).double().eval()
    for parameter in model.parameters():
        parameter.data *= 1.5  # sharper, so that beams differ
    return model


@pytest.mark.parity
@pytest.mark.parametrize("positions", ["rotary", "sinusoidal", "learned", "alibi"])
@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
def test_cached_beams_equal_uncached_beams(positions, n_kv_heads):
    model = language_model(positions=positions, n_kv_heads=n_kv_heads)
    prompt = torch.tensor([[3, 5, 4], [7, 7, 8]])
    cached = CachedLanguageModel(model, 2, 12)
    for length_power in (0.0, 1.0):
        options = {"n_beams": 3, "max_tokens": 9, "length_power": length_power}
        wanted = beam_search(lambda tokens: model(tokens)[:, -1], prompt, **options)
        found = beam_search(cached, prompt, **options)
        for one, other in zip(found, wanted, strict=True):
            assert as_lists(one) == as_lists(other)
            assert [h.score for h in one] == pytest.approx([h.score for h in other], **CLOSE)
        cached.reset()
    # Beams have left it with more rows; after the reset it serves the prompt's own again.
    assert cached(prompt).shape == (2, 9)


@pytest.mark.parity
def test_padded_prompts_equal_each_alone():
    model = language_model()
    prompts = [[3, 5, 4, 6], [7], [8, 8]]
    tokens, padding = pad_left(prompts)
    options = {"n_beams": 3, "max_tokens": 6, "length_power": 1.0}
    together = beam_search(CachedLanguageModel(model, 3, 12, padding), tokens, **options)
    for prompt, hypotheses in zip(prompts, together, strict=True):
        (alone,) = beam_search(lambda tokens: model(tokens)[:, -1], torch.tensor([prompt]), **options)
        assert as_lists(hypotheses) == as_lists(alone)
        assert [h.score for h in hypotheses] == pytest.approx([h.score for h in alone], **CLOSE)


@pytest.mark.parity
@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
def test_beams_of_a_translator_equal_each_source_alone(n_kv_heads):
    torch.manual_seed(1)
    model = Transformer(11, 9, d_model=16, n_heads=4, n_kv_heads=n_kv_heads).double().eval()
    source, lengths = torch.randint(3, 11, (3, 5)), torch.tensor([5, 2, 4])
    options = {"n_beams": 3, "max_tokens": 6, "length_power": 0.6, "forbidden_tokens": (PADDING, START)}
    start = torch.full((3, 1), START)
    cached = CachedTransformer(model, source, lengths, 7)
    for _ in range(2):  # two searches in a row
        together = beam_search(cached, start, **options)
        for item, n_source in enumerate(lengths.tolist()):
            memory = model.encode(source[item : item + 1, :n_source], lengths[item : item + 1])

            def uncached(tokens, states=memory.states):
                repeated = TransformerMemory(states.expand(len(tokens), -1, -1), None)
                return model.decode(tokens, repeated)[:, -1]

            (alone,) = beam_search(uncached, start[:1], **options)
            assert as_lists(together[item]) == as_lists(alone)
            assert [h.score for h in together[item]] == pytest.approx([h.score for h in alone], **CLOSE)
        cached.reset()


def test_half_precision_sums_in_float32():
    model = RandomTextModel(4)
    (found,) = beam_search(
        lambda tokens: model(tokens).bfloat16(), torch.tensor([[3]]), n_beams=3, max_tokens=5
    )
    for hypothesis in found:
        total, so_far = 0.0, [3]
        for token in hypothesis.tokens.tolist():
            total += model.logits_of(so_far).bfloat16().double().log_softmax(dim=0)[token].item()
            so_far.append(token)
        assert hypothesis.log_probability == pytest.approx(
            total, abs=1e-5
        )  # float32 sums of up to five terms


def test_the_prompt_is_not_written():
    prompt = torch.tensor([[3, 1]])
    beam_search(RandomTextModel(4), prompt, n_beams=2, max_tokens=3)
    assert prompt.tolist() == [[3, 1]]


# Errors


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"prompt": [[1]]}, TypeError, "prompt must be of type Tensor"),
        (
            {"prompt": torch.tensor([[1.0]])},
            TypeError,
            r"prompt must be of dtype int64, got prompt\.dtype=float32",
        ),
        (
            {"prompt": torch.tensor([1])},
            ValueError,
            r"prompt must have two axes, none empty, got prompt\.shape=\(1,\)",
        ),
        ({"prompt": torch.ones(1, 0).long()}, ValueError, "prompt must have two axes, none empty"),
        ({"n_beams": 0}, ValueError, "n_beams must be at least 1, got n_beams=0"),
        ({"max_tokens": 0}, ValueError, "max_tokens must be at least 1, got max_tokens=0"),
        ({"end_token": -1}, ValueError, "end_token must be at least 0, got end_token=-1"),
        ({"end_token": None}, TypeError, "end_token must be an integer"),
        ({"length_power": -0.5}, ValueError, r"length_power must be at least 0, got length_power=-0\.5"),
        ({"forbidden_tokens": [4]}, ValueError, r"tokens must lie in 0 … 3, got tokens with \[4\]"),
        ({"forbidden_tokens": range(4)}, ValueError, "logits must have a finite largest entry"),
    ],
)
def test_bad_input(change, error, text):
    arguments = {"prompt": torch.tensor([[1]]), "n_beams": 2, "max_tokens": 3} | change
    with pytest.raises(error, match=text):
        beam_search(RandomTextModel(4), **arguments)
