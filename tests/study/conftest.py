"""Real clips, prepared once."""

from tests.train.conftest import prepared  # noqa: F401
