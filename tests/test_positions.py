"""Position vectors and rotations equal their formulas, and shifting a position is a rotation."""

import cmath
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncourse.positions import (
    ROTARY_LAYOUTS,
    LearnedPositions,
    change_layout,
    position_angles,
    rotate,
    shift_matrix,
    sinusoidal_positions,
)
from tests.support.tolerances import BFLOAT16, FLOAT16, FLOAT32, FLOAT64

BATCH, N_TOKENS, D_MODEL, D_HEAD = 2, 7, 10, 6
EVEN = st.integers(1, 8).map(lambda half: 2 * half)
BASES = st.sampled_from([2.0, 100.0, 10000.0, 500000.0])
SEEDS = st.integers(0, 2**31)


def vectors(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


# Sinusoidal positions ------------------------------------------------------------------------------------


def test_sinusoidal_positions_by_hand():
    positions = sinusoidal_positions(3, 4, dtype=torch.float64)
    expected = [
        [0.0, 1.0, 0.0, 1.0],
        [math.sin(1.0), math.cos(1.0), math.sin(0.01), math.cos(0.01)],
        [math.sin(2.0), math.cos(2.0), math.sin(0.02), math.cos(0.02)],
    ]
    torch.testing.assert_close(positions, torch.tensor(expected, dtype=torch.float64), **FLOAT64)


@pytest.mark.parity
@given(d_model=EVEN, offset=st.integers(0, 10**6), base=BASES)
def test_sinusoidal_positions_equal_the_papers_formula(d_model, offset, base):
    positions = sinusoidal_positions(3, d_model, offset=offset, base=base, dtype=torch.float64)
    for row, position in enumerate(range(offset, offset + 3)):
        for entry in range(d_model):
            angle = position / base ** (2 * (entry // 2) / d_model)
            wave = math.cos(angle) if entry % 2 else math.sin(angle)
            # A few roundings of an angle near 10⁶ are 10⁻⁹.
            assert positions[row, entry].item() == pytest.approx(wave, abs=1e-9)


@pytest.mark.properties
@given(d_model=EVEN, start=st.integers(0, 10**4), shift=st.integers(-500, 500), base=BASES)
def test_a_shift_is_one_rotation_for_all_positions(d_model, start, shift, base):
    rotation = shift_matrix(d_model, shift, base=base, dtype=torch.float64)
    start += 500  # so that no shifted position is negative
    here = sinusoidal_positions(5, d_model, offset=start, base=base, dtype=torch.float64)
    there = sinusoidal_positions(5, d_model, offset=start + shift, base=base, dtype=torch.float64)
    torch.testing.assert_close(here @ rotation, there, rtol=0, atol=1e-10)
    torch.testing.assert_close(
        rotation @ rotation.T, torch.eye(d_model, dtype=torch.float64), rtol=0, atol=1e-12
    )
    assert torch.linalg.det(rotation).item() == pytest.approx(1.0)  # turns, does not mirror


@pytest.mark.properties
@given(st.integers(-50, 50), st.integers(-50, 50))
def test_shifts_add_up(first, second):
    one, other, both = (
        shift_matrix(D_MODEL, k, dtype=torch.float64) for k in (first, second, first + second)
    )
    torch.testing.assert_close(one @ other, both, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_far_positions_are_rounded_once(dtype):
    exact = sinusoidal_positions(N_TOKENS, D_MODEL, offset=100_003, dtype=torch.float64)
    rounded = sinusoidal_positions(N_TOKENS, D_MODEL, offset=100_003, dtype=dtype)
    assert torch.equal(rounded, exact.to(dtype))
    assert shift_matrix(D_MODEL, 3, dtype=dtype).dtype == dtype


def test_an_offset_continues_the_same_table():
    whole = sinusoidal_positions(11, D_MODEL)
    assert torch.equal(sinusoidal_positions(4, D_MODEL, offset=7), whole[7:])
    assert torch.equal(position_angles(4, D_MODEL, offset=7), position_angles(11, D_MODEL)[7:])


def test_position_vectors_add_to_tokens_not_to_sequences():
    # Equal tokens at different places must differ, and equal places of different sequences must not.
    summed = torch.ones(N_TOKENS, N_TOKENS, D_MODEL) + sinusoidal_positions(N_TOKENS, D_MODEL)
    assert torch.equal(summed[0], summed[1])
    assert all((summed[0, i] != summed[0, j]).any() for i in range(N_TOKENS) for j in range(i))


# Learned positions ---------------------------------------------------------------------------------------


def test_learned_positions_are_rows_of_the_table():
    learned = LearnedPositions(11, D_MODEL)
    assert torch.equal(learned(5, offset=3), learned.table[3:8])
    assert torch.equal(torch.cat([learned(4), learned(7, offset=4)]), learned(11))
    learned(5, offset=3).sum().backward()
    touched = learned.table.grad.abs().sum(-1) > 0
    assert touched.tolist() == [3 <= position < 8 for position in range(11)]
    assert learned.double()(2).dtype == torch.float64


@pytest.mark.parametrize(("n_tokens", "offset"), [(12, 0), (1, 11), (5, 7)])
def test_learned_positions_end(n_tokens, offset):
    text = (
        r"^offset \+ n_tokens must be at most max_tokens=11 \(no vector is learned for later positions\), "
        f"got offset={offset}, n_tokens={n_tokens}$"
    )
    with pytest.raises(ValueError, match=text):
        LearnedPositions(11, 3)(n_tokens, offset=offset)


# Rotary positions ----------------------------------------------------------------------------------------


def complex_rotation(row, position, base, layout):
    """Turn one vector as numbers of the complex plane, in plain Python."""
    size = len(row)
    pairs = [(2 * i, 2 * i + 1) if layout == "interleaved" else (i, i + size // 2) for i in range(size // 2)]
    turned = [0.0] * size
    for i, (a, b) in enumerate(pairs):
        number = complex(row[a], row[b]) * cmath.exp(1j * position * base ** (-2 * i / size))
        turned[a], turned[b] = number.real, number.imag
    return turned


@pytest.mark.parity
@pytest.mark.parametrize("layout", ROTARY_LAYOUTS)
@given(d_head=EVEN, offset=st.integers(0, 10**5), base=BASES, seed=SEEDS)
def test_rotation_equals_complex_multiplication(layout, d_head, offset, base, seed):
    x = vectors(BATCH, 3, d_head, seed=seed)
    turned = rotate(x, offset=offset, base=base, layout=layout)
    expected = [
        [complex_rotation(row, offset + t, base, layout) for t, row in enumerate(sequence)]
        for sequence in x.tolist()
    ]
    torch.testing.assert_close(turned, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


def test_rotation_by_hand():
    # Two tokens, one pair: the first stays, the second turns by one radian from the first axis to the second.
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[1.0, 0.0], [math.cos(1.0), math.sin(1.0)]], dtype=torch.float64)
    for layout in ROTARY_LAYOUTS:
        torch.testing.assert_close(rotate(x, layout=layout), expected, **FLOAT64)


def test_rotary_and_sinusoidal_positions_turn_by_the_same_angles():
    # A pair (sin, cos) runs against the direction in which a pair (x, y) turns, hence the minus.
    x = vectors(1, D_MODEL)
    for position in (0, 1, 17):
        turned = rotate(x, offset=position, layout="interleaved")
        torch.testing.assert_close(turned, x @ shift_matrix(D_MODEL, -position, dtype=x.dtype), **FLOAT64)


@pytest.mark.properties
@pytest.mark.parametrize("layout", ROTARY_LAYOUTS)
@given(d_head=EVEN, offset=st.integers(0, 10**4), seed=SEEDS)
def test_rotation_keeps_norms(layout, d_head, offset, seed):
    x = vectors(BATCH, N_TOKENS, d_head, seed=seed)
    turned = rotate(x, offset=offset, layout=layout)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), **FLOAT64)


@pytest.mark.properties
@pytest.mark.parametrize("layout", ROTARY_LAYOUTS)
@given(
    d_head=EVEN,
    query_at=st.integers(0, 3000),
    key_at=st.integers(0, 3000),
    shift=st.integers(0, 3000),
    seed=SEEDS,
)
def test_scores_depend_on_differences_only(layout, d_head, query_at, key_at, shift, seed):
    query, key = vectors(1, d_head, seed=seed), vectors(1, d_head, seed=seed + 1)

    def score(query_at, key_at):
        turned = rotate(query, offset=query_at, layout=layout), rotate(key, offset=key_at, layout=layout)
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(
        score(query_at + shift, key_at + shift), score(query_at, key_at), rtol=0, atol=1e-9
    )


def test_scores_do_depend_on_differences():
    # Else doing nothing would pass the test above.
    query, key = vectors(1, D_HEAD), vectors(1, D_HEAD, seed=1)
    scores = torch.stack([(rotate(query, offset=t) * rotate(key)).sum() for t in range(5)])
    assert scores.diff().abs().min() > 1e-3
    # And on their sign: the query after the key is another matter than before it.
    assert (scores[3] - (rotate(query) * rotate(key, offset=3)).sum()).abs() > 1e-3


@pytest.mark.properties
@pytest.mark.parametrize("layout", ROTARY_LAYOUTS)
@given(split=st.integers(1, N_TOKENS - 1), seed=SEEDS)
def test_chunks_with_an_offset_equal_the_whole(layout, split, seed):
    x = vectors(BATCH, 3, N_TOKENS, D_HEAD, seed=seed)
    chunks = [
        rotate(x[..., :split, :], layout=layout),
        rotate(x[..., split:, :], offset=split, layout=layout),
    ]
    torch.testing.assert_close(torch.cat(chunks, dim=-2), rotate(x, layout=layout), rtol=0, atol=0)


@pytest.mark.properties
@given(d_head=EVEN, seed=SEEDS)
def test_both_layouts_are_one_rotation_of_reordered_entries(d_head, seed):
    query, key = vectors(N_TOKENS, d_head, seed=seed), vectors(N_TOKENS, d_head, seed=seed + 1)
    in_halves = [rotate(change_layout(x, to="half"), layout="half") for x in (query, key)]
    interleaved = [rotate(x, layout="interleaved") for x in (query, key)]
    for one, other in zip(in_halves, interleaved, strict=True):
        assert torch.equal(change_layout(one, to="interleaved"), other)
        assert torch.equal(change_layout(change_layout(other, to="half"), to="interleaved"), other)
    torch.testing.assert_close(in_halves[0] @ in_halves[1].T, interleaved[0] @ interleaved[1].T, **FLOAT64)


def test_a_projection_changes_layout_by_its_rows():
    n_heads, d_model = 3, 5
    inputs = vectors(N_TOKENS, d_model)
    scores = {}
    for layout in ROTARY_LAYOUTS:
        turned = []
        for seed in (1, 2):
            weight = vectors(n_heads * D_HEAD, d_model, seed=seed)
            if layout == "half":  # the weights are given in the other layout
                heads = change_layout(weight.view(n_heads, D_HEAD, d_model), to="half", axis=1)
                weight = heads.reshape(n_heads * D_HEAD, d_model)
            projected = (inputs @ weight.T).view(N_TOKENS, n_heads, D_HEAD).transpose(0, 1)
            turned.append(rotate(projected, layout=layout))
        scores[layout] = turned[0] @ turned[1].transpose(-2, -1)
    torch.testing.assert_close(scores["half"], scores["interleaved"], **FLOAT64)


def test_change_layout_by_hand():
    assert change_layout(torch.tensor([0, 1, 2, 3, 4, 5]), to="half").tolist() == [0, 2, 4, 1, 3, 5]
    assert change_layout(torch.tensor([0, 2, 4, 1, 3, 5]), to="interleaved").tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("layout", ROTARY_LAYOUTS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, FLOAT32), (torch.float16, FLOAT16), (torch.bfloat16, BFLOAT16)],
)
def test_far_positions_in_lower_precision(layout, dtype, tolerance):
    # Angles in float32 would fail the first case, angles in half precision the others by far.
    low = vectors(N_TOKENS, D_HEAD, dtype=dtype)
    got = rotate(low, offset=100_003, layout=layout)
    want = rotate(low.double(), offset=100_003, layout=layout)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), want, **tolerance)
    assert torch.equal(got, rotate(low.float(), offset=100_003, layout=layout).to(dtype))  # rounded once


