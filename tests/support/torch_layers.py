"""Write our Transformer layers' parameters as torch's layers name and pack them.

The results are made of our parameters by differentiable steps: ``torch.func.functional_call`` with them sends
gradients to ours, so that values and gradients are compared by one mapping.
"""

import torch

NORMS = {
    "self_attention_sublayer": "norm1",
    "cross_attention_sublayer": "norm2",
    "feed_forward_sublayer": "norm3",
}


def torch_attention(attention, prefix):
    """Return the parameters of ``nn.MultiheadAttention``."""
    packed = [attention.query_proj, attention.key_proj, attention.value_proj]
    return {
        f"{prefix}.in_proj_weight": torch.cat([proj.weight for proj in packed]),
        f"{prefix}.in_proj_bias": torch.cat([proj.bias for proj in packed]),
        f"{prefix}.out_proj.weight": attention.output_proj.weight,
        f"{prefix}.out_proj.bias": attention.output_proj.bias,
    }


def torch_linear(layer, prefix):
    """Return the weight and bias of a linear layer or a norm under another name."""
    return {f"{prefix}.weight": layer.weight, f"{prefix}.bias": layer.bias}


def torch_layer(layer, prefix):
    """Return the parameters of ``nn.TransformerEncoderLayer``, or of ``nn.TransformerDecoderLayer``."""
    parameters = torch_attention(layer.self_attention, f"{prefix}.self_attn")
    is_decoder = hasattr(layer, "cross_attention")
    if is_decoder:
        parameters |= torch_attention(layer.cross_attention, f"{prefix}.multihead_attn")
    parameters |= torch_linear(layer.feed_forward.inner_proj, f"{prefix}.linear1")
    parameters |= torch_linear(layer.feed_forward.output_proj, f"{prefix}.linear2")
    for ours, theirs in NORMS.items():
        if not is_decoder and ours == "feed_forward_sublayer":
            theirs = "norm2"
        if hasattr(layer, ours):
            parameters |= torch_linear(getattr(layer, ours).norm, f"{prefix}.{theirs}")
    return parameters


def torch_stack(stack, prefix):
    """Return the parameters of ``nn.TransformerEncoder`` or ``nn.TransformerDecoder``."""
    parameters = {}
    for number, layer in enumerate(stack.layers):
        parameters |= torch_layer(layer, f"{prefix}layers.{number}")
    if hasattr(stack.norm, "weight"):
        parameters |= torch_linear(stack.norm, f"{prefix}norm")
    return parameters
