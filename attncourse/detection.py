"""Find several objects at once: learned queries that each ask for one.

Built in chapter 12.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attncourse._checks import check_count
from attncourse.boxes import to_corners
from attncourse.image_classifiers import ConvTrunk
from attncourse.transformer_layers import DecoderLayer
from attncourse.transformer_parts import LayerNorm
from attncourse.vision import check_images, grid_positions


class Prediction(NamedTuple):
    """Hold what every query of a detector says.

    Parameters
    ----------
    logits : Tensor, shape (batch, n_queries, n_classes + 1)
        Unnormalised log-probabilities of the classes, in nats; the last one is "no object".
    boxes : Tensor, shape (batch, n_queries, 4)
        Corners x0, y0, x1, y1, as shares of the image's width and height.
    earlier : tuple of (logits, boxes)
        What the layers before the last one say, by the same heads; empty without attention. Only the loss
        reads it.
    """

    logits: Tensor
    boxes: Tensor
    earlier: tuple[tuple[Tensor, Tensor], ...] = ()


class DetectorMaps(NamedTuple):
    """Hold where the queries of a detector looked.

    Parameters
    ----------
    cells : Tensor, shape (batch, n_layers, n_heads, n_queries, n_rows, n_columns)
        Weights of the image's cells; each map sums to 1.
    queries : Tensor, shape (batch, n_layers, n_heads, n_queries, n_queries)
        Weights of the other queries.
    """

    cells: Tensor
    queries: Tensor


class Detections(NamedTuple):
    """Hold one detection for each query.

    Parameters
    ----------
    scores : Tensor, shape (batch, n_queries)
        Probability of the likeliest class; low where "no object" is likelier.
    labels : Tensor of int64, shape (batch, n_queries)
        That class, never "no object".
    boxes : Tensor, shape (batch, n_queries, 4)
        As in ``Prediction``.
    """

    scores: Tensor
    labels: Tensor
    boxes: Tensor


class ObjectQueries(nn.Module):
    r"""Let learned queries look at each other and at the image's cells, layer after layer.

    .. math:: X^{(0)} = Q, \qquad X^{(\ell)} = \operatorname{layer}_\ell\!\left(X^{(\ell-1)}, M\right)

    Q is learned and the same for all images; M holds the cells with their positions added.

    Parameters
    ----------
    n_queries : int
        Objects that can be found in an image, at most.
    d_model : int
        Features of a query's and of a cell's vector.
    n_heads : int
        Heads of each layer; it divides ``d_model``.
    n_layers : int
        Layers.
    d_ff : int
        Features inside the feed-forward networks.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1 or the heads do not divide.

    Notes
    -----
    The layers are the Transformer's decoder layers without the causal mask: the queries have no order. What
    one of them claims, the others learn from the self-attention. Built in chapter 12.

    References
    ----------
    .. [1] Carion et al. (2020), section 3.2 (there the queries are added again in every layer, and positions
       to the keys alone; and an encoder comes first).
    """

    def __init__(self, n_queries: int, d_model: int, n_heads: int, n_layers: int, d_ff: int) -> None:
        super().__init__()
        check_count("n_queries", n_queries)
        check_count("n_layers", n_layers)
        self.layers = nn.ModuleList(
            DecoderLayer(d_model, n_heads, d_ff, is_causal=False) for _ in range(n_layers)
        )
        self.queries = nn.Parameter(torch.randn(n_queries, d_model))

    def forward(
        self, memory: Tensor, *, return_weights: bool = False
    ) -> tuple[list[Tensor], Tensor | None, Tensor | None]:
        """Return what the queries know behind every layer, and the weights where they are asked for.

        Parameters
        ----------
        memory : Tensor of float, shape (batch, n_cells, d_model)
            One vector for each cell, its position included. Not modified.
        return_weights : bool, optional
            Whether to return the weights, not None in their place.

        Returns
        -------
        states : list of Tensor, shape (batch, n_queries, d_model)
            One entry for each layer.
        cell_weights : Tensor, shape (batch, n_layers, n_heads, n_queries, n_cells), or None
            Where the queries looked in the image.
        query_weights : Tensor, shape (batch, n_layers, n_heads, n_queries, n_queries), or None
            How they looked at each other.
        """
        x = self.queries.expand(len(memory), -1, -1)  # (batch, n_queries, d_model)
        states, cell_weights, query_weights = [], [], []
        for layer in self.layers:
            x = layer(x, memory, return_weights=return_weights)
            if return_weights:
                x, among, looked = x
                cell_weights.append(looked)
                query_weights.append(among)
            states.append(x)
        if not return_weights:
            return states, None, None
        return states, torch.stack(cell_weights, dim=1), torch.stack(query_weights, dim=1)


class FlatSlots(nn.Module):
    """Make the vectors of all slots from the whole grid at once, without attention: the baseline.

    Parameters
    ----------
    n_queries : int
        Slots.
    n_cells : int
        Cells of the grid.
    d_model : int
        Features of a cell's and of a slot's vector.
    d_hidden : int, optional
        Features of the hidden layer.
    n_kept : int, optional
        Features to which every cell is narrowed before the grid is flattened.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1.

    Notes
    -----
    With 144 cells, 6 slots and the sizes below about as many parameters as two layers of ``ObjectQueries``
    with d_model = 64 and d_ff = 128. Built in chapter 12.
    """

    def __init__(
        self, n_queries: int, n_cells: int, d_model: int, *, d_hidden: int = 64, n_kept: int = 8
    ) -> None:
        super().__init__()
        for name, size in (
            ("n_queries", n_queries),
            ("n_cells", n_cells),
            ("d_model", d_model),
            ("d_hidden", d_hidden),
            ("n_kept", n_kept),
        ):
            check_count(name, size)
        self.layers = nn.Sequential(
            nn.Linear(d_model, n_kept),
            nn.Flatten(),
            nn.Linear(n_cells * n_kept, d_hidden),
            nn.ReLU(),
            nn.Linear(d_hidden, n_queries * d_model),
            nn.Unflatten(1, (n_queries, d_model)),
        )

    def forward(self, memory: Tensor) -> Tensor:
        """Return (batch, n_queries, d_model) from the cells, (batch, n_cells, d_model)."""
        return self.layers(memory)


class Detector(nn.Module):
    r"""Find the objects of an image: each query says what it found and where, or that it found none.

    .. math::
        p_q = \operatorname{softmax}(W^C x_q + b^C), \qquad
        (x, y, w, h)_q = \operatorname{sigmoid}\!\left(\operatorname{MLP}(x_q) + r_q\right)

    r is learned: the place and the size from which query q starts.

    Parameters
    ----------
    n_classes : int
        Classes of objects.
    image_size : int, optional
        Height and width of the images, in pixels.
    n_queries : int, optional
        Objects that can be found in an image, at most.
    n_channels : int, optional
        Channels of the images.
    d_model : int, optional
        Features of a query's and of a cell's vector; a multiple of 4.
    n_heads : int, optional
        Heads of each layer; it divides ``d_model``.
    n_layers : int, optional
        Layers in which the queries look at the image.
    d_ff : int, optional
        Features inside the feed-forward networks; twice ``d_model`` unless given.
    attention : bool, optional
        Whether queries look at the image. Otherwise ``FlatSlots`` makes their vectors, with the same trunk,
        the same heads and the same loss.
    d_hidden, n_kept : int, optional
        Sizes of ``FlatSlots``; read only without attention.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is below 1 or does not fit.

    Notes
    -----
    Built in chapter 12.

    References
    ----------
    .. [1] Carion et al. (2020), "End-to-end object detection with transformers", section 3.2.
    .. [2] Meng et al. (2021), "Conditional DETR for fast training convergence", section 3 (the place from
       which a query starts; the size is ours).
    """

    def __init__(
        self,
        n_classes: int,
        *,
        image_size: int = 48,
        n_queries: int = 6,
        n_channels: int = 3,
        d_model: int = 64,
        n_heads: int = 4,
        n_layers: int = 2,
        d_ff: int | None = None,
        attention: bool = True,
        d_hidden: int = 64,
        n_kept: int = 8,
    ) -> None:
        super().__init__()
        d_ff = 2 * d_model if d_ff is None else d_ff
        for name, size in (
            ("n_classes", n_classes),
            ("image_size", image_size),
            ("n_queries", n_queries),
            ("d_model", d_model),
        ):
            check_count(name, size)
        self.n_classes, self.n_queries = n_classes, n_queries
        self.image_size, self.n_channels = image_size, n_channels
        self.has_attention = attention
        self.trunk = ConvTrunk(n_channels, (d_model // 2, d_model, d_model))
        self.grid = self.trunk.grid(image_size, image_size)
        self.register_buffer("positions", grid_positions(*self.grid, d_model), persistent=False)
        if attention:
            self.readout = ObjectQueries(n_queries, d_model, n_heads, n_layers, d_ff)
        else:
            n_cells = self.grid[0] * self.grid[1]
            self.readout = FlatSlots(n_queries, n_cells, d_model, d_hidden=d_hidden, n_kept=n_kept)
        self.norm = LayerNorm(d_model)
        self.class_proj = nn.Linear(d_model, n_classes + 1)
        self.box_layers = nn.Sequential(nn.Linear(d_model, d_model), nn.ReLU(), nn.Linear(d_model, 4))
        self.references = nn.Parameter(_spread_references(n_queries))

    def forward(
        self, images: Tensor, *, return_weights: bool = False
    ) -> Prediction | tuple[Prediction, DetectorMaps]:
        """Say what every query found.

        Parameters
        ----------
        images : Tensor of float, shape (batch, n_channels, image_size, image_size)
            Images. Not modified.
        return_weights : bool, optional
            Whether to return the maps too.

        Returns
        -------
        prediction : Prediction
            Classes and boxes of every query.
        maps : DetectorMaps
            Only with ``return_weights=True``: the weights that made the prediction.

        Raises
        ------
        TypeError
            If ``images`` is not a tensor of floats.
        ValueError
            If its shape is not the one that the model was built for, or maps are asked of a model without
            attention.
        """
        check_images("images", images, n_channels=self.n_channels, size=(self.image_size, self.image_size))
        if return_weights and not self.has_attention:
            raise ValueError(
                "return_weights must be False for a detector without attention, "
                f"got return_weights={return_weights}"
            )
        cells = self.trunk(images).flatten(2).transpose(1, 2)  # (batch, n_cells, d_model)
        memory = cells + self.positions
        if not self.has_attention:
            return Prediction(*self._heads(self.readout(memory)))
        states, cell_weights, query_weights = self.readout(memory, return_weights=return_weights)
        *earlier, last = [self._heads(state) for state in states]
        prediction = Prediction(*last, earlier=tuple(earlier))
        if not return_weights:
            return prediction
        return prediction, DetectorMaps(cell_weights.unflatten(-1, self.grid), query_weights)

    def _heads(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and boxes that (batch, n_queries, d_model) vectors mean."""
        normal = self.norm(states)
        boxes = torch.sigmoid(self.box_layers(normal) + self.references)  # centre and size
        return self.class_proj(normal), to_corners(boxes)

    @torch.no_grad()
    def detect(self, images: Tensor) -> Detections:
        """Return one detection for each query, the unlikely ones too: their low scores say so.

        The model is left in its mode: call ``eval()`` first, or the batch normalisation reads this batch.

        Parameters
        ----------
        images : Tensor of float, shape (batch, n_channels, image_size, image_size)
            Images. Not modified.

        Returns
        -------
        Detections
            What ``detection_measures.average_precision`` scores.

        Raises
        ------
        TypeError
            If ``images`` is not a tensor of floats.
        ValueError
            If its shape is not the one that the model was built for.
        """
        prediction = self.forward(images)
        scores, labels = prediction.logits.softmax(dim=-1)[..., :-1].max(dim=-1)
        return Detections(scores, labels, prediction.boxes)


def _spread_references(n_queries: int) -> Tensor:
    """Return logits of centre and size, (n_queries, 4): spread over the image, a quarter of it wide."""
    # Steps of the golden ratio spread any number of points evenly (one low-discrepancy sequence among many).
    steps = torch.arange(n_queries) + 0.5
    centres = torch.stack([steps / n_queries, (steps * (math.sqrt(5) - 1) / 2) % 1], dim=-1)
    sizes = torch.full((n_queries, 2), 0.25)
    return torch.logit(torch.cat([centres, sizes], dim=-1), eps=0.05)
