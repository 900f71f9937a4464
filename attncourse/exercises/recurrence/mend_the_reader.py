"""Checker: a reader of padded sequences, mended."""

import torch
from torch import nn

from attncourse.exercises._exercise import Exercise, Mistake, Property, normal
from attncourse.recurrent import raise_forget_bias

D_INPUT, D_HIDDEN = 3, 5
OTHERS = {"input gate": 0, "candidate": 2, "output gate": 3}


class _Reader(nn.Module):
    batch_first = True

    def __init__(self, d_input, d_hidden, forget_bias):
        super().__init__()
        self.recurrent = nn.LSTM(d_input, d_hidden, batch_first=self.batch_first)
        self.raise_bias(forget_bias)

    def raise_bias(self, forget_bias):
        raise_forget_bias(self.recurrent, forget_bias)

    def fill(self, quarter, **values):
        with torch.no_grad():
            for name, value in values.items():
                getattr(self.recurrent, f"{name}_l0").chunk(4)[quarter].fill_(value)

    def forward(self, inputs, lengths):
        outputs, _ = self.recurrent(inputs)
        return self.pick(outputs, lengths)

    def pick(self, outputs, lengths):
        return outputs[torch.arange(len(lengths)), lengths - 1]


class _TimeFirst(_Reader):
    batch_first = False


class _LastColumn(_Reader):
    def pick(self, outputs, lengths):
        return outputs[:, -1]


class _BehindTheLast(_Reader):
    def pick(self, outputs, lengths):
        places = lengths.clamp(max=outputs.shape[1] - 1)
        return outputs[torch.arange(len(lengths)), places]


class _EveryPlace(_Reader):
    def pick(self, outputs, lengths):
        return outputs[:, lengths - 1]


class _ZeroPadding(_LastColumn):
    def forward(self, inputs, lengths):
        shown = torch.arange(inputs.shape[1]) < lengths[:, None]
        return super().forward(inputs * shown[..., None], lengths)


class _LastOfTheLongest(_Reader):
    def pick(self, outputs, lengths):
        return outputs[:, lengths.max() - 1]


class _FirstQuarter(_Reader):
    def raise_bias(self, forget_bias):
        self.fill(0, bias_ih=forget_bias, bias_hh=0.0)


class _ThirdQuarter(_Reader):
    def raise_bias(self, forget_bias):
        self.fill(2, bias_ih=forget_bias, bias_hh=0.0)


class _Twice(_Reader):
    def raise_bias(self, forget_bias):
        self.fill(1, bias_ih=forget_bias, bias_hh=forget_bias)


class _Half(_Reader):
    def raise_bias(self, forget_bias):
        self.fill(1, bias_ih=forget_bias)


class _EveryGate(_Reader):
    def raise_bias(self, forget_bias):
        for quarter in range(4):
            self.fill(quarter, bias_ih=forget_bias, bias_hh=0.0)


class _Emptied(_Reader):
    def raise_bias(self, forget_bias):
        with torch.no_grad():
            self.recurrent.bias_hh_l0.zero_()
        self.fill(1, bias_ih=forget_bias)


class _HalfEach(_Reader):
    def raise_bias(self, forget_bias):
        self.fill(1, bias_ih=forget_bias / 2, bias_hh=forget_bias / 2)


class _GathersByHand(_Reader):
    def pick(self, outputs, lengths):
        places = (lengths - 1)[:, None, None].expand(-1, 1, outputs.shape[-1])
        return outputs.gather(1, places)[:, 0]


def _fate(sizes):
    return "raised" if not sizes.max() < 1 else "emptied" if sizes.min() == 0 else "at its start"


