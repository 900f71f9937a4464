"""What a whole layer costs, and a text written with a stack of them: counted operations.

FLOPs as in ``attncourse.costs``: products of matrices only, a multiply-add counts 2.

Built in chapter 15.
"""

from attncourse._checks import check_count, check_type
from attncourse.costs import LayerSizes, multihead_flops


def feed_forward_flops(sizes: LayerSizes, n_tokens: int, *, batch_size: int = 1) -> int:
    r"""Count the operations of ``FeedForward``: two projections, or three where it is gated.

    .. math:: 4 \, B \, n \, d_{\text{model}} d_{\text{ff}}, \qquad
        \text{gated: } 6 \, B \, n \, d_{\text{model}} d_{\text{ff}}

    Parameters
    ----------
    sizes : LayerSizes
        Of the layer.
    n_tokens : int
        Tokens n of a sequence.
    batch_size : int, optional
        Sequences B.

    Returns
    -------
    int
        FLOPs of one forward pass; a multiply-add counts 2. Activation and biases are not counted.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is below 1.

    Notes
    -----
    Built in chapter 15.
    """
    check_type("sizes", sizes, LayerSizes)
    check_count("n_tokens", n_tokens)
    check_count("batch_size", batch_size)
    matrices = 3 if sizes.activation == "gated" else 2
    return 2 * matrices * batch_size * n_tokens * sizes.d_model * sizes.d_ff


def encoder_layer_flops(sizes: LayerSizes, n_tokens: int, *, n_held: int = 0, batch_size: int = 1) -> int:
    """Count the operations of ``EncoderLayer``: self-attention and feed-forward network.

    Parameters
    ----------
    sizes : LayerSizes
        Of the layer.
    n_tokens : int
        Tokens that come in.
    n_held : int, optional
        Tokens before them that a cache holds.
    batch_size : int, optional
        Sequences.

    Returns
    -------
    int
        FLOPs of one forward pass; a multiply-add counts 2. Only products of matrices are counted.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is below 1 (``n_held``: 0).

    Notes
    -----
    Built in chapter 15.
    """
    check_count("n_held", n_held, at_least=0)
    feed_forward = feed_forward_flops(sizes, n_tokens, batch_size=batch_size)
    return feed_forward + multihead_flops(
        sizes, n_tokens, n_tokens + n_held, n_held=n_held, batch_size=batch_size
    )


def decoder_layer_flops(
    sizes: LayerSizes,
    n_target: int,
    n_source: int,
    *,
    n_held: int = 0,
    is_memory_held: bool = False,
    batch_size: int = 1,
) -> int:
    """Count the operations of ``DecoderLayer``: self-attention, cross-attention and feed-forward network.

    Parameters
    ----------
    sizes : LayerSizes
        Of the layer.
    n_target, n_source : int
        Target tokens that come in, and tokens of the memory.
    n_held : int, optional
        Target tokens before them that a cache holds.
    is_memory_held : bool, optional
        Whether a cache holds the memory's keys and values.
    batch_size : int, optional
        Sequences.

    Returns
    -------
    int
        FLOPs of one forward pass; a multiply-add counts 2. Only products of matrices are counted.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is below 1 (``n_held``: 0).

    Notes
    -----
    Built in chapter 15.
    """
    check_count("n_target", n_target)
    check_count("n_source", n_source)
    n_projected = n_source if is_memory_held else 0
    itself = encoder_layer_flops(sizes, n_target, n_held=n_held, batch_size=batch_size)
    return itself + multihead_flops(sizes, n_target, n_source, n_held=n_projected, batch_size=batch_size)


def writing_flops(
    sizes: LayerSizes,
    n_prompt: int,
    n_written: int,
    *,
    n_layers: int,
    vocab_size: int,
    is_cached: bool = True,
    batch_size: int = 1,
) -> int:
    r"""Count the operations of writing a text with ``TransformerLanguageModel``, token by token.

    .. math:: \text{cached: } C(n_p, 0) + \sum_{t=1}^{n_w - 1} C(1, n_p + t - 1), \qquad
        \text{again: } \sum_{t=0}^{n_w - 1} C(n_p + t, 0)

    with C(n, h) the operations of reading n tokens when h are held.

    Parameters
    ----------
    sizes : LayerSizes
        Of each layer.
    n_prompt, n_written : int
        Tokens read before the first is written, and tokens written. The last one is not read any more.
    n_layers, vocab_size : int
        Layers, and tokens to choose from.
    is_cached : bool, optional
        Whether keys and values are kept; otherwise every token reads everything again.
    batch_size : int, optional
        Texts side by side.

    Returns
    -------
    int
        FLOPs in total; a multiply-add counts 2. Only products of matrices are counted, with the logits of
        every token that is read.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is below 1.

    Notes
    -----
    Time O(n_written). Built in chapter 15.
    """
    for name, number in (
        ("n_prompt", n_prompt),
        ("n_written", n_written),
        ("n_layers", n_layers),
        ("vocab_size", vocab_size),
    ):
        check_count(name, number)

    def read(n_tokens: int, n_held: int) -> int:
        layer = encoder_layer_flops(sizes, n_tokens, n_held=n_held, batch_size=batch_size)
        return n_layers * layer + 2 * batch_size * n_tokens * sizes.d_model * vocab_size

    contexts = range(n_prompt, n_prompt + n_written)
    if not is_cached:
        return sum(read(context, 0) for context in contexts)
    return read(n_prompt, 0) + sum(read(1, context - 1) for context in contexts[1:])
