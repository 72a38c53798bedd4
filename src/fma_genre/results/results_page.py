"""The page docs/results/README.md: its tables are made from the JSON files in the same folder.

Each table stands between two comments, `<!-- NAME -->` and `<!-- end -->`. All other text is written by hand.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from fma_genre.common import documents, schema
from fma_genre.common.errors import InputError
from fma_genre.common.files import write_text
from fma_genre.common.params import SHA1
from fma_genre.common.schema import Length, Range
from fma_genre.known_answer.official_features import DIMENSIONS, STATISTICS
from fma_genre.known_answer.reproduction import SYSTEMS, Score, System
from fma_genre.results import record
from fma_genre.results.markdown import table
from fma_genre.results.record import DATASETS, FOLDER, Record, Share, Splits, Text

PAGE, KNOWN_ANSWER = "README.md", "known_answer.json"
NOT_RUN = "not run yet"
REGION = re.compile(r"(<!-- (?!end)(\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD = (
    "result", "system", "runs", "accuracy", "interval", "F1", "interval", "difference", "interval", "p", "resolution",
)  # fmt: skip
RUN_HEAD = (
    "result", "training / validation / test tracks", "left out", "test artists", "intervals", "hardware",
    "Python, torch, scikit-learn",
)  # fmt: skip


@dataclass(frozen=True)
class KnownAnswer:
    """Content of known_answer.json, which src/known_answer.py writes."""

    dataset: schema.Name
    subset: Literal["medium"]
    metadata_sha1: Annotated[str, SHA1]
    tracks: Splits
    genres: Annotated[int, Range(2, 10_000)]
    scikit_learn: Text
    tolerance: Share
    agrees: bool
    results: Annotated[tuple[Score, ...], Length(1, 100)]


def update(folder: Path = FOLDER) -> Path:
    """Make the tables of the page again; return its path. Raises the same errors as `render`."""
    path = folder / PAGE
    write_text(path, render(documents.read_text(path), folder))
    return path


def render(text: str, folder: Path = FOLDER) -> str:
    """Replace the tables in the text of the page by those of the JSON files in `folder`.

    Raises:
        InputError: a JSON file is invalid, or the text lacks the comments of a table.
    """
    records = record.read_all(folder)
    tables = {"known_answer": known_answer_table(read_known_answer(folder))}
    tables |= {name: results_table([found for found in records if found.dataset == name]) for name in DATASETS}
    names = [name for _, name, _ in REGION.findall(text)]
    if sorted(names) != sorted(tables):
        raise InputError(
            f"{folder / PAGE}: expected the tables {', '.join(tables)}, found {', '.join(names) or 'none'}"
        )
    return REGION.sub(lambda region: f"{region[1]}\n{tables[region[2]]}\n\n{region[3]}", text)


# The known answer. ------------------------------------------------------------------------------------------------


def read_known_answer(folder: Path = FOLDER) -> KnownAnswer | None:
    """Read known_answer.json, or return None if it does not exist; raise InputError for the first invalid value."""
    path = folder / KNOWN_ANSWER
    if not path.exists():
        return None
    try:
        return schema.read(KnownAnswer, documents.read_json(path), "")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def known_answer_table(found: KnownAnswer | None) -> str:
    head = ["classifier", "features", "published", "measured", "difference"]
    if found is None:
        return table([head, *(_not_run(system) for system in SYSTEMS)])
    every = "Every" if found.agrees else "Not every"
    legend = (
        f"{every} measured accuracy agrees with the published one within {100 * found.tolerance:g} point"
        f" (scikit-learn {found.scikit_learn})."
    )
    return f"{table([head, *map(_measured, found.results)])}\n\n{legend}"


def _not_run(system: System) -> list[str]:
    return [system.classifier, str(_width(system.features)), _percent(system.published), NOT_RUN, ""]


def _measured(score: Score) -> list[str]:
    published, measured = _percent(score.published), _percent(score.accuracy)
    return [score.classifier, str(score.features), published, measured, _signed(score.difference)]


def _width(features: Sequence[str]) -> int:
    """Number of columns of these features."""
    return len(STATISTICS) * sum(DIMENSIONS[name] for name in features)


# Results of a data set. -------------------------------------------------------------------------------------------


def results_table(records: Sequence[Record]) -> str:
    """Table with a row for each system of each record, and a table of the runs."""
    if not records:
        return table([HEAD, [NOT_RUN, *[""] * (len(HEAD) - 1)]])
    rows = [cells for found in records for cells in _rows(found)]
    return "\n\n".join([table([HEAD, *rows]), table([RUN_HEAD, *map(_run, records)])])


def _rows(found: Record) -> Iterator[list[str]]:
    """Yield a row for each system, then a row for each ensemble."""
    link, comparison = f"[{found.name}]({found.name}.json)", found.comparison
    for key, scores in comparison.systems.items():
        runs = "" if key == "majority" else str(scores["runs"])
        yield [link, key, runs, *_cells(key, scores, comparison.differences, comparison.reference)]
    reference = next((key for key in comparison.ensembles if key not in comparison.ensemble_differences), "")
    for key, scores in comparison.ensembles.items():
        yield [link, key, "", *_cells(key, scores, comparison.ensemble_differences, reference)]


def _cells(key: str, scores: Mapping[str, Any], differences: Mapping[str, Any], reference: str) -> list[str]:
    """Accuracy, F1, difference from the reference in accuracy, its p-value and its resolution."""
    cells = [*_with_interval(scores, "accuracy", _percent), *_with_interval(scores, "f1", _percent)]
    if key not in differences:
        return [*cells, "reference" if key == reference else "", "", "", ""]
    difference = differences[key]
    p, resolution = f"{difference['p_holm']:.2g}", _percent(difference["resolution"])
    return [*cells, *_with_interval(difference, "accuracy", _signed), p, resolution]


def _with_interval(values: Mapping[str, Any], metric: str, form: Callable[[float], str]) -> list[str]:
    low, high = values[f"{metric}_low"], values[f"{metric}_high"]
    return [form(values[metric]), f"[{form(low)}, {form(high)}]"]


def _run(found: Record) -> list[str]:
    """Facts about the run: tracks, confidence of the intervals, hardware and versions."""
    hardware, software = found.hardware, found.software
    return [
        found.name,
        _splits(found.tracks),
        _splits(found.left_out),
        str(found.artists.test),
        f"{100 * found.comparison.confidence:g} %",
        f"{', '.join([*hardware.gpus, hardware.cpu])}, {hardware.cores} cores",
        f"{software.python}, {software.torch}, {software.scikit_learn}",
    ]


def _splits(counts: Splits) -> str:
    return f"{counts.training} / {counts.validation} / {counts.test}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _signed(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", "−")
