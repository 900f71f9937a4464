"""Write likely texts by following the best few continuations at every token.

Built in chapter 9.
"""

import math
from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from attncourse._checks import check_count, check_number
from attncourse.decoding import NextLogits
from attncourse.sampling import forbid, greedy
from attncourse.seq2seq import check_tokens
from attncourse.tasks.pairs import END


class Hypothesis(NamedTuple):
    """Hold one text that beam search found.

    Parameters
    ----------
    tokens : Tensor of int64, shape (n_tokens,)
        What was written, without the prompt; its last token is the end token unless it was cut off.
    log_probability : float
        Sum of its tokens' log-probabilities, in nats.
    score : float
        ``log_probability / n_tokens ** length_power``.
    """

    tokens: Tensor
    log_probability: float
    score: float


@torch.no_grad()
def beam_search(
    next_logits: NextLogits,
    prompt: Tensor,
    *,
    n_beams: int,
    max_tokens: int,
    end_token: int = END,
    length_power: float = 0.0,
    forbidden_tokens: Collection[int] = (),
) -> list[list[Hypothesis]]:
    r"""Look for likely continuations, following the best few at every token.

    .. math:: \text{score}(y) = \frac{1}{|y|^{\alpha}} \sum_{t=1}^{|y|} \ln p(y_t \mid y_{<t})

    Each step ranks all continuations of the beams by log-probability. Of the first ``n_beams``, those that
    end are kept as finished; the best ``n_beams`` that do not end are followed further. The greedy path is
    carried along in a row of its own, so that the result never scores below it.

    Parameters
    ----------
    next_logits : callable
        From all tokens so far, (n_rows, n_tokens), to the logits of the next, (n_rows, vocab_size). It is
        called with the prompt's rows first, and then with ``n_beams + 1`` rows for each. If it has a method
        ``reorder(rows)``, that is told before a call which row each row goes on from.
    prompt : Tensor of int64, shape (batch, n_prompt)
        Tokens to go on from. Not modified.
    n_beams : int
        Continuations followed for each prompt.
    max_tokens : int
        Longest continuation, in tokens, its end token included. Those that reach it without an end are cut
        off and compete with the others.
    end_token : int, optional
        Token that ends a continuation and is its last.
    length_power : float, optional
        α, at least 0. With 0 a longer continuation can only lose; 1 compares means per token.
    forbidden_tokens : collection of int, optional
        Tokens that are never written, such as ``PADDING`` and ``START``.

    Returns
    -------
    list of list of Hypothesis
        For each prompt up to ``n_beams`` different continuations, the one with the highest score first.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If ``prompt`` is empty or has not two axes, or a number is out of range.

    Notes
    -----
    A prompt's search ends when no row can beat its best finished score any more. The bound is exact: a
    log-probability L can only fall, so that nothing its row leads to scores above L divided by
    ``max_tokens`` to the power α.
    With as many beams as there are continuations nothing is left out. With one beam and α = 0 the result is
    the greedy path. Built in chapter 9.

    References
    ----------
    .. [1] Graves (2012), "Sequence transduction with recurrent neural networks", section 2.6.
    .. [2] Wu et al. (2016), section 7 (length normalisation).
    """
    check_tokens("prompt", prompt)
    check_count("n_beams", n_beams)
    check_count("max_tokens", max_tokens)
    check_count("end_token", end_token, at_least=0)
    check_number("length_power", length_power, at_least=0)
    found = [_Found(max_tokens, length_power) for _ in prompt]
    # Row i of the last axis holds beam i, the last row the greedy path. At first all go on from the prompt.
    tokens, n_prompt = prompt, prompt.shape[1]
    row_of = torch.arange(len(prompt), device=prompt.device)[:, None].expand(-1, n_beams + 1)
    totals = torch.full(row_of.shape, -math.inf, device=prompt.device)
    totals[:, 0] = totals[:, -1] = 0.0
    while True:
        logits = forbid(next_logits(tokens), forbidden_tokens)
        steps = logits.log_softmax(dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        candidates = totals[..., None] + steps[row_of]  # (batch, n_beams + 1, vocab_size)
        totals, origin, token = _ranked(candidates, greedy(logits)[row_of], n_beams)
        ended = token == end_token
        counts = torch.ones_like(ended)
        counts[:, n_beams:-1] = False  # an end that is not among the first n_beams is no beam
        for item, rank in (ended & counts & totals.isfinite()).nonzero().tolist():
            row = row_of[item, origin[item, rank]]
            found[item].add([*tokens[row, n_prompt:].tolist(), end_token], totals[item, rank].item())
        totals = totals.masked_fill(ended, -math.inf)
        # At most n_beams of the 2 · n_beams ranked ones have ended, one for each beam.
        live = totals[:, :-1].topk(n_beams).indices
        live = torch.cat([live, torch.full_like(live[:, :1], totals.shape[1] - 1)], dim=1)
        totals = totals.gather(1, live)  # (batch, n_beams + 1)
        rows = row_of.gather(1, origin.gather(1, live)).flatten()
        tokens = torch.cat([tokens[rows], token.gather(1, live).view(-1, 1)], dim=1)
        settled = [
            kept.best >= kept.bound(total) for kept, total in zip(found, totals.amax(1).tolist(), strict=True)
        ]
        totals[torch.tensor(settled, device=totals.device)] = -math.inf
        row_of = torch.arange(len(rows), device=rows.device).view(totals.shape)
        if all(settled) or tokens.shape[1] == n_prompt + max_tokens:
            break
        if hasattr(next_logits, "reorder"):
            next_logits.reorder(rows)
    for item, rank in totals.isfinite().nonzero().tolist():  # cut off
        found[item].add(tokens[row_of[item, rank], n_prompt:].tolist(), totals[item, rank].item())
    return [kept.best_first()[:n_beams] for kept in found]


class _Found:
    """Hold the finished continuations of one prompt."""

    def __init__(self, max_tokens: int, length_power: float) -> None:
        self.max_tokens, self.length_power = max_tokens, length_power
        self.by_tokens: dict[tuple[int, ...], Hypothesis] = {}
        self.best = -math.inf

    def add(self, tokens: list[int], total: float) -> None:
        """Keep a continuation, once even if both a beam and the greedy path end in it."""
        score = total / len(tokens) ** self.length_power
        self.by_tokens.setdefault(tuple(tokens), Hypothesis(torch.tensor(tokens), total, score))
        self.best = max(self.best, score)

    def bound(self, total: float) -> float:
        """Return the highest score that a row of this log-probability can still reach."""
        return total / self.max_tokens**self.length_power

    def best_first(self) -> list[Hypothesis]:
        """Return all, the highest score first."""
        return sorted(self.by_tokens.values(), key=lambda kept: -kept.score)


def _ranked(candidates: Tensor, likeliest: Tensor, n_beams: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best continuations of the beams, and behind them that of the greedy path.

    Parameters
    ----------
    candidates : Tensor, shape (batch, n_beams + 1, vocab_size)
        Log-probabilities of all continuations, in nats.
    likeliest : Tensor of int64, shape (batch, n_beams + 1)
        The likeliest next token of each row.
    n_beams : int
        Beams.

    Returns
    -------
    totals, origin, token : Tensor, shape (batch, n_ranked + 1)
        Log-probability, the row that is continued, and by what; the beams' are sorted.
    """
    vocab_size = candidates.shape[-1]
    beams = candidates[:, :-1].flatten(1)  # (batch, n_beams * vocab_size)
    totals, place = beams.topk(min(2 * n_beams, beams.shape[1]))
    greedy_path = likeliest[:, -1:]  # (batch, 1)
    totals = torch.cat([totals, candidates[:, -1].gather(1, greedy_path)], dim=1)
    origin = torch.cat([place // vocab_size, torch.full_like(greedy_path, n_beams)], dim=1)
    return totals, origin, torch.cat([place % vocab_size, greedy_path], dim=1)
