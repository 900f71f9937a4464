"""Look at an image through a small window that moves: cut out by weights, steered by gradient or by reward.

Built in chapter 11.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attncourse._checks import (
    check_choice,
    check_count,
    check_floats,
    check_number,
    check_same_dtype,
    check_type,
)

MOVES = ("soft", "hard")


def extract_glimpses(images: Tensor, centres: Tensor, size: int, n_scales: int = 1) -> Tensor:
    r"""Cut a square window out of every image, around a centre that need not lie on a pixel.

    .. math::
        g_{ij} = \sum_{r,s} A^y_{ir} \, x_{rs} \, A^x_{js}, \qquad
        A^y_{ir} = \max(0,\, 1 - |y_i - r|), \quad A^x_{js} = \max(0,\, 1 - |x_j - s|)

    Row i of the window lies at height :math:`y_i` in pixels, column j at :math:`x_j`: one pixel apart, and
    the middle of the window on the centre. The two matrices are weights that depend on the place alone; where
    the window lies inside the image their rows sum to 1, with at most two entries in a row (bilinear
    interpolation). Outside the image there are zeros.

    Scale k = 0, 1, … cuts a window of the same number of points from the image whose sides are shortened by
    :math:`2^k` through averaging: it covers :math:`2^k` times the width, less sharply.

    Parameters
    ----------
    images : Tensor of float, shape (batch, n_channels, height, width)
        The images. Not modified.
    centres : Tensor of float, shape (batch, 2)
        Centre of each window as (x, y): −1 is the left (upper) edge of the image, 1 the right (lower) edge.
        Not modified.
    size : int
        Height and width of a window, in points.
    n_scales : int
        Windows around every centre, each of twice the width of the one before.

    Returns
    -------
    Tensor, shape (batch, n_scales, n_channels, size, size)
        The windows, sharpest first. The gradient reaches ``images`` and ``centres``.

    Raises
    ------
    TypeError
        If ``images`` or ``centres`` are no floating-point tensors of one dtype, or a size is not an integer.
    ValueError
        If a shape does not fit, an array is empty or holds NaN, a size is below 1, or a side of the images
        is no multiple of :math:`2^{\text{n\_scales} - 1}`.

    Notes
    -----
    Scale k equals ``torch.nn.functional.grid_sample`` (bilinear, ``align_corners=False``) of the shortened
    image. Time O(size · height · (width + size)) for each image, channel and scale. Built in chapter 11.

    References
    ----------
    Mnih, Heess, Graves and Kavukcuoglu, "Recurrent models of visual attention", NIPS 2014, section 3 (the
    window and its scales); Jaderberg et al., "Spatial transformer networks", NIPS 2015, section 3.3 (the
    gradient with respect to the place); Gregor et al., "DRAW: A recurrent neural network for image
    generation", ICML 2015, section 3.2 (two matrices, there with Gaussian rows).
    """
    _check_images(images)
    check_type("centres", centres, Tensor)
    check_floats("centres", centres)
    check_same_dtype("images", images, "centres", centres)
    if centres.shape != (len(images), 2):
        raise ValueError(
            "centres must have shape (batch, 2), "
            f"got centres.shape={tuple(centres.shape)}, images.shape={tuple(images.shape)}"
        )
    check_count("size", size)
    check_count("n_scales", n_scales)
    coarsest = 2 ** (n_scales - 1)
    if images.shape[2] % coarsest or images.shape[3] % coarsest:
        raise ValueError(
            f"images must have sides that are multiples of {coarsest} for n_scales={n_scales}, "
            f"got images.shape={tuple(images.shape)}"
        )
    return _cut(_pyramid(images, n_scales), centres, size)


def _pyramid(images: Tensor, n_scales: int) -> list[Tensor]:
    """Return the images with their sides shortened by the factors 1, 2, 4 and so on."""
    pyramid = [images]
    for _ in range(n_scales - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return pyramid


def _cut(pyramid: list[Tensor], centres: Tensor, size: int) -> Tensor:
    """Return the windows (batch, n_scales, n_channels, size, size) around ``centres``."""
    windows = []
    for images in pyramid:
        columns = _place_weights(centres[:, 0], size, images.shape[3])  # (batch, size, width)
        rows = _place_weights(centres[:, 1], size, images.shape[2])  # (batch, size, height)
        windows.append(rows.unsqueeze(1) @ images @ columns.unsqueeze(1).transpose(-2, -1))
    return torch.stack(windows, dim=1)


def _place_weights(centre: Tensor, size: int, n_pixels: int) -> Tensor:
    """Return the weights (batch, size, n_pixels) of the pixels along one axis for every point of a window."""
    # A pixel is a square: the middle of pixel 0 lies half a pixel inside the edge.
    middle = (centre + 1) / 2 * n_pixels - 0.5
    steps = torch.arange(size, dtype=centre.dtype, device=centre.device) - (size - 1) / 2
    pixels = torch.arange(n_pixels, dtype=centre.dtype, device=centre.device)
    points = middle[:, None] + steps  # (batch, size)
    return (1 - (points.unsqueeze(-1) - pixels).abs()).clamp(min=0)


class GlimpseTrace(NamedTuple):
    """Hold what a glimpse network saw and said, one entry for each glimpse.

    Parameters
    ----------
    logits : Tensor, shape (batch, n_glimpses, n_classes)
        What it would have answered after each glimpse.
    centres : Tensor, shape (batch, n_glimpses, 2)
        Where it looked, as (x, y) from −1 to 1.
    log_probabilities : Tensor, shape (batch, n_glimpses − 1), or None
        Log density of every sampled move, in nats; None where nothing was sampled.
    baselines : Tensor, shape (batch, n_glimpses − 1), or None
        The reward that the network expected before every sampled move.
    """

    logits: Tensor
    centres: Tensor
    log_probabilities: Tensor | None
    baselines: Tensor | None


class GlimpseNetwork(nn.Module):
    r"""Look at an image a few times through a small window, and decide after each look where to look next.

    .. math::
        \begin{aligned}
        g_t &= \operatorname{ReLU}\!\left(W\,[\operatorname{ReLU}(W^{\text{what}} x(l_t));\,
            \operatorname{ReLU}(W^{\text{where}} l_t)]\right), &
        h_t &= \mathrm{GRU}(g_t, h_{t-1}), \\
        \mu_t &= \tanh(W^{\text{move}} h_t), &
        l_{t+1} &= \mu_t \;\text{(soft)} \quad\text{or}\quad
            l_{t+1} \sim \mathcal{N}(\mu_t, s^2 I) \;\text{(hard)}
        \end{aligned}

    x(l) are the windows of ``extract_glimpses`` around l. The first look is at the middle of the image. In
    the soft network the gradient of the loss moves the window; in the hard one the window is sampled and no
    gradient passes through it: the moves learn from reward, see ``glimpse_loss``.

    Parameters
    ----------
    image_size : int
        Height and width of the images, in pixels.
    n_classes : int
        Classes to tell apart.
    move : {"soft", "hard"}
        How the window is steered.
    n_glimpses : int
        Looks at every image.
    glimpse_size : int
        Points along a side of the window.
    n_scales : int
        Windows in one look, each of twice the width of the one before.
    n_channels : int
        Channels of the images.
    d_hidden : int
        Features of a glimpse and of the state.
    spread : float
        Standard deviation s of a sampled move; half an image is 1.

    Raises
    ------
    TypeError
        If a number has the wrong type.
    ValueError
        If a number is out of range, ``move`` is unknown, or the scales do not fit the image.

    Notes
    -----
    In evaluation the hard network looks at :math:`\mu_t` instead of sampling. A sampled centre outside the
    image is moved to its edge. Differences from the paper: the state is a GRU's, the first look is not
    random, and the window's points are interpolated. Built in chapter 11.

    References
    ----------
    Mnih, Heess, Graves and Kavukcuoglu, "Recurrent models of visual attention", NIPS 2014, sections 2 and 3.
    """

    def __init__(
        self,
        image_size: int,
        n_classes: int,
        *,
        move: str = "soft",
        n_glimpses: int = 4,
        glimpse_size: int = 8,
        n_scales: int = 3,
        n_channels: int = 1,
        d_hidden: int = 64,
        spread: float = 0.15,
    ) -> None:
        super().__init__()
        for name, size in [
            ("image_size", image_size),
            ("n_classes", n_classes),
            ("n_glimpses", n_glimpses),
            ("glimpse_size", glimpse_size),
            ("n_scales", n_scales),
            ("n_channels", n_channels),
            ("d_hidden", d_hidden),
        ]:
            check_count(name, size)
        coarsest = 2 ** (n_scales - 1)
        if image_size % coarsest:
            raise ValueError(
                f"image_size must be a multiple of {coarsest} for n_scales={n_scales}, "
                f"got image_size={image_size}"
            )
        check_choice("move", move, MOVES)
        check_number("spread", spread, above=0)
        self.what_proj = nn.Linear(n_scales * n_channels * glimpse_size**2, d_hidden)
        self.where_proj = nn.Linear(2, d_hidden)
        self.glimpse_proj = nn.Linear(2 * d_hidden, d_hidden)
        self.cell = nn.GRUCell(d_hidden, d_hidden)
        self.move_proj = nn.Linear(d_hidden, 2)
        self.output_proj = nn.Linear(d_hidden, n_classes)
        if move == "hard":
            self.baseline_proj = nn.Linear(d_hidden, 1)
        self.move = move
        self.image_size = image_size
        self.n_channels = n_channels
        self.n_glimpses = n_glimpses
        self.glimpse_size = glimpse_size
        self.n_scales = n_scales
        self.spread = spread

    def forward(self, images: Tensor, return_weights: bool = False) -> Tensor | tuple[Tensor, GlimpseTrace]:
        """Score every class for every image.

        Parameters
        ----------
        images : Tensor of float, shape (batch, n_channels, image_size, image_size)
            The images. Not modified.
        return_weights : bool
            Return where the network looked as well.

        Returns
        -------
        logits : Tensor, shape (batch, n_classes)
            Unnormalised log-probabilities after the last glimpse, in nats.
        trace : GlimpseTrace
            All glimpses. Only with ``return_weights=True``.

        Raises
        ------
        TypeError
            If ``images`` are no floating-point tensor.
        ValueError
            If they have another shape, are empty or hold NaN.
        """
        _check_images(images)
        if images.shape[1:] != (self.n_channels, self.image_size, self.image_size):
            raise ValueError(
                f"images must have shape (batch, {self.n_channels}, {self.image_size}, {self.image_size}), "
                f"got images.shape={tuple(images.shape)}"
            )
        pyramid = _pyramid(images, self.n_scales)
        sampled = self.move == "hard" and self.training
        centre = images.new_zeros(len(images), 2)
        hidden = images.new_zeros(len(images), self.cell.hidden_size)
        logits, centres, log_probabilities, baselines = [], [], [], []
        for step in range(self.n_glimpses):
            if step:
                centre = torch.tanh(self.move_proj(hidden))
                if sampled:
                    centre, log_probability = self._sample(centre)
                    log_probabilities.append(log_probability)
                    # The baseline learns to predict; what it predicts from does not bend towards it.
                    baselines.append(self.baseline_proj(hidden.detach()).squeeze(-1))
            hidden = self.cell(self._see(pyramid, centre), hidden)
            logits.append(self.output_proj(hidden))
            centres.append(centre)
        if not return_weights:
            return logits[-1]
        trace = GlimpseTrace(
            torch.stack(logits, dim=1),
            torch.stack(centres, dim=1),
            torch.stack(log_probabilities, dim=1) if log_probabilities else None,
            torch.stack(baselines, dim=1) if baselines else None,
        )
        return logits[-1], trace

    def _see(self, pyramid: list[Tensor], centre: Tensor) -> Tensor:
        """Return the features (batch, d_hidden) of one look: what is there, and where it is."""
        windows = _cut(pyramid, centre, self.glimpse_size)
        what = torch.relu(self.what_proj(windows.flatten(1)))
        where = torch.relu(self.where_proj(centre))
        return torch.relu(self.glimpse_proj(torch.cat([what, where], dim=-1)))

    def _sample(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Draw a centre (batch, 2) around ``mean``, without gradient; return it with its log density."""
        drawn = (mean + self.spread * torch.randn_like(mean)).detach()
        log_probability = torch.distributions.Normal(mean, self.spread).log_prob(drawn).sum(dim=-1)
        # What is moved to the edge was still drawn outside: the density is that of the draw.
        return drawn.clamp(-1, 1), log_probability


