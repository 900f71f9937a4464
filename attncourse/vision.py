"""Classify images with self-attention over patches: the Vision Transformer, and a baseline without attention.

Built in chapter 12.
"""

import torch
from torch import Tensor, nn

from attncourse._checks import check_array, check_choice, check_count, check_type, dtype_name
from attncourse.positions import LearnedPositions, sinusoidal_positions
from attncourse.transformer_stacks import TransformerEncoder

PATCH_POSITIONS = ("learned", "none")
_POSITION_BASE = 100.0  # a grid has a dozen rows, not ten thousand


def check_images(
    name: str, images: Tensor, *, n_channels: int | None = None, size: tuple[int, int] | None = None
) -> None:
    """Require a batch of images, with so many channels and of such a size where these are given.

    Parameters
    ----------
    name : str
        The argument's name, for the text.
    images : Tensor of float, shape (batch, n_channels, height, width)
        What was passed. Not modified.
    n_channels : int, optional
        Channels that the model was built for.
    size : tuple of int, optional
        Height and width that it was built for, in pixels.

    Raises
    ------
    TypeError
        If ``images`` is not a tensor of floats.
    ValueError
        If it has not four axes, is empty, or has other channels or another size.
    """
    check_type(name, images, Tensor)
    check_array(name, images)
    if not images.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {name}.dtype={dtype_name(images)}")
    if images.ndim != 4 or not images.numel():
        raise ValueError(
            f"{name} must have four axes (batch, n_channels, height, width), none empty, "
            f"got {name}.shape={tuple(images.shape)}"
        )
    if n_channels is not None and images.shape[1] != n_channels:
        raise ValueError(f"{name} must have n_channels={n_channels}, got {name}.shape={tuple(images.shape)}")
    if size is not None and tuple(images.shape[2:]) != tuple(size):
        raise ValueError(
            f"{name} must be of (height, width)={tuple(size)}, got {name}.shape={tuple(images.shape)}"
        )


def patch_tokens(images: Tensor, patch_size: int) -> Tensor:
    r"""Cut images into square patches that do not overlap, and write each as one vector.

    .. math:: x_{t,\,(c, i, j)} = I_{c,\; rP + i,\; sP + j}, \qquad t = r \, (W / P) + s

    Patch t stands in row r and column s of the grid; P is the patch size and W the image's width.

    Parameters
    ----------
    images : Tensor of float, shape (batch, n_channels, height, width)
        Images. Not modified.
    patch_size : int
        Side of a patch in pixels; it divides height and width.

    Returns
    -------
    Tensor, shape (batch, n_patches, n_channels · patch_size²)
        One token for each patch, row by row from the top left; in it the channels one after the other, each
        row by row.

    Raises
    ------
    TypeError
        If ``images`` is not a tensor of floats or ``patch_size`` not an integer.
    ValueError
        If ``images`` has not four axes, or the patches do not divide it.

    Notes
    -----
    A linear map of these tokens is a convolution whose kernel and stride are the patch. Time and memory of
    one copy of the images; a view of them where the numbers lie in that order already. Built in chapter 12.

    References
    ----------
    .. [1] Dosovitskiy et al. (2021), section 3.1.
    """
    check_images("images", images)
    check_count("patch_size", patch_size)
    batch, n_channels, height, width = images.shape
    if height % patch_size or width % patch_size:
        raise ValueError(
            "patch_size must divide height and width, "
            f"got patch_size={patch_size}, images.shape={tuple(images.shape)}"
        )
    rows, columns = height // patch_size, width // patch_size
    cut = images.reshape(batch, n_channels, rows, patch_size, columns, patch_size)
    # (batch, rows, columns, n_channels, patch_size, patch_size)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, n_channels * patch_size**2)


