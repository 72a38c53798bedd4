"""Choose a model's recipe on your own data: run candidates as DVC experiments, and rank them by validation accuracy.

    python src/choose.py [MODEL]    default: `model` in params.yaml

Runs an experiment for each item of src/candidates.yaml, and everything else that is queued. An experiment that has
finished since the last commit, with the same parameters, is not run again. The table shows validation accuracies, and
their differences from the recipe in params.yaml. Test tracks play no part. The last lines are those of the best
candidate for params.yaml.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from experiments import FINISHED, percent, read_revisions
from fma_genre import checkout, store
from fma_genre.common import params, schema
from fma_genre.common.documents import hash_json, read_yaml
from fma_genre.common.errors import InputError, errors_in_one_line
from fma_genre.common.params import Model, Params, Train
from fma_genre.learning import build
from fma_genre.results import predictions
from fma_genre.results.comparison import Comparison, Difference, compare
from fma_genre.results.markdown import table
from fma_genre.results.predictions import Predictions
from fma_genre.results.report import verdict
from fma_genre.results.systems import System, check_tracks
from fma_genre.scored_split import score_split, use_split

CANDIDATES = Path(__file__).with_name("candidates.yaml")
CURRENT = "current"
TIMES = "× "


@dataclass(frozen=True)
class Candidate:
    """A change to the parameters of a model."""

    model: str
    changes: Mapping[str, Any]
    base: str  # hash of the parameters that are changed

    @property
    def name(self) -> str:
        """Name of the experiment, e.g. choose-cnn-epochs-32-1a2b3c."""
        parts = [f"{key}-{value}" for key, value in self.changes.items()]
        return re.sub("[^A-Za-z0-9_-]", "_", "-".join(["choose", self.model, *parts, self.base]))

    @property
    def settings(self) -> list[str]:
        """Arguments of `dvc exp run`. The prefix ++ adds a parameter or changes it."""
        return [f"++models.{self.model}.{key}={value}" for key, value in self.changes.items()]

    @property
    def lines(self) -> str:
        """The changes as lines for params.yaml."""
        return yaml.safe_dump({"models": {self.model: dict(self.changes)}}, sort_keys=False).strip()


def main() -> None:
    arguments = parse(sys.argv[1:])
    with errors_in_one_line("choose"):
        parameters = params.load()
        model = arguments.model or parameters.model
        params.check_choice(model, parameters.models, "MODEL")
        index = store.read_index(store.DATA / store.INDEX)
        candidates = read_candidates(parameters, model)
        check_up_to_date(model, parameters.models[model].representation)
        current = predictions.read(Path(f"data/predictions/{model}.npz"))
        run(candidates)
        found = {CURRENT: current} | {candidate.name: fetch(candidate) for candidate in candidates}
        comparison = rank(found, index, parameters)
        print(report(comparison, candidates))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a key of `models` in params.yaml")
    return parser.parse_args(arguments)


def read_candidates(parameters: Params, model: str) -> list[Candidate]:
    """Read the candidates for a model, without those that change nothing.

    Raises:
        InputError: the file is not a list of changes, or a change is invalid.
    """
    items = read_yaml(CANDIDATES)
    if not isinstance(items, list) or not all(isinstance(item, dict) and item for item in items):
        raise InputError(f"{CANDIDATES}: expected a list of changes, found {type(items).__name__}")
    section = parameters.models[model]
    present = asdict(section.train) | dict(section.arguments)
    base = hash_json([asdict(section), asdict(parameters.spectrograms), parameters.dataset])[:6]
    candidates = []
    for item in items:
        try:
            changes = {key: changed_value(key, present, value) for key, value in item.items()}
            check(section, changes, f"models.{model}")
        except InputError as error:
            raise InputError(f"{CANDIDATES}: {error}") from None
        if any(present[key] != value for key, value in changes.items()):
            candidates.append(Candidate(model, changes, base))
    return candidates


def changed_value(key: str, present: Mapping[str, Any], value: Any) -> Any:
    """Evaluate a value of the file: `× 0.5` is half of the present value."""
    if key not in present:
        raise InputError(f"{key}: expected one of {', '.join(present)}")
    if not isinstance(value, str) or not value.startswith(TIMES):
        return value
    number, factor = present[key], value.removeprefix(TIMES)
    if type(number) not in (int, float) or not re.fullmatch(r"[0-9]+(\.[0-9]+)?", factor):
        raise InputError(f"{key}: expected a multiple of a number, found {value!r} of {number!r}")
    product = number * float(factor)
    return round(product) if isinstance(number, int) else product


def check(section: Model, changes: Mapping[str, Any], where: str) -> None:
    """Raise InputError if the model's section is invalid after the changes."""
    overrides, arguments = schema.partition(changes, schema.names(Train))
    train = schema.read(Train, vars(section.train) | overrides, where)
    build.read_arguments(replace(section, train=train, arguments=dict(section.arguments) | arguments), where)


