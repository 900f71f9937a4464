"""Keep the keys and values of the tokens read so far, so that a new token costs one token's work.

Built in chapter 9.
"""

import torch
from torch import Tensor, nn

from attncourse._checks import check_count, check_same_axis, check_type, dtype_name


class KVCache:
    r"""Hold one attention layer's keys and values in memory that is set aside once and filled in place.

    .. math:: \text{bytes} = 2 \cdot B \cdot H_{\text{kv}} \cdot n_{\max} \cdot d_{\text{head}} \cdot b

    with B sequences, :math:`H_{\text{kv}}` key-value heads, :math:`n_{\max}` tokens and b bytes a number.

    Parameters
    ----------
    batch_size : int
        Sequences side by side.
    n_kv_heads : int
        Heads of key and value.
    max_tokens : int
        Tokens of each sequence that fit.
    d_head : int
        Features of each head.
    dtype : torch.dtype, optional
        Of keys and values; it must be the layer's.
    device : torch.device or str, optional
        Where the memory lies.

    Attributes
    ----------
    length : int
        Tokens held, the same for every sequence of the batch.

    Raises
    ------
    TypeError
        If a size is not an integer or ``dtype`` is not floating point.
    ValueError
        If a size is below 1.

    Notes
    -----
    Every layer needs a cache of its own, see ``build_caches``. ``torch.cat`` would copy everything held at
    every token; here a token costs the writing of its own keys and values. Built in chapter 9.

    References
    ----------
    .. [1] Shazeer (2019), "Fast transformer decoding: one write-head is all you need", section 2.4.
    .. [2] Pope et al. (2023), "Efficiently scaling transformer inference", section 2.
    """

    def __init__(
        self,
        batch_size: int,
        n_kv_heads: int,
        max_tokens: int,
        d_head: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        for name, size in (
            ("batch_size", batch_size),
            ("n_kv_heads", n_kv_heads),
            ("max_tokens", max_tokens),
            ("d_head", d_head),
        ):
            check_count(name, size)
        check_type("dtype", dtype, torch.dtype)
        if not dtype.is_floating_point:
            raise TypeError(f"dtype must be floating point, got dtype={dtype}")
        self.max_tokens = max_tokens
        self.length = 0
        self._batch_size = batch_size
        # Keys and values in one tensor, (2, batch_size, n_kv_heads, max_tokens, d_head): reordered at once.
        self._memory = torch.zeros(2, batch_size, n_kv_heads, max_tokens, d_head, dtype=dtype, device=device)

    @property
    def n_bytes(self) -> int:
        """Return the bytes set aside, whether filled or not."""
        return self._memory.nbytes

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write the keys and values of the next tokens behind those held, and return all of them.

        Parameters
        ----------
        key, value : Tensor of float, shape (batch_size, n_kv_heads, n_new, d_head)
            Of the next tokens; n_new may be 0. Not modified.

        Returns
        -------
        keys, values : Tensor, shape (batch_size, n_kv_heads, length, d_head)
            Views of the cache's memory: ``reset``, ``reorder`` and later calls may change what they show.

        Raises
        ------
        TypeError
            If an argument is not a tensor of the cache's dtype.
        ValueError
            If the shapes do not fit, the tokens find no room, or a gradient would have to flow through the
            cache. Nothing has been written then.
        """
        self._check_fits("key", key)
        self._check_fits("value", value)
        check_same_axis("key", key, "value", value, axis=2, what="number of tokens")
        start, self.length = self.length, self.length + key.shape[2]
        self._memory[0, :, :, start : self.length] = key
        self._memory[1, :, :, start : self.length] = value
        keys, values = self._memory[:, :, :, : self.length]
        return keys, values

    def reset(self) -> None:
        """Forget every token and every reordering; equal numbers of sequences keep the memory."""
        self.length = 0
        self._resize(self._batch_size)

    def reorder(self, rows: Tensor) -> None:
        """Let sequence i go on from what sequence ``rows[i]`` has read (beam search).

        Parameters
        ----------
        rows : Tensor of int64, shape (n_rows,)
            Sequences to copy from; one may serve several times. From now on there are n_rows sequences.
            Not modified.

        Raises
        ------
        TypeError
            If ``rows`` is not a tensor of int64.
        ValueError
            If it has not one axis, is empty, or names a sequence that is not there.

        Notes
        -----
        Time O(n_rows · n_kv_heads · length · d_head), and as much memory for a moment. New memory is set
        aside only if the number of sequences changes.
        """
        check_type("rows", rows, Tensor)
        if dtype_name(rows) != "int64":
            raise TypeError(f"rows must be of dtype int64, got rows.dtype={dtype_name(rows)}")
        if rows.ndim != 1 or not len(rows):
            raise ValueError(f"rows must have one axis, not empty, got rows.shape={tuple(rows.shape)}")
        last = self._memory.shape[1] - 1
        if not 0 <= int(rows.min()) <= int(rows.max()) <= last:
            raise ValueError(f"rows must lie in 0 … {last}, got rows={rows.tolist()}")
        held = self._memory[:, :, :, : self.length].index_select(1, rows)
        self._resize(len(rows))
        self._memory[:, :, :, : self.length] = held

    def _resize(self, batch_size: int) -> None:
        """Set memory aside for another number of sequences; what was held is lost then."""
        _, before, *sizes = self._memory.shape
        if batch_size != before:
            self._memory = self._memory.new_zeros(2, batch_size, *sizes)

    def _check_fits(self, name: str, array: Tensor) -> None:
        """Check that ``array`` can be written behind the tokens held.

        Raises
        ------
        TypeError
            If it is not a tensor of the cache's dtype.
        ValueError
            If its shape does not fit, there is no room, or it requires a gradient.
        """
        check_type(name, array, Tensor)
        if array.dtype != self._memory.dtype:
            raise TypeError(
                f"{name} must have the cache's dtype {dtype_name(self._memory)}, "
                f"got {name}.dtype={dtype_name(array)}"
            )
        _, batch_size, n_kv_heads, _, d_head = self._memory.shape
        if array.ndim != 4 or (*array.shape[:2], array.shape[3]) != (batch_size, n_kv_heads, d_head):
            raise ValueError(
                f"{name} must have shape (batch_size, n_kv_heads, n_new, d_head)="
                f"({batch_size}, {n_kv_heads}, n_new, {d_head}), got {name}.shape={tuple(array.shape)}"
            )
        if self.length + array.shape[2] > self.max_tokens:
            raise ValueError(
                f"{name} must fit into max_tokens={self.max_tokens} with the {self.length} tokens held, "
                f"got {name} with {array.shape[2]} tokens"
            )
        if array.requires_grad:
            raise ValueError(
                f"{name} must not require a gradient (what is overwritten has none: use torch.no_grad()), "
                f"got {name}.requires_grad=True"
            )


def build_caches(model: nn.Module, batch_size: int, max_tokens: int) -> list[KVCache]:
    """Make one empty cache for each layer of a model.

    Parameters
    ----------
    model : TransformerLanguageModel or TransformerDecoder
        A module whose ``layers`` have a ``self_attention`` each. The caches of a decoder fit its
        cross-attention too, which has the same heads. Not modified.
    batch_size : int
        Sequences side by side.
    max_tokens : int
        Tokens of each sequence that fit, prompt included.

    Returns
    -------
    list of KVCache
        In the order of the layers, with their heads, sizes, dtype and device.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    Built in chapter 9.
    """
    caches = []
    for layer in model.layers:
        attention = layer.self_attention
        weight = attention.key_proj.weight
        sizes = (batch_size, attention.n_kv_heads, max_tokens, attention.d_head)
        caches.append(KVCache(*sizes, dtype=weight.dtype, device=weight.device))
    return caches
