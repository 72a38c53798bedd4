"""Train the related work in related.yaml as one DVC experiment, and compare it with the systems of params.yaml.

    python src/related.py [SYSTEM …]    default: all systems of related.yaml except those under `on_request`

The experiment is named `related`, and replaces an earlier one of this name when it has finished. It has all systems of
params.yaml, too. The workspace does not change. The table at the end shows the scores of all systems on the test
tracks. A system that combines others, such as `stacking`, may be named, too: its members are then trained. A section of
params.yaml wins over one of the same name in related.yaml.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import baseline
from experiments import FINISHED, read_revisions
from fma_genre import checkout
from fma_genre.common import params, schema
from fma_genre.common.documents import read_json
from fma_genre.common.errors import InputError, errors_in_one_line
from fma_genre.common.params import Params
from fma_genre.features.build import describe
from fma_genre.features.waveform import describe as describe_waveform
from fma_genre.learning import build, checkpoint
from fma_genre.results import comparison, derived
from fma_genre.results.markdown import table
from fma_genre.store import Description

RELATED, PARAMS = Path("related.yaml"), Path("params.yaml")
EXPERIMENT = "related"
UNFINISHED = "related-unfinished"  # its name until it has finished, so that a failed one replaces nothing
COMBINED = ("fusion", "stacking")  # systems under `compare` that combine others
SCORES = ("accuracy", "recall", "f1")
NEXT = f"""\
dvc metrics diff HEAD {EXPERIMENT}     print what differs from the last commit
dvc exp apply {EXPERIMENT}             bring the experiment's parameters, models and results into the workspace
dvc exp run -S model=MODEL        after that: ship one of its models"""

Names = Annotated[tuple[schema.Name, ...], schema.Length(0, 100)]
Section = Mapping[str, Any]


@dataclass(frozen=True)
class Related:
    """Content of related.yaml. The sections have the form of those in params.yaml."""

    models: Section
    baselines: Section
    compare: Section
    waveforms: Section = field(default_factory=dict)
    on_request: Names = ()  # systems that are trained only if they are named

    @property
    def systems(self) -> list[str]:
        return [*self.models, *self.baselines]

    @property
    def default(self) -> list[str]:
        return [name for name in self.systems if name not in self.on_request]


def main() -> None:
    arguments = parse(sys.argv[1:])
    with errors_in_one_line("related"):
        params.load(PARAMS)  # an invalid file is refused by its own name
        related, content = read_related(RELATED), params.read(PARAMS)
        changes = select(related, arguments.systems or related.default, content)
        added = [*changes["models"], *changes["baselines"], *changes["compare"]]
        check(content, changes)
        print(f"{EXPERIMENT}: {', '.join(added)}, beside the systems of {PARAMS}")
        if related.on_request and not arguments.systems:
            print(f"left out unless named, since they take long: {', '.join(related.on_request)}")
        print("DVC first warns that the new systems have no outputs yet", flush=True)
        run(changes)
        print(f"\n{scores_table(fetch())}\n\n{NEXT}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help="a system of related.yaml")
    return parser.parse_args(arguments)


# Systems. ---------------------------------------------------------------------------------------------------------


def read_related(path: Path) -> Related:
    content = params.read(path)
    try:
        related = schema.read(Related, content, "")
        for name in related.on_request:
            params.check_choice(name, related.systems, "on_request")
        for name, members in related.compare.items():
            params.check_choice(name, COMBINED, "compare")
            schema.convert(params.Members, members, f"compare.{name}")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return related


def select(related: Related, names: Sequence[str], content: Section) -> dict[str, dict[str, Any]]:
    """Select the sections of the named systems, and of what they need.

    Args:
        content: content of params.yaml, which wins over related.yaml.

    Returns:
        changes to params.yaml: by section, then by name

    Raises:
        InputError: a name is unknown, or params.yaml has all systems already.
    """
    for name in names:
        params.check_choice(name, [*related.systems, *related.compare], "SYSTEM")
    present = {*content["models"], *content["baselines"]}
    for name, members in related.compare.items():
        for member in members:
            params.check_choice(member, dict.fromkeys([*related.systems, *sorted(present)]), f"compare.{name}")
    named = {member for name in names for member in related.compare.get(name, [name])}
    models, baselines = (
        {name: section for name, section in sections.items() if name in named - present}
        for sections in (related.models, related.baselines)
    )
    read = {section.get("representation") for section in models.values() if isinstance(section, Mapping)}
    compared = {*present, *models, *baselines}
    changes = {
        "waveforms": {
            name: section
            for name, section in related.waveforms.items()
            if name in read and name not in content["waveforms"]
        },
        "models": models,
        "baselines": baselines,
        # A system that combines others is compared if all of them are.
        "compare": {
            name: members
            for name, members in related.compare.items()
            if compared.issuperset(members) and not content["compare"][name]
        },
    }
    if not any(changes.values()):
        raise InputError(f"expected a system that {PARAMS} does not have, found none: `dvc repro` compares all")
    return changes


def check(content: Section, changes: Mapping[str, Section]) -> Params:
    """Raise InputError for the first invalid parameter of the experiment, before anything is trained."""
    merged = {key: {**value, **changes[key]} if key in changes else value for key, value in content.items()}
    try:
        found = params.check(merged)
        for name in changes["models"]:
            check_network(found, name)
        for name in changes["baselines"]:
            baseline.read_arguments(found.baselines[name], f"baselines.{name}")
        check_comparison(found)
    except InputError as error:
        raise InputError(f"{RELATED} with {PARAMS}: {error}") from None
    return found


def check_network(parameters: Params, name: str) -> None:
    """Raise InputError unless the network of a model can be built for its segments."""
    model = parameters.models[name]
    network_arguments, front_end_arguments = build.read_arguments(model, f"models.{name}")
    description = describe_input(parameters, model.representation, ["a", "b"])
    checkpoint.check_size(
        checkpoint.Settings(
            name, model.network, network_arguments, model.front_end, front_end_arguments, model.train, description
        )
    )


def describe_input(parameters: Params, representation: str, classes: list[str]) -> Description:
    """Describe the store of a spectrogram or a waveform that these parameters give, for random data."""
    if settings := parameters.waveforms.get(representation):
        return describe_waveform(representation, settings, "random", True, classes)
    return describe(representation, parameters.spectrograms, "random", True, classes)


def check_comparison(parameters: Params) -> None:
    """Raise InputError if there are too few resamples, or too many combinations of runs in a combined system."""
    models, compare = parameters.models.values(), parameters.compare
    combined = {name: getattr(compare, name) for name in COMBINED}
    heads = sum(model.svm_head is not None for model in models)
    systems = len(models) + heads + len(parameters.baselines) + sum(map(bool, combined.values()))
    comparison.check_resamples(systems - 1, compare)
    for name, members in combined.items():
        runs = [parameters.models[member].train.runs for member in members if member in parameters.models]
        derived.check_combinations(math.prod(runs), f"compare.{name}")


# Experiment. ------------------------------------------------------------------------------------------------------


def run(changes: Mapping[str, Section]) -> None:
    """Run the experiment in a temporary folder. If it succeeds, it replaces an earlier one."""
    settings = [argument for setting in overrides(changes) for argument in ("--set-param", setting)]
    revisions = read_revisions(checkout.experiments())
    # A killed experiment is listed, too, but has no name that DVC could remove.
    finished = {revision.name for revision in revisions if revision.state == FINISHED}
    checkout.remove_experiments(*finished & {UNFINISHED})
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", UNFINISHED, *settings]
    if code := subprocess.run(command, check=False).returncode:
        raise InputError(f"dvc exp run: exit code {code}; see the output above")
    checkout.remove_experiments(*finished & {EXPERIMENT})
    checkout.rename_experiment(UNFINISHED, EXPERIMENT)


def overrides(value: object, name: str = "") -> Iterator[str]:
    """Arguments of `dvc exp run`, one for each parameter. The prefix ++ adds a parameter or changes it."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from overrides(item, f"{name}.{key}" if name else f"++{key}")
    else:
        yield f"{name}={json.dumps(value)}"


