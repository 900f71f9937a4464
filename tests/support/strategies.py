"""Hypothesis strategies for attention: sizes that differ, masks that may leave rows empty, seeded arrays."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st


@dataclass(frozen=True)
class Case:
    """One attention call in float64."""

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    mask: np.ndarray


@st.composite
def attention_cases(draw: st.DrawFn, *, leading: bool = True) -> Case:
    """Draw query, key, value and a mask of random density: rows may be empty, or keys hidden from all."""
    before = draw(st.sampled_from([(), (2,), (3, 2)])) if leading else ()
    n_queries, n_keys, d_head, d_value = (draw(st.integers(1, 7)) for _ in range(4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.1, 1.0, 10.0]))
    visible = draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))
    mask_before = draw(st.sampled_from([before, ()]))
    return Case(
        query=scale * rng.standard_normal((*before, n_queries, d_head)),
        key=rng.standard_normal((*before, n_keys, d_head)),
        value=rng.standard_normal((*before, n_keys, d_value)),
        mask=rng.random((*mask_before, n_queries, n_keys)) < visible,
    )
