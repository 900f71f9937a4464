"""Checker: carry a gradient back through the steps of a cell that the version chooses, without autograd."""

import torch

from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal

# For each cell: the new state, its slope at the argument, and the share of the old state that passes by.
CELLS = {
    "sigmoid": (lambda hidden, a: torch.sigmoid(a), lambda a: torch.sigmoid(a) * (1 - torch.sigmoid(a)), 0.0),
    "leaky": (
        lambda hidden, a: 0.7 * hidden + 0.3 * torch.tanh(a),
        lambda a: 0.3 * (1 - torch.tanh(a) ** 2),
        0.7,
    ),
    "residual": (lambda hidden, a: hidden + torch.tanh(a), lambda a: 1 - torch.tanh(a) ** 2, 1.0),
    "relu": (lambda hidden, a: torch.relu(a), lambda a: (a > 0).to(a.dtype), 0.0),
}
OF_INPUT = "the input $x_{n-D}$"
OF_STATE = "the state $h_{n-D}$"
VERSIONS = (
    {
        "cell": "sigmoid",
        "formula": r"h_t = \sigma(a_t), \qquad \sigma(a) = \frac{1}{1 + e^{-a}}",
        "step_code": "torch.sigmoid(a)",
        "slope_code": "torch.sigmoid(a) * (1 - torch.sigmoid(a))",
        "back_code": "weight_hh.T @ at_argument",
        "of": OF_INPUT,
        "reached_code": "weight_ih.T @ at_argument",
        "order": "entry $D$ belongs to distance $D$, so the last token comes first",
        "found_code": "found",
        "why": "The slope of $\\sigma$ is $\\sigma(1 - \\sigma)$, at most one quarter, a fourth of what "
        "tanh has at zero, so with the same weights such a network forgets even faster.",
    },
    {
        "cell": "leaky",
        "formula": r"h_t = 0.7\,h_{t-1} + 0.3 \tanh(a_t)",
        "step_code": "0.7 * hidden + 0.3 * torch.tanh(a)",
        "slope_code": "0.3 * (1 - torch.tanh(a) ** 2)",
        "back_code": "weight_hh.T @ at_argument + 0.7 * gradient",
        "of": OF_INPUT,
        "reached_code": "weight_ih.T @ at_argument",
        "order": "entry $t$ belongs to token $t$, counted from the front, so the last token comes last",
        "found_code": "found[::-1]",
        "why": "Two paths lead back from $h_t$: the old state itself, with the factor 0.7, and the way "
        "through tanh.\nWith a share $\\alpha$ in place of 0.3, about $(1 - \\alpha)^{64}$ of a gradient "
        "passes by over 64 steps: at least a tenth for $\\alpha \\le 1 - 10^{-1/64} \\approx 0.035$.",
    },
    {
        "cell": "residual",
        "formula": r"h_t = h_{t-1} + \tanh(a_t)",
        "step_code": "hidden + torch.tanh(a)",
        "slope_code": "1 - torch.tanh(a) ** 2",
        "back_code": "weight_hh.T @ at_argument + gradient",
        "of": OF_STATE,
        "reached_code": "gradient",
        "order": "entry $D$ belongs to distance $D$, so the last token comes first",
        "found_code": "found",
        "why": "Whatever passes through tanh, the path along $h_{t-1}$ carries the gradient back unchanged: "
        "the idea of a residual path, here along time.",
    },
    {
        "cell": "relu",
        "formula": r"h_t = \max(0, a_t)",
        "step_code": "torch.relu(a)",
        "slope_code": "(a > 0).to(a.dtype)",
        "back_code": "weight_hh.T @ at_argument",
        "of": OF_STATE,
        "reached_code": "gradient",
        "order": "entry $t$ belongs to token $t$, counted from the front, so the last token comes last",
        "found_code": "found[::-1]",
        "why": "The slopes are 0 or 1: nothing is lost on the way through a unit that is on, "
        "and nothing passes one that is off.\nOnly $W_{hh}$ decides whether the rest shrinks or grows.",
    },
)


def _states(cell, inputs, weight_ih, weight_hh, bias):
    step, hidden, states = CELLS[cell][0], torch.zeros_like(weight_hh[0]), []
    for x in inputs:
        hidden = step(hidden, weight_ih @ x + bias + weight_hh @ hidden)
        states.append(hidden)
    return states


def _run_cell(cell):
    return lambda *weights: torch.stack(_states(cell, *weights))


def _by_autograd(version):
    def norms(inputs, weight_ih, weight_hh, bias, direction):
        with torch.enable_grad():
            inputs = inputs.clone().requires_grad_()
            states = _states(version["cell"], inputs, weight_ih, weight_hh, bias)
            loss = states[-1] @ direction
            if version["of"] == OF_INPUT:
                found = torch.autograd.grad(loss, inputs)[0].norm(dim=-1)
            else:
                found = torch.stack([one.norm() for one in torch.autograd.grad(loss, states)])
        return found.flip(0) if version["found_code"] == "found" else found

    return norms


