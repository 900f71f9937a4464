"""The libraries that are compared are the pinned ones, also in the environment with TensorFlow."""

import importlib.metadata

import pytest

from tests.packaging.test_requirements import version

pytestmark = pytest.mark.packaging


@pytest.mark.parametrize("name", ["keras", "torch", "numpy"])
def test_installed_is_pinned(name):
    # .venv-tensorflow takes its pins as constraints: setup_env.py does not notice when they change.
    assert importlib.metadata.version(name).split("+")[0] == version(name)
