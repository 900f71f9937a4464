"""Settings of the tests against Keras; they run on the engine that KERAS_BACKEND names, torch unless set.

Keras reads both variables when it is imported, and without KERAS_HOME writes a file into the home directory.
"""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("KERAS_HOME", str(Path(sys.prefix) / "cache" / "keras"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets with its compile options

# Keras 3.15 hands torch's parameters to np.array, which warns that they know no `copy` argument.
KERAS_ON_TORCH = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let this one warning pass in the tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(KERAS_ON_TORCH))