def _run(answer, inputs):
    """Build the reader; return its biases, or what it makes of padded sequences with given weights."""
    torch.manual_seed(4)
    reader = answer(D_INPUT, D_HIDDEN, inputs["forget_bias"]).double()
    if "lengths" not in inputs:
        return torch.stack([reader.recurrent.bias_ih_l0, reader.recurrent.bias_hh_l0])
    generator = torch.Generator().manual_seed(3)
    weights = {
        name: torch.randn(w.shape, generator=generator) for name, w in reader.recurrent.state_dict().items()
    }
    reader.recurrent.load_state_dict(weights)
    with torch.no_grad():
        return reader(inputs["inputs"], inputs["lengths"])


def _reading(output, inputs):
    # The random start of the other biases differs from answer to answer; say only what became of them.
    if "lengths" in inputs:
        return output
    if not isinstance(output, torch.Tensor) or output.ndim != 2 or len(output) != 2:
        raise ValueError("an LSTM has two vectors of biases")
    quarters = output.chunk(4, dim=1)  # each (2, d_hidden)
    others = {f"the bias of the {name}": _fate(quarters[i].abs()) for name, i in OTHERS.items()}
    return {"the forget bias": quarters[1].sum(dim=0)} | others


def _properties(rng):
    def sequences(lengths, n_tokens=7):
        shape = (len(lengths), n_tokens, D_INPUT)
        return {
            "inputs": normal(rng, *shape, dtype=torch.float64),
            "lengths": torch.tensor(lengths),
            "forget_bias": 1.0,
        }

    return [
        Property("the forget bias", [{"forget_bias": 5.0}, {"forget_bias": 3.5}], 2),
        Property("one full sequence", [sequences([7])], 1),
        Property("several full sequences", [sequences([7, 7, 7])], 1),
        Property("padded sequences", [sequences([3, 6, 1, 4])], 2),
    ]


EXERCISE = Exercise(
    reference=_Reader,
    properties=_properties,
    mistakes=[
        Mistake(
            "batch and time swapped",
            "The layer reads across the sequences of the batch as if they were steps of one sequence. No "
            "error is raised, since both axes have legal sizes.",
            _TimeFirst,
        ),
        Mistake(
            "state behind the padding",
            "You return the last column. For a short sequence that is the state after padding, which is no "
            "token.",
            _LastColumn,
        ),
        Mistake(
            "one step too far",
            "You read the state at the place `length`, which is the first padded one; places are counted "
            "from 0.",
            _BehindTheLast,
        ),
        Mistake(
            "the longest one's end for all",
            "All sequences are read at the end of the longest of the batch, so what is returned depends on "
            "the others.",
            _LastOfTheLongest,
        ),
        Mistake(
            "every place of every row",
            "Your indexing takes the places of all sequences from each row, so there is one axis too many. "
            "Each row needs its own place only.",
            _EveryPlace,
        ),
        Mistake(
            "padding set to zero",
            "You set the padding to zero and return the last column. An LSTM steps over zeros, too, and "
            "each step changes its state.",
            _ZeroPadding,
        ),
        Mistake(
            "bias given twice",
            "PyTorch adds two bias vectors. With the value in both of them the gate sees twice the value.",
            _Twice,
        ),
        Mistake(
            "half a forget bias",
            "One of the two bias vectors has its value, and the other keeps its random start, so the sum is "
            "off.",
            _Half,
        ),
        Mistake(
            "candidate instead of forget gate",
            "You raised the third quarter, the candidate. What is written saturates, and the memory is not "
            "kept.",
            _ThirdQuarter,
        ),
        Mistake(
            "input gate instead of forget gate",
            "You raised the first quarter, the input gate: the cell writes more, and it forgets as before.",
            _FirstQuarter,
        ),
        Mistake(
            "every gate raised",
            "All four quarters have the bias. Only the forget gate should start open.",
            _EveryGate,
        ),
        Mistake(
            "a whole vector emptied",
            "You set a whole bias vector to zero. Three quarters of it belong to gates that keep their "
            "start.",
            _Emptied,
        ),
    ],
    see=(1, "Limits and common mistakes"),
    variants={"half each": _HalfEach, "gather": _GathersByHand},
    run=_run,
    reading=_reading,
)
