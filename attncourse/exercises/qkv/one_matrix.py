"""Checker: attention whose three projections are kept in one array, in a layout that the version chooses."""

import math

from torch.nn import functional as F

from attncourse.attention import scaled_dot_product_attention
from attncourse.exercises._exercise import Exercise, Family, Mistake, Property, normal

ROLES = {"q": "query", "k": "key", "v": "value"}
SIZES = {"q": "d_head", "k": "d_head", "v": "d_value"}
LAYOUTS = {
    "outputs first": ("rows", "(2 * d_head + d_value, d_model)", "shape[0]", 0, ".T"),
    "inputs first": ("columns", "(d_model, 2 * d_head + d_value)", "shape[1]", 1, ""),
}


def _version(order, layout):
    runs, shape, total, axis, turned = LAYOUTS[layout]
    return {
        "order": order,
        "layout": layout,
        "runs": runs,
        "shape": shape,
        "first": ROLES[order[0]],
        "second": ROLES[order[1]],
        "third": ROLES[order[2]],
        "total": total,
        "names": ", ".join(f"{ROLES[one]}_part" for one in order),
        "sizes": ", ".join(SIZES[one] for one in order),
        "axis": axis,
        "turned": turned,
        "why": "What is stored with its outputs first, as `nn.Linear` does, must be turned round before it "
        "stands on the right of a token."
        if turned
        else "What is stored with its inputs first stands on the right of a token as it is.",
    }


VERSIONS = (
    _version("qkv", "outputs first"),
    _version("kvq", "inputs first"),
    _version("vqk", "outputs first"),
    _version("qkv", "inputs first"),
    _version("kqv", "outputs first"),
)


def _cut(packed, d_head, order, layout, reread=False):
    """Return the three matrices, inputs first, by the name of their role."""
    turned = packed.T if layout == "outputs first" else packed
    sizes = {"q": d_head, "k": d_head, "v": turned.shape[1] - 2 * d_head}
    parts = turned.split([sizes[one] for one in order], dim=1)
    if reread:
        parts = [one.T.reshape(one.shape) for one in parts]
    return dict(zip(order, parts, strict=True))


def _attend(order, layout, *, sources="amm", scale=None, softmax_over=-1, reread=False):
    """Return the function; ``sources`` says whether queries, keys and values come from asking or memory."""

    def attend(asking, memory, packed, d_head):
        parts = _cut(packed, d_head, order, layout, reread)
        inputs = {"a": asking, "m": memory}
        query, key, value = (
            inputs[source] @ parts[role] for source, role in zip(sources, "qkv", strict=True)
        )
        factor = 1 / math.sqrt(d_head) if scale is None else scale(asking, value)
        return (query @ key.transpose(-2, -1) * factor).softmax(dim=softmax_over) @ value

    return attend


def _reference(order, layout):
    def attend(asking, memory, packed, d_head):
        parts = _cut(packed, d_head, order, layout)
        return scaled_dot_product_attention(asking @ parts["q"], memory @ parts["k"], memory @ parts["v"])

    return attend


def _in_thirds(order, layout):
    def attend(asking, memory, packed, d_head):
        thirds = packed.chunk(3, dim=0 if layout == "outputs first" else 1)
        parts = dict(zip(order, (one.T if layout == "outputs first" else one for one in thirds), strict=True))
        query, key, value = asking @ parts["q"], memory @ parts["k"], memory @ parts["v"]
        return (query @ key.transpose(-2, -1) / math.sqrt(d_head)).softmax(dim=-1) @ value

    return attend


def _along_the_inputs(order, layout):
    def attend(asking, memory, packed, d_head):
        rows = packed.T if layout == "outputs first" else packed
        sizes = {"q": d_head, "k": d_head, "v": rows.shape[0] - 2 * d_head}
        starts = {"q": 0, "k": 0, "v": 0}
        for role, before in zip(order[1:], order, strict=False):
            starts[role] = starts[before] + sizes[before]
        query, key, value = (
            inputs @ rows[starts[role] :][: sizes[role]].T
            for inputs, role in ((asking, "q"), (memory, "k"), (memory, "v"))
        )
        return (query @ key.transpose(-2, -1) / math.sqrt(d_head)).softmax(dim=-1) @ value

    return attend


