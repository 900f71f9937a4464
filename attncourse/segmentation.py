"""Name what every pixel shows: a small U-Net, without attention or with one of two kinds.

Built in chapter 12.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attncourse._checks import check_choice, check_count
from attncourse.multihead import MultiHeadAttention
from attncourse.vision import check_images

SEGMENTER_KINDS = ("none", "gates", "non-local")


class AttentionGate(nn.Module):
    r"""Weigh the places of a skip connection by what the coarser level knows of them.

    .. math:: \alpha_i = \sigma\!\left(w^\top \operatorname{relu}(W^x x_i + W^g g_i + b) + b'\right), \qquad
        \hat{x}_i = \alpha_i x_i

    Parameters
    ----------
    n_skip : int
        Channels of the skip connection.
    n_coarse : int
        Channels of the coarser level.
    d_hidden : int, optional
        Features in which the two are compared; half of ``n_skip`` unless given.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    Additive attention with a sigmoid in place of the softmax: every place is judged by itself, and the
    weights need not sum to 1. Built in chapter 12.

    References
    ----------
    .. [1] Oktay et al. (2018), "Attention U-Net: learning where to look for the pancreas" (there the two are
       compared on the coarser grid, and the map is enlarged).
    """

    def __init__(self, n_skip: int, n_coarse: int, *, d_hidden: int | None = None) -> None:
        super().__init__()
        d_hidden = max(1, n_skip // 2) if d_hidden is None else d_hidden
        for name, size in (("n_skip", n_skip), ("n_coarse", n_coarse), ("d_hidden", d_hidden)):
            check_count(name, size)
        self.n_skip, self.n_coarse = n_skip, n_coarse
        self.skip_proj = nn.Conv2d(n_skip, d_hidden, 1, bias=False)
        self.coarse_proj = nn.Conv2d(n_coarse, d_hidden, 1)
        self.weight_proj = nn.Conv2d(d_hidden, 1, 1)

    def forward(self, skip: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Scale the skip connection.

        Parameters
        ----------
        skip : Tensor of float, shape (batch, n_skip, height, width)
            Features of the finer level. Not modified.
        coarse : Tensor of float, shape (batch, n_coarse, rows, columns)
            Features of the coarser level; its projection is enlarged to the finer grid, bilinearly. Not
            modified.

        Returns
        -------
        output : Tensor, shape (batch, n_skip, height, width)
            What the gate lets through.
        weights : Tensor, shape (batch, height, width)
            The gate α, from 0 to 1.

        Raises
        ------
        TypeError
            If an argument is not a tensor of floats.
        ValueError
            If the shapes do not fit.
        """
        check_images("skip", skip, n_channels=self.n_skip)
        check_images("coarse", coarse, n_channels=self.n_coarse)
        asked = F.interpolate(
            self.coarse_proj(coarse), size=skip.shape[2:], mode="bilinear", align_corners=False
        )
        weights = torch.sigmoid(self.weight_proj(torch.relu(self.skip_proj(skip) + asked)))
        return weights * skip, weights.squeeze(1)


class NonLocalBlock(nn.Module):
    r"""Let every cell of a feature map look at all others, and add what it finds.

    .. math:: Z = X + \operatorname{attention}(X W^Q, X W^K, X W^V)\, W^O, \qquad
        X \text{: one row for each cell}

    Parameters
    ----------
    n_channels : int
        Channels of the feature map.

    Raises
    ------
    TypeError
        If the size is not an integer.
    ValueError
        If it is below 1.

    Notes
    -----
    Self-attention with one head and a residual path: the "non-local block" is chapter 7's layer over cells.
    The output matrix starts at zero, and the block as the identity. There are no positions: what a cell finds
    does not depend on where. Time O(n² · n_channels) for n cells. Built in chapter 12.

    References
    ----------
    .. [1] Wang et al. (2018), "Non-local neural networks", sections 3.2 ("embedded Gaussian", without the
       factor 1 / √d) and 3.3.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        check_count("n_channels", n_channels)
        self.n_channels = n_channels
        self.attention = MultiHeadAttention(n_channels, 1)
        nn.init.zeros_(self.attention.output_proj.weight)

    def forward(self, features: Tensor, *, return_weights: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Add to every cell what it finds in the others.

        Parameters
        ----------
        features : Tensor of float, shape (batch, n_channels, height, width)
            Feature map. Not modified.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        output : Tensor, shape of ``features``
            New features.
        weights : Tensor, shape (batch, n_cells, n_cells)
            Only with ``return_weights=True``: each row sums to 1; cells are counted row by row.

        Raises
        ------
        TypeError
            If ``features`` is not a tensor of floats.
        ValueError
            If its shape does not fit or it holds NaN.
        """
        check_images("features", features, n_channels=self.n_channels)
        cells = features.flatten(2).transpose(1, 2)  # (batch, n_cells, n_channels)
        found = self.attention(cells, return_weights=return_weights)
        found, weights = found if return_weights else (found, None)
        output = features + found.transpose(1, 2).unflatten(2, features.shape[2:])
        return (output, weights.squeeze(1)) if return_weights else output


class Segmenter(nn.Module):
    """Score the classes of every pixel with a U-Net of three levels.

    Parameters
    ----------
    n_classes : int
        Classes of pixels, the background included.
    attention : {"none", "gates", "non-local"}, optional
        Nothing, an ``AttentionGate`` on either skip connection, or a ``NonLocalBlock`` at the coarsest level.
    n_channels : int, optional
        Channels of the images.
    widths : tuple of three int, optional
        Channels of the three levels, the finest first.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1, there are not three widths, or ``attention`` is unknown.

    Notes
    -----
    Without the attention, the nets are the same, layer by layer. The receptive field of the coarsest level is
    32 pixels. Built in chapter 12.

    References
    ----------
    .. [1] Ronneberger, Fischer and Brox (2015), "U-Net: convolutional networks for biomedical image
       segmentation", section 2.
    """

    def __init__(
        self,
        n_classes: int,
        attention: str = "none",
        *,
        n_channels: int = 3,
        widths: tuple[int, int, int] = (16, 24, 32),
    ) -> None:
        super().__init__()
        check_count("n_classes", n_classes)
        check_choice("attention", attention, SEGMENTER_KINDS)
        check_count("n_channels", n_channels)
        if len(widths) != 3:
            raise ValueError(f"widths must hold 3 sizes, got widths={widths}")
        for index, width in enumerate(widths):
            check_count(f"widths[{index}]", width)
        self.n_channels = n_channels
        self.attention = attention
        fine, middle, coarse = widths
        steps = [(n_channels, fine), (fine, middle), (middle, coarse)]
        self.down = nn.ModuleList(_two_convolutions(n_before, n_after) for n_before, n_after in steps)
        self.non_local = NonLocalBlock(coarse) if attention == "non-local" else None
        self.gates = None
        if attention == "gates":
            self.gates = nn.ModuleList([AttentionGate(middle, coarse), AttentionGate(fine, middle)])
        self.up = nn.ModuleList(
            [_two_convolutions(coarse + middle, middle), _two_convolutions(middle + fine, fine)]
        )
        self.output_proj = nn.Conv2d(fine, n_classes, 1)

    def forward(
        self, images: Tensor, *, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        """Score every pixel.

        Parameters
        ----------
        images : Tensor of float, shape (batch, n_channels, height, width)
            Images; 4 divides height and width. Not modified.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        logits : Tensor, shape (batch, n_classes, height, width)
            Unnormalised log-probabilities, in nats, as ``F.cross_entropy`` wants them.
        weights : Tensor or tuple of Tensor
            Only with ``return_weights=True``. With gates the pair of their maps, first that of half the size:
            (batch, height / 2, width / 2) and (batch, height, width). With the non-local block its weights,
            (batch, n_cells, n_cells) for cells of 4 × 4 pixels.

        Raises
        ------
        TypeError
            If ``images`` is not a tensor of floats.
        ValueError
            If the shape does not fit, or weights are asked of a net without attention.
        """
        check_images("images", images, n_channels=self.n_channels)
        if images.shape[2] % 4 or images.shape[3] % 4:
            raise ValueError(
                f"images must have a height and width that 4 divides, got images.shape={tuple(images.shape)}"
            )
        if return_weights and self.attention == "none":
            raise ValueError(
                "return_weights must be False for a net without attention, "
                f"got return_weights={return_weights}"
            )
        fine = self.down[0](images)  # (batch, widths[0], height, width)
        middle = self.down[1](F.max_pool2d(fine, 2))  # (batch, widths[1], height / 2, width / 2)
        x = self.down[2](F.max_pool2d(middle, 2))  # (batch, widths[2], height / 4, width / 4)
        weights = None
        if self.non_local is not None:
            x = self.non_local(x, return_weights=return_weights)
            x, weights = x if return_weights else (x, None)
        maps = []
        for level, skip in enumerate((middle, fine)):
            if self.gates is not None:
                skip, gate = self.gates[level](skip, x)
                maps.append(gate)
            enlarged = F.interpolate(x, scale_factor=2, mode="nearest")
            x = self.up[level](torch.cat([enlarged, skip], dim=1))
        logits = self.output_proj(x)  # (batch, n_classes, height, width)
        if not return_weights:
            return logits
        return logits, weights if self.gates is None else tuple(maps)


def _two_convolutions(n_before: int, n_after: int) -> nn.Sequential:
    """Make two convolutions of 3 × 3, each with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for n_in in (n_before, n_after):
        # No bias: the normalisation would take it out again.
        layers += [nn.Conv2d(n_in, n_after, 3, padding=1, bias=False), nn.BatchNorm2d(n_after), nn.ReLU()]
    return nn.Sequential(*layers)