def grid_positions(n_rows: int, n_columns: int, d_model: int) -> Tensor:
    """Describe every cell of a grid: one half of the vector says in which row it lies, the other the column.

    Parameters
    ----------
    n_rows, n_columns : int
        Size of the grid, in cells.
    d_model : int
        Entries of each vector; a multiple of 4.

    Returns
    -------
    Tensor, shape (n_rows · n_columns, d_model)
        Sinusoidal positions of row and column, one after the other, row by row.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1 or ``d_model`` not a multiple of 4.

    Notes
    -----
    Built in chapter 12.

    References
    ----------
    .. [1] Carion et al. (2020), appendix, "Spatial positional encoding".
    """
    check_count("d_model", d_model)
    if d_model % 4:
        raise ValueError(f"d_model must be a multiple of 4, got d_model={d_model}")
    rows = sinusoidal_positions(n_rows, d_model // 2, base=_POSITION_BASE)
    columns = sinusoidal_positions(n_columns, d_model // 2, base=_POSITION_BASE)
    pairs = [rows[:, None].expand(-1, n_columns, -1), columns.expand(n_rows, -1, -1)]
    return torch.cat(pairs, dim=-1).flatten(0, 1)  # (n_rows * n_columns, d_model)


class VisionTransformer(nn.Module):
    r"""Classify an image: its patches are the tokens, and one more token gathers what decides.

    .. math::
        X^{(0)} = [\,x_{\text{class}};\; P_1 W^P + b^P;\; \dots;\; P_N W^P + b^P\,] + \text{PE}, \qquad
        \text{logits} = W^C\, \operatorname{encoder}(X^{(0)})_0 + b^C

    Parameters
    ----------
    image_size : int
        Height and width of the images, in pixels.
    patch_size : int
        Side of a patch in pixels; it divides ``image_size``.
    n_classes : int
        Classes to choose from.
    n_channels : int, optional
        Channels of the images.
    d_model : int, optional
        Features of a token's vector.
    n_heads : int, optional
        Heads of each layer; it divides ``d_model``.
    n_layers : int, optional
        Layers.
    d_ff : int, optional
        Features inside the feed-forward networks; twice ``d_model`` unless given.
    positions : {"learned", "none"}, optional
        Whether each place of the grid has a learned vector. Without, a model sees a bag of patches.
    dropout : float, optional
        As in ``TransformerEncoder``.

    Raises
    ------
    TypeError
        If a size is not an integer or ``dropout`` not a number.
    ValueError
        If a size is below 1 or does not fit, ``positions`` is unknown, or ``dropout`` is outside [0, 1).

    Notes
    -----
    The layers are those of the text models, with the pre-norm wiring and GELU. Nothing in them knows that two
    patches are neighbours: that has to be learned. Built in chapter 12.

    References
    ----------
    .. [1] Dosovitskiy et al. (2021), "An image is worth 16x16 words: Transformers for image recognition at
       scale", section 3.1, equations 1 to 4.
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        n_classes: int,
        *,
        n_channels: int = 1,
        d_model: int = 48,
        n_heads: int = 4,
        n_layers: int = 3,
        d_ff: int | None = None,
        positions: str = "learned",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        d_ff = 2 * d_model if d_ff is None else d_ff
        for name, size in (
            ("image_size", image_size),
            ("patch_size", patch_size),
            ("n_classes", n_classes),
            ("n_channels", n_channels),
        ):
            check_count(name, size)
        check_choice("positions", positions, PATCH_POSITIONS)
        if image_size % patch_size:
            raise ValueError(f"patch_size must divide image_size={image_size}, got patch_size={patch_size}")
        self.image_size, self.patch_size, self.n_channels = image_size, patch_size, n_channels
        self.grid = (image_size // patch_size, image_size // patch_size)
        self.encoder = TransformerEncoder(
            d_model, n_heads, n_layers, d_ff, activation="gelu", dropout=dropout
        )
        self.patch_proj = nn.Linear(n_channels * patch_size**2, d_model)
        self.class_token = nn.Parameter(torch.randn(d_model))
        n_tokens = 1 + self.grid[0] * self.grid[1]
        self.learned = LearnedPositions(n_tokens, d_model) if positions == "learned" else None
        self.output_proj = nn.Linear(d_model, n_classes)

    def forward(self, images: Tensor, *, return_weights: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Score the classes of every image.

        Parameters
        ----------
        images : Tensor of float, shape (batch, n_channels, image_size, image_size)
            Images. Not modified.
        return_weights : bool, optional
            Whether to return the weights too.

        Returns
        -------
        logits : Tensor, shape (batch, n_classes)
            Unnormalised log-probabilities, in nats.
        weights : Tensor, shape (batch, n_layers, n_heads, 1 + n_patches, 1 + n_patches)
            Only with ``return_weights=True``: the weights that made the logits. Token 0 is the class token,
            token 1 + t is patch t of ``patch_tokens``.

        Raises
        ------
        TypeError
            If ``images`` is not a tensor of floats.
        ValueError
            If its shape is not the one that the model was built for.

        Notes
        -----
        Time O(n_layers · (n · d_model · (d_model + d_ff) + n² · d_model)) for n tokens.
        """
        check_images("images", images, n_channels=self.n_channels, size=(self.image_size, self.image_size))
        patches = self.patch_proj(patch_tokens(images, self.patch_size))  # (batch, n_patches, d_model)
        first = self.class_token.expand(len(images), 1, -1)
        tokens = torch.cat([first, patches], dim=1)  # (batch, 1 + n_patches, d_model)
        if self.learned is not None:
            tokens = tokens + self.learned(tokens.shape[1])
        encoded = self.encoder(tokens, return_weights=return_weights)
        encoded, weights = encoded if return_weights else (encoded, None)
        logits = self.output_proj(encoded[:, 0])  # (batch, n_classes)
        return (logits, weights) if return_weights else logits


class MLPClassifier(nn.Module):
    r"""Classify an image from all its pixels at once, with two hidden layers: no attention, no convolution.

    .. math:: \text{logits} = W^3 \operatorname{relu}(W^2 \operatorname{relu}(W^1 x + b^1) + b^2) + b^3

    Parameters
    ----------
    image_size : int
        Height and width of the images, in pixels.
    n_classes : int
        Classes to choose from.
    n_channels : int, optional
        Channels of the images.
    d_hidden : int, optional
        Features of either hidden layer.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    The order of the pixels means nothing to it either: shuffled the same way in all images, they make the
    same task. Built in chapter 12.
    """

    def __init__(self, image_size: int, n_classes: int, *, n_channels: int = 1, d_hidden: int = 128) -> None:
        super().__init__()
        for name, size in (
            ("image_size", image_size),
            ("n_classes", n_classes),
            ("n_channels", n_channels),
            ("d_hidden", d_hidden),
        ):
            check_count(name, size)
        self.image_size, self.n_channels = image_size, n_channels
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(n_channels * image_size**2, d_hidden),
            nn.ReLU(),
            nn.Linear(d_hidden, d_hidden),
            nn.ReLU(),
            nn.Linear(d_hidden, n_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Score the classes of every image.

        Parameters
        ----------
        images : Tensor of float, shape (batch, n_channels, image_size, image_size)
            Images. Not modified.

        Returns
        -------
        Tensor, shape (batch, n_classes)
            Unnormalised log-probabilities, in nats.

        Raises
        ------
        TypeError
            If ``images`` is not a tensor of floats.
        ValueError
            If its shape is not the one that the model was built for.
        """
        check_images("images", images, n_channels=self.n_channels, size=(self.image_size, self.image_size))
        return self.layers(images)