def fetch() -> Mapping[str, Any]:
    """Read the comparison of the experiment."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "comparison.json"
        command = ["get", "--quiet", "--rev", EXPERIMENT, "--out", str(file), ".", "metrics/comparison.json"]
        if code := subprocess.run([sys.executable, "-m", "dvc", *command], check=False).returncode:
            raise InputError(f"dvc get: exit code {code}; see the output above")
        found: Mapping[str, Any] = read_json(file)
        return found


# Table. -----------------------------------------------------------------------------------------------------------


def scores_table(found: Mapping[str, Any]) -> str:
    """Markdown table of all systems, and a line that explains it.

    Args:
        found: content of metrics/comparison.json.
    """
    rows = [["system", "runs", *SCORES, f"− {found['reference']}", "p", "parameters", "multiply-adds"]]
    for name, system in found["systems"].items():
        scores = [interval(system, score) for score in SCORES]
        difference = found["differences"].get(name)
        change = [interval(difference, "accuracy", "+"), f"{difference['p_holm']:.3f}"] if difference else ["", ""]
        costs = [f"{system[cost]:,}" if cost in system else "" for cost in ("parameters", "multiply_adds")]
        rows.append([name, str(system["runs"]), *scores, *change, *costs])
    return f"{table(rows)}\n\n{legend(found)}"


def interval(values: Mapping[str, float], score: str, sign: str = "") -> str:
    value, low, high = (f"{100 * values[key]:{sign}.1f}" for key in (score, f"{score}_low", f"{score}_high"))
    return f"{value} [{low}, {high}]"


def legend(found: Mapping[str, Any]) -> str:
    return (
        f"In %, on {found['n_test']} test tracks by {found['n_artists']} artists of {found['dataset']}:"
        f" means over the runs, with {100 * found['confidence']:g} % intervals over artists and runs. Recall and"
        f" F1 are macro averages. p is that of the difference in accuracy, after Holm's correction for"
        f" {len(found['differences'])} differences. Multiply-adds are those of a network for one segment."
    )


if __name__ == "__main__":
    main()
