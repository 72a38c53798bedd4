"""params.yaml: the checked-in file is right, and whatever is wrong in one is said in a line that names it."""

import copy
import importlib
import inspect
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fma_genre import InputError, params

FILE = Path(__file__).parents[1] / "params.yaml"
DEFAULT = params.load(FILE)
ABSENT = object()
SHA1 = "0123456789abcdef0123456789abcdef01234567"


def edited(name: str, value: Any) -> dict[str, Any]:
    """The checked-in parameters with `name` (dotted) set to `value`, or left out if that is ABSENT."""
    result = copy.deepcopy(DEFAULT)
    *parents, key = name.split(".")
    group = result
    for parent in parents:
        group = group[parent]
    if value is ABSENT:
        del group[key]
    else:
        group[key] = value
    return result


def load_text(folder: Path, text: str) -> dict[str, Any]:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return params.load(path)


def load_edited(folder: Path, name: str, value: Any) -> dict[str, Any]:
    return load_text(folder, yaml.safe_dump(edited(name, value), sort_keys=False))


def test_checked_in_file_is_valid_and_names_what_every_stage_needs() -> None:
    groups = {"models", "train", "spectrograms", "baseline", "compare"}
    assert set(DEFAULT) == {"dataset", "datasets", "model"} | groups
    assert DEFAULT["dataset"] == "demo"
    assert set(DEFAULT["datasets"]) >= {"demo", "small", "medium", "large"}
    assert params.is_synthetic(DEFAULT)
    assert not params.is_synthetic(edited("dataset", "medium"))


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-05", 1e-5), ("1E-5", 1e-5), ("1.5e-3", 1.5e-3), ("1", 1), (".5", 0.5), ("1e-5  # small", 1e-5)],
)
def test_numbers_are_read_however_they_are_written(tmp_path: Path, written: str, value: float) -> None:
    text = re.sub(r"\blr: \S+", f"lr: {written}", FILE.read_text(encoding="utf-8"))
    assert load_text(tmp_path, text)["train"]["lr"] == value


def test_large_exponent_is_a_number_too(tmp_path: Path) -> None:
    text = re.sub(r"(?<=svm:)[^\n]*(\n +- \S+)+", " [1e5, +1E5, 1e+5]", FILE.read_text(encoding="utf-8"))
    assert load_text(tmp_path, text)["models"]["cnn"]["svm"] == [1e5] * 3


def test_a_word_that_looks_like_a_number_stays_a_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.lr: expected a number .* found '1e'"):
        load_text(tmp_path, re.sub(r"\blr: \S+", "lr: 1e", FILE.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        # names that are not there
        ("model", "transformer", "one of cnn, birnn"),
        ("model", 3, "expected a text, found 3"),
        ("dataset", "huge", "one of demo, small, medium, large"),
        ("dataset", ["demo"], "expected a text"),
        ("models.transformer", {"representation": "mel"}, "found none but"),
        ("model", "baseline", "one of cnn, birnn"),
        ("models.baseline", {"representation": "mel"}, "expected another name"),
        ("models.majority", {"representation": "mel"}, "expected another name"),
        ("models.promoted", {"representation": "mel"}, "expected another name"),
        ("models.cnn.representation", "cqt", "one of mel, stft"),
        ("datasets.small.subset", "tiny", "one of small, medium, large"),
        # wrong types
        ("train.lr", "fast", "expected a number"),
        ("train.lr", [0.1], "expected a number"),
        ("train.lr", None, "found None"),
        ("train.epochs", 3.0, "a whole number"),
        ("train.epochs", True, "a whole number"),
        ("train.weight_decay", False, "expected a number"),
        ("models.cnn.kernel", "4", "a whole number"),
        ("models.cnn.channels", 128, "expected a list"),
        ("models.cnn.svm", [], "expected a list"),
        ("models.cnn", None, "expected a group with"),
        ("models", {}, "a group of named entries"),
        ("train", [1], "expected a group with"),
        ("datasets.small", "fma", "expected a group with"),
        # out of range
        ("train.batch_size", 1, "of at least 2"),
        ("train.lr", 0, "from 1e-09 to 10"),
        ("train.lr", -0.1, "found -0.1"),
        ("train.lr", math.nan, "found nan"),
        ("train.weight_decay", math.inf, "found inf"),
        ("train.runs", 0, "from 1 to 100"),
        ("models.cnn.dropout", 1.0, "from 0 to 0.95"),
        ("models.birnn.hidden", 0, "from 1 to 65536"),
        ("models.birnn.lr", -1, "expected a number"),
        ("spectrograms.floor_db", 200, "from 20 to 120"),
        ("spectrograms.mel.bands", 1, "from 2 to 4096"),
        ("baseline.mfcc", 0, "of at least 1"),
        ("baseline.mfcc", 129, "no more than the 128 of spectrograms.mel.bands, found 129"),
        ("baseline.svm", [], "expected a list"),
        ("compare.confidence", 95, "from 0.5 to 0.999"),
        # misspelt, missing, in the wrong place
        ("train.momentum", 0.9, "unknown parameter, expected one of"),
        ("train.batchsize", 64, "did you mean batch_size?"),
        ("models.birnn.hiden", 64, "did you mean hidden?"),
        ("models.birnn.channels", [64], "unknown parameter"),
        ("models.cnn.bins", 128, "unknown parameter"),
        ("spectrogram", {}, "did you mean spectrograms?"),
        ("extra", {}, "unknown parameter"),
        ("train.seed", ABSENT, "missing"),
        ("train", ABSENT, "missing"),
        ("models.cnn.pools", ABSENT, "missing"),
        ("models.cnn.representation", ABSENT, "missing"),
        ("datasets.demo.synthesis", ABSENT, "missing"),
        ("datasets.small.audio", ABSENT, "missing"),
        # archives
        ("datasets.small.audio.sha1", ABSENT, "missing"),
        ("datasets.small.audio.sha1", SHA1[:-1], "40 hex digits"),
        ("datasets.small.audio.sha1", SHA1[:-1] + "g", "40 hex digits"),
        ("datasets.small.audio.sha1", 40 * "1" + "\n", "40 hex digits"),
        ("datasets.small.metadata.url", "", "expected a text"),
        ("datasets.demo.audio.sha1", SHA1, "unknown parameter"),
        ("datasets.small.expect.train", 6400, "did you mean training?"),
        ("datasets.small.expect.genres", "8", "a whole number"),
        ("datasets.demo.synthesis.seconds", 0, "a whole number from"),
    ],
)
def test_bad_parameter_is_refused_in_one_line_that_names_it(tmp_path: Path, name: str, value: Any, says: str) -> None:
    with pytest.raises(InputError) as refusal:
        load_edited(tmp_path, name, value)
    message = str(refusal.value)
    assert message.startswith(f"{tmp_path / 'params.yaml'}: {name}: ")
    assert says in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("position", [0, 2])
