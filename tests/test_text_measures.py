"""Bits per character against a slow loop; BLEU and chrF by hand, against sacrebleu and against counting."""

import logging
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from attncourse.recurrent_language_model import LSTMLanguageModel
from attncourse.tasks.pairs import PADDING
from attncourse.text_measures import bits_per_character, bleu, character_bits, chrf, language_loss
from attncourse.training import set_seed
from tests.support.tolerances import FLOAT32, FLOAT64

VOCAB_SIZE = 11


def build_model():
    set_seed(0)
    return LSTMLanguageModel(VOCAB_SIZE, d_embedding=5, d_hidden=7).double()


def draw_text(n_characters, seed=0):
    return np.random.default_rng(seed).integers(3, VOCAB_SIZE, size=n_characters)


def count_reader(tokens):
    """Foretell token 0 with probability 2^-c after reading c tokens: then a 0 costs c bits."""
    read = torch.arange(1, tokens.shape[1] + 1, dtype=torch.float64).expand(tokens.shape)
    return torch.stack([torch.zeros_like(read), (2**read - 1).log()], dim=-1)


class TestLanguageLoss:
    def test_hand_values(self):
        # After the first token it says 1/2, 1/4, 1/4, after the second 1/10, 1/10, 8/10.
        logits = torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]], dtype=torch.float64).log()
        loss = language_loss(logits, torch.tensor([[2, 1, 2]]))
        assert loss.item() == pytest.approx((math.log(4) - math.log(0.8)) / 2)

    def test_logits_foretell_the_next_token_and_not_the_same(self):
        tokens = torch.from_numpy(draw_text(24)).reshape(2, 12)
        foresight = 100.0 * F.one_hot(tokens[:, 1:], VOCAB_SIZE).float()
        echo = 100.0 * F.one_hot(tokens[:, :-1], VOCAB_SIZE).float()
        assert language_loss(foresight, tokens) < 1e-6 < 10 < language_loss(echo, tokens)

    @pytest.mark.parity
    def test_equals_torch_with_padding_left_out(self):
        model, tokens = build_model(), torch.from_numpy(draw_text(39)).reshape(3, 13)
        tokens[0, 9:] = PADDING
        tokens[2, 5:] = PADDING
        logits = model(tokens[:, :-1])
        real = tokens[:, 1:] != PADDING
        expected = F.cross_entropy(logits[real], tokens[:, 1:][real])
        torch.testing.assert_close(language_loss(logits, tokens), expected, **FLOAT64)

    def test_arguments_are_not_written(self):
        tokens = torch.from_numpy(draw_text(10)).reshape(2, 5)
        logits = torch.randn(2, 4, VOCAB_SIZE, generator=torch.Generator().manual_seed(0))
        copies = logits.clone(), tokens.clone()
        language_loss(logits, tokens)
        torch.testing.assert_close((logits, tokens), copies, rtol=0, atol=0)

    def test_bad_arguments_are_refused(self):
        logits, tokens = torch.zeros(2, 4, VOCAB_SIZE), torch.ones(2, 5, dtype=torch.int64)
        with pytest.raises(
            ValueError,
            match=r"^tokens must have one token more than the logits in every row, "
            r"got tokens.shape=\(2, 4\), logits.shape=\(2, 4, 11\)$",
        ):
            language_loss(logits, tokens[:, :4])
        with pytest.raises(
            ValueError, match=r"^logits must have at least 3 axes, got logits.shape=\(2, 11\)$"
        ):
            language_loss(logits[:, 0], tokens)
        with pytest.raises(TypeError, match=r"^tokens must be of type Tensor, got tokens of type ndarray$"):
            language_loss(logits, tokens.numpy())
        with pytest.raises(TypeError, match=r"^target must be of dtype int64, got target.dtype=float32$"):
            language_loss(logits, tokens.float())


@st.composite
def window_cases(draw):
    """Draw the length of a text, of a window, of the least context, and a batch size."""
    n_tokens = draw(st.integers(1, 9))
    n_context = draw(st.integers(1, n_tokens))
    return draw(st.integers(n_context + 1, 40)), n_tokens, n_context, draw(st.integers(1, 7))


