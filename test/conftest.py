# SPDX-License-Identifier: Apache-2.0
"""Settings of every test."""

import ctypes
import ctypes.util
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, settings

# How long an example takes says something about the machine, not about the code. And the same code
# is given the same examples, so that a failure belongs to the change; --hypothesis-profile=random
# looks for others.
settings.register_profile("levine", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None)
# For tests that do not set their own number: --hypothesis-profile=campaign --timeout=0.
settings.register_profile("campaign", deadline=None, max_examples=50_000)
# For `make mutants`, which runs the tests thousands of times: few examples, even of tests that set
# their number, and a failure is not made smaller.
settings.register_profile(
    "mutants",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=10,
    phases=[
        Phase.explicit,
        Phase.generate,
    ],
)
settings.load_profile("levine")

# Hypothesis has no way to change what a test has set.
_OWN_SETTINGS = "_hypothesis_internal_use_settings"

# What tests keep for the next start does not outlive them, nor come from an earlier one. Compiled
# shaders may: rendering without a GPU waits for them.
_caches = tempfile.TemporaryDirectory(prefix="levine_test_cache_")
os.environ.setdefault("MESA_SHADER_CACHE_DIR", str(Path("~/.cache").expanduser()))
os.environ["XDG_CACHE_HOME"] = _caches.name

_libm = ctypes.CDLL(ctypes.util.find_library("m"))
_environment = ctypes.create_string_buffer(256)
_libm.fegetenv(_environment)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--hypothesis-profile") != "mutants":
        return
    few = settings.get_profile("mutants")
    for item in items:
        test = getattr(item, "obj", None)
        own = getattr(test, _OWN_SETTINGS, None)
        if own is not None:
            count = min(own.max_examples, few.max_examples)
            setattr(test, _OWN_SETTINGS, settings(few, max_examples=count))


@pytest.fixture(autouse=True)
def floating_point_environment():
    """Give denormal numbers back to the thread of the tests.

    ONNX Runtime and software GL switch them off and leave it so, and hypothesis refuses to draw
    numbers that cannot be.
    """
    _libm.fesetenv(_environment)
