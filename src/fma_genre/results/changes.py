"""Changes of the systems' scores between two revisions, with intervals from a bootstrap over artists and runs.

The predictions of both revisions are committed to git, so the change of a score is paired: both revisions are scored on
the same draws of artists. Runs are drawn independently, as for two models, unless the networks are the same.
"""

import io
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from fma_genre.common.documents import decode
from fma_genre.common.errors import InputError
from fma_genre.results.bootstrap import Bootstrap, Interval, holm, p_value

SPLITS = {"validation": "plots/predictions_validation.csv", "test": "plots/predictions.csv"}  # file of each split
COLUMNS = ["track_id", "artist_id", "actual"]
RUN = re.compile(r"(.+)_seed\d+")  # column with the predictions of a run
# The settings of the bootstrap are those of params.yaml by default. A branch cannot change them here.
RESAMPLES, CONFIDENCE, SEED = 2000, 0.95, 0
MAX_CELLS = 10**8  # of all artists' confusion matrices; FMA large with its 16 genres has fewer than 10⁷


@dataclass(frozen=True)
class Predictions:
    """Predicted genres of the tracks of a split."""

    tracks: pd.DataFrame  # COLUMNS, as text
    runs: Mapping[str, np.ndarray]  # (runs, tracks) names of genres, by system

    @property
    def index(self) -> pd.MultiIndex:
        return pd.MultiIndex.from_frame(self.tracks)

    def select(self, tracks: pd.MultiIndex) -> dict[str, np.ndarray]:
        """Select the predictions of some tracks, (runs, tracks) by system."""
        rows = self.index.get_indexer(tracks)
        return {key: labels[:, rows] for key, labels in self.runs.items()}


@dataclass(frozen=True)
class Change:
    """Change of a system's score on the tracks of a split."""

    before: float
    after: float
    interval: Interval  # of the difference
    p: float  # after Holm's correction for all changes on this split
    resolution: float  # a true change of this size is found half of the time

    @property
    def is_clear(self) -> bool:
        return self.p <= 1 - CONFIDENCE


class Pair(NamedTuple):
    """A system in the base, and the one that takes its place in the branch."""

    before: str
    after: str


def read(content: bytes, where: str) -> Predictions:
    """Read a table that the stage `compare` wrote.

    Raises:
        InputError: the content is not such a table. The message begins with `where`.
    """
    text = decode(content, where)
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except ValueError as error:
        raise InputError(f"{where}: cannot read the table: {str(error).splitlines()[0]}") from error
    if list(table.columns[: len(COLUMNS)]) != COLUMNS:
        found = ", ".join(map(repr, table.columns[: len(COLUMNS)]))
        raise InputError(f"{where}: expected the columns {', '.join(COLUMNS)} first, found {found}")
    if (twice := table["track_id"].duplicated()).any():
        raise InputError(f"{where}: expected a row for each track, found two for {table['track_id'][twice].iloc[0]!r}")
    runs: dict[str, list[np.ndarray]] = defaultdict(list)
    for column in table.columns[len(COLUMNS) :]:
        if match := RUN.fullmatch(column):
            runs[match[1]].append(table[column].to_numpy())
    return Predictions(table[COLUMNS], {key: np.array(labels) for key, labels in runs.items()})


def changed(before: Predictions, after: Predictions, key: str) -> bool:
    """Return whether a system predicts any track of both revisions otherwise, or is in one of them only."""
    tracks = before.index.intersection(after.index, sort=False)
    old, new = before.select(tracks).get(key), after.select(tracks).get(key)
    if old is None or new is None:
        return old is not new
    return not np.array_equal(old, new)


def changes(
    before: Predictions,
    after: Predictions,
    pairs: Sequence[Pair],
    metric: str,
    *,
    from_branch: Collection[str] = (),
    same_networks: Collection[str] = (),
) -> dict[Pair, Change]:
    """Compute the changes of a score on the tracks that both revisions have.

    Pairs without predictions, or with the same ones, are left out. So are all if the revisions share no track.

    Args:
        before, after: predictions for the tracks of one split, in the base and in the branch.
        metric: name of the score, e.g. accuracy.
        from_branch: systems whose predictions in the branch also stand for those in the base.
        same_networks: systems whose runs have the same weights in both revisions, and are therefore drawn together.

    Raises:
        InputError: there are too many artists and genres to score.
    """
    tracks = before.index.intersection(after.index, sort=False)
    if tracks.empty:
        return {}
    new = after.select(tracks)
    old = before.select(tracks) | {key: new[key] for key in from_branch if key in new}
    pairs = [pair for pair in pairs if pair.before in old and pair.after in new]
    pairs = [pair for pair in pairs if not np.array_equal(old[pair.before], new[pair.after])]
    scorer = _Scorer(tracks.to_frame(index=False), [*old.values(), *new.values()], metric)
    scores = {
        pair: (
            scorer.scores(old[pair.before], _name_of_draws(pair, same_networks)),
            scorer.scores(new[pair.after], pair.after),
        )
        for pair in pairs
    }
    differences = {pair: new - old for pair, (old, new) in scores.items()}
    corrected = holm([p_value(values) for values in differences.values()])
    return {
        pair: Change(
            before=float(scores[pair][0][0]),
            after=float(scores[pair][1][0]),
            interval=scorer.bootstrap.interval(values),
            p=p,
            resolution=scorer.bootstrap.half_width(values, len(pairs)),
        )
        for (pair, values), p in zip(differences.items(), corrected, strict=True)
    }


def _name_of_draws(pair: Pair, same_networks: Collection[str]) -> str:
    """Name by which the runs of the base are drawn. Runs with equal names and numbers share their draws."""
    is_retrained = pair.before == pair.after and pair.after not in same_networks
    return f"{pair.before} before" if is_retrained else pair.before


class _Scorer:
    """Scores of systems on the same draws of artists."""

    def __init__(self, tracks: pd.DataFrame, labels: Sequence[np.ndarray], metric: str) -> None:
        actual, artists = tracks["actual"].to_numpy(), tracks["artist_id"].to_numpy()
        self.genres = pd.Index(np.unique(np.concatenate([actual, *(runs.ravel() for runs in labels)])))
        cells = len(np.unique(artists)) * len(self.genres) ** 2
        if cells > MAX_CELLS:
            raise InputError(f"expected at most {MAX_CELLS} artists × genres², found {cells}")
        self.actual, self.metric = self.genres.get_indexer(pd.Index(actual)), metric
        self.bootstrap = Bootstrap(artists, len(self.genres), resamples=RESAMPLES, confidence=CONFIDENCE, seed=SEED)

    def scores(self, labels: np.ndarray, name: str) -> np.ndarray:
        """Score of a system with the predictions (runs, tracks), on the tracks and on every resample."""
        positions = self.genres.get_indexer(pd.Index(labels.ravel())).reshape(labels.shape)
        return self.bootstrap.scores(self.actual, positions, [(name, len(labels))])[self.metric]