class TestCharacterBits:
    @pytest.mark.parity
    @given(window_cases())
    def test_equals_a_slow_loop_one_character_at_a_time(self, case):
        n_characters, n_tokens, n_context, batch_size = case
        model, text = build_model(), draw_text(n_characters)
        bits = character_bits(model, text, n_tokens=n_tokens, n_context=n_context, batch_size=batch_size)
        # How much of the text each character may see, by the length of what it sees.
        context = (
            character_bits(count_reader, np.zeros_like(text), n_tokens=n_tokens, n_context=n_context)
            .round()
            .astype(int)
        )
        assert len(bits) == len(context) == n_characters - n_context
        for place in range(n_context, n_characters):
            read = text[place - context[place - n_context] : place]
            logits = model(torch.tensor(read)[None])[0, -1]
            expected = -logits.log_softmax(dim=-1)[text[place]].item() / math.log(2)
            assert bits[place - n_context] == pytest.approx(expected, rel=1e-10)

    @pytest.mark.properties
    @given(window_cases())
    def test_every_character_has_its_context_and_no_window_is_too_long(self, case):
        n_characters, n_tokens, n_context, batch_size = case
        seen = []

        def model(tokens):
            seen.append(tuple(tokens.shape))
            return count_reader(tokens)

        context = character_bits(
            model,
            np.zeros(n_characters, dtype=np.int64),
            n_tokens=n_tokens,
            n_context=n_context,
            batch_size=batch_size,
        )
        assert context.shape == (n_characters - n_context,)
        assert context.dtype == np.float64
        assert context.min() >= n_context - 1e-9
        assert context.max() <= min(n_tokens, n_characters - 1) + 1e-9
        width, step = min(n_tokens, n_characters - 1), min(n_tokens, n_characters - 1) - n_context + 1
        assert all(shape[0] <= batch_size and shape[1] == width for shape in seen)
        assert sum(shape[0] for shape in seen) == math.ceil((n_characters - n_context) / step)

    def test_windows_by_hand(self):
        zeros = np.zeros(10, dtype=np.int64)
        # Windows of 4 from 0, 2, 4 foretell 3–4, 5–6, 7–8; the last one, from 5, foretells 8–9.
        bits = character_bits(count_reader, zeros, n_tokens=4, n_context=3)
        np.testing.assert_allclose(bits, [3, 4, 3, 4, 3, 3, 4], rtol=1e-12)
        # With as much context as a window holds, every character has a window of its own.
        bits = character_bits(count_reader, zeros, n_tokens=3, n_context=3)
        np.testing.assert_allclose(bits, [3] * 7, rtol=1e-12)
        # A text shorter than the window is read in one go.
        bits = character_bits(count_reader, zeros, n_tokens=50, n_context=1)
        np.testing.assert_allclose(bits, range(1, 10), rtol=1e-12)

    @pytest.mark.properties
    @given(batch_size=st.integers(1, 40))
    def test_the_batch_size_changes_nothing(self, batch_size):
        model, text = build_model().float(), draw_text(101)
        for case in ({"n_tokens": 13, "n_context": 5}, {"n_tokens": 13, "n_context": 13}):
            expected = character_bits(model, text, batch_size=3, **case)
            bits = character_bits(model, text, batch_size=batch_size, **case)
            np.testing.assert_allclose(bits, expected, **FLOAT32)

    def test_the_future_changes_nothing(self):
        model, text = build_model(), draw_text(60)
        changed = text.copy()
        changed[41:] = draw_text(19, seed=1)
        bits, other = (character_bits(model, one, n_tokens=8, n_context=8) for one in (text, changed))
        np.testing.assert_array_equal(bits[: 41 - 8], other[: 41 - 8])
        assert (bits != other).any()

    def test_the_mean_is_bits_per_character(self):
        model, text = build_model(), draw_text(50)
        bits = character_bits(model, text, n_tokens=8, n_context=3)
        assert bits_per_character(model, text, n_tokens=8, n_context=3) == bits.mean()
        assert isinstance(bits_per_character(model, text, n_tokens=8, n_context=3, batch_size=4), float)

    def test_known_models(self):
        text = draw_text(30)
        uniform = bits_per_character(
            lambda tokens: torch.zeros(*tokens.shape, 8), text % 8, n_tokens=5, n_context=2
        )
        assert uniform == pytest.approx(3)
        # A model that counts on what follows each token: log2 of its probability.
        table = torch.rand(VOCAB_SIZE, VOCAB_SIZE, generator=torch.Generator().manual_seed(0))
        bits = character_bits(lambda tokens: table[tokens].log(), text, n_tokens=5, n_context=1)
        p = (table / table.sum(dim=-1, keepdim=True)).numpy()[text[:-1], text[1:]]
        np.testing.assert_allclose(bits, -np.log2(p), **FLOAT32)

    @pytest.mark.parity
    def test_one_window_costs_what_the_loss_says(self):
        model, text = build_model(), draw_text(14)
        tokens = torch.from_numpy(text)[None]
        bits = bits_per_character(model, text, n_tokens=13, n_context=1)
        assert bits * math.log(2) == pytest.approx(language_loss(model(tokens[:, :-1]), tokens).item())

    @pytest.mark.parametrize("training", [True, False])
    def test_a_module_is_read_in_evaluation_mode_and_put_back(self, training):
        class Watched(nn.Module):
            def forward(self, tokens):
                assert not self.training
                assert not torch.is_grad_enabled()
                if tokens.shape[1] == 3:
                    raise RuntimeError("stop")
                return torch.zeros(*tokens.shape, VOCAB_SIZE)

        model = Watched().train(training)
        bits_per_character(model, draw_text(20), n_tokens=5, n_context=2)
        assert model.training == training
        with pytest.raises(RuntimeError, match=r"^stop$"):
            bits_per_character(model, draw_text(20), n_tokens=3, n_context=2)
        assert model.training == training
        assert torch.is_grad_enabled()

    def test_the_text_is_not_written_and_may_be_of_any_integers(self):
        model, text = build_model(), draw_text(30)
        expected = character_bits(model, text, n_tokens=8, n_context=3)
        copy = text.copy()
        text.flags.writeable = False
        for one in (text, text.astype(np.uint8), text.astype(np.int32)):
            np.testing.assert_array_equal(character_bits(model, one, n_tokens=8, n_context=3), expected)
        np.testing.assert_array_equal(text, copy)

    def test_half_precision_logits_are_summed_in_full(self):
        logits = torch.randn(VOCAB_SIZE, VOCAB_SIZE, generator=torch.Generator().manual_seed(0)).half()
        low, high = (
            character_bits(lambda tokens, table=table: table[tokens], draw_text(30), n_tokens=5, n_context=1)
            for table in (logits, logits.double())
        )
        np.testing.assert_array_equal(low, high)

    @pytest.mark.parametrize(
        ("change", "error", "text"),
        [
            ({"tokens": [1, 2, 3]}, TypeError, "tokens must be of type ndarray, got tokens of type list"),
            ({"tokens": np.ones(9)}, TypeError, "tokens must be integers, got tokens.dtype=float64"),
            (
                {"tokens": np.ones((2, 9), dtype=int)},
                ValueError,
                r"tokens must have one axis, longer than n_context, got tokens.shape=\(2, 9\), n_context=3",
            ),
            (
                {"tokens": np.ones(3, dtype=int)},
                ValueError,
                r"tokens must have one axis, longer than n_context, got tokens.shape=\(3,\), n_context=3",
            ),
            ({"n_context": 0}, ValueError, "n_context must be at least 1, got n_context=0"),
            ({"n_tokens": 8.0}, TypeError, "n_tokens must be an integer, got n_tokens=8.0"),
            ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got batch_size=0"),
            (
                {"n_context": 9},
                ValueError,
                "n_context must be at most n_tokens, got n_context=9, n_tokens=8",
            ),
            (
                {"model": lambda tokens: torch.zeros(len(tokens), VOCAB_SIZE)},
                ValueError,
                r"model must return logits for every place it has read, "
                r"got logits.shape=\(5, 11\) for tokens.shape=\(5, 8\)",
            ),
        ],
    )
    @pytest.mark.parametrize("measure", [character_bits, bits_per_character])
    def test_bad_arguments_are_refused(self, measure, change, error, text):
        good = {"model": build_model(), "tokens": draw_text(30), "n_tokens": 8, "n_context": 3}
        with pytest.raises(error, match=f"^{text}$"):
            measure(**good | change)