@pytest.mark.gradients
@pytest.mark.parametrize("layout", ROTARY_LAYOUTS)
def test_gradcheck(layout):
    x = vectors(BATCH, 3, D_HEAD).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: rotate(x, offset=2, layout=layout), [x])


def test_inputs_are_not_written():
    x = vectors(N_TOKENS, D_HEAD)
    copy = x.clone()
    for layout in ROTARY_LAYOUTS:
        rotate(x, layout=layout).zero_()
        change_layout(x, to=layout).zero_()
    assert torch.equal(x, copy)


def test_tables_are_made_once_for_each_size_place_and_precision():
    # 16 layouts of the arguments in a changing order: none may be served with another's table.
    x = vectors(N_TOKENS, D_HEAD)
    cases = [
        (x.to(dtype)[..., :n_tokens, :d_head], offset, base)
        for dtype in (torch.float64, torch.float32)
        for n_tokens, d_head in ((N_TOKENS, D_HEAD), (N_TOKENS - 1, D_HEAD - 2))
        for offset in (0, 3)
        for base in (10000.0, 100.0)
    ]
    first = [rotate(part, offset=offset, base=base) for part, offset, base in cases]
    for place in [*range(16), *reversed(range(16))]:
        part, offset, base = cases[place]
        again = rotate(part.clone(), offset=offset, base=base)
        assert torch.equal(again, first[place])
        angles = position_angles(part.shape[-2], part.shape[-1], offset=offset, base=base)
        want = change_layout(part, to="interleaved").to(torch.float64).unflatten(-1, (-1, 2))
        want = torch.view_as_complex(want.contiguous()) * torch.polar(torch.ones_like(angles), angles)
        want = change_layout(torch.view_as_real(want).flatten(-2), to="half")
        torch.testing.assert_close(again.double(), want, **FLOAT32)


