"""Gates on feature maps: numbers between 0 and 1 that scale channels or places, and need not sum to 1.

Built in chapter 11.
"""

import torch
from torch import Tensor, nn

from attncourse._checks import check_choice, check_count, check_floats, check_type

GATE_KINDS = ("none", "channel", "spatial", "both")


class ChannelGate(nn.Module):
    r"""Scale every channel by how much its average over the image says it is needed.

    .. math::
        z_c = \frac{1}{HW} \sum_{i,j} x_{cij}, \quad
        g = \sigma\!\left(\operatorname{ReLU}(z W_1 + b_1) W_2 + b_2\right), \quad
        y_{cij} = g_c \, x_{cij}

    With ``use_maximum`` the largest entry :math:`m_c = \max_{ij} x_{cij}` of every channel goes through the
    same two layers, and the two results are added before the sigmoid.

    Parameters
    ----------
    n_channels : int
        Channels of the feature map.
    reduction : int
        Factor by which the hidden layer is narrower than ``n_channels``; it has at least one unit.
    use_maximum : bool
        Read the maximum of every channel beside its average.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    Parameters: about 2 · n_channels² / reduction. Time O(n_channels · height · width), for the averages and
    the scaling. Built in chapter 11.

    References
    ----------
    Hu, Shen and Sun, "Squeeze-and-excitation networks", CVPR 2018, section 3.1 (equation 2) and 3.2 (equation
    3, which has no biases); the maximum: Woo et al., "CBAM: Convolutional block attention module", ECCV 2018,
    section 3, equation 2.
    """

    def __init__(self, n_channels: int, *, reduction: int = 4, use_maximum: bool = False) -> None:
        super().__init__()
        check_count("n_channels", n_channels)
        check_count("reduction", reduction)
        n_hidden = max(1, n_channels // reduction)
        self.n_channels = n_channels
        self.use_maximum = use_maximum
        self.squeeze_proj = nn.Linear(n_channels, n_hidden)
        self.excite_proj = nn.Linear(n_hidden, n_channels)

    def forward(self, features: Tensor, return_weights: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Scale the channels of every image by its own gate.

        Parameters
        ----------
        features : Tensor of float, shape (batch, n_channels, height, width)
            The feature map. Not modified.
        return_weights : bool
            Return the gate as well.

        Returns
        -------
        output : Tensor, shape (batch, n_channels, height, width)
            The scaled map.
        gate : Tensor, shape (batch, n_channels, 1, 1)
            Numbers between 0 and 1. Only with ``return_weights=True``.

        Raises
        ------
        TypeError
            If ``features`` are no floating-point tensor.
        ValueError
            If they have another shape, are empty or hold NaN.
        """
        _check_features(features, self.n_channels)
        scores = self._excite(features.mean(dim=(2, 3)))  # (batch, n_channels)
        if self.use_maximum:
            scores = scores + self._excite(features.amax(dim=(2, 3)))
        gate = torch.sigmoid(scores)[..., None, None]
        return (features * gate, gate) if return_weights else features * gate

    def _excite(self, summary: Tensor) -> Tensor:
        return self.excite_proj(torch.relu(self.squeeze_proj(summary)))


class SpatialGate(nn.Module):
    r"""Scale every place by what the average and the maximum over the channels look like around it.

    .. math::
        g = \sigma\!\left(f * \left[\tfrac{1}{C} \textstyle\sum_c x_c;\; \max_c x_c\right] + b\right), \quad
        y_{cij} = g_{ij} \, x_{cij}

    The filter f reads these two maps through ``kernel_size`` × ``kernel_size`` taps each, and zeros outside
    the image.

    Parameters
    ----------
    kernel_size : int
        Height and width of the filter, in cells; odd.

    Raises
    ------
    TypeError
        If ``kernel_size`` is not an integer.
    ValueError
        If it is below 1 or even.

    Notes
    -----
    Parameters: 2 · kernel_size² + 1, whatever the number of channels. Built in chapter 11.

    References
    ----------
    Woo et al., "CBAM: Convolutional block attention module", ECCV 2018, section 3, equation 3.
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        check_count("kernel_size", kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got kernel_size={kernel_size}")
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, features: Tensor, return_weights: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Scale the places of every image by its own gate, of shape (batch, 1, height, width).

        Otherwise as ``ChannelGate.forward``; any number of channels will do.
        """
        _check_features(features)
        summary = torch.stack([features.mean(dim=1), features.amax(dim=1)], dim=1)  # (batch, 2, H, W)
        gate = torch.sigmoid(self.conv(summary))
        return (features * gate, gate) if return_weights else features * gate


class ConvBlockAttention(nn.Module):
    r"""Gate the channels first, by average and maximum, and then the places of what is left.

    .. math:: x' = g^{\text{channel}}(x) \odot x, \qquad y = g^{\text{spatial}}(x') \odot x'

    Parameters
    ----------
    n_channels : int
        Channels of the feature map.
    reduction : int
        As in ``ChannelGate``.
    kernel_size : int
        As in ``SpatialGate``.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is out of range.

    Notes
    -----
    The authors' code puts a batch normalisation behind the spatial filter; their equations have none, and
    neither has this module. Built in chapter 11.

    References
    ----------
    Woo et al., "CBAM: Convolutional block attention module", ECCV 2018, section 3, equations 1–3.
    """

    def __init__(self, n_channels: int, *, reduction: int = 4, kernel_size: int = 7) -> None:
        super().__init__()
        self.channel_gate = ChannelGate(n_channels, reduction=reduction, use_maximum=True)
        self.spatial_gate = SpatialGate(kernel_size)

    def forward(
        self, features: Tensor, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
        """Apply both gates; with ``return_weights=True`` return (channel gate, spatial gate) as well.

        Otherwise as ``ChannelGate.forward``.
        """
        features, channel_gate = self.channel_gate(features, return_weights=True)
        output, spatial_gate = self.spatial_gate(features, return_weights=True)
        return (output, (channel_gate, spatial_gate)) if return_weights else output


class NoGate(nn.Module):
    """Let every feature map through as it is, so that a network without gates needs no second code path.

    Notes
    -----
    Built in chapter 11.
    """

    def forward(self, features: Tensor, return_weights: bool = False) -> Tensor | tuple[Tensor, None]:
        """Return ``features``, and None as the gate with ``return_weights=True``."""
        return (features, None) if return_weights else features


def build_gate(kind: str, n_channels: int) -> nn.Module:
    """Make a gate by name, for experiments that compare them.

    Parameters
    ----------
    kind : {"none", "channel", "spatial", "both"}
        Nothing, ``ChannelGate``, ``SpatialGate`` or ``ConvBlockAttention``, each with its defaults.
    n_channels : int
        Channels of the feature map.

    Returns
    -------
    nn.Module
        A module from a feature map to one of the same shape; it takes ``return_weights``.

    Raises
    ------
    TypeError
        If ``n_channels`` is not an integer.
    ValueError
        If the kind is unknown or ``n_channels`` below 1.

    Notes
    -----
    Built in chapter 11.
    """
    check_choice("kind", kind, GATE_KINDS)
    check_count("n_channels", n_channels)
    if kind == "channel":
        return ChannelGate(n_channels)
    if kind == "both":
        return ConvBlockAttention(n_channels)
    return SpatialGate() if kind == "spatial" else NoGate()


def _check_features(features: Tensor, n_channels: int | None = None) -> None:
    check_type("features", features, Tensor)
    check_floats("features", features)
    if features.ndim != 4 or (n_channels is not None and features.shape[1] != n_channels):
        wanted = "n_channels" if n_channels is None else n_channels
        raise ValueError(
            f"features must have shape (batch, {wanted}, height, width), "
            f"got features.shape={tuple(features.shape)}"
        )