def _walk(
    version, *, transposed=True, slope=None, passes=None, reached=None, order=1, last=True, swapped=False
):
    _, at, right_passes = CELLS[version["cell"]]
    slope = slope or (lambda a, state, state_before: at(a))
    passes = right_passes if passes is None else passes
    reached = reached or version["of"]

    def norms(inputs, weight_ih, weight_hh, bias, direction):
        states = _run_cell(version["cell"])(inputs, weight_ih, weight_hh, bias)
        before = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
        arguments = inputs @ weight_ih.T + bias + before @ weight_hh.T
        matrix, gradient, found = weight_hh.T if transposed else weight_hh, direction, []
        for around in zip(arguments.flip(0), states.flip(0), before.flip(0), strict=True):
            factor = slope(*around)
            at_input = weight_ih.T @ (factor * gradient if last else gradient)
            back = factor * (matrix @ gradient) if swapped else matrix @ (factor * gradient)
            back = back + passes * gradient
            found.append((at_input if reached == OF_INPUT else gradient if last else back).norm())
            gradient = back
        found = torch.stack(found)
        return found if (version["found_code"] == "found") == (order == 1) else found.flip(0)

    return norms


def _run(answer, inputs):
    name, *rest = inputs.values()
    with torch.no_grad():
        return answer[name](*rest)


def _build(version):
    cell = version["cell"]
    right = _by_autograd(version)

    def properties(rng):
        def weights(n_tokens):
            scales = {"inputs": (n_tokens, 3), "weight_ih": (5, 3), "weight_hh": (5, 5), "bias": (5,)}
            return {name: 0.6 * normal(rng, *shape, dtype=torch.float64) for name, shape in scales.items()}

        def probe(n_tokens):
            return {"part": "norms"} | weights(n_tokens) | {"direction": normal(rng, 5, dtype=torch.float64)}

        return [
            Property("the states", [{"part": "run"} | weights(4)], 1),
            Property("gradients over two tokens", [probe(2)], 1),
            Property("gradients over many tokens", [probe(7), probe(11)], 2),
        ]

    def wrong(name, message, **changes):
        return Mistake(name, message, {"norms": _walk(version, **changes)})

    share = 0.3 if cell == "leaky" else 1.0
    other = OF_STATE if version["of"] == OF_INPUT else OF_INPUT
    mistakes = [
        wrong(
            "recurrent matrix not transposed",
            "You multiplied the gradient by the recurrent matrix itself. Forward it maps the old state to "
            "the new; backward its rows and columns change roles.",
            transposed=False,
        ),
        wrong(
            "factors exchanged",
            "You multiplied by the recurrent matrix first and by the slope afterwards. On the way back the "
            "gradient meets the slope first, and the two do not commute.",
            swapped=True,
        ),
        wrong(
            "slope left out",
            "Your gradient passes the nonlinearity as if its slope were 1, whatever the argument.",
            slope=lambda a, state, state_before: share * torch.ones_like(a),
        ),
        wrong(
            "order turned round",
            "The right numbers stand in the opposite order; look again which end comes first.",
            order=-1,
        ),
        wrong(
            "gradient of something else",
            f"You return gradients with respect to the {'states' if other == OF_STATE else 'inputs'}; this "
            f"page asks for those with respect to the {'inputs' if other == OF_STATE else 'states'}.",
            reached=other,
        ),
        wrong(
            "the chapter's slope",
            "You used 1 - h², the slope of the chapter. It holds where the state is the tanh of its "
            "argument, which it is not in this cell.",
            slope=lambda a, state, state_before: share * (1 - state**2),
        ),
        Mistake(
            "autograd",
            "Your function asks autograd, which the check has switched off. Derive the factors and multiply.",
            {"norms": _asks_autograd},
        ),
        wrong(
            "one factor too few" if version["of"] == OF_INPUT else "one factor too many",
            "The last piece of the way is wrong by one factor: write down the way from the last state to "
            "the last input, and to the state before, on paper.",
            last=False,
        ),
        Mistake(
            "the chapter's cell",
            "These are the states of the chapter's simple cell with tanh; the cell of this page is another.",
            {"run": lambda *weights: torch.stack(_states_of_tanh(*weights))},
        ),
    ]
    if CELLS[cell][2]:
        mistakes.append(
            wrong(
                "the direct path forgotten",
                "Your gradient goes back through tanh only. The old state also enters the new one directly.",
                passes=0.0,
            )
        )
    if cell == "leaky":
        mistakes.append(
            wrong(
                "share of the new part forgotten",
                "The way through tanh has the factor 0.3 in the cell's formula, and yours has it forward "
                "only.",
                slope=lambda a, state, state_before: 1 - torch.tanh(a) ** 2,
            )
        )
    if cell == "sigmoid":
        mistakes.append(
            wrong(
                "slope of another step",
                "You take the slope from the state before the step. It belongs to the state after it.",
                slope=lambda a, state, state_before: state_before * (1 - state_before),
            )
        )
    if cell != "relu":  # there both are the same
        mistakes.append(
            wrong(
                "slope at the state",
                "You put the state into the formula of the slope. It has to be taken at the argument, from "
                "which the state was made.",
                slope=lambda a, state, state_before: CELLS[cell][1](state),
            )
        )
    return Exercise(
        reference={"run": _run_cell(cell), "norms": right},
        properties=properties,
        mistakes=mistakes,
        see=(1, "How far does a gradient reach?"),
        variants={"by products": {"run": _run_cell(cell), "norms": _walk(version)}},
        run=_run,
    )


def _asks_autograd(inputs, weight_ih, weight_hh, bias, direction):
    inputs = inputs.clone().requires_grad_()
    (_states("sigmoid", inputs, weight_ih, weight_hh, bias)[-1] @ direction).backward()
    return inputs.grad.norm(dim=-1)


def _states_of_tanh(inputs, weight_ih, weight_hh, bias):
    hidden, states = torch.zeros_like(weight_hh[0]), []
    for x in inputs:
        hidden = torch.tanh(weight_ih @ x + bias + weight_hh @ hidden)
        states.append(hidden)
    return states


FAMILY = Family(VERSIONS, _build)