def test_tables_made_in_inference_mode_serve_gradients_later():
    x = vectors(1, D_HEAD).requires_grad_()
    with torch.inference_mode():
        rotate(x, offset=7919)
    rotate(x, offset=7919).sum().backward()
    assert x.grad.isfinite().all()


def test_a_known_table_does_not_let_bad_arguments_pass():
    x = vectors(N_TOKENS, D_HEAD)
    rotate(x, offset=1, base=100.0)
    for offset in (True, 1.0):
        with pytest.raises(TypeError, match="offset must be an integer"):
            rotate(x, offset=offset, base=100.0)
    with pytest.raises(TypeError, match="base must be a number"):
        rotate(x, offset=1, base="100")


def test_the_device_is_followed():
    assert sinusoidal_positions(3, 4, device="meta").device.type == "meta"
    assert shift_matrix(4, 1, device="meta").device.type == "meta"
    x, learned = torch.ones(3, 4), LearnedPositions(5, 4)
    with torch.device("meta"):  # whatever is made without a word on the device comes without numbers
        for layout in ROTARY_LAYOUTS:
            assert rotate(x, layout=layout).device.type == "cpu"
            assert change_layout(x, to=layout).device.type == "cpu"
        assert learned(3).device.type == "cpu"


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: position_angles(0, 4), ValueError, "n_tokens must be at least 1, got n_tokens=0"),
        (
            lambda: position_angles(3, 5),
            ValueError,
            "d_pairs must be even .entries turn in pairs., got d_pairs=5",
        ),
        (lambda: position_angles(3, 4, offset=-1), ValueError, "offset must be at least 0, got offset=-1"),
        (lambda: position_angles(3, 4, base=0), ValueError, "base must be above 0, got base=0"),
        (lambda: sinusoidal_positions(2.0, 4), TypeError, r"n_tokens must be an integer, got n_tokens=2\.0"),
        (lambda: sinusoidal_positions(3, 7), ValueError, "d_model must be even .*, got d_model=7"),
        (lambda: shift_matrix(7, 1), ValueError, "d_model must be even .*, got d_model=7"),
        (lambda: shift_matrix(4, 1.5), TypeError, r"shift must be an integer, got shift=1\.5"),
        (lambda: shift_matrix(4, 1, base=-2.0), ValueError, r"base must be above 0, got base=-2\.0"),
        (lambda: LearnedPositions(0, 4), ValueError, "max_tokens must be at least 1, got max_tokens=0"),
        (
            lambda: LearnedPositions(3, 4)(1, offset=-1),
            ValueError,
            "offset must be at least 0, got offset=-1",
        ),
        (lambda: rotate(torch.ones(3, 5)), ValueError, "d_head must be even .*, got d_head=5"),
        (
            lambda: rotate(torch.ones(3, 4), layout="pairs"),
            ValueError,
            "layout must be one of 'half', 'interleaved', got layout='pairs'",
        ),
        (
            lambda: rotate(torch.ones(3, 4), offset=0.5),
            TypeError,
            r"offset must be an integer, got offset=0\.5",
        ),
        (lambda: rotate([[1.0, 2.0]]), TypeError, "x must be of type Tensor, got x of type list"),
        (lambda: rotate(torch.ones(3, 4).long()), TypeError, r"x must be floating point, got x\.dtype=int64"),
        (
            lambda: change_layout(torch.ones(3, 5), to="half"),
            ValueError,
            "d_head must be even .*, got d_head=5",
        ),
        (
            lambda: change_layout(torch.ones(4), to="split"),
            ValueError,
            "to must be one of 'half', 'interleaved'.*",
        ),
        (
            lambda: change_layout([1.0, 2.0], to="half"),
            TypeError,
            "x must be of type Tensor, got x of type list",
        ),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        call()