def counted_bleu(written, references):
    """Count n-grams as the paper does; zero matches are smoothed by 1/2, 1/4, … as in mteval-v13a."""
    c, r = (sum(len(text.split()) for text in texts) for texts in (written, references))
    smooth, precisions = 1, []
    for n in range(1, 5):
        matches = total = 0
        for one, right in zip(written, references, strict=True):
            ours, theirs = (
                Counter(zip(*(text.split()[start:] for start in range(n)), strict=False))
                for text in (one, right)
            )
            matches += sum(min(count, theirs[gram]) for gram, count in ours.items())
            total += ours.total()
        if n == 1 and not matches:
            return 0.0
        if not total:
            return 0.0
        if not matches:
            smooth *= 2
            matches = 1 / smooth
        precisions.append(matches / total)
    return 100 * min(1, math.exp(1 - r / c)) * math.prod(precisions) ** 0.25


def counted_chrf(written, references):
    """Average precision and recall over the lengths that occur, and weigh recall twice."""
    shares = []
    for n in range(1, 7):
        matches = n_written = n_right = 0
        for one, right in zip(written, references, strict=True):
            ours, theirs = (
                Counter(bare[start : start + n] for start in range(len(bare) - n + 1))
                for bare in ("".join(text.split()) for text in (one, right))
            )
            matches += (ours & theirs).total()
            n_right += theirs.total()
            n_written += ours.total() if theirs else 0  # sacrebleu's rule for too short a reference
        if n_written and n_right:
            shares.append((matches / n_written, matches / n_right))
    if not shares or not any(p for p, _ in shares):
        return 0.0
    p, r = (sum(column) / len(shares) for column in zip(*shares, strict=True))
    return 100 * 5 * p * r / (4 * p + r)


