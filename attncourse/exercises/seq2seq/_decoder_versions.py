"""The versions of `decoder_step`: which state asks, and where the context goes."""

EARLY = "state before the step"
LATE = "state after the step"
WITH_WORD = "state before the step and the word, side by side, as `[state, word]`"
INTO_CELL = (
    "`[word, context]`",
    "`proj` of `[new_state, context, word]`, without a tanh",
    "state = cell(torch.cat([word, context], dim=-1), state)\n"
    "    features = proj(torch.cat([state, context, word], dim=-1))",
)
TO_OUTPUT = (
    "`word` alone",
    "the tanh of `proj` of `[context, new_state]`",
    "features = torch.tanh(proj(torch.cat([context, state], dim=-1)))",
)


def _version(query, path, whose):
    into_cell = path is INTO_CELL
    cell_code = {EARLY: "query = state", WITH_WORD: "query = torch.cat([state, word], dim=-1)"}
    late = "state = cell(word, state)\n    query = state"
    early_output = "state = cell(word, state)\n    "
    return {
        "query": query,
        "reads": path[0],
        "features": path[1],
        "before": late if query == LATE else cell_code[query],
        "after": (early_output if not into_cell and query != LATE else "") + path[2],
        "whose": whose,
        "d_query": {WITH_WORD: 7}.get(query, 4),
        "d_read": 11 if into_cell else 3,
        "d_features": 15 if into_cell else 12,
        "into_cell": into_cell,
    }


VERSIONS = (
    _version(
        EARLY,
        INTO_CELL,
        "This is Bahdanau's step: the query has not read the previous word, and what it finds enters the "
        "cell.",
    ),
    _version(
        LATE,
        TO_OUTPUT,
        "This is Luong's step: the query has read the previous word, and what it finds joins the new state "
        "behind the cell.",
    ),
    _version(
        WITH_WORD,
        INTO_CELL,
        "This is Bahdanau's decoder with a late query, as in the chapter's experiment on the moment of "
        "asking.",
    ),
    _version(
        EARLY,
        TO_OUTPUT,
        "This is Luong's decoder with an early query, as in the chapter's experiment on the moment of "
        "asking.",
    ),
)
