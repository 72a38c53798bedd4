"""Rehearsal of the pipeline at the size of FMA small, medium or large, without the FMA.

    python benchmarks/rehearsal.py archives FOLDER --audio ZIP --metadata ZIP --size medium [--share 0.01]
    python benchmarks/rehearsal.py run FOLDER [--archives FOLDER] [--stages train …] [--revision HEAD] [--links]
    python benchmarks/rehearsal.py card FILE.json [--extraction FILE.json] [--size large]

archives    Write archives with the FMA's layout and published counts. Their clips are copies of the clips of the given
            archives, so that they take up less space. With --share, they have a share of the tracks.

run         Clone this checkout at --revision into FOLDER, point its params.yaml to the archives, run its stages one by
            one, and measure each. Then measure a `dvc repro` and a `dvc status` without changes, the page, and the
            prediction of a clip. FOLDER/log.jsonl receives a line after each. If FOLDER has been used before, only
            what its log lacks for the same revision and options is run. The result is FOLDER/rehearsal.json.

            Training at full length takes too long on a small machine. Unless --full is given, a model is trained three
            times, for 1, 1 and 2 epochs with 1, 3 and 1 crops per track. The time of a training is

                fixed + epochs × (per epoch + crops per track × per crop)

            which the three times determine, and from which the time at full length is extrapolated. Later stages use
            the model of 1 epoch and 1 crop, since their time does not depend on the length of the training.

            With --fill, clips shorter than 30 s are repeated in the spectrograms before any later stage. These stages
            then have as much to do as on the FMA.

card        Print the results as a table in Markdown. Extrapolated figures are marked with ≈. A stage that was run on a
            share of the tracks is extrapolated to all tracks. With --extraction, the stages `download` and
            `spectrograms` come from another run, on clips of 30 s. With --size, all stages are extrapolated to another
            subset, in proportion to its tracks with a genre.

Memory is the largest sum over all processes of a stage, where a page that several processes share counts once. It
includes the pages of mapped files, which the kernel can drop; "anonymous" is the rest. Bytes read do not include what
was still in the page cache. Disk is the largest growth of FOLDER while a stage ran, including DVC's cache. Clips
shorter than 30 s leave holes in the spectrograms, which take up no disk space without --fill. The measurements need
Linux, and a machine that does nothing else.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import yaml
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import monitor
import rehearsal_archives
from fma_genre.archives.tracks import SUBSETS
from fma_genre.common import documents, files
from fma_genre.common.errors import InputError, errors_in_one_line
from rehearsal_card import card, extrapolate
from rehearsal_checkout import Rehearsal, clone, git, original_params, write_params
from rehearsal_store import fill

LENGTHS = ((1, 3), (2, 1), (1, 1))  # epochs and crops per track of the short trainings; later stages use the last one
AFTERWARDS = {  # measured after all stages
    "status": ["-m", "dvc", "status"],
    "repro": ["-m", "dvc", "repro"],
    "page": ["src/show.py"],
    "predict": ["src/predict.py", "../clip.mp3"],
}
UP_TO_DATE = "up to date"  # in the output of `dvc status`
MAX_LINES = 20  # lines of a failed stage's output in the log


@dataclass(frozen=True)
class Step:
    """A command that is measured."""

    name: str  # of the stage
    command: Sequence[str]  # arguments of Python
    outputs: tuple[str, ...] = ()
    epochs: int | None = None  # length of a short training
    crops: int | None = None


def main() -> None:
    arguments = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # ends the stage that is running, too
    with errors_in_one_line("rehearsal"):
        arguments.run(arguments)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("archives")
    command.set_defaults(run=run_archives)
    command.add_argument("folder", type=Path)
    command.add_argument("--audio", type=Path, required=True, metavar="ZIP", help="archive of the clips")
    command.add_argument("--metadata", type=Path, required=True, metavar="ZIP", help="archive of their tracks.csv")
    command.add_argument("--size", choices=SUBSETS, required=True)
    command.add_argument("--share", type=float, default=1, help="share of the tracks (default %(default)s)")
    command.add_argument("--shortest", type=int, metavar="N", help="copy only the N shortest of a genre and split")

    command = commands.add_parser("run")
    command.set_defaults(run=run_rehearsal)
    command.add_argument("folder", type=Path)
    command.add_argument("--archives", type=Path, metavar="FOLDER", help="by default the same folder")
    command.add_argument("--stages", nargs="+", metavar="STAGE", help="such as spectrograms, train or train@cnn")
    command.add_argument("--without", nargs="+", default=[], metavar="SYSTEM", help="remove models or baselines")
    command.add_argument("--revision", default="HEAD", help="commit to measure (default %(default)s)")
    command.add_argument("--links", action="store_true", help="let DVC link its cache to the workspace, not copy it")
    command.add_argument("--fill", action="store_true", help="repeat short clips after the extraction")
    command.add_argument("--full", action="store_true", help="train at full length")
    command.add_argument("--output", type=Path, metavar="FILE.json", help="by default rehearsal.json in the folder")

    command = commands.add_parser("card")
    command.set_defaults(run=run_card)
    command.add_argument("file", type=Path)
    command.add_argument("--extraction", type=Path, metavar="FILE.json")
    command.add_argument("--size", choices=SUBSETS)
    return parser.parse_args(arguments)


def run_archives(arguments: argparse.Namespace) -> None:
    settings = vars(arguments)
    names = ("folder", "audio", "metadata", "size", "share", "shortest")
    print(json.dumps(rehearsal_archives.build(**{name: settings[name] for name in names}), indent=2))


def run_card(arguments: argparse.Namespace) -> None:
    extraction = documents.read_json(arguments.extraction) if arguments.extraction else None
    print(card(documents.read_json(arguments.file), extraction, arguments.size))


def run_rehearsal(arguments: argparse.Namespace) -> None:
    folder = arguments.folder.resolve()
    rehearsal = Rehearsal(
        folder=folder,
        archives=(arguments.archives or folder).resolve(),
        revision=git(ROOT, "rev-parse", f"{arguments.revision}^{{commit}}").strip(),
        links=arguments.links,
        full=arguments.full,
        fill=arguments.fill,
        without=tuple(arguments.without),
    )
    clone(rehearsal)
    write_params(rehearsal, *((None, None) if rehearsal.full else LENGTHS[-1]))
    for step in select(steps(rehearsal), arguments.stages):
        if find_record(rehearsal, step) is None:
            measure(rehearsal, step)
    result = summary(rehearsal)
    files.write_json(arguments.output or folder / "rehearsal.json", result)
    print(card(result))


# The stages. ------------------------------------------------------------------------------------------------------


def steps(rehearsal: Rehearsal) -> Iterator[Step]:
    """All steps in the order in which `dvc repro` would run their stages."""
    repository = Repo(str(rehearsal.checkout))
    try:
        for stage in plan_repro(repository.index.graph):
            command = ["-m", "dvc", "repro", "--single-item", "--force", stage.name]
            outputs = tuple(out.fs_path for out in stage.outs)
            if stage.name.startswith("train@") and not rehearsal.full:
                for epochs, crops in LENGTHS:
                    yield Step(stage.name, command, outputs, epochs, crops)
            else:
                yield Step(stage.name, command, outputs)
    finally:
        repository.close()
    for name, command in AFTERWARDS.items():
        yield Step(name, command)


def select(available: Iterator[Step], names: Sequence[str] | None) -> list[Step]:
    """The steps with these names. The name of a group, such as `train`, stands for all its stages."""
    found = list(available)
    known = {name for step in found for name in (step.name, step.name.partition("@")[0])}
    for name in names or []:
        if name not in known:
            raise InputError(f"--stages: expected {', '.join(sorted(known))}, found {name}")
    return [step for step in found if names is None or {step.name, step.name.partition("@")[0]} & set(names)]


def measure(rehearsal: Rehearsal, step: Step) -> None:
    """Run a step and append a record to the log; raise InputError if the step fails."""
    prepare_afterwards(rehearsal, step)
    if step.epochs is not None:
        write_params(rehearsal, step.epochs, step.crops)
    print(f"{time.strftime('%H:%M:%S')} {step.name} {describe_length(step)}", file=sys.stderr, flush=True)
    output = rehearsal.folder / "logs" / f"{step.name}.txt"
    output.parent.mkdir(exist_ok=True)
    usage = monitor.measure(
        [sys.executable, *step.command], rehearsal.checkout, rehearsal.environment, output, rehearsal.folder
    )

    record = key_of(rehearsal, step) | {"finished": time.strftime("%Y-%m-%d %H:%M:%S")} | asdict(usage)
    record["outputs"] = sum(size_of(Path(path)) for path in step.outputs)
    if usage.exit_code:
        record["failed"] = output.read_text(errors="replace").splitlines()[-MAX_LINES:]
    if step.name == "spectrograms" and rehearsal.fill and not usage.exit_code:
        fill(rehearsal)
    with rehearsal.log.open("a", encoding="utf-8") as log:
        log.write(f"{json.dumps(record)}\n")
    if usage.exit_code:
        lines = "\n".join(record["failed"])
        raise InputError(f"{step.name}: expected success, found exit code {usage.exit_code}, see {output}:\n{lines}")


def describe_length(step: Step) -> str:
    return "" if step.epochs is None else f"({step.epochs} epochs of {step.crops} crops per track)"


def prepare_afterwards(rehearsal: Rehearsal, step: Step) -> None:
    """Write the clip for the step `predict`. Raise InputError if the step `repro` would run stages."""
    if step.name == "predict":
        with zipfile.ZipFile(rehearsal.archives / rehearsal.description["audio"]["name"]) as archive:
            (rehearsal.folder / "clip.mp3").write_bytes(archive.read(archive.namelist()[-1]))
    if step.name == "repro":
        status = [sys.executable, "-m", "dvc", "status"]
        checkout, environment = rehearsal.checkout, rehearsal.environment
        found = subprocess.run(status, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
        if UP_TO_DATE not in found.stdout:
            raise InputError(f"repro: expected stages that are up to date, found:\n{found.stdout}")


def key_of(rehearsal: Rehearsal, step: Step) -> dict[str, Any]:
    """Keys that identify a step in the log."""
    return {"stage": step.name, "epochs": step.epochs, "crops": step.crops, "options": rehearsal.options}


def find_record(rehearsal: Rehearsal, step: Step) -> dict[str, Any] | None:
    """The last record of a step that did not fail."""
    key = json.loads(json.dumps(key_of(rehearsal, step)))
    lines = rehearsal.log.read_text(encoding="utf-8").splitlines() if rehearsal.log.exists() else []
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    found = [record for record in records if key.items() <= record.items() and "failed" not in record]
    return found[-1] if found else None


def size_of(path: Path) -> int:
    """Size of a file, or of all files in a folder, in bytes."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0