texts = st.lists(st.sampled_from(["le", "chat", "l'", "noir", "."]), max_size=9).map(" ".join)
corpora = st.lists(st.tuples(texts, texts), min_size=1, max_size=5).map(
    lambda pairs: list(zip(*pairs, strict=True))
)


class TestBleu:
    def test_clipping_by_hand(self):
        # The paper's example: seven "the", of which the reference holds two. The longer runs match nothing
        # and are smoothed: 1/2 of 6, 1/4 of 5, 1/8 of 4.
        result = bleu(["the the the the the the the"], ["the cat is on the mat"])
        assert result.precisions == pytest.approx((200 / 7, 100 / 12, 100 / 20, 100 / 32))
        assert result.brevity_penalty == 1
        assert result.score == pytest.approx(100 * (2 / 7 / 12 / 20 / 32) ** 0.25)

    def test_brevity_penalty_by_hand(self):
        short = bleu(["a b c d"], ["a b c d e"])
        assert short.precisions == pytest.approx((100, 100, 100, 100))
        assert short.brevity_penalty == pytest.approx(math.exp(-1 / 4))
        assert short.score == pytest.approx(100 * math.exp(-1 / 4))
        long = bleu(["a b c d e"], ["a b c d"])
        assert long.brevity_penalty == 1
        assert long.score == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)

    def test_counts_are_summed_over_the_corpus(self):
        # Runs of four: 1 of 2 in the first text, 1 of 1 in the second; 2 of 3 together, not the mean 3/4.
        result = bleu(["a b c d x", "p q r s"], ["a b c d e", "p q r s"])
        assert result.precisions == pytest.approx((800 / 9, 600 / 7, 400 / 5, 200 / 3))
        # A long text makes up for a short one: the penalty too is the corpus's.
        assert bleu(["a b c", "p q r s t"], ["a b c d", "p q r s"]).brevity_penalty == 1

    def test_the_right_text_gets_all_and_an_empty_one_nothing(self):
        reference = ["le chat noir dort .", "l' homme voit le chat ."]
        assert bleu(reference, reference).score == pytest.approx(100)
        nothing = bleu(["", ""], reference)
        assert nothing.score == nothing.brevity_penalty == 0
        # No run of four tokens anywhere: the geometric mean has a zero in it.
        assert bleu(["a b c"], ["a b c"]).score == pytest.approx(0)

    def test_tokens_stay_as_they_were_split(self):
        # The usual tokeniser would split the stop off and find four tokens in common.
        assert bleu(["a b c d."], ["a b c d ."]).precisions[0] == pytest.approx(75)
        assert bleu(["A b c d"], ["a b c d"]).precisions[0] == pytest.approx(75)

    @pytest.mark.parity
    @given(corpora)
    def test_equals_counting(self, corpus):
        written, references = corpus
        assert bleu(written, references).score == pytest.approx(counted_bleu(written, references), abs=1e-9)

    @pytest.mark.parity
    @given(corpora)
    def test_equals_sacrebleus_own_interface(self, corpus):
        written, references = corpus
        theirs = sacrebleu.corpus_bleu(written, [references], tokenize="none", force=True)
        ours = bleu(written, references)
        assert (ours.score, ours.precisions, ours.brevity_penalty) == (
            theirs.score,
            tuple(theirs.precisions),
            theirs.bp,
        )

    def test_the_signature_names_the_variant(self):
        assert bleu(["a b"], ["a b"]).signature == (
            f"nrefs:1|case:mixed|eff:no|tok:none|smooth:exp|version:{sacrebleu.__version__}"
        )

    def test_it_does_not_warn_of_tokens(self, caplog, capfd):
        texts = ["le chat noir dort ."] * 200
        with caplog.at_level(logging.DEBUG):
            bleu(texts, texts)
            chrf(texts, texts)
        assert not caplog.records
        assert capfd.readouterr() == ("", "")


