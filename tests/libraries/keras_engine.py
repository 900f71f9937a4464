"""Run a Keras layer on the engine that is set, NumPy in and NumPy out, with gradients."""

import keras
import numpy as np
import pytest
import torch

ENGINE = keras.backend.backend()


def to_numpy(tensor):
    """Return an engine's tensor as an array."""
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def built(layer, query, key, value, weights):
    """Build a layer for inputs of given shapes, and set its weights."""
    layer.build(query.shape, value.shape, key.shape)
    layer.set_weights(weights)
    return layer


def values_and_gradients(call, inputs, weights, upstream):
    """Return ``call(*inputs)`` and the gradients of ``sum(first output * upstream)``.

    Parameters
    ----------
    call : callable
        From tensors to one tensor or several.
    inputs : list of ndarray
        What ``call`` gets, as the engine's tensors.
    weights : list of keras.Variable
        What else gets a gradient.
    upstream : ndarray
        As large as the first output.

    Returns
    -------
    outputs, input_gradients, weight_gradients : lists of ndarray
        All in the order given.
    """
    run = {"torch": _on_torch, "tensorflow": _on_tensorflow}[ENGINE]
    outputs, gradients = run(call, inputs, weights, upstream)
    gradients = [to_numpy(gradient) for gradient in gradients]
    return [to_numpy(output) for output in outputs], gradients[: len(inputs)], gradients[len(inputs) :]


def _as_list(outputs):
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]


def _on_torch(call, inputs, weights, upstream):
    tensors = [torch.tensor(array, requires_grad=True) for array in inputs]
    outputs = _as_list(call(*tensors))
    leaves = [*tensors, *(weight.value for weight in weights)]
    gradients = torch.autograd.grad(outputs[0], leaves, torch.tensor(upstream))
    return [output.detach() for output in outputs], gradients


def _on_tensorflow(call, inputs, weights, upstream):
    tensorflow = pytest.importorskip("tensorflow")
    tensors = [tensorflow.constant(array) for array in inputs]
    with tensorflow.GradientTape() as tape:
        tape.watch(tensors)
        outputs = _as_list(call(*tensors))
    leaves = [*tensors, *(weight.value for weight in weights)]
    return outputs, tape.gradient(outputs[0], leaves, tensorflow.constant(upstream))
