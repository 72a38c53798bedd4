"""Print a table of the last commit and the experiments since then, the best validation accuracy first.

    python src/experiments.py

A row has the parameters changed since the last commit, then the validation accuracies in % of the promoted model and
of each system. It has no test scores, because a choice must not depend on them. Experiments that have failed or are not
finished come last, with their state.
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from fma_genre import checkout
from fma_genre.common.errors import InputError, errors_in_one_line, printable
from fma_genre.results.markdown import table

HEAD, PROMOTED, WORKSPACE = "HEAD", "promoted", "workspace"
METRIC = "validation_accuracy"
FINISHED = ""  # state of a finished experiment, and of the last commit
MAX_VALUE_LENGTH = 20  # characters
LEGEND = f"Validation accuracies in %. Changed parameters are those that differ from {HEAD}, the last commit."

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Revision:
    """The last commit or an experiment."""

    name: str
    state: str  # FINISHED or e.g. queued, running or failed
    parameters: Values
    accuracies: Mapping[str, float]  # validation accuracies of the promoted model and of each system

    @property
    def order(self) -> tuple[str, float]:
        """Sort key: finished ones first, by the accuracy of the promoted model."""
        return self.state, -self.accuracies.get(PROMOTED, -math.inf)


def main() -> None:
    argparse.ArgumentParser(description="Print a table of the last commit and the experiments since.").parse_args()
    print(f"{as_table(read_revisions(checkout.experiments()))}\n\n{LEGEND}")


# Reading. ---------------------------------------------------------------------------------------------------------


def read_revisions(shown: Sequence[Any]) -> list[Revision]:
    """Return the last commit, then the experiments since, from the answer of `dvc exp show`."""
    commits = [row for row in shown if get(row, "rev") not in (None, WORKSPACE)]
    if not commits:
        raise InputError("dvc exp show: expected the last commit, found none")
    revisions = [read_revision(HEAD, commits[0], FINISHED)]
    for experiment in get(commits[0], "experiments") or []:
        state = get(experiment, "executor", "state") or ""
        for row in get(experiment, "revs") or []:
            name = get(row, "name") or str(get(row, "rev"))[:7]
            revisions.append(read_revision(name, row, FINISHED if state == "success" else state))
    return revisions


def read_revision(name: str, row: Any, state: str) -> Revision:
    state = state or ("failed" if get(row, "error") else "")
    parameters = get(row, "data", "params", "params.yaml", "data") or {}
    found = {
        key: get(row, "data", "metrics", f"metrics/{key}.json", "data", METRIC)
        for key in (PROMOTED, *systems(parameters))
    }
    # An experiment that is not finished has the metrics of the last commit.
    accuracies = {key: value for key, value in found.items() if isinstance(value, int | float) and not state}
    return Revision(name, state, parameters, accuracies)


def get(value: Any, *keys: str) -> Any:
    """The value in nested mappings, or None if there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def systems(parameters: Values) -> list[str]:
    """Keys of the models and the baselines."""
    return [key for section in ("models", "baselines") for key in get(parameters, section) or {}]


# Table. -----------------------------------------------------------------------------------------------------------


def as_table(revisions: Sequence[Revision]) -> str:
    """Markdown table of the revisions; `revisions[0]` is the last commit.

    Each further changed parameter of an experiment has a line of its own, so that the table stays narrow.
    """
    keys = list(dict.fromkeys(key for revision in revisions for key in systems(revision.parameters)))
    rows: list[Sequence[str]] = [["experiment", "changed", PROMOTED, *keys]]
    for revision in sorted(revisions, key=lambda revision: revision.order):
        cells = [percent(revision.accuracies.get(key)) for key in (PROMOTED, *keys)]
        cells[0] = revision.state or cells[0]
        changed = list(changes(revisions[0].parameters, revision.parameters)) or [""]
        rows += zip_longest([revision.name], changed, *([cell] for cell in cells), fillvalue="")
    return table([[harmless(cell) for cell in row] for row in rows])


def changes(before: Values, after: Values, prefix: str = "") -> Iterator[str]:
    """Yield the parameters that differ, in the syntax of `dvc exp run -S`.

    An added section is +name, and a removed section or parameter is ~name.
    """
    for key in {**before, **after}:
        name, old, new = f"{prefix}{key}", before.get(key), after.get(key)
        if key not in after:
            yield f"~{name}"
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from changes(old, new, f"{name}.")
        elif isinstance(new, Mapping):
            yield f"+{name}"
        elif key not in before or old != new:
            yield f"{name}={shortened(new)}"


def shortened(value: Any) -> str:
    text = str(value).replace(" ", "")
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[: MAX_VALUE_LENGTH - 1]}…"


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def harmless(cell: str) -> str:
    """Replace the characters that could control a terminal or add a cell."""
    return printable(cell).replace("|", "/")


if __name__ == "__main__":
    with errors_in_one_line("experiments"):
        main()
