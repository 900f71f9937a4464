"""Attend to one place at a time: a decoder that picks a place, and a loss that trains it without a gradient.

Built in chapter 11.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from attncourse._checks import check_choice, check_count, check_last_axis, check_number, check_type
from attncourse.attention import masked_softmax
from attncourse.recurrent_decoders import BahdanauDecoder, BahdanauState, Memory
from attncourse.seq2seq import Seq2Seq, check_tokens
from attncourse.tasks.pairs import PADDING, START

ESTIMATORS = ("straight-through", "reinforce")


class _TracedMemory(NamedTuple):
    """Hold a memory, and collect the probabilities with which a hard decoder chose from it, step by step."""

    states: Tensor
    summary: Tensor
    lengths: Tensor
    mask: Tensor
    probabilities: list[Tensor]


class HardDecoder(BahdanauDecoder):
    r"""Look back at one place only: the weights of chapter 5 become the probabilities of a choice.

    .. math::
        p_{tj} = \operatorname{softmax}_j(e_{tj}), \quad k_t \sim p_t, \quad c_t = h_{k_t}

    In training the place is drawn; in evaluation it is the likeliest one. A choice has no gradient, and two
    estimators stand in for it. "straight-through" goes on as if the weights had been soft:

    .. math:: a_t = \operatorname{onehot}(k_t) + p_t - \operatorname{stop}(p_t), \quad c_t = \sum_j a_{tj} h_j

    "reinforce" leaves the choice without a gradient here; ``hard_attention_loss`` supplies it.

    Parameters
    ----------
    vocab_size : int
        Distinct target tokens.
    d_memory : int
        Features of the memory's vectors.
    d_embedding : int
        Features of one token's embedding.
    d_hidden : int
        Features of the decoder state, and of the hidden layer of the additive score.
    estimator : {"straight-through", "reinforce"}
        How the scores learn.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1, or ``estimator`` is unknown.

    Notes
    -----
    The weights that are returned are those that were used: one 1 in each row. The draws come from torch's
    global generator, which ``set_seed`` seeds. The straight-through gradient is biased; that of "reinforce"
    is not, but it varies more from draw to draw. Built in chapter 11.

    References
    ----------
    Xu et al., "Show, attend and tell: Neural image caption generation with visual attention", ICML 2015,
    section 4.1 (hard attention); Bengio, Léonard and Courville, "Estimating or propagating gradients through
    stochastic neurons for conditional computation", 2013 (straight-through); Williams, "Simple statistical
    gradient-following algorithms for connectionist reinforcement learning", Machine Learning 8, 1992.
    """

    def __init__(
        self,
        vocab_size: int,
        d_memory: int,
        *,
        d_embedding: int = 32,
        d_hidden: int = 64,
        estimator: str = "straight-through",
    ) -> None:
        check_choice("estimator", estimator, ESTIMATORS)
        super().__init__(vocab_size, d_memory, d_embedding=d_embedding, d_hidden=d_hidden)
        self.estimator = estimator

    def look_back(self, state: BahdanauState, key: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return what the chosen place holds, and a row with one 1 in it, as in ``BahdanauDecoder``."""
        query = self.score.query_proj(state.hidden.unsqueeze(1))  # (batch, 1, d_hidden)
        probabilities = masked_softmax(self.score.compare(query, key), memory.mask)  # (batch, 1, n_source)
        weights = self.choose(probabilities)
        if isinstance(memory, _TracedMemory):
            memory.probabilities.append(probabilities)
        if self.estimator == "straight-through":
            weights = weights + (probabilities - probabilities.detach())
        return weights @ memory.states, weights

    def choose(self, probabilities: Tensor) -> Tensor:
        """Choose one place in each row: at random in training, the likeliest in evaluation.

        Parameters
        ----------
        probabilities : Tensor, shape (..., n_source)
            Rows that sum to 1, or to 0 where there is nothing to choose. Not modified.

        Returns
        -------
        Tensor, shape (..., n_source), dtype of ``probabilities``
            Rows with a single 1, at a place of positive probability; zeros where there is nothing to choose.
        """
        rivals = probabilities.detach()
        if self.training:
            # Of exponential waiting times at rates p, the shortest is that of place j with probability p_j.
            rivals = rivals / torch.empty_like(rivals).exponential_()
        chosen = F.one_hot(rivals.argmax(dim=-1), rivals.shape[-1])
        return (chosen * (probabilities > 0)).to(probabilities.dtype)

    def forward_traced(
        self, previous: Tensor, memory: Memory, state: BahdanauState
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Score the tokens that follow ``previous``, and return the probabilities of the choices too.

        Parameters
        ----------
        previous : Tensor of int64, shape (batch, n_target)
            Target tokens before the ones to predict. Not modified.
        memory : Memory
            The encoded source. Not modified.
        state : BahdanauState
            State to go on from. Not modified.

        Returns
        -------
        logits : Tensor, shape (batch, n_target, vocab_size)
            Unnormalised log-probabilities of the tokens that follow, in nats.
        weights : Tensor, shape (batch, n_target, n_source)
            The choices: one 1 in each row.
        probabilities : Tensor, shape (batch, n_target, n_source)
            From which they were made.
        """
        traced = _TracedMemory(*memory, probabilities=[])
        logits, weights, _ = self(previous, traced, state)
        return logits, weights, torch.cat(traced.probabilities, dim=1)


class MovingBaseline:
    r"""Remember what the rest of a caption usually costs, from each of its places on.

    Over the rows whose caption reaches place t, of n batches so far:

    .. math:: b_t = \frac{\sum_{i \le n} \gamma^{n - i} \sum_{\text{rows}} R_t^{(i)}}
        {\sum_{i \le n} \gamma^{n - i} \sum_{\text{rows}} 1}

    Parameters
    ----------
    n_places : int
        Tokens of a padded caption.
    decay : float
        How much a batch counts against the next one.

    Raises
    ------
    TypeError
        If a number has the wrong type.
    ValueError
        If ``n_places`` is below 1, or ``decay`` is not in [0, 1).

    Notes
    -----
    Built in chapter 11.

    References
    ----------
    Xu et al., "Show, attend and tell: Neural image caption generation with visual attention", ICML 2015,
    section 4.1 (decay 0.9, and one number for whole captions).
    """

    def __init__(self, n_places: int, decay: float = 0.9) -> None:
        check_count("n_places", n_places)
        check_number("decay", decay, at_least=0, below=1)
        self.n_places, self.decay = n_places, decay
        self._sums = torch.zeros(n_places, dtype=torch.float64)
        self._counts = torch.zeros(n_places, dtype=torch.float64)

    @property
    def values(self) -> Tensor:
        """Return the usual cost from each place on, in nats, of shape (n_places,); 0 where none was seen."""
        return self._sums / self._counts.clamp(min=torch.finfo(torch.float64).tiny)

    def update(self, cost: Tensor, real: Tensor) -> None:
        """Move towards the mean cost of a batch.

        Parameters
        ----------
        cost : Tensor, shape (batch, n_places)
            Cost from each place on, in nats. Not modified.
        real : Tensor of bool, shape (batch, n_places)
            True at the places that captions reach. Not modified.

        Raises
        ------
        ValueError
            If the captions have another number of places.
        """
        check_last_axis("cost", cost, self.n_places, what="n_places")
        self._sums = self.decay * self._sums + (cost.detach() * real).sum(dim=0).to(self._sums)
        self._counts = self.decay * self._counts + real.sum(dim=0).to(self._counts)


def hard_attention_loss(
    model: Seq2Seq,
    images: Tensor,
    target: Tensor,
    baseline: MovingBaseline,
    *,
    discount: float = 1.0,
    entropy_weight: float = 0.0,
) -> Tensor:
    r"""Return a loss whose gradient trains a decoder that draws its places (REINFORCE).

    With the cost of a word :math:`\ell_t = -\ln p(y_t)` and the cost from t on
    :math:`R_t = \sum_{t' \ge t} \gamma^{t' - t} \ell_{t'}`, over N real words:

    .. math::
        \frac{1}{N} \sum_t \bigl( \ell_t + \operatorname{stop}(R_t - b_t) \ln p_{t k_t}
        - \lambda H(p_t) \bigr)

    A choice that made the rest of the caption cheaper than usual becomes likelier. The value is not the cost:
    only the gradient of the middle term means something.

    Parameters
    ----------
    model : Seq2Seq
        A model with a ``HardDecoder`` whose estimator is "reinforce".
    images : Tensor of float
        What the model's encoder reads. Not modified.
    target : Tensor of int64, shape (batch, n_target)
        Captions, with their ``END``, padded. Not modified.
    baseline : MovingBaseline
        The usual cost b. Read, then updated.
    discount : float
        How much a choice is charged with the words that follow its own: 1 for all of them, which gives the
        gradient of the expected cost without a bias; 0 for its own word alone, which varies less.
    entropy_weight : float
        Weight λ of the entropy H of the probabilities, in nats, which keeps the choices from settling early.

    Returns
    -------
    Tensor, shape ()
        The loss, per word.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If the decoder's estimator is another, a number is out of range, or the shapes do not fit.

    Notes
    -----
    Xu et al. charge every choice with the log-likelihood of the whole caption, the words before it included;
    leaving those out changes no expectation. They also replace half of the draws by the soft mixture, which
    this does not. Built in chapter 11.

    References
    ----------
    Xu et al., "Show, attend and tell: Neural image caption generation with visual attention", ICML 2015,
    section 4.1.
    """
    check_type("model.decoder", model.decoder, HardDecoder)
    if model.decoder.estimator != "reinforce":
        raise ValueError(
            f"model.decoder.estimator must be 'reinforce', got estimator={model.decoder.estimator!r}"
        )
    check_number("discount", discount, at_least=0)
    check_number("entropy_weight", entropy_weight, at_least=0)
    check_tokens("target", target, model.decoder.target_embedding.num_embeddings)
    check_last_axis("target", target, baseline.n_places, what="n_places")
    memory = model.encoder(images, None)
    previous = torch.cat([torch.full_like(target[:, :1], START), target[:, :-1]], dim=1)
    logits, weights, probabilities = model.decoder.forward_traced(
        previous, memory, model.decoder.start(memory)
    )
    real = target != PADDING  # (batch, n_target)
    cost = F.cross_entropy(logits.mT, target, ignore_index=PADDING, reduction="none")  # (batch, n_target)
    rest = _cost_to_go(cost.detach(), discount)
    # What is usual comes from earlier batches: these choices must not enter it.
    advantage = rest - baseline.values.to(rest)  # (batch, n_target)
    baseline.update(rest, real)
    log_probabilities = probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()
    score = (weights * log_probabilities).sum(dim=-1)  # (batch, n_target)
    entropy = -(probabilities * log_probabilities).sum(dim=-1)
    loss = cost + (advantage * score - entropy_weight * entropy) * real
    return loss.sum() / real.sum()


def _cost_to_go(cost: Tensor, discount: float) -> Tensor:
    """Return the discounted sum of the costs from each place on, of the shape of ``cost``."""
    sums = [cost[:, -1]]
    for column in reversed(cost[:, :-1].unbind(dim=1)):
        sums.append(column + discount * sums[-1])
    return torch.stack(sums[::-1], dim=1)
