"""The cost card: the results of a rehearsal as a table in Markdown, and the extrapolation of figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import nnls

from rehearsal_archives import published_counts

ADDITIVE = ("seconds", "cpu_seconds", "read", "written")  # figures that grow with the length of a training
SCALED = (*ADDITIVE, "outputs")  # figures in proportion to the number of tracks
SCALED_OF_TRAINING = ("seconds", "cpu_seconds", "read")  # a network and its checkpoints do not grow with the tracks
READS_CLIPS = ("download", "spectrograms")  # stages whose figures depend on the length of the clips
WHOLE_TABLE = ("split",)  # reads the table of all tracks, whatever the subset
CONSTANT = ("promote", "status", "repro", "page", "predict")
HEADINGS = (
    "stage", "minutes", "cores", "memory (anonymous), GB", "GPU, GB", "read, GB", "written, GB", "disk, GB",
    "outputs, GB",
)  # fmt: skip
GB = 1e9
Figures = dict[str, Any]


def extrapolate(records: Sequence[Mapping[str, Any]], epochs: int, crops: int) -> Figures:
    """Figures of a training at full length, from three short trainings.

    A figure is fixed + epochs × (per epoch + crops per track × per crop), where no part is negative. Peaks are the
    largest of the three.

    Args:
        records: figures of trainings with different numbers of epochs and crops per track.
        epochs, crops: length of the training whose figures are returned.
    """
    lengths = np.array([[1, record["epochs"], record["epochs"] * record["crops"]] for record in records])
    found: Figures = {"kind": "extrapolated", "epochs": epochs, "crops": crops}
    for key in ADDITIVE:
        coefficients, _ = nnls(lengths, np.array([record[key] for record in records], float))
        found[key] = round(float(coefficients @ [1, epochs, epochs * crops]), 3)
    found["outputs"] = max(record["outputs"] for record in records)
    found["peak"] = {key: max(record["peak"][key] for record in records) for key in records[0]["peak"]}
    found["measured"] = list(records)
    return found


def card(report: Mapping[str, Any], extraction: Mapping[str, Any] | None = None, size: str | None = None) -> str:
    """A table of the stages in Markdown, with the machine in a line above it.

    Args:
        report: result of a rehearsal.
        extraction: result of a rehearsal with clips of 30 s, from which the stages that read clips are taken.
        size: the subset to whose number of tracks all figures are extrapolated; by default that of the report.
    """
    size = size or report["archives"]["size"]
    stages = {name: (figures, report["archives"]) for name, figures in report["stages"].items()}
    for name in READS_CLIPS:
        if extraction is not None and name in extraction["stages"]:
            stages[name] = (extraction["stages"][name], extraction["archives"])

    rows = [
        row(name, scale(name, figures, factor(name, archives, size))) for name, (figures, archives) in stages.items()
    ]
    head = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    return "\n".join([describe(report, size), "", *head, *rows, *notes(stages)])


def describe(report: Mapping[str, Any], size: str) -> str:
    machine, options = report["machine"], report["options"]
    cache = "linked" if options["links"] else "copied"
    return (
        f"FMA {size}: {machine['cores']} cores, {machine['memory'] / GB:.0f} GB of memory, {machine['device']}, torch"
        f" {machine['torch']}, outputs {cache} to DVC's cache, revision {options['revision'][:12]}"
    )


def factor(stage: str, archives: Mapping[str, Any], size: str) -> float:
    """The number of tracks with a genre in the whole subset, divided by that in the archives.

    It is 1 for a stage whose figures do not depend on this number.
    """
    if stage in CONSTANT or (archives["size"], archives["share"]) == (size, 1):
        return 1
    if stage in WHOLE_TABLE:
        return 1 / archives["share"]
    return tracks_with_genre(size) / archives["clips with a genre"]


def tracks_with_genre(size: str) -> int:
    subsets = {"small": ("small",), "medium": ("small", "medium"), "large": ("small", "medium", "large")}[size]
    return sum(count for (subset, genre, _), count in published_counts().items() if subset in subsets and genre)


def scale(stage: str, figures: Figures, by: float) -> Figures:
    """Multiply the figures that are in proportion to the number of tracks, and mark the result as extrapolated."""
    if by == 1:
        return figures
    is_training = stage.startswith("train@")
    scaled = {key: figures[key] * by for key in (SCALED_OF_TRAINING if is_training else SCALED)}
    disk = figures["peak"]["disk"] * (1 if is_training else by)
    return figures | scaled | {"kind": "extrapolated", "peak": figures["peak"] | {"disk": disk}}


def row(name: str, figures: Figures) -> str:
    mark = "≈ " if figures["kind"] == "extrapolated" else ""
    peak = figures["peak"]
    minutes = figures["seconds"] / 60
    cells = [
        name,
        f"{mark}{minutes:.0f}" if minutes >= 10 else f"{mark}{minutes:.2g}",
        f"{figures['cpu_seconds'] / figures['seconds']:.1f}",
        f"{gigabytes(peak['memory'])} ({gigabytes(peak['anonymous'])})",
        gigabytes(peak["gpu"]),
        *(gigabytes(size, mark) for size in (figures["read"], figures["written"], peak["disk"], figures["outputs"])),
    ]
    return f"| {' | '.join(cells)} |"


def gigabytes(size: float, mark: str = "") -> str:
    if size == 0:
        return "–"
    return mark + ("< 0.1" if size < GB / 20 else f"{size / GB:.1f}")


def notes(stages: Mapping[str, tuple[Figures, Mapping[str, Any]]]) -> list[str]:
    """An explanation of the mark, and the times from which the time of each training was extrapolated."""
    lines = ["", "≈: extrapolated. Memory is as measured."]
    for name, (figures, _) in stages.items():
        if "measured" in figures:
            times = ", ".join(f"{r['seconds']:.0f} s for {r['epochs']} × {r['crops']}" for r in figures["measured"])
            lines.append(f"- {name}: {figures['epochs']} × {figures['crops']} epochs and crops, from {times}")
    return lines
