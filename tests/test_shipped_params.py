"""The params.yaml of the repository, unchanged and after the edits that README suggests.

Of the other fast tests, only test_docs.py reads it: README prints results of the demo, not of other data sets.
"""

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import loads_yaml

import baseline
from closure import stages, uncovered
from fma_genre.common import params, schema
from fma_genre.common.params import BaselineKeys, DataSet, Expect, Source
from fma_genre.common.strict_yaml import parse
from fma_genre.features.build import build as build_representation
from fma_genre.known_answer.reproduction import is_published
from fma_genre.learning import build
from fma_genre.results import record
from fma_genre.results.record import Splits
from project import ROOT

SHIPPED = ROOT / "params.yaml"
DVC_STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
VARIANT = "{network: birnn, representation: mel, front_end: cepstral, cepstral_coefficients: 20, pool: 2, embedding: 8"
VARIANT += ", hidden: 8, dropout: 0.3}"
PUBLISHED = {  # FMA subsets: number of tracks in all splits, number of genres
    "small": (8_000, 8),
    "medium": (25_000, 16),
    "large": (106_574, 16),
}


def choose_another(name: str, section: str) -> Callable[[str], str]:
    """Set the parameter `name` to another entry of the section."""

    def change(text: str) -> str:
        values = yaml.safe_load(text)
        others = [key for key in values[section] if key != values[name]]
        changed = text.replace(f"\n{name}: {values[name]}", f"\n{name}: {others[0]}", 1)
        assert yaml.safe_load(changed)[name] == others[0]
        return changed

    return change


def add_model(text: str) -> str:
    changed = text.replace("\nmodels:\n", f"\nmodels:\n  a_model_of_a_test: {VARIANT}\n", 1)
    assert len(yaml.safe_load(changed)["models"]) == len(yaml.safe_load(text)["models"]) + 1
    return changed


EDITS: dict[str, Callable[[str], str]] = {
    "unchanged": lambda text: text,
    "another model": choose_another("model", "models"),
    "another data set": choose_another("dataset", "datasets"),
    "one more model": add_model,
}


@pytest.fixture(params=EDITS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An edited copy of the file."""
    path = tmp_path / "params.yaml"
    path.write_text(EDITS[request.param](SHIPPED.read_text(encoding="utf-8")), encoding="utf-8")
    return path


def bins_of_spectrogram(name: str, settings: params.Spectrograms) -> int:
    return len(build_representation(name, settings).frequencies())


def test_every_model_can_be_built(path: Path) -> None:
    """Build on the meta device, which allocates no memory for weights."""
    loaded = params.load(path)
    for key, model in loaded.models.items():
        network, _ = build.read_arguments(model, f"models.{key}")
        waveform = loaded.waveforms.get(model.representation)
        bins = waveform.hop if waveform else bins_of_spectrogram(model.representation, loaded.spectrograms)
        with build.torch.device("meta"):
            built = build.build_network(
                model.network, network, f"models.{key}", bins=bins, frames=model.train.segment_frames, classes=16
            )
        assert {weights.device.type for weights in built.parameters()} == {"meta"}


def test_the_arguments_of_every_baseline_are_valid(path: Path) -> None:
    for key, entry in params.load(path).baselines.items():
        features, classifier = baseline.load(entry, f"baselines.{key}")
        declared = {"features": features.Arguments, "classifier": classifier.Arguments}
        schema.read_arguments(entry.arguments, declared, f"baselines.{key}", schema.names(BaselineKeys))


def test_the_stages_of_every_system_depend_on_all_that_they_import(path: Path) -> None:
    found = {stage.name: uncovered(stage) for stage in stages(path)}
    assert set(found) >= {f"train@{key}" for key in params.load(path).models}
    assert {name: files for name, files in found.items() if files} == {}


def test_every_representation_is_an_output_of_dvc_and_an_input_where_it_is_read(path: Path) -> None:
    """Waveforms are outputs of a `foreach`."""
    loaded = params.load(path)
    outs = {f"data/{name}" for name in loaded.spectrograms.representations}
    assert set(DVC_STAGES["spectrograms"]["outs"]) == {"data/index.csv", *outs}
    for key, entry in loaded.baselines.items():
        features, _ = baseline.load(entry, f"baselines.{key}")
        assert {f"data/{name}" for name in features.REPRESENTATIONS} <= set(DVC_STAGES["baseline"]["do"]["deps"])


def test_dvc_reads_the_same_values(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert parse(text) == loads_yaml(text) == yaml.safe_load(text)


def test_an_experiment_changes_only_its_own_lines(tmp_path: Path) -> None:
    """DVC rewrites the whole file, so the file must have the form that DVC writes."""
    text = SHIPPED.read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    apply_overrides(str(path), ["model=another", "train.lr=0.123", f"++models.a_model_of_a_test={VARIANT}"])
    before, after = (
        [re.sub("['\"]", "", line) for line in content.splitlines()]  # DVC may quote a string in another way
        for content in (text, path.read_text(encoding="utf-8"))
    )
    lines = difflib.ndiff(before, after)
    added = [line[2:].partition("#")[0].rstrip() for line in lines if line.startswith("+ ")]
    variant = [f"    {argument}" for argument in VARIANT.strip("{}").split(", ")]
    assert added == ["model: another", "  a_model_of_a_test:", *variant, "  lr: 0.123"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_counts_of_the_fma_are_the_published_ones(name: str) -> None:
    data_sets = params.load(SHIPPED).datasets
    if name not in data_sets:
        pytest.skip(f"params.yaml has no data set {name}")
    expect = data_sets[name].expect
    assert None not in (expect.training, expect.validation, expect.test)
    assert (sum(map(int, (expect.training, expect.validation, expect.test))), expect.genres) == PUBLISHED[name]  # type: ignore[arg-type]


def test_the_accuracies_of_the_fma_paper_belong_to_medium() -> None:
    data_sets = params.load(SHIPPED).datasets
    if "medium" not in data_sets:
        pytest.skip("params.yaml has no data set medium")
    assert is_published(data_sets["medium"])


def has_counts(tracks: Splits, left_out: Splits, entry: DataSet) -> bool:
    """Return whether used tracks and those that are left out are all tracks of the data set.

    Tracks without a genre, which only large contains, are neither.
    """
    counted = {split: getattr(tracks, split) + getattr(left_out, split) for split in vars(tracks)}
    expected = {split: getattr(entry.expect, split) for split in vars(tracks)}
    if entry.subset == "large":
        return all(counted[split] <= expected[split] for split in expected)
    return counted == expected


def test_recorded_results_have_the_counts_of_the_fma() -> None:
    data_sets = params.load(SHIPPED).datasets
    for found in record.read_all(ROOT / "docs/results"):
        if found.dataset in data_sets:
            assert has_counts(found.tracks, found.left_out, data_sets[found.dataset]), found.name
            assert found.genres <= (data_sets[found.dataset].expect.genres or 0), found.name


@pytest.mark.parametrize(
    ("subset", "left_out", "valid"),
    [("medium", 5, True), ("medium", 4, False), ("large", 5, True), ("large", 4, True), ("large", 6, False)],
)
def test_counts_of_a_record_are_checked(subset: Literal["medium", "large"], left_out: int, valid: bool) -> None:
    source = Source("https://example.org/a.zip", "0" * 40)
    entry = DataSet(source, source, subset, Expect(100, 50, 60, 16))
    assert has_counts(Splits(100, 50, 55), Splits(0, 0, left_out), entry) == valid
