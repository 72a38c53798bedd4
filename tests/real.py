"""Real data in a folder outside the checkout. Tests that need it are skipped if the folder is missing."""

import os
from pathlib import Path

import pytest

REAL = Path(os.environ.get("FMA_REAL") or Path(__file__).parents[2] / "shared" / "real")

needs_real = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"needs the real data in {REAL}; the environment variable FMA_REAL names another folder"
)
