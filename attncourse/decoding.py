"""Write texts token by token: one loop for every model and every way to choose, with a cache or without.

Here a model is a function ``next_logits`` from all tokens so far, (batch, n_tokens), to the logits of the
next one, (batch, vocab_size). ``lambda tokens: model(tokens)[:, -1]`` reads everything again at every token;
``CachedLanguageModel`` and ``CachedTransformer`` are functions of the same form that read what is new.
``attncourse.beam_search`` works with the same functions.

Built in chapter 9.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from attncourse._checks import check_count
from attncourse.kv_cache import KVCache, build_caches
from attncourse.sampling import forbid, greedy
from attncourse.seq2seq import check_tokens
from attncourse.tasks.pairs import PADDING
from attncourse.transformer import Transformer, TransformerMemory
from attncourse.transformer_language_model import TransformerLanguageModel

NextLogits = Callable[[Tensor], Tensor]


class _CachedModel(ABC):
    """Turn a model that reads new tokens alone into a function of all tokens so far."""

    def __init__(self, caches: list[KVCache]) -> None:
        self.caches = caches
        self._read: Tensor | None = None  # the tokens whose keys and values are held

    @abstractmethod
    def _read_new(self, tokens: Tensor) -> Tensor:
        """Return the logits that follow each of these tokens, and keep their keys and values."""

    @torch.no_grad()
    def __call__(self, tokens: Tensor) -> Tensor:
        """Score the next token, reading only what the caches do not hold yet.

        Parameters
        ----------
        tokens : Tensor of int64, shape (batch_size, n_tokens)
            All tokens so far: those of the call before, and at least one more. Not modified.

        Returns
        -------
        Tensor, shape (batch_size, vocab_size)
            Unnormalised log-probabilities of the next token, in nats.

        Raises
        ------
        TypeError
            If ``tokens`` is not a tensor of int64.
        ValueError
            If the shape does not fit, ``tokens`` does not continue the tokens read so far, or the caches are
            full.
        """
        check_tokens("tokens", tokens)
        n_read = 0 if self._read is None else self._read.shape[1]
        if n_read and not (tokens.shape[1] > n_read and torch.equal(tokens[:, :n_read], self._read)):
            raise ValueError(
                f"tokens must continue the {n_read} tokens read so far (call reset() before another text and "
                f"reorder(rows) when rows move), got tokens.shape={tuple(tokens.shape)}"
            )
        # Inference mode keeps no books for gradients: a tenth of a step. A copy is an ordinary tensor again.
        with torch.inference_mode():
            logits = self._read_new(tokens[:, n_read:])
        self._read = tokens.clone()  # the caller may go on writing into its own memory
        return logits[:, -1].clone()

    def reset(self) -> None:
        """Forget every token and every reordering, so that another text can be read."""
        self._read = None
        for cache in self.caches:
            cache.reset()

    def reorder(self, rows: Tensor) -> None:
        """Let row i go on from what row ``rows[i]`` has read.

        Parameters
        ----------
        rows : Tensor of int64, shape (n_rows,)
            Rows to copy from, as for ``KVCache.reorder``. Not modified.

        Raises
        ------
        TypeError
            If ``rows`` is not a tensor of int64.
        ValueError
            If it has not one axis, is empty, or names a row that is not there.
        """
        for cache in self.caches:
            cache.reorder(rows)
        self._read = None if self._read is None else self._read[rows]


class CachedLanguageModel(_CachedModel):
    """Score next tokens with a decoder-only model that keeps keys and values.

    Parameters
    ----------
    model : TransformerLanguageModel
        The model, in ``eval()`` mode unless dropout is wanted. Not modified.
    batch_size : int
        Texts side by side.
    max_tokens : int
        Tokens of each text that fit, prompt included.
    padding : Tensor of int64, shape (batch_size,), optional
        Padding at the left of each prompt, in tokens, as ``pad_left`` returns it. Not modified.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    Gives the logits of ``model(tokens, padding=padding)[:, -1]``; any number of tokens may be new at a call.
    Time for one new token O(n_layers · d_model · (d_model + d_ff + n_tokens)). Built in chapter 9.
    """

    def __init__(
        self,
        model: TransformerLanguageModel,
        batch_size: int,
        max_tokens: int,
        padding: Tensor | None = None,
    ) -> None:
        super().__init__(build_caches(model, batch_size, max_tokens))
        self.model = model
        self._given_padding = self._padding = padding

    def _read_new(self, tokens: Tensor) -> Tensor:
        return self.model(tokens, padding=self._padding, caches=self.caches)

    def reset(self) -> None:
        """Forget every token, so that other texts with the same padding can be read."""
        super().reset()
        self._padding = self._given_padding

    def reorder(self, rows: Tensor) -> None:
        """Let row i go on from what row ``rows[i]`` has read, as its caches do."""
        super().reorder(rows)
        self._padding = None if self._padding is None else self._padding[rows]


class CachedTransformer(_CachedModel):
    """Score next tokens of translations with an encoder–decoder that keeps keys and values.

    The source is read once; the keys and values of the memory are made at the first call.

    Parameters
    ----------
    model : Transformer
        The model, in ``eval()`` mode unless dropout is wanted. Not modified.
    source : Tensor of int64, shape (batch, n_source)
        Source tokens, padded at the end. Not modified.
    lengths : Tensor of int64, shape (batch,)
        Source tokens before the padding. Not modified.
    max_tokens : int
        Target tokens that fit, ``START`` included.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If the shapes do not fit, or a token, a length or a size is out of range.

    Notes
    -----
    Gives the logits of ``model.decode(tokens, memory)[:, -1]``; the first token is ``START``. Time for one
    new token O(n_layers · d_model · (d_model + d_ff + n_tokens + n_source)). Built in chapter 9.
    """

    @torch.no_grad()
    def __init__(self, model: Transformer, source: Tensor, lengths: Tensor, max_tokens: int) -> None:
        super().__init__(build_caches(model.decoder, len(source), max_tokens))
        self.model = model
        self.memory_caches = build_caches(model.decoder, len(source), source.shape[1])
        self._encoded = model.encode(source, lengths)
        self._take_sources(torch.arange(len(source), device=source.device))

    def _take_sources(self, sources: Tensor) -> None:
        """Let each row look at the memory of its source."""
        states, mask = self._encoded
        self._sources = sources
        self._memory = TransformerMemory(states[sources], None if mask is None else mask[sources])

    def _read_new(self, tokens: Tensor) -> Tensor:
        return self.model.decode(tokens, self._memory, caches=self.caches, memory_caches=self.memory_caches)

    def reset(self) -> None:
        """Forget the target tokens, so that the same sources can be translated again."""
        super().reset()
        for cache in self.memory_caches:
            cache.reset()
        self._take_sources(torch.arange(len(self._encoded.states), device=self._sources.device))

    def reorder(self, rows: Tensor) -> None:
        """Let row i go on from what row ``rows[i]`` has read, as its caches do."""
        super().reorder(rows)
        sources = self._sources[rows]
        if not torch.equal(sources, self._sources):  # beams of one source share its memory
            for cache in self.memory_caches:
                cache.reorder(rows)
            self._take_sources(sources)


def pad_left(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Put prompts of unequal lengths into one batch, flush right, so that all go on at the same column.

    Parameters
    ----------
    prompts : sequence of sequence of int
        Token numbers; lists or tensors, none empty. Not modified.

    Returns
    -------
    tokens : Tensor of int64, shape (batch, n_longest)
        The prompts, with ``PADDING`` in front.
    padding : Tensor of int64, shape (batch,)
        Padding in front of each, in tokens.

    Raises
    ------
    ValueError
        If there is no prompt, or one is empty.

    Notes
    -----
    Built in chapter 9.
    """
    lengths = [len(prompt) for prompt in prompts]
    if not lengths or not all(lengths):
        raise ValueError(f"prompts must not be empty, got prompts of lengths {lengths}")
    tokens = torch.full((len(lengths), max(lengths)), PADDING)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[-len(prompt) :] = torch.as_tensor(prompt)
    return tokens, max(lengths) - torch.tensor(lengths)