def _by_linear(order, layout):
    def attend(asking, memory, packed, d_head):
        parts = _cut(packed, d_head, order, layout)
        query = F.linear(asking, parts["q"].T)
        key, value = F.linear(memory, parts["k"].T), F.linear(memory, parts["v"].T)
        return F.scaled_dot_product_attention(query, key, value)

    return attend


def _build(version):
    order, layout = version["order"], version["layout"]

    def properties(rng):
        def inputs(n_queries, n_keys, d_model, d_head, d_value, itself=False):
            asking = normal(rng, 2, n_queries, d_model)
            shape = (2 * d_head + d_value, d_model)
            packed = normal(rng, *(shape if layout == "outputs first" else shape[::-1]))
            return {
                "asking": asking,
                "memory": asking.clone() if itself else normal(rng, 2, n_keys, d_model),
                "packed": packed / math.sqrt(d_model),
                "d_head": d_head,
            }

        return [
            Property("three blocks of one size", [inputs(6, 6, 7, 4, 4, itself=True)], 1),
            Property(
                "values of another size",
                [inputs(5, 5, 7, 4, 6, itself=True), inputs(5, 5, 7, 5, 3, itself=True)],
                2,
            ),
            Property("others ask", [inputs(4, 4, 8, 3, 5)], 1),
            Property("more keys than queries", [inputs(3, 5, 8, 4, 6)], 1),
        ]

    swapped = order.translate(str.maketrans("qk", "kq"))
    other = "qkv" if "qkv" not in (order, swapped) else order[1:] + order[0]
    reread = Mistake(
        "reshape instead of transpose",
        "A block is read anew in its turned shape instead of being turned: every column then mixes numbers "
        "that belong to several outputs.",
        _attend(order, layout, reread=True),
        (3, "Common mistakes"),
    )
    return Exercise(
        reference=_reference(order, layout),
        properties=properties,
        mistakes=[
            Mistake(
                "query and key exchanged",
                "The blocks of query and key are exchanged: the asking inputs go through the keys' "
                "projection.",
                _attend(swapped, layout),
            ),
            Mistake(
                "blocks in another order",
                "The three blocks are taken in another order than the one that is asked for.",
                _attend(other, layout),
            ),
            Mistake(
                "cut along the inputs",
                "The array is cut along the axis that runs over the inputs: every block holds some of the "
                "inputs and all outputs, those of query, key and value together.",
                _along_the_inputs(order, layout),
            ),
            Mistake(
                "three equal blocks",
                "The array is cut into thirds. That fits only while values are as wide as queries and keys.",
                _in_thirds(order, layout),
            ),
            Mistake(
                "not scaled",
                "The scores are not divided by anything, so the weights are sharper than they should be.",
                _attend(order, layout, scale=lambda asking, value: 1.0),
                (3, "Dot product, plain and scaled"),
            ),
            Mistake(
                "root of d_model",
                "The scores are divided by the root of the size of the inputs, not of the queries.",
                _attend(order, layout, scale=lambda asking, value: 1 / math.sqrt(asking.shape[-1])),
                (3, "Dot product, plain and scaled"),
            ),
            Mistake(
                "softmax over the queries",
                "The softmax runs over the queries: the columns of the weights sum to 1, and not the rows.",
                _attend(order, layout, softmax_over=-2),
                (3, "Common mistakes"),
            ),
            Mistake(
                "keys from the asking inputs",
                "The keys are made from the inputs that ask; they belong to the memory, as the values do.",
                _attend(order, layout, sources="aam"),
            ),
            Mistake(
                "values from the asking inputs",
                "The values are made from the inputs that ask; what is handed over belongs to the memory.",
                _attend(order, layout, sources="ama"),
            ),
            Mistake(
                "everything from the asking inputs",
                "Keys and values are made from the inputs that ask, so the memory has no influence.",
                _attend(order, layout, sources="aaa"),
            ),
        ]
        + [reread] * (layout == "outputs first"),
        see=(3, "Three learned projections"),
        variants={"library functions": _by_linear(order, layout)},
    )


FAMILY = Family(VERSIONS, _build)
