"""Scores on the validation tracks. The comparison scores the test tracks, so another split takes their place."""

from dataclasses import replace

import pandas as pd

from fma_genre.common.errors import InputError
from fma_genre.results.systems import System
from fma_genre.store import classes


def score_split(index: pd.DataFrame, split: str) -> pd.DataFrame:
    """Make the tracks of `split` the test tracks of an index, and leave out all others but the training tracks.

    Raises:
        InputError: a genre has only tracks that are left out.
    """
    left_out = ~index["split"].isin(["training", split])
    scored = index.assign(
        split=index["split"].where(index["split"] != split, "test"),
        frames=index["frames"].mask(left_out, 0),
        left_out=index["left_out"].mask(left_out, f"neither a training nor a {split} track"),
    )
    if missing := set(classes(index)) - set(classes(scored)):
        raise InputError(f"expected a training or {split} track of each genre, found none of {min(missing)}")
    return scored


def use_split(system: System, split: str) -> System:
    """Use a system's predictions for `split`, validation or test, as those for both splits."""
    found = getattr(system.predictions, split)
    return replace(system, predictions=replace(system.predictions, validation=found, test=found, examples=()))
