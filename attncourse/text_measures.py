"""Score texts: how well a language model foretells one, and how close a written one is to its reference.

Built in chapter 9.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sacrebleu.metrics import BLEU, CHRF
from torch import Tensor, nn

from attncourse._checks import check_array, check_count, check_type, dtype_name
from attncourse.seq2seq import sequence_loss


def language_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    r"""Return the mean cross-entropy of every token given those before it; padding is not counted.

    .. math:: \ell = -\frac{1}{N} \sum_t \ln p(x_{t+1} \mid x_1, \dots, x_t)

    Parameters
    ----------
    logits : Tensor of float, shape (batch, n_tokens, vocab_size)
        What the model said about the next token after reading ``tokens[:, :-1]``. Not modified.
    tokens : Tensor of int64, shape (batch, n_tokens + 1)
        The texts, with the one token more that the last logits foretell. Not modified.

    Returns
    -------
    Tensor, shape ()
        Nats per token.

    Raises
    ------
    TypeError
        If ``tokens`` is not a tensor of integers.
    ValueError
        If the shapes do not fit, a number is no token, or there is nothing but padding to foretell.

    Notes
    -----
    Built in chapter 9.
    """
    check_array("logits", logits, min_axes=3)
    check_type("tokens", tokens, Tensor)
    if tokens.shape != (len(logits), logits.shape[1] + 1):
        raise ValueError(
            "tokens must have one token more than the logits in every row, "
            f"got tokens.shape={tuple(tokens.shape)}, logits.shape={tuple(logits.shape)}"
        )
    return sequence_loss(logits, tokens[:, 1:])


@torch.no_grad()
def character_bits(
    model: Callable[[Tensor], Tensor],
    tokens: np.ndarray,
    *,
    n_tokens: int,
    n_context: int,
    batch_size: int = 32,
) -> np.ndarray:
    r"""Return the bits that every character of a long text costs, read in overlapping windows.

    .. math:: b_i = -\log_2 p(x_i \mid x_{a(i)}, \dots, x_{i-1}),
        \quad \text{n\_context} \le i - a(i) \le \text{n\_tokens}

    Parameters
    ----------
    model : callable Tensor of int64 (batch, n) -> Tensor (batch, n, vocab_size)
        Logits of the next token at every place. A module is used in evaluation mode and then put back.
    tokens : ndarray of int64, shape (n_characters,)
        The text; not modified.
    n_tokens : int
        Characters that the model reads at once: the length that it was trained on.
    n_context : int
        Characters before each scored one that the model has read at least, 1 to ``n_tokens``. The first
        ``n_context`` characters of the text are not scored.
    batch_size : int
        Windows per call of the model; it changes speed and memory, and the result in the last digits only.

    Returns
    -------
    ndarray of float64, shape (n_characters - n_context,)
        Bits of ``tokens[n_context:]``, each scored once.

    Raises
    ------
    TypeError
        If ``tokens`` is not an array of integers, or a number is not an integer.
    ValueError
        If ``tokens`` has not one axis or is not longer than ``n_context``, a number is out of range, or the
        model returns another shape.

    Notes
    -----
    Windows advance by n_tokens − n_context + 1, so a text costs about n_tokens / (n_tokens − n_context + 1)
    times its characters. To compare several ``n_context`` on the same characters, drop the first ones of
    the longer results. Built in chapter 9.
    """
    check_type("tokens", tokens, np.ndarray)
    if "int" not in dtype_name(tokens):
        raise TypeError(f"tokens must be integers, got tokens.dtype={dtype_name(tokens)}")
    check_count("n_tokens", n_tokens)
    check_count("n_context", n_context)
    check_count("batch_size", batch_size)
    if n_context > n_tokens:
        raise ValueError(
            f"n_context must be at most n_tokens, got n_context={n_context}, n_tokens={n_tokens}"
        )
    if tokens.ndim != 1 or len(tokens) <= n_context:
        raise ValueError(
            "tokens must have one axis, longer than n_context, "
            f"got tokens.shape={tokens.shape}, n_context={n_context}"
        )
    width = min(n_tokens, len(tokens) - 1)
    step = width - n_context + 1
    # Every window scores its last `step` characters. The last window ends with the text, so that it has
    # the width of the others; it scores some characters a second time, and those are written over.
    starts = [*range(0, len(tokens) - width - 1, step), len(tokens) - width - 1]
    bits = np.empty(len(tokens) - n_context)
    was_training = isinstance(model, nn.Module) and model.training
    if was_training:
        model.eval()
    try:
        for first in range(0, len(starts), batch_size):
            rows = starts[first : first + batch_size]
            windows = torch.tensor(
                np.stack([tokens[start : start + width + 1] for start in rows]), dtype=torch.int64
            )
            logits = model(windows[:, :-1])
            if logits.shape[:-1] != (len(rows), width):
                raise ValueError(
                    "model must return logits for every place it has read, "
                    f"got logits.shape={tuple(logits.shape)} for tokens.shape={(len(rows), width)}"
                )
            log_p = logits[:, n_context - 1 :].double().log_softmax(dim=-1)  # (batch, step, vocab_size)
            costs = log_p.gather(-1, windows[:, n_context:, None])[..., 0].numpy() / -math.log(2)
            for start, cost in zip(rows, costs, strict=True):
                bits[start : start + step] = cost
    finally:
        if was_training:
            model.train()
    return bits


def bits_per_character(
    model: Callable[[Tensor], Tensor],
    tokens: np.ndarray,
    *,
    n_tokens: int,
    n_context: int,
    batch_size: int = 32,
) -> float:
    """Return the mean of ``character_bits``: what a character of the text costs.

    Parameters
    ----------
    model, tokens, n_tokens, n_context, batch_size
        As in ``character_bits``.

    Returns
    -------
    float
        Bits per character over ``tokens[n_context:]``; log2(vocab_size) for a model that knows nothing.

    Raises
    ------
    TypeError, ValueError
        As in ``character_bits``.

    Notes
    -----
    Built in chapter 9.
    """
    return float(
        character_bits(model, tokens, n_tokens=n_tokens, n_context=n_context, batch_size=batch_size).mean()
    )


@dataclass(frozen=True)
class BLEUScore:
    """Hold a BLEU score and what it is made of.

    Parameters
    ----------
    score : float
        Brevity penalty times the geometric mean of the precisions, 0 to 100.
    precisions : tuple of float
        Clipped precisions of 1, 2, 3 and 4 tokens in a row, 0 to 100.
    brevity_penalty : float
        1, or less where the texts written are shorter than the references.
    signature : str
        sacrebleu's name for exactly this variant; quote it beside the score.
    """

    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float
    signature: str


@dataclass(frozen=True)
class CHRFScore:
    """Hold a chrF score.

    Parameters
    ----------
    score : float
        F-score of character n-grams, 0 to 100.
    signature : str
        sacrebleu's name for exactly this variant; quote it beside the score.
    """

    score: float
    signature: str


def bleu(written: Sequence[str], references: Sequence[str]) -> BLEUScore:
    r"""Return the BLEU of a corpus: how many runs of 1 to 4 tokens stand in the reference too.

    .. math::
        \mathrm{BLEU} = 100 \min\!\left(1, e^{1 - r / c}\right)
        \left(p_1 p_2 p_3 p_4\right)^{1/4}

    Parameters
    ----------
    written : sequence of str
        Texts written, tokens with spaces between them. Not modified.
    references : sequence of str
        The right text for each, in the same form. Not modified.

    Returns
    -------
    BLEUScore
        Score, precisions, brevity penalty and sacrebleu's signature.

    Raises
    ------
    TypeError
        If an argument is one string, or holds something else than strings.
    ValueError
        If there are no texts, or not as many references as texts.

    Notes
    -----
    Here :math:`p_n` is the share of written n-grams that the reference holds too, each counted at most as
    often as there (clipping); c and r are the tokens of all written texts and of all references. Counts are
    summed over the corpus: no mean of scores of sentences. A :math:`p_n` without any match gets sacrebleu's
    exponential smoothing; without any written run of four tokens the score is 0. Built in chapter 9.

    References
    ----------
    Papineni et al., "BLEU: a method for automatic evaluation of machine translation", ACL 2002, section 2;
    Post, "A call for clarity in reporting BLEU scores", WMT 2018.
    """
    _check_texts(written, references)
    # Our texts are split into tokens already. force: do not warn that they look like it.
    metric = BLEU(tokenize="none", force=True)
    result = metric.corpus_score(list(written), [list(references)])
    return BLEUScore(
        score=result.score,
        precisions=tuple(result.precisions),
        brevity_penalty=result.bp,
        signature=str(metric.get_signature()),
    )


def chrf(written: Sequence[str], references: Sequence[str]) -> CHRFScore:
    r"""Return the chrF of a corpus: how many runs of 1 to 6 characters both sides share.

    .. math:: \mathrm{chrF} = 100\,\frac{(1 + \beta^2) P R}{\beta^2 P + R}, \quad \beta = 2

    Parameters
    ----------
    written : sequence of str
        Texts written. Spaces are not counted. Not modified.
    references : sequence of str
        The right text for each. Not modified.

    Returns
    -------
    CHRFScore
        Score and sacrebleu's signature.

    Raises
    ------
    TypeError
        If an argument is one string, or holds something else than strings.
    ValueError
        If there are no texts, or not as many references as texts.

    Notes
    -----
    P and R are precision and recall, averaged over the lengths 1 to 6 of counts summed over the corpus.
    A word with a wrong ending still earns its stem. Runs of a length for which the reference is too short
    are not counted on the written side. Built in chapter 9.

    References
    ----------
    Popović, "chrF: character n-gram F-score for automatic MT evaluation", WMT 2015, equation 1.
    """
    _check_texts(written, references)
    metric = CHRF()
    result = metric.corpus_score(list(written), [list(references)])
    return CHRFScore(score=result.score, signature=str(metric.get_signature()))


def _check_texts(written: Sequence[str], references: Sequence[str]) -> None:
    for name, texts in (("written", written), ("references", references)):
        if isinstance(texts, str):
            raise TypeError(f"{name} must be a sequence of texts, got {name} of type str")
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(f"{name} must hold texts, got {name} with one of type {type(text).__name__}")
    if not written or len(written) != len(references):
        raise ValueError(
            "written and references must hold equally many texts, at least one, "
            f"got {len(written)} and {len(references)}"
        )
