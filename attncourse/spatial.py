"""Attend to places in an image: an encoder whose vectors are regions, and captioners built on it.

With the decoders of chapter 5, and the one that picks a single region, a captioner looks at a place for every
word. Built in chapter 11.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attncourse._checks import check_choice, check_count, check_floats, check_type
from attncourse.hard_attention import ESTIMATORS, HardDecoder
from attncourse.recurrent_decoders import BahdanauDecoder, Memory, PlainDecoder
from attncourse.seq2seq import Seq2Seq

CAPTIONER_KINDS = ("none", "soft", "hard")

# Kernel and step of every convolution, in places of its input, and its share of the features: the early ones
# have many places and get few features. The product of the steps is a cell's width.
_LAYERS = ((6, 2, 1 / 4), (4, 2, 1 / 2), (2, 2, 1))
CELL_SIZE = 8


class ImageEncoder(nn.Module):
    r"""Turn an image into one vector for each cell of a grid, and each sees little more than its own cell.

    Three convolutions with batch normalisation halve the image three times. Then every cell is told where it
    lies, and one linear layer with a ReLU joins what it sees with that:

    .. math:: h_{rc} = \max\bigl(0,\; W\,[f_{rc};\, x_c;\, y_r] + b\bigr), \quad x_c, y_r \in [-1, 1]

    Parameters
    ----------
    n_channels : int
        Channels of the images.
    image_size : int
        Rows and columns of the square images, in pixels; a multiple of 8.
    d_memory : int
        Features of a cell's vector; the first convolution has a quarter as many, the second one half.

    Attributes
    ----------
    grid : (int, int)
        Rows and columns of cells; each cell stands for 8 × 8 pixels. Cell (r, c) is number
        r · columns + c of the memory.
    receptive_field : int
        Width in pixels of the square that a cell's vector depends on, with the cell in its middle.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1, or ``image_size`` is no multiple of 8.

    Notes
    -----
    The receptive field is small on purpose: a vector can then hold little but the pixels around its own cell.
    Where a cell sees half of the image, its weight need no longer tell where in the image a word came from.

    Xu et al. take a deep network trained on photographs, whose vectors see far. The coordinates follow Liu et
    al.: without them the vector of an inner cell hardly says where the cell lies. Built in chapter 11.

    References
    ----------
    Xu et al., "Show, attend and tell: Neural image caption generation with visual attention", ICML 2015,
    section 3.1.1 (a convolutional feature for each part of the image); Liu et al., "An intriguing failing of
    convolutional neural networks and the CoordConv solution", NeurIPS 2018 (coordinates as channels).
    """

    def __init__(self, n_channels: int = 3, *, image_size: int = 48, d_memory: int = 64) -> None:
        super().__init__()
        check_count("n_channels", n_channels)
        check_count("image_size", image_size)
        check_count("d_memory", d_memory)
        if image_size % CELL_SIZE:
            raise ValueError(f"image_size must be a multiple of {CELL_SIZE}, got image_size={image_size}")
        layers: list[nn.Module] = []
        self.receptive_field, step, n_in = 1, 1, n_channels
        for kernel, stride, share in _LAYERS:
            n_out = math.ceil(share * d_memory)
            # A batch norm has its own offset, and the padding keeps a cell in the middle of what it sees.
            layers += [
                nn.Conv2d(n_in, n_out, kernel, stride, padding=(kernel - stride) // 2, bias=False),
                nn.BatchNorm2d(n_out),
                nn.ReLU(),
            ]
            self.receptive_field += (kernel - 1) * step
            step, n_in = step * stride, n_out
        self.layers = nn.Sequential(*layers)
        self.output_proj = nn.Linear(d_memory + 2, d_memory)
        self.n_channels, self.image_size, self.d_memory = n_channels, image_size, d_memory
        self.grid = (image_size // CELL_SIZE, image_size // CELL_SIZE)

    def forward(self, images: Tensor, lengths: None = None) -> Memory:
        """Encode images.

        Parameters
        ----------
        images : Tensor of float, shape (batch, n_channels, image_size, image_size)
            The images. Not modified.
        lengths : None
            Images have no padding; the argument lets ``Seq2Seq`` call every encoder in one way.

        Returns
        -------
        Memory
            One vector for each cell, row by row, of shape (batch, rows · columns, d_memory); their mean as
            the vector for the whole image; and a mask that hides no cell.

        Raises
        ------
        TypeError
            If ``images`` are not a floating-point tensor.
        ValueError
            If their shape is not the one that the encoder was made for, or ``lengths`` is given.
        """
        check_type("images", images, Tensor)
        check_floats("images", images, min_axes=4)
        expected = (self.n_channels, self.image_size, self.image_size)
        if tuple(images.shape[1:]) != expected or images.ndim != 4:
            raise ValueError(
                f"images must have shape (batch, {', '.join(map(str, expected))}), "
                f"got images.shape={tuple(images.shape)}"
            )
        if lengths is not None:
            raise ValueError(f"lengths must be None for images, got lengths of type {type(lengths).__name__}")
        seen = self.layers(images).flatten(2).mT  # (batch, n_cells, d_memory)
        places = self._places(seen).expand(len(seen), -1, -1)  # (batch, n_cells, 2)
        states = F.relu(self.output_proj(torch.cat([seen, places], dim=-1)))
        n_cells = states.shape[1]
        return Memory(
            states,
            states.mean(dim=1),
            torch.full((len(states),), n_cells, device=states.device),
            torch.ones(len(states), 1, n_cells, dtype=torch.bool, device=states.device),
        )

    def _places(self, like: Tensor) -> Tensor:
        """Return the middle (x, y) of every cell, from -1 to 1 over the image, of shape (n_cells, 2)."""
        rows, columns = (
            (2 * torch.arange(size, device=like.device, dtype=like.dtype) + 1) / size - 1
            for size in self.grid
        )
        return torch.cartesian_prod(rows, columns).flip(-1)


def build_captioner(
    kind: str,
    vocab_size: int,
    *,
    image_size: int = 48,
    d_memory: int = 64,
    d_embedding: int = 32,
    d_hidden: int = 64,
    estimator: str = "straight-through",
) -> Seq2Seq:
    """Make a captioner by name: same encoder, same sizes, another way to look at the image.

    Parameters
    ----------
    kind : {"none", "soft", "hard"}
        The mean of all cells for every word; a mixture of cells for each word; one cell for each word.
    vocab_size : int
        Distinct words of the captions, the special ones included.
    image_size : int
        Rows and columns of the square images, in pixels; a multiple of 8.
    d_memory : int
        Features of a cell's vector.
    d_embedding : int
        Features of one word's embedding.
    d_hidden : int
        Features of the decoder state.
    estimator : {"straight-through", "reinforce"}
        How a hard decoder learns; read only by "hard".

    Returns
    -------
    Seq2Seq
        The model, with parameters drawn from torch's global generator. It is called with the images, None
        for the lengths, and the captions.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If ``kind`` or ``estimator`` is unknown, or a size is out of range.

    Notes
    -----
    Built in chapter 11.
    """
    check_choice("kind", kind, CAPTIONER_KINDS)
    check_choice("estimator", estimator, ESTIMATORS)
    check_count("vocab_size", vocab_size)
    encoder = ImageEncoder(image_size=image_size, d_memory=d_memory)
    decoder_class, options = {
        "none": (PlainDecoder, {}),
        "soft": (BahdanauDecoder, {}),
        "hard": (HardDecoder, {"estimator": estimator}),
    }[kind]
    decoder = decoder_class(vocab_size, d_memory, d_embedding=d_embedding, d_hidden=d_hidden, **options)
    return Seq2Seq(encoder, decoder)