# The result. ------------------------------------------------------------------------------------------------------


def summary(rehearsal: Rehearsal) -> dict[str, Any]:
    """The content of the JSON file: the machine, the archives, the options, and the figures of each measured stage."""
    parameters = yaml.safe_load(original_params(rehearsal))
    records: dict[str, list[dict[str, Any]]] = {}
    for step in steps(rehearsal):
        record = find_record(rehearsal, step)
        if record is not None:
            kept = {key: value for key, value in record.items() if key not in ("stage", "options", "exit_code")}
            records.setdefault(step.name, []).append(kept)
    stages = {}
    for name, of_stage in records.items():
        if of_stage[0]["epochs"] is None:
            stages[name] = {"kind": "measured"} | of_stage[0]
        elif len(of_stage) == len(LENGTHS):
            lengths = parameters["train"] | parameters["models"][name.partition("@")[2]]
            stages[name] = extrapolate(of_stage, lengths["epochs"], lengths["crops_per_track"])
    return {
        "machine": machine(rehearsal.folder),
        "archives": rehearsal.description,
        "options": {key: rehearsal.options[key] for key in ("revision", "links", "full", "fill", "without")},
        "stages": stages,
    }


def machine(folder: Path) -> dict[str, Any]:
    gpus = monitor.query_gpus("name")
    return {
        "device": ", ".join(gpus) or platform.machine(),
        "cores": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "free disk": shutil.disk_usage(folder).free,
        "torch": version("torch"),
        "dvc": version("dvc"),
    }


if __name__ == "__main__":
    main()