class TestChrf:
    def test_hand_values(self):
        # Single characters: 1 of 2 on either side; pairs: none; longer runs do not occur. P = R = 1/4.
        assert chrf(["ab"], ["ac"]).score == pytest.approx(25)
        # Written too much: P = (2/4 + 1/3) / 2 = 5/12, R = 1; written too little: the other way round.
        assert chrf(["abcd"], ["ab"]).score == pytest.approx(100 * 25 / 32)
        assert chrf(["ab"], ["abcd"]).score == pytest.approx(100 * 25 / 53)

    def test_spaces_do_not_count_and_cases_do(self):
        assert chrf(["ab cd"], ["a bcd"]).score == pytest.approx(100)
        assert chrf(["AB"], ["ab"]).score == 0

    def test_an_empty_text_costs_its_reference(self):
        whole = chrf(["le chat", "le chien"], ["le chat", "le chien"]).score
        assert chrf(["le chat", ""], ["le chat", "le chien"]).score < 0.6 * whole

    def test_a_wrong_ending_costs_less_than_in_bleu(self):
        reference = ["les chats noirs dorment bien ."]
        ending, word = ["les chats noire dorment bien ."], ["les chats rouge dorment bien ."]
        assert bleu(ending, reference).score == bleu(word, reference).score
        assert chrf(ending, reference).score > chrf(word, reference).score + 10

    @pytest.mark.parity
    @given(corpora)
    def test_equals_counting(self, corpus):
        written, references = corpus
        assert chrf(written, references).score == pytest.approx(counted_chrf(written, references), abs=1e-9)

    @pytest.mark.parity
    @given(corpora)
    def test_equals_sacrebleus_own_interface(self, corpus):
        written, references = corpus
        assert chrf(written, references).score == sacrebleu.corpus_chrf(written, [references]).score

    def test_the_signature_names_the_variant(self):
        assert chrf(["ab"], ["ab"]).signature == (
            f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{sacrebleu.__version__}"
        )


@pytest.mark.parametrize("measure", [bleu, chrf])
class TestBothOnTexts:
    def test_texts_may_come_in_any_sequence_and_are_not_written(self, measure):
        written, references = ["a b c d", "e f g"], ["a b c e", "e f g h"]
        result = measure(written, references)
        assert measure(tuple(written), tuple(references)) == result
        assert (written, references) == (["a b c d", "e f g"], ["a b c e", "e f g h"])

    def test_bad_arguments_are_refused(self, measure):
        with pytest.raises(
            TypeError, match=r"^written must be a sequence of texts, got written of type str$"
        ):
            measure("a b", ["a b"])
        with pytest.raises(
            TypeError, match=r"^references must be a sequence of texts, got references of type str$"
        ):
            measure(["a b"], "a b")
        with pytest.raises(
            TypeError, match=r"^references must hold texts, got references with one of type list$"
        ):
            measure(["a b"], [["a b"]])
        with pytest.raises(TypeError, match=r"^written must hold texts, got written with one of type tuple$"):
            measure([("a", "b")], ["a b"])
        for written, references in (([], []), (["a"], []), (["a"], ["a", "b"])):
            with pytest.raises(
                ValueError,
                match=r"^written and references must hold equally many texts, at least one, "
                rf"got {len(written)} and {len(references)}$",
            ):
                measure(written, references)


@pytest.mark.packaging
def test_no_other_module_imports_sacrebleu():
    package = Path(__file__).resolve().parents[1] / "attncourse"
    imports = re.compile(r"^\s*(?:import|from)\s+(?:sacrebleu|attncourse\.text_measures)\b", re.MULTILINE)
    found = {path.name for path in package.rglob("*.py") if imports.search(path.read_text(encoding="utf-8"))}
    assert found == {"text_measures.py"}