@torch.no_grad()
def generate(
    next_logits: NextLogits,
    prompt: Tensor,
    *,
    max_tokens: int,
    choose: Callable[[Tensor], Tensor] = greedy,
    stop_tokens: Collection[int] = (),
    forbidden_tokens: Collection[int] = (),
) -> Tensor:
    """Go on from prompts, token by token, until every row has written a stop token.

    Parameters
    ----------
    next_logits : callable
        From all tokens so far, (batch, n_tokens), to the logits of the next, (batch, vocab_size).
    prompt : Tensor of int64, shape (batch, n_prompt)
        Tokens to go on from; ``pad_left`` aligns unequal ones. Not modified.
    max_tokens : int
        Tokens to write in each row at most.
    choose : callable, optional
        From logits to tokens, (batch,): ``greedy``, or ``sample`` with its arguments filled in.
    stop_tokens : collection of int, optional
        Tokens after which a row ends; the stop token is part of what is written.
    forbidden_tokens : collection of int, optional
        Tokens that are never written, such as ``PADDING`` and ``START``.

    Returns
    -------
    Tensor of int64, shape (batch, n_written)
        What was written, without the prompt; ``PADDING`` behind a row's stop token. n_written is at most
        ``max_tokens``; a row without a stop token was cut off.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If ``prompt`` is empty or has not two axes, or ``max_tokens`` is below 1.

    Notes
    -----
    A cached ``next_logits`` needs room for n_prompt + ``max_tokens`` - 1 tokens: nobody reads the last one.
    Built in chapter 9.
    """
    check_tokens("prompt", prompt)
    check_count("max_tokens", max_tokens)
    stops = prompt.new_tensor(sorted(stop_tokens))
    n_prompt = prompt.shape[1]
    tokens = torch.cat([prompt, prompt.new_full((len(prompt), max_tokens), PADDING)], dim=1)
    stopped = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
    for n_tokens in range(n_prompt, n_prompt + max_tokens):
        logits = next_logits(tokens[:, :n_tokens])
        if forbidden_tokens:
            logits = forbid(logits, forbidden_tokens)
        tokens[:, n_tokens] = choose(logits).masked_fill(stopped, PADDING)
        if stop_tokens:
            stopped |= torch.isin(tokens[:, n_tokens], stops)
            if stopped.all():
                break
    return tokens[:, n_prompt : n_tokens + 1]
