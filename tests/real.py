"""Real data beside the checkout, which is no part of it: tests that use it skip where it is not."""

import os
from pathlib import Path

import pytest

REAL = Path(os.environ.get("FMA_REAL") or Path(__file__).parents[2] / "shared" / "real")

needs_real = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"needs the real data in {REAL}; the environment variable FMA_REAL names another folder"
)
