"""The rules of the exercise on masks by head: which heads are near-sighted, and what each kind may see."""

import torch

HEADS = {
    "the first `n_heads // 2` heads": ("head < n_heads // 2", lambda head, n: head < n // 2),
    "the heads with an even number (0, 2, …)": ("head % 2 == 0", lambda head, n: head % 2 == 0),
    "the last `n_heads // 2` heads": ("head >= n_heads - n_heads // 2", lambda head, n: head >= n - n // 2),
    "the heads with an odd number (1, 3, …)": ("head % 2 == 1", lambda head, n: head % 2 == 1),
}
# How far back a visible key stands, least and most; for near heads as a function of `reach`.
# Behind it wrong windows: a key too many, a key too few, open on one side, the own place the other way.
NEAR = {
    "the last `reach` tokens up to and including the token itself": (
        "(back >= 0) & (back < reach)",
        lambda r: (0, r - 1),
        (lambda r: (0, r), lambda r: (0, r - 2), lambda r: (-99, r - 1), lambda r: (1, r - 1)),
    ),
    "every token at most `reach` places away, before or behind": (
        "back.abs() <= reach",
        lambda r: (-r, r),
        (lambda r: (-r - 1, r + 1), lambda r: (1 - r, r - 1), lambda r: (-99, r)),
    ),
    "the `reach` tokens before it and not the token itself": (
        "(back > 0) & (back <= reach)",
        lambda r: (1, r),
        (lambda r: (1, r + 1), lambda r: (1, r - 1), lambda r: (-99, r), lambda r: (0, r)),
    ),
    "itself and the `reach` tokens behind it": (
        "(back <= 0) & (back >= -reach)",
        lambda r: (-r, 0),
        (lambda r: (-r - 1, 0), lambda r: (1 - r, 0), lambda r: (-r, 99), lambda r: (-r, -1)),
    ),
}
WRONG_WINDOWS = (
    (
        "one key too many",
        "Near heads see one token too far: count what `reach` counts in a row in the middle.",
    ),
    (
        "one key too few",
        "Near heads see one token too few: count what `reach` counts in a row in the middle.",
    ),
    ("open on one side", "The window of the near heads has one bound only; on the other side it has no end."),
    ("the own place", "Whether near heads see the token itself came out the wrong way."),
)
# The rule of the far heads, and what somebody makes of it who reads it hastily.
FAR = {
    "itself and everything before it": ("back >= 0", (0, 99), (1, 99)),
    "every token": ("torch.ones_like(back, dtype=torch.bool)", (-99, 99), (0, 99)),
    "everything before it and not the token itself": ("back > 0", (1, 99), (0, 99)),
    "itself and everything behind it": ("back <= 0", (-99, 0), (-99, -1)),
}
SEVEN = torch.arange(7)  # heads
VERSIONS = tuple(
    {
        "which_heads": heads,
        "heads_code": HEADS[heads][0],
        "near": near,
        "near_code": NEAR[near][0],
        "far": far,
        "far_code": FAR[far][0],
    }
    for heads, near, far in zip(HEADS, NEAR, FAR, strict=True)
)
