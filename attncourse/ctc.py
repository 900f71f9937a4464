"""Write without attention: every frame names a letter or nothing, and repeated names merge into one.

Built in chapter 13.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attncourse._checks import check_count, check_floats, check_type
from attncourse.tasks.pairs import END, PADDING

BLANK = PADDING  # a token that is never written serves as "nothing here"


def ctc_collapse(path: Tensor) -> list[int]:
    """Read the text off a path of one token per frame: merge repeats, then drop the blanks.

    Parameters
    ----------
    path : Tensor of int64, shape (n_frames,)
        One token for each frame, ``BLANK`` for none. Not modified.

    Returns
    -------
    list of int
        The tokens written. A blank between two equal tokens keeps them apart.

    Raises
    ------
    TypeError
        If ``path`` is not a tensor.
    ValueError
        If it has not one axis.

    Notes
    -----
    Built in chapter 13.

    References
    ----------
    Graves, Fernández, Gomez and Schmidhuber, "Connectionist temporal classification: labelling unsegmented
    sequence data with recurrent neural networks", ICML 2006, section 3.1 (the map B).
    """
    check_type("path", path, Tensor)
    if path.ndim != 1:
        raise ValueError(f"path must have one axis, got path.shape={tuple(path.shape)}")
    return [token for token in torch.unique_consecutive(path).tolist() if token != BLANK]


def ctc_loss(logits: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
    r"""Return the mean negative log-probability per letter of all paths that collapse to the target.

    .. math::
        \ell = -\frac{1}{N} \sum_{\text{texts } y} \ln \sum_{\pi:\, B(\pi) = y} \prod_t p_t(\pi_t)

    Parameters
    ----------
    logits : Tensor of float, shape (batch, n_frames, vocab_size)
        Unnormalised log-probabilities of the tokens at every frame, in nats. Not modified.
    lengths : Tensor of int64, shape (batch,)
        Frames before the padding. Not modified.
    target : Tensor of int64, shape (batch, n_target)
        Letters, then ``END``, then ``PADDING``. Not modified.

    Returns
    -------
    Tensor, shape ()
        Nats per letter, over the N letters of the batch together; ``END`` is no letter here.

    Raises
    ------
    TypeError
        If an argument is not a tensor of the right dtype.
    ValueError
        If the shapes do not fit, or there is no letter.

    Notes
    -----
    A text that no path of its length can write (each letter needs a frame, two equal ones in a row a blank
    between them) would cost infinitely much; it counts zero and has no gradient.
    Time O(n_frames · n_target). Built in chapter 13.

    References
    ----------
    Graves, Fernández, Gomez and Schmidhuber, "Connectionist temporal classification: labelling unsegmented
    sequence data with recurrent neural networks", ICML 2006, section 4.1.
    """
    for name, array in (("logits", logits), ("lengths", lengths), ("target", target)):
        check_type(name, array, Tensor)
    check_floats("logits", logits, min_axes=3)
    if target.ndim != 2 or not len(logits) == len(lengths) == len(target):
        raise ValueError(
            "logits, lengths and target must have the same batch size, "
            f"got logits.shape={tuple(logits.shape)}, lengths.shape={tuple(lengths.shape)}, "
            f"target.shape={tuple(target.shape)}"
        )
    n_letters = (target > END).sum(dim=1)  # (batch,)
    if not n_letters.any():
        raise ValueError(f"target must hold a letter, got target={target.tolist()}")
    losses = F.ctc_loss(
        logits.log_softmax(dim=-1).transpose(0, 1),  # (n_frames, batch, vocab_size)
        target,
        lengths,
        n_letters,
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    )
    return losses.sum() / n_letters.sum()


class CTCRecogniser(nn.Module):
    r"""Name a letter or nothing at every state of an encoder: no decoder, no attention.

    .. math:: p_t = \mathrm{softmax}(O h_t)

    Parameters
    ----------
    encoder : nn.Module
        A module from (source, lengths) to ``Memory``, with ``d_memory``, such as ``speech.AudioEncoder``.
    vocab_size : int
        Distinct tokens, the special ones included; the padding token stands for the blank.

    Raises
    ------
    TypeError
        If ``vocab_size`` is not an integer.
    ValueError
        If ``vocab_size`` leaves no letter.

    Notes
    -----
    Given the audio, the letters of different states are independent of each other: what is written does not
    depend on what was written before. Built in chapter 13.

    References
    ----------
    Graves, Fernández, Gomez and Schmidhuber, "Connectionist temporal classification: labelling unsegmented
    sequence data with recurrent neural networks", ICML 2006, section 3 (best-path decoding: 3.2).
    """

    def __init__(self, encoder: nn.Module, vocab_size: int) -> None:
        super().__init__()
        check_count("vocab_size", vocab_size, at_least=END + 2)
        self.encoder = encoder
        self.output_proj = nn.Linear(encoder.d_memory, vocab_size)

    def forward(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Score every token at every state.

        Parameters
        ----------
        source : Tensor of float, shape (batch, n_frames, n_bands)
            Features, padded at the end. Not modified.
        lengths : Tensor of int64, shape (batch,)
            Frames before the padding. Not modified.

        Returns
        -------
        logits : Tensor, shape (batch, n_source, vocab_size)
            Unnormalised log-probabilities, in nats.
        state_lengths : Tensor of int64, shape (batch,)
            States before the padding.
        """
        memory = self.encoder(source, lengths)
        return self.output_proj(memory.states), memory.lengths

    @torch.no_grad()
    def greedy_decode(
        self, source: Tensor, lengths: Tensor, *, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Take the likeliest token of every state, and collapse this path.

        Parameters
        ----------
        source : Tensor of float, shape (batch, n_frames, n_bands)
            Features, padded at the end. Not modified.
        lengths : Tensor of int64, shape (batch,)
            Frames before the padding. Not modified.
        return_weights : bool, optional
            Whether to return where each letter was named.

        Returns
        -------
        written : Tensor of int64, shape (batch, n_written)
            Letters, then ``END``, then ``PADDING``, as ``Seq2Seq.greedy_decode`` writes them.
        weights : Tensor, shape (batch, n_written, n_source)
            Only with ``return_weights=True``: for each letter the states that named it, in equal shares that
            sum to 1; zeros from ``END`` on. This is no attention, but has its form, so that the same
            measures apply.
        """
        logits, state_lengths = self(source, lengths)
        # START and END are never named: a path consists of letters and blanks.
        logits = logits.index_fill(-1, torch.arange(BLANK + 1, END + 1, device=logits.device), -torch.inf)
        path = logits.argmax(dim=-1)  # (batch, n_source)
        path[torch.arange(path.shape[1], device=path.device) >= state_lengths[:, None]] = BLANK
        previous = F.pad(path[:, :-1], (1, 0), value=BLANK)
        begins = (path != previous) & (path != BLANK)  # where a letter is named anew
        number = begins.cumsum(dim=1) - 1  # which letter a state names, where it names one
        n_letters = begins.sum(dim=1)  # (batch,)

        written = torch.full((len(path), int(n_letters.max()) + 1), PADDING, device=path.device)
        rows, states = begins.nonzero(as_tuple=True)
        written[rows, number[rows, states]] = path[rows, states]
        written[torch.arange(len(path), device=path.device), n_letters] = END
        if not return_weights:
            return written
        weights = logits.new_zeros(*written.shape, path.shape[1])
        rows, states = (path != BLANK).nonzero(as_tuple=True)
        weights[rows, number[rows, states], states] = 1.0
        return written, weights / weights.sum(dim=-1, keepdim=True).clamp(min=1.0)
