"""The versions of `local_window`: where the window lies, what it holds, and its bell."""

CENTRES = {
    "diagonal": (
        "the target position itself, $p_t = t$",
        "centre = torch.arange(position, position + n_target).view(1, -1, 1)",
    ),
    "backwards": (
        "$p_t = n - 1 - t$, with $n$ the sentence's own length: the window walks from the last word to the "
        "first",
        "steps = torch.arange(position, position + n_target)\n"
        "    centre = lengths.view(-1, 1, 1) - 1 - steps.view(1, -1, 1)",
    ),
    "double": (
        "$p_t = 2 t$: the source has two places for every target token",
        "centre = 2 * torch.arange(position, position + n_target).view(1, -1, 1)",
    ),
}
WINDOWS = {
    "both": ("$\\lvert j - p_t \\rvert \\le D$", "(distance.abs() <= half_width)"),
    "before": ("$p_t - D \\le j \\le p_t$", "(distance <= 0) & (distance >= -half_width)"),
    "half open": ("$p_t - D \\le j < p_t + D$", "(distance >= -half_width) & (distance < half_width)"),
}
FACTOR = "torch.exp(-(distance**2) / (2 * (half_width / 2) ** 2))"
BELLS = {
    "none": ("There is no bell curve.", "", "A row with a place in its window sums to one."),
    "plain": (
        "Then every weight is multiplied by $\\exp\\bigl(-(j - p_t)^2 / (2\\sigma^2)\\bigr)$ with $\\sigma "
        "= D / 2$, and the rows are *not* normalised again.",
        f"\n    weights = weights * {FACTOR}",
        "The bell comes behind the softmax, so a row sums to less than one, as in the paper.",
    ),
    "normalised": (
        "Then every weight is multiplied by $\\exp\\bigl(-(j - p_t)^2 / (2\\sigma^2)\\bigr)$ with $\\sigma "
        "= D / 2$, and every row that has a weight is normalised again, so that it sums to one.",
        f"\n    weights = weights * {FACTOR}\n"
        "    weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-20)",
        "With the bell normalised again it is the same as adding its exponent to the scores before the "
        "softmax.",
    ),
}


def _version(centre, window, bell):
    return {
        "centre": centre,
        "window": window,
        "bell": bell,
        "centre_text": CENTRES[centre][0],
        "window_text": WINDOWS[window][0],
        "bell_text": BELLS[bell][0],
        "centre_code": CENTRES[centre][1],
        "window_code": WINDOWS[window][1],
        "bell_code": BELLS[bell][1],
        "remark": BELLS[bell][2],
    }


VERSIONS = (
    _version("diagonal", "both", "none"),
    _version("backwards", "both", "plain"),
    _version("diagonal", "before", "none"),
    _version("double", "half open", "normalised"),
)