# Experiments. -----------------------------------------------------------------------------------------------------


def check_up_to_date(model: str, representation: str) -> None:
    """Raise InputError if `dvc repro` would replace the model's predictions, with which candidates are compared."""
    stages = {"download", "split", "spectrograms", f"waveforms@{representation}", f"train@{model}", f"evaluate@{model}"}
    if stages.intersection(checkout.stale_stages()):  # of several outdated stages, DVC may name only the first
        raise InputError(f"expected up-to-date predictions of {model}, found outdated ones: run `dvc repro` first")


def run(candidates: Sequence[Candidate]) -> None:
    """Queue the experiments that have not finished since the last commit, and run the queue."""
    states = {revision.name: revision.state for revision in read_revisions(checkout.experiments())}
    unfinished = [candidate for candidate in candidates if states.get(candidate.name) != FINISHED]
    checkout.remove_experiments(*(candidate.name for candidate in unfinished if candidate.name in states))
    for candidate in unfinished:
        settings = [argument for setting in candidate.settings for argument in ("--set-param", setting)]
        dvc("exp", "run", "--queue", "--name", candidate.name, *settings, f"evaluate@{candidate.model}")
    if unfinished:
        dvc("exp", "run", "--run-all")


def dvc(*arguments: str) -> None:
    """Run a DVC command, with its output on the terminal; raise InputError if it fails."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], check=False)
    if done.returncode:
        raise InputError(f"dvc {' '.join(arguments[:2])}: exit code {done.returncode}; see the output above")


def fetch(candidate: Candidate) -> Predictions:
    """Read the predictions of a finished experiment; raise InputError if it failed."""
    path = f"data/predictions/{candidate.model}.npz"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "predictions.npz"
        dvc("get", "--quiet", "--rev", candidate.name, "--out", str(file), ".", path)
        return predictions.read(file)


def rank(found: Mapping[str, Predictions], index: pd.DataFrame, parameters: Params) -> Comparison:
    """Compare the candidates with the recipe in params.yaml by the validation tracks.

    Args:
        found: predictions by the name of the candidate, and those of the recipe in params.yaml by CURRENT.
        index: index of all tracks (see `fma_genre.store`).
    """
    systems = [System(name, True, predicted) for name, predicted in found.items()]
    for system in systems:
        check_tracks(system, index)
    return compare(
        [without_svm_head(use_split(system, "validation")) for system in systems],
        score_split(index, "validation"),
        replace(parameters.compare, reference=CURRENT, fusion=(), stacking=()),
        dataset=parameters.dataset,
        synthetic=parameters.data_set.synthetic,
    )


def without_svm_head(system: System) -> System:
    scored = replace(system.predictions.test, svm_head_labels=None)
    return replace(system, predictions=replace(system.predictions, validation=scored, test=scored))


# Report. ----------------------------------------------------------------------------------------------------------


def report(comparison: Comparison, candidates: Sequence[Candidate]) -> str:
    """The ranking, best validation accuracy first, and the lines for params.yaml."""
    differences = {difference.key: difference for difference in comparison.differences}
    ranked = sorted(comparison.models, key=lambda row: -row.intervals["accuracy"].value)
    head = ["recipe", "validation accuracy", "difference", "interval", "verdict"]
    rows = [
        [row.key, percent(row.intervals["accuracy"].value), *cells(differences.get(row.key), comparison)]
        for row in ranked
    ]
    best = next((candidate for candidate in candidates if candidate.name == ranked[0].key), None)
    return "\n\n".join([table([head, *rows]), legend(comparison), advice(best, differences, comparison)])


def cells(difference: Difference | None, comparison: Comparison) -> list[str]:
    """The difference from the current recipe in points, its interval and the verdict; empty for the recipe itself."""
    if difference is None:
        return ["", "", ""]
    value, low, high = (f"{100 * number:+z.1f}" for number in difference.intervals["accuracy"])
    return [value, f"[{low}, {high}]", verdict(difference, comparison)]


def legend(comparison: Comparison) -> str:
    return (
        f"In %, on {len(comparison.tracks)} validation tracks by {comparison.artists} artists of {comparison.dataset}."
        f" The {100 * comparison.confidence:g} % intervals are from a bootstrap over artists and runs. Verdicts are"
        f" corrected for {len(comparison.differences)} differences."
    )


def advice(best: Candidate | None, differences: Mapping[str, Difference], comparison: Comparison) -> str:
    if best is None:
        return "The recipe in params.yaml has the highest validation accuracy: keep it."
    lines = f"The best candidate has these lines in params.yaml:\n\n{best.lines}"
    if verdict(differences[best.name], comparison) == "better":
        return lines
    return f"The difference may be chance; the simpler or faster recipe is a good choice, too.\n\n{lines}"


if __name__ == "__main__":
    main()