def glimpse_loss(trace: GlimpseTrace, labels: Tensor, *, reward_weight: float = 0.05) -> Tensor:
    r"""Return the loss that trains a glimpse network, soft or hard.

    .. math::
        L = -\log p(y) \;-\; \lambda \sum_t (R - b_t) \log \pi(l_{t+1} \mid h_t)
            \;+\; \sum_t (R - b_t)^2, \qquad R = 1 \text{ if the answer is right, else } 0

    The first term teaches what to answer; for a soft network it is the only one. The second moves the centres
    towards those that earned more reward than expected: in it :math:`R - b_t` counts as a constant, which
    makes its gradient an unbiased estimate of that of the expected reward (REINFORCE), whatever the baseline
    :math:`b_t`. The third teaches the baseline to expect the right reward, and moves nothing else.

    Parameters
    ----------
    trace : GlimpseTrace
        What the network returned in training mode. Not modified.
    labels : Tensor of int64, shape (batch,)
        The right classes. Not modified.
    reward_weight : float
        Weight λ of the second term.

    Returns
    -------
    Tensor, shape ()
        Mean over the batch; the first term in nats.

    Raises
    ------
    TypeError
        If ``labels`` are no tensor or ``reward_weight`` is not a number.
    ValueError
        If ``labels`` do not fit the batch or ``reward_weight`` is negative.

    Notes
    -----
    The answer after the last glimpse alone counts. The gradient of log π has the size of 1 / spread, far
    above that of the first term; a small λ keeps it from taking the whole step where gradients are clipped.
    Built in chapter 11.

    References
    ----------
    Mnih, Heess, Graves and Kavukcuoglu, "Recurrent models of visual attention", NIPS 2014, section 3.1;
    Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning",
    Machine Learning 8, 1992.
    """
    check_type("labels", labels, Tensor)
    check_number("reward_weight", reward_weight, at_least=0)
    if labels.shape != trace.logits.shape[:1]:
        raise ValueError(
            "labels must have one entry per image, "
            f"got labels.shape={tuple(labels.shape)}, logits.shape={tuple(trace.logits.shape)}"
        )
    answer = trace.logits[:, -1]
    loss = F.cross_entropy(answer, labels)
    if trace.log_probabilities is None:
        return loss
    reward = (answer.argmax(dim=-1) == labels).to(answer.dtype)
    surprise = reward.unsqueeze(1) - trace.baselines  # (batch, n_glimpses − 1)
    score = (surprise.detach() * trace.log_probabilities).sum(dim=1).mean()
    return loss - reward_weight * score + surprise.square().sum(dim=1).mean()


def _check_images(images: Tensor) -> None:
    check_type("images", images, Tensor)
    check_floats("images", images)
    if images.ndim != 4:
        raise ValueError(
            "images must have shape (batch, n_channels, height, width), "
            f"got images.shape={tuple(images.shape)}"
        )