def test_bad_element_of_a_list_is_named_by_its_position(tmp_path: Path, position: int) -> None:
    channels = list(DEFAULT["models"]["cnn"]["channels"])
    channels[position] = 1.5
    with pytest.raises(InputError, match=rf"models\.cnn\.channels\[{position}\]: expected a whole number"):
        load_edited(tmp_path, "models.cnn.channels", channels)


@pytest.mark.parametrize("name", ["my data", "../up", 7])
def test_names_that_become_file_names_are_plain(tmp_path: Path, name: object) -> None:
    with pytest.raises(InputError, match="datasets: expected names of letters"):
        load_edited(tmp_path, "datasets", DEFAULT["datasets"] | {name: DEFAULT["datasets"]["small"]})


@pytest.mark.parametrize(
    "text",
    ["", "# nothing but a comment\n", "just words", "- a\n- list\n", "a: [1, 2", "a: b: c", "a:\n\tb: 1", "\0", "\x89"],
)
def test_file_that_holds_no_parameters_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"params\.yaml: .*expected") as refusal:
        load_text(tmp_path, text)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "train: {lr: 1, lr: 1}\n", "x: {'model': 1, model: 2}\n"])
def test_a_key_written_twice_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"expected YAML, found: '\w+' twice .*line \d, column \d"):
        load_text(tmp_path, text)


@pytest.mark.parametrize("name", ["dataset", "train.lr", "models.cnn.channels"])
def test_a_value_of_a_million_parts_is_not_shown_whole(tmp_path: Path, name: str) -> None:
    """Ten aliases of ten aliases of ... take no room in the file, nor in memory until they are written out."""
    text = "x:\n  - &l0 [a]\n" + "".join(f"  - &l{n} [{', '.join(10 * [f'*l{n - 1}'])}]\n" for n in range(1, 7))
    text += yaml.safe_dump(edited(name, "BOMB"), sort_keys=False).replace("BOMB", "*l6")
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(InputError, match=name) as refusal:
        params.check({key: value for key, value in yaml.safe_load(text).items() if key != "x"})
    assert len(str(refusal.value)) < 1000


def test_file_that_is_missing_or_binary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml: No such file"):
        params.load(tmp_path / "absent.yaml")
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match=r"params\.yaml: expected YAML"):
        params.load(tmp_path / "params.yaml")


def test_a_data_set_of_ones_own_needs_no_more_than_an_entry(tmp_path: Path) -> None:
    archive = {"url": "archives/mine.zip", "sha1": SHA1}
    entry = {"audio": archive, "metadata": archive, "subset": "small"}
    loaded = load_edited(tmp_path, "datasets", {"mine": entry} | DEFAULT["datasets"])
    assert params.data_set(loaded | {"dataset": "mine"}) == entry


def test_a_key_repeated_under_a_model_wins_for_that_model_only(tmp_path: Path) -> None:
    loaded = load_edited(tmp_path, "models.cnn.lr", 0.25)
    assert params.training_settings(loaded, "cnn") == DEFAULT["train"] | {"lr": 0.25}
    assert params.training_settings(loaded, "birnn") == DEFAULT["train"] | {"epochs": 16}


@pytest.mark.parametrize("model", DEFAULT["models"])
def test_architecture_is_exactly_what_the_constructor_takes(tmp_path: Path, model: str) -> None:
    constructor = importlib.import_module(f"fma_genre.models.{model}").Model
    taken = set(inspect.signature(constructor).parameters) - {"bins", "frames", "classes"}
    loaded = load_edited(tmp_path, f"models.{model}.lr", 0.25)  # is for training, not for the constructor
    section = loaded["models"][model]
    assert params.architecture(loaded, model) == {key: section[key] for key in taken}


def test_representation_says_all_that_an_input_depends_on() -> None:
    settings = DEFAULT["spectrograms"]
    shared = {key: value for key, value in settings.items() if key not in ("mel", "stft", "workers", "backend")}
    for name in ("mel", "stft"):
        assert params.representation(DEFAULT, name) == {"representation": name} | shared | settings[name]
