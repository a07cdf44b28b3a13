"""For tests that compile much and compute little."""

import jax
import pytest


@pytest.fixture(scope="module")
def quick_compilation():
    """XLA leaves most of its optimisations out, which is not its default."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
