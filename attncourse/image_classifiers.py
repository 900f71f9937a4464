"""A small convolutional network with several ways to get from a grid of features to one answer.

Built in chapter 11.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from attncourse._checks import check_choice, check_count, check_floats, check_type
from attncourse.attention import scaled_dot_product_attention
from attncourse.gates import GATE_KINDS, build_gate

READOUTS = ("flatten", "average", "maximum", "attention")
KERNEL_SIZES = (5, 3, 3)
STRIDES = (2, 2, 1)


class ConvTrunk(nn.Module):
    """Turn an image into a grid of feature vectors: three convolutions, each normalised, rectified and gated.

    The cell in row i and column j of the grid sees the square of 17 × 17 pixels around the pixel in row 4i
    and column 4j, and zeros where that reaches over the edge.

    Parameters
    ----------
    n_channels : int
        Channels of the images.
    widths : tuple of three int
        Channels behind each of the three convolutions.
    gate : {"none", "channel", "spatial", "both"}
        Gate behind each of them, see ``attncourse.gates.build_gate``.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1, there are not three widths, or the gate is unknown.

    Notes
    -----
    Built in chapter 11.
    """

    def __init__(
        self, n_channels: int = 1, widths: tuple[int, int, int] = (16, 32, 64), *, gate: str = "none"
    ) -> None:
        super().__init__()
        check_count("n_channels", n_channels)
        check_choice("gate", gate, GATE_KINDS)
        if len(widths) != len(KERNEL_SIZES):
            raise ValueError(f"widths must hold 3 sizes, got widths={widths}")
        blocks, gates = [], []
        n_before = n_channels
        for index, (width, kernel, stride) in enumerate(zip(widths, KERNEL_SIZES, STRIDES, strict=True)):
            check_count(f"widths[{index}]", width)
            # No bias: the normalisation would take it out again.
            conv = nn.Conv2d(n_before, width, kernel, stride=stride, padding=kernel // 2, bias=False)
            blocks.append(nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU()))
            gates.append(build_gate(gate, width))
            n_before = width
        self.n_channels = n_channels
        self.d_features = n_before
        self.blocks = nn.ModuleList(blocks)
        self.gates = nn.ModuleList(gates)

    @staticmethod
    def grid(height: int, width: int) -> tuple[int, int]:
        """Return how many rows and columns of cells an image of (height, width) pixels gets."""
        for stride in STRIDES:
            height, width = -(-height // stride), -(-width // stride)
        return height, width

    def forward(self, images: Tensor, return_weights: bool = False) -> Tensor | tuple[Tensor, tuple]:
        """Return the grid of features of every image.

        Parameters
        ----------
        images : Tensor of float, shape (batch, n_channels, height, width)
            The images. Not modified.
        return_weights : bool
            Return the gates as well.

        Returns
        -------
        features : Tensor, shape (batch, d_features, n_rows, n_columns)
            The grid.
        gates : tuple of three
            The gate of each block; None where there is none, a pair (channel, spatial) for "both". Only with
            ``return_weights=True``.

        Raises
        ------
        TypeError
            If ``images`` are no floating-point tensor.
        ValueError
            If they have another shape, are empty or hold NaN.
        """
        check_type("images", images, Tensor)
        check_floats("images", images)
        if images.ndim != 4 or images.shape[1] != self.n_channels:
            raise ValueError(
                f"images must have shape (batch, {self.n_channels}, height, width), "
                f"got images.shape={tuple(images.shape)}"
            )
        features, seen = images, []
        for block, gate in zip(self.blocks, self.gates, strict=True):
            features, weights = gate(block(features), return_weights=True)
            seen.append(weights)
        return (features, tuple(seen)) if return_weights else features


class ClassifierMaps(NamedTuple):
    """Hold what a classifier weighted on its way to an answer.

    Parameters
    ----------
    weights : Tensor, shape (batch, n_rows, n_columns), or None
        Weight of every cell in the readout; each map sums to 1. None for a readout without weights.
    gates : tuple of three
        As ``ConvTrunk.forward`` returns them.
    """

    weights: Tensor | None
    gates: tuple


class ImageClassifier(nn.Module):
    r"""Name what an image shows, from a grid of features read in one of four ways.

    With :math:`x_i` the feature vector of cell i of n, the linear map :math:`O` reads

    .. math::
        \begin{aligned}
        \text{flatten:}\quad & [x_1; \dots; x_n] \\
        \text{average:}\quad & \tfrac{1}{n} \textstyle\sum_i x_i \\
        \text{maximum:}\quad & \max_i x_i \quad \text{(of every feature by itself)} \\
        \text{attention:}\quad & \textstyle\sum_i a_i x_i, \quad
            a = \operatorname{softmax}_i\!\left(q \cdot x_i / \sqrt{d}\right)
        \end{aligned}

    The query q is learned, and the same for every image: it asks where there is something worth reading. It
    starts at zero, so attention starts as the average.

    Parameters
    ----------
    image_size : int
        Height and width of the images, in pixels.
    n_classes : int
        Classes to tell apart.
    readout : {"flatten", "average", "maximum", "attention"}
        How the grid is read.
    n_channels : int
        Channels of the images.
    widths : tuple of three int
        As in ``ConvTrunk``; the last one is d.
    gate : {"none", "channel", "spatial", "both"}
        As in ``ConvTrunk``.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1 or a choice is unknown.

    Notes
    -----
    Attention has d parameters more than the average; flattening has a row of O for each cell, and knows the
    cells apart. Built in chapter 11.
    """

    def __init__(
        self,
        image_size: int,
        n_classes: int,
        *,
        readout: str = "attention",
        n_channels: int = 1,
        widths: tuple[int, int, int] = (16, 32, 64),
        gate: str = "none",
    ) -> None:
        super().__init__()
        check_count("image_size", image_size)
        check_count("n_classes", n_classes)
        check_choice("readout", readout, READOUTS)
        self.trunk = ConvTrunk(n_channels, widths, gate=gate)
        d_features = self.trunk.d_features
        n_rows, n_columns = self.trunk.grid(image_size, image_size)
        if readout == "attention":
            self.query = nn.Parameter(torch.zeros(1, d_features))
        self.output_proj = nn.Linear(
            d_features * (n_rows * n_columns if readout == "flatten" else 1), n_classes
        )
        self.image_size = image_size
        self.readout = readout

    def forward(self, images: Tensor, return_weights: bool = False) -> Tensor | tuple[Tensor, ClassifierMaps]:
        """Score every class for every image.

        Parameters
        ----------
        images : Tensor of float, shape (batch, n_channels, image_size, image_size)
            The images. Not modified.
        return_weights : bool
            Return the weights of the cells and the gates as well.

        Returns
        -------
        logits : Tensor, shape (batch, n_classes)
            Unnormalised log-probabilities, in nats.
        maps : ClassifierMaps
            Only with ``return_weights=True``.

        Raises
        ------
        TypeError
            If ``images`` are no floating-point tensor.
        ValueError
            If they have another shape, are empty or hold NaN.
        """
        features, gates = self.trunk(images, return_weights=True)
        if images.shape[2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"images must be {self.image_size} pixels high and wide, "
                f"got images.shape={tuple(images.shape)}"
            )
        cells = features.flatten(2).transpose(1, 2)  # (batch, n_cells, d_features)
        summary, weights = self._read(cells)
        logits = self.output_proj(summary)
        if not return_weights:
            return logits
        if weights is not None:
            weights = weights.unflatten(1, features.shape[2:])
        return logits, ClassifierMaps(weights, gates)

    def _read(self, cells: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return one vector per image, and the weights (batch, n_cells) where it is a weighted sum."""
        if self.readout == "flatten":
            return cells.flatten(1), None
        if self.readout == "maximum":
            return cells.amax(dim=1), None
        if self.readout == "average":
            return cells.mean(dim=1), torch.full_like(cells[..., 0], 1 / cells.shape[1])
        output, weights = scaled_dot_product_attention(self.query, cells, cells, return_weights=True)
        return output.squeeze(1), weights.squeeze(1)
