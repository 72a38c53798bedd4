"""Parameters: valid values are read, and an invalid value is an error in one line that names it."""

import copy
import difflib
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from fma_genre.common import params, schema, stage
from fma_genre.common.errors import InputError
from fma_genre.common.params import Params
from project import PARAMS

TEXT = PARAMS.read_text(encoding="utf-8")
VALUES: dict[str, Any] = yaml.safe_load(TEXT)
DEFAULT = params.load(PARAMS)
ABSENT = object()
SHA1 = "0123456789abcdef0123456789abcdef01234567"
HUGE = 10**5000  # too long for Python to print


def edited(name: str, value: Any) -> dict[str, Any]:
    """The parameters with `name` (dotted) set to `value`, or removed if the value is ABSENT."""
    result = copy.deepcopy(VALUES)
    *parents, key = name.split(".")
    group = result
    for parent in parents:
        group = group[parent]
    if value is ABSENT:
        del group[key]
    else:
        group[key] = value
    return result


def load_text(folder: Path, text: str) -> Params:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return params.load(path)


def load_edited(folder: Path, name: str, value: Any) -> Params:
    return load_text(folder, yaml.safe_dump(edited(name, value), sort_keys=False))


def refusal(values: object) -> str:
    """The error message for the content of an invalid params.yaml."""
    with pytest.raises(InputError) as error:
        params.check(values)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 1000
    return message


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-05", 1e-5), ("1E-5", 1e-5), ("1.5e-3", 1.5e-3), ("1", 1), (".5", 0.5), ("1e-5  # small", 1e-5)],
)
def test_numbers_are_read_however_they_are_written(tmp_path: Path, written: str, value: float) -> None:
    found = load_text(tmp_path, re.sub(r"\blr: \S+", f"lr: {written}", TEXT)).train.lr
    assert (found, type(found)) == (value, float)


def test_large_exponent_is_a_number_too(tmp_path: Path) -> None:
    text, count = re.subn(r"(?<=svm_head:)[^\n]*(\n +- \S+)+", " [1e5, +1E5, 1e+5]", TEXT)
    assert count == 1
    assert load_text(tmp_path, text).models["cnn"].svm_head == (1e5, 1e5, 1e5)


def test_a_word_that_looks_like_a_number_stays_a_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"params\.yaml: train\.lr: expected a number from .* found '1e'"):
        load_text(tmp_path, re.sub(r"\blr: \S+", "lr: 1e", TEXT))


# Wrong values. ----------------------------------------------------------------------------------------------------

REPRESENTATIONS = ", ".join(DEFAULT.spectrograms.representations)
NETWORKS = ", ".join(sorted(path.stem for path in (params.PACKAGE / "networks").glob("[!_]*.py")))
CNN, SVM = VALUES["models"]["cnn"], VALUES["baselines"]["svm"]
WRONG: list[tuple[str, Any, str]] = [
    # names that are not defined
    ("model", "transformer", "expected one of cnn, birnn, found 'transformer'"),
    ("model", "CNN", "did you mean cnn?"),
    ("model", "svm", "expected one of cnn, birnn, found 'svm'"),
    ("model", 3, "expected a non-empty string, found 3"),
    ("dataset", "smal", "expected one of demo, other, small, medium, found 'smal'; did you mean small?"),
    ("dataset", ["demo"], "expected a non-empty string"),
    ("models.cnn.network", "transformer", f"expected one of {NETWORKS}, found 'transformer'"),
    ("models.cnn.network", "cnn.py", "expected a name of"),
    ("models.cnn.network", "../learning/build", "expected a name of"),
    ("models.cnn.network", "__init__", f"expected one of {NETWORKS}"),
    ("models.cnn.front_end", "cepstrum", "did you mean cepstral?"),
    ("models.cnn.representation", "cqt", f"expected one of {REPRESENTATIONS}, found 'cqt'"),
    ("models.cnn.representation", "Mel", "did you mean mel?"),
    ("baselines.svm.features", "low_levels", "did you mean low_level?"),
    ("baselines.svm.classifier", "svm", "found 'svm'"),
    ("datasets.small.subset", "tiny", "expected one of small, medium, large"),
    ("compare.reference", "cnn_svm_head", "expected one of cnn, birnn, svm, found 'cnn_svm_head'"),
    ("compare.reference", "majority", "expected one of cnn, birnn, svm, found 'majority'"),
    ("compare.reference", "Birnn", "did you mean birnn?"),
    ("compare.fusion", ["cnn", "transformer"], "expected one of cnn, birnn, svm, found 'transformer'"),
    ("compare.fusion", ["cnn"], "expected no system or at least 2 different ones, found ['cnn']"),
    ("compare.fusion", ["cnn", "cnn"], "expected no system or at least 2 different ones, found ['cnn', 'cnn']"),
    ("compare.fusion", ["cnn", "svm", "cnn"], "at least 2 different ones, found ['cnn', 'svm', 'cnn']"),
    ("compare.stacking", ["cnn", "birn"], "expected one of cnn, birnn, svm, found 'birn'; did you mean birnn?"),
    ("compare.stacking", ["svm"], "expected no system or at least 2 different ones, found ['svm']"),
    ("compare.stacking", ["cnn", "svm", "cnn"], "at least 2 different ones, found ['cnn', 'svm', 'cnn']"),
    # wrong types
    ("compare.stacking", "cnn", "expected a list of 0 to 100 values, found 'cnn'"),
    ("compare.fusion", "cnn", "expected a list of 0 to 100 values, found 'cnn'"),
    ("train.lr", "fast", "expected a number from 1e-09 to 10, found 'fast'"),
    ("train.lr", [0.1], "expected a number"),
    ("train.lr", None, "found None"),
    ("train.lr", 10**400, "expected a number from 1e-09 to 10, found 1"),
    ("train.epochs", 3.0, "expected a whole number from 1 to 100000, found 3.0"),
    ("train.epochs", True, "expected a whole number"),
    ("train.weight_decay", False, "expected a number"),
    ("models.cnn.svm_head", [], "expected a list of 1 to 100 values, found []"),
    ("models.cnn.svm_head", None, "expected a list"),
    ("models.cnn.svm_head", 0.1, "expected a list"),
    ("models.cnn.svm_head", [0.1] * 101, "expected a list of 1 to 100 values"),
    ("models.cnn", None, "expected a group of named values, found None"),
    ("models.cnn", [], "expected a group of named values"),
    ("train", [1], "expected a group of named values, found [1]"),
    ("models", "cnn", "expected a group of named values"),
    ("datasets", None, "expected a group of named values"),
    ("datasets.small", "fma", "expected a group of named values"),
    ("datasets.small.audio", "fma.zip", "expected a group of named values"),
    ("baselines", [SVM], "expected a group of named values"),
    ("baselines.svm", 1, "expected a group of named values"),
    ("spectrograms.mel", 128, "expected a group of named values"),
    # out of range
    ("train.batch_size", 1, "from 2 to 65536, found 1"),
    ("train.lr", 0, "from 1e-09 to 10"),
    ("train.lr", -0.1, "found -0.1"),
    ("train.lr", math.nan, "found nan"),
    ("train.weight_decay", math.inf, "found inf"),
    ("train.runs", 0, "from 1 to 100"),
    ("train.crops_per_track", 10**12, "from 1 to 1000, found 1000000000000"),
    ("train.seed", -1, "from 0 to 2147483648"),
    ("compare.resamples", 10**12, "from 1 to 20000, found 1000000000000"),
    ("compare.confidence", 95, "from 0.5 to 0.999"),
    ("models.birnn.lr", -1, "expected a number from 1e-09 to 10, found -1"),
    ("models.birnn.epochs", 0, "expected a whole number"),
    ("spectrograms.floor_db", 200, "from 20 to 120"),
    ("spectrograms.seconds", math.nan, "from 1 to 600, found nan"),
    # missing
    ("train", ABSENT, "expected a group of named values, found none"),
    ("datasets", ABSENT, "expected a group of named values, found none"),
    ("model", ABSENT, "expected a non-empty string, found none"),
    ("train.seed", ABSENT, "expected a whole number from 0 to 2147483648, found none"),
    ("compare.reference", ABSENT, "expected a name of at most 64 letters, digits, - and _, found none"),
    ("compare.fusion", ABSENT, "expected a list of 0 to 100 values, found none"),
    ("compare.stacking", ABSENT, "expected a list of 0 to 100 values, found none"),
    ("models.cnn.representation", ABSENT, "expected a name of at most 64 letters, digits, - and _, found none"),
    ("models.cnn.network", ABSENT, "expected a name of at most 64 letters, digits, - and _, found none"),
    ("models.new", {}, ".network: expected a name of"),
    ("baselines.svm.classifier", ABSENT, "expected a name of"),
    ("datasets.small.audio", ABSENT, "expected a group of named values, found none"),
    ("datasets.small.audio.url", ABSENT, "expected a non-empty string, found none"),
    ("spectrograms.hop", ABSENT, "expected a whole number from 1 to 1048576, found none"),
    # archives
    ("datasets.small.audio.sha1", ABSENT, "expected 40 hexadecimal digits in quotes, found none"),
    ("datasets.small.audio.sha1", SHA1[:-1], "expected 40 hexadecimal digits in quotes, found '0123"),
    ("datasets.small.audio.sha1", SHA1[:-1] + "g", "expected 40 hexadecimal digits"),
    ("datasets.small.audio.sha1", 40 * "1" + "\n", "expected 40 hexadecimal digits"),
    ("datasets.small.audio.sha1", int(40 * "1"), "expected 40 hexadecimal digits"),
    ("datasets.small.metadata.url", "", "expected a non-empty string"),
    ("datasets.small.metadata.url", "demo", "expected demo for both audio and metadata, or for neither, found 'demo'"),
    ("datasets.demo.audio.sha1", SHA1, f"expected no sha1 for the url demo, found '{SHA1}'"),
    ("datasets.demo.synthesis", ABSENT, "expected a group of named values, found none"),
    (
        "datasets.small.synthesis",
        VALUES["datasets"]["demo"]["synthesis"],
        "expected no such key, since the url is not demo",
    ),
    ("datasets.small.expect.genres", "8", "expected a whole number"),
    ("datasets.demo.synthesis.seconds", 0, "expected a whole number from 2 to 60, found 0"),
    # names of systems that other files, keys or columns already have
    ("models.promoted", CNN, "expected a name other than comparison, promoted, majority, fusion, "),
    ("models.comparison", CNN, "expected a name other than"),
    ("models.track_id", CNN, "expected a name other than"),
    ("models.cnn_seed0", CNN, "*_seed<number>, *_svm_head and *_ensemble, found 'cnn_seed0'"),
    ("models.cnn_svm_head", CNN, "found 'cnn_svm_head'"),
    ("baselines.svm_ensemble", SVM, "found 'svm_ensemble'"),
    ("baselines.fusion", SVM, "expected a name other than"),
    ("models.stacking", CNN, "expected a name other than comparison, promoted, majority, fusion, stacking, "),
    ("baselines.majority", SVM, "expected a name other than"),
    ("baselines.cnn", SVM, "expected a name that no model has, found models.cnn"),
]


@pytest.mark.parametrize("members", [[], ["svm", "birnn"], ["birnn", "cnn", "svm"]])
def test_fusion_and_stacking_have_several_systems_or_none(members: list[str]) -> None:
    assert params.check(edited("compare.fusion", members)).compare.fusion == tuple(members)
    assert params.check(edited("compare.stacking", members)).compare.stacking == tuple(members)
    assert params.check(edited("compare.reference", "svm")).compare.reference == "svm"


@pytest.mark.parametrize(
    ("name", "value", "says"), WRONG, ids=[f"{name}-{place}" for place, (name, *_) in enumerate(WRONG)]
)
def test_bad_parameter_is_refused_in_one_line_that_names_it(name: str, value: Any, says: str) -> None:
    message = refusal(edited(name, value))
    assert message.startswith(name)
    assert says in message
    assert re.fullmatch(r"[\w.-]+: expected .+, found .+", message)


@pytest.mark.parametrize(
    ("group", "key", "suggested"),
    [
        ("", "spectrogram", "spectrograms"),
        ("", "workers", None),
        ("train", "batchsize", "batch_size"),
        ("train", "momentum", None),
        ("spectrograms", "workers", None),
        ("spectrograms", "backend", None),
        ("spectrograms", "melt", "mel"),
        ("spectrograms", "hops", "hop"),
        ("datasets.small", "audo", "audio"),
        ("datasets.small.audio", "md5", None),
        ("datasets.small.expect", "train", "training"),
        ("datasets.demo.synthesis", "second", "seconds"),
        ("compare", "resample", "resamples"),
    ],
)
def test_an_unknown_key_is_refused_and_a_misspelt_one_corrected(group: str, key: str, suggested: str | None) -> None:
    message = refusal(edited(f"{group}.{key}" if group else key, 1))
    assert message.startswith(f"{group}: expected the keys " if group else "expected the keys ")
    assert f"found {key!r}" in message
    assert message.endswith(f"; did you mean {suggested}?" if suggested else f"found {key!r}")


@pytest.mark.parametrize(
    ("group", "right", "misspelt"),
    [
        ("models.cnn", "network", "netwrok"),
        ("models.cnn", "representation", "representations"),
        ("models.birnn", "front_end", "frontend"),
        ("baselines.svm", "features", "feature"),
        ("baselines.svm", "classifier", "Classifier"),
    ],
)
def test_a_misspelt_required_key_is_not_an_argument(group: str, right: str, misspelt: str) -> None:
    values = edited(f"{group}.{right}", ABSENT)
    section, key = group.split(".")
    values[section][key][misspelt] = "mel"
    assert refusal(values) == f"{group}: expected the keys {right}, found {misspelt!r}; did you mean {right}?"


@pytest.mark.parametrize("name", ["my data", "../up", "", 7, None, "-cnn", "a.b", "x" * 65])
@pytest.mark.parametrize("section", ["datasets", "models", "baselines"])
def test_names_that_become_file_names_are_plain(section: str, name: object) -> None:
    entry = next(iter(VALUES[section].values()))
    message = refusal(edited(section, {name: entry} | VALUES[section]))
    assert message.startswith(f"{section}: expected a name of at most 64 letters, digits, - and _, found ")


@pytest.mark.parametrize(("section", "name"), [("datasets", "dataset"), ("models", "model")])
def test_a_section_without_entries_is_named(section: str, name: str) -> None:
    expected = "one of the defined names (none is defined)"
    assert refusal(edited(section, {})).startswith(f"{name}: expected {expected}, found '")


def test_baselines_are_optional() -> None:
    assert params.check(edited("baselines", {})).baselines == {}


# Every value, replaced by every wrong one. -----------------------------------------------------------------------

NESTED: Any = {"a": {"a": {"a": [{"a": [1, {}]}]}}}
ODD_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 7, 512, 10**12, 10**400, HUGE, -HUGE, 0.0, 0.5, 1e-300, 1e308, math.nan, math.inf,
    -math.inf, "", "1", "cnn", "mel", "demo", "a" * 10**5, "a\nb", "\0", "\x1b[31m", "\ud800", [], [[]], [None], [1],
    [HUGE], [math.nan], list(range(101)), {}, {"a": 1}, {None: 1}, {"\n": {}}, {HUGE: 1}, {(1, 2): 1}, NESTED, b"bytes",
    1j, "bfloat16",
]  # fmt: skip


def places(group: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a tree, at all levels of groups and lists."""
    for key, value in group.items() if isinstance(group, dict) else enumerate(group):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


ALIKE = [("datasets", "other"), ("datasets", "medium")]  # the same branches as demo and small
PLACES = [path for path in places(VALUES) if path[:2] not in ALIKE]


def replaced(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The parameters with another value at the path. Groups that are not on the path are shared, not copied."""
    result = dict(VALUES)
    group: Any = result
    for key in path[:-1]:
        group[key] = copy.copy(group[key])
        group = group[key]
    group[path[-1]] = value
    return result


@pytest.mark.slow
def test_every_value_replaced_by_any_other_is_accepted_or_refused_in_one_line() -> None:
    """No other exception, and no line longer than 1,000 characters."""
    accepted: set[tuple[Any, ...]] = set()
    for path in PLACES:
        for value in ODD_VALUES:
            try:
                params.check(replaced(path, value))
            except InputError as error:
                message = str(error)
                assert message.isprintable(), (path, value)
                assert len(message) < 1000, path
                assert ": expected " in f": {message}", message
                assert ", found " in message, message
            else:
                accepted.add(path)
    assert accepted > {("train", name) for name in VALUES["train"]}  # each accepts one of the values


def test_every_argument_of_a_system_replaced_by_any_other_is_accepted_or_refused_in_one_line() -> None:
    """The stages spectrograms, train and baseline check the arguments that they use."""
    import baseline
    from fma_genre.features.build import build as build_representation
    from fma_genre.learning import build

    def read(changed: Params, section: str, key: str) -> None:
        if section == "spectrograms":
            build_representation(key, changed.spectrograms)
        elif section == "models":
            build.read_arguments(changed.models[key], f"models.{key}")
        else:
            entry = changed.baselines[key]
            features, classifier = baseline.load(entry, f"baselines.{key}")
            declared = {"features": features.Arguments, "classifier": classifier.Arguments}
            schema.read_arguments(entry.arguments, declared, f"baselines.{key}")

    systems = {("models", key): model.arguments for key, model in DEFAULT.models.items()}
    systems |= {("spectrograms", name): group for name, group in DEFAULT.spectrograms.representations.items()}
    systems |= {("baselines", key): entry.arguments for key, entry in DEFAULT.baselines.items()}
    for section, key in systems:
        read(DEFAULT, section, key)
    paths = [path for path in PLACES if len(path) > 2 and path[2] in systems.get(path[:2], {})]
    refused = set()
    for path in paths:
        for value in ODD_VALUES:
            try:
                read(params.check(replaced(path, value)), path[0], path[1])
            except InputError as error:
                refused.add(path)
                message = str(error)
                assert message.isprintable(), (path, value)
                assert message.startswith(".".join(path[:3])), message
                assert ": expected " in message, message
                assert ", found " in message, message
    assert refused == set(paths)


def test_every_key_that_is_left_out_is_needed_or_optional() -> None:
    optional = {("baselines", "svm"), ("models", "birnn", "epochs"), ("models", "birnn", "segment_frames")}
    optional |= {("models", "cnn", name) for name in ("svm_head", "epochs", "crops_per_track")}
    optional |= {("datasets", "small")}
    optional |= {path for path in PLACES if "expect" in path}
    optional |= {("models", key, name) for key, model in DEFAULT.models.items() for name in model.arguments}
    optional |= {("baselines", key, name) for key, baseline in DEFAULT.baselines.items() for name in baseline.arguments}
    optional |= {path for path in PLACES if path[0] == "spectrograms" and len(path) == 3}
    read = {model.representation for model in DEFAULT.models.values()}
    optional |= {("spectrograms", name) for name in DEFAULT.spectrograms.representations if name not in read}
    for path in PLACES:
        values = copy.deepcopy(VALUES)
        group: Any = values
        for key in path[:-1]:
            group = group[key]
        if isinstance(group, list):
            continue
        del group[path[-1]]
        if path in optional:
            params.check(values)
        else:
            assert "expected " in refusal(values), path


@pytest.mark.parametrize("name", ["dataset", "train.lr", "models.cnn.svm_head", "models.cnn", "datasets.small.audio"])
def test_a_very_large_value_is_shown_abbreviated(name: str) -> None:
    bomb: Any = ["a"]
    for _ in range(30):
        bomb = [bomb] * 10
    refusal(replaced(tuple(name.split(".")), bomb))


# The file. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "", "# nothing but a comment\n", "just words", "- a\n- list\n", "a: [1, 2", "a: b: c", "a:\n\tb: 1", "\0",
        "\x89", "7", "null", "[" * 100_000, "a: &x 1\nb: *x", "a: {<<: {b: 1}}", "a: 1\na: 2", "seed: 010",
        "--- 1\n--- 2", "a: !!int 1", 'a: "\\0"', f"a: {'1' * 5000}", f"a: 0x{'f' * 5000}", f"{'a' * 10**5}: 1", "1: 2",
        "? [a]\n: 1", "? {a: 1}\n: 1",
    ],
    ids=range(25),
)  # fmt: skip
def test_file_that_holds_no_parameters_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"params\.yaml: .*(expected .+, found|cannot be read as YAML: ).+") as refusal:
        load_text(tmp_path, text)
    assert len(str(refusal.value).splitlines()) == 1
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize("written", ["010", "1:30", "yes", "0o10", "1_000", "2001-01-01"])
def test_a_scalar_that_dvc_reads_differently_is_refused(tmp_path: Path, written: str) -> None:
    text, count = re.subn(r"(?<=\n  seed: )0(?= +# of the first)", written, TEXT)
    line = 1 + text[: text.index(f"seed: {written}")].count("\n")
    assert count == 1
    value = rf"expected a value that YAML .* read the same way, .* found '{written}'"
    with pytest.raises(InputError, match=rf"params\.yaml: line {line}: train\.seed: {value}"):
        load_text(tmp_path, text)


def test_file_that_is_missing_or_binary_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml: cannot read the file: No such file"):
        params.load(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match=r": expected a file, found a folder$"):
        params.load(tmp_path)
    (tmp_path / "params.yaml").touch()
    with pytest.raises(InputError, match=r"params\.yaml/x: cannot read the file: Not a directory"):
        params.load(tmp_path / "params.yaml" / "x")
    for content in (b"\xff\xfe\x00\x80", TEXT.encode("utf-16"), b"model: caf\xe9\n"):
        (tmp_path / "params.yaml").write_bytes(content)
        with pytest.raises(InputError, match=r"params\.yaml: expected UTF-8, found: "):
            params.load(tmp_path / "params.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        params.load(path)


# Secrets in urls. -------------------------------------------------------------------------------------------------

SECRET_URLS = [
    # a user, a password
    "https://user:hunter2@host/x.zip", "http://hunter2@host/x.zip", "https://:hunter2@host/x.zip",
    "HTTPS://user:hunter2@host/x.zip", "https://us%65r:hun%40ter2@host/x.zip", "https://user:p@hunter2@host/x.zip",
    "https://user:hunter2@[::1]:8080/x.zip", "ftp://user:hunter2@host/x.zip", "file://user:hunter2@host/x.zip",
    "s3://user:hunter2@host/x.zip", "//user:hunter2@host/x.zip", " https://user:hunter2@host/x.zip",
    "https://user:my hunter2@host/x.zip", "https://web/https://user:hunter2@host/x.zip",
    # that should have been percent-encoded, or should not have been
    "https://user:pass/hunter2@host/x.zip", "https://user:12/hunter2@host/x.zip", "https://user:a#hunter2@host/x.zip",
    "https://user:a?hunter2@host/x.zip", "https://user:hunter2%40host/x.zip", "https://user%3Ahunter2%40host/x.zip",
    # in a url that is mistyped
    "https:/user:hunter2@host/x.zip", "https:user:hunter2@host/x.zip", "https:\\\\user:hunter2@host/x.zip",
    "https:///user:hunter2@host/x.zip", "user:hunter2@host/x.zip", "https://[user:hunter2@host/x.zip",
    # a token
    "https//user:hunter2@host/x.zip", "https://host/?u=https%3A%2F%2Fuser%3Ahunter2%40host%2Fx.zip",
    "https://user:hunter2＠host/x.zip", "scp user:hunter2@host:/x.zip", "curl -u user:hunter2@ https://host/x.zip",
    "https://host/x.zip?oauth=hunter2", "https://host/x.zip?key=hunter2", "https://host/x.zip?login=user:hunter2",
    "https://host/x.zip?token=hunter2", "https://host/x.zip?download=1&access_token=hunter2",
    "https://host/x.zip?X-Amz-Expires=9&X-Amz-Signature=hunter2", "https://host/x.zip?X-Goog-Credential=hunter2",
    "https://host/x.zip?sv=1&sig=hunter2", "https://host/x.zip?AWSAccessKeyId=hunter2",
    "https://host/x.zip?%74oken=hunter2", "https://host/x.zip?a=1;api_key=hunter2", "https://host/x?Key-Pair-Id=1&Signature=hunter2",
    "https://host/x.zip#access_token=hunter2", "https://host/x.zip;jwt=hunter2", "file:///x.zip?password=hunter2",
]  # fmt: skip
HARMLESS_URLS = [
    "https://host:8080/x.zip", "http://[::1]:80/x.zip", "https://host/x.zip?download=1", "https://host/@user/x.zip",
    "https://host/a@2.zip", "https://host/x.zip?author=me@home", "https://host/tokens/token=1/x.zip", "x@y/z.zip",
    "https://host/x.zip?token=", "https://host/x.zip?id=9&confirm=t", "/mnt@nas/x.zip", "file:///me@nas/x.zip",
    "~/x.zip", "file://localhost/x@y.zip", "https://host/x%40y.zip",
]  # fmt: skip


@pytest.mark.parametrize("role", ["audio", "metadata"])
@pytest.mark.parametrize("url", SECRET_URLS)
def test_a_secret_in_a_url_is_refused_and_not_shown(url: str, role: str) -> None:
    name = f"datasets.small.{role}.url"
    message = refusal(edited(name, url))
    assert message.startswith(f"{name}: expected a url without secrets (put the user name and password into ~/.netrc, ")
    assert "hunter2" not in message


@pytest.mark.parametrize("url", HARMLESS_URLS)
def test_a_url_without_secrets_is_read(url: str) -> None:
    assert params.check(edited("datasets.small.audio.url", url)).datasets["small"].audio.url == url


@pytest.mark.parametrize("url", SECRET_URLS)
@pytest.mark.parametrize("name", ["dataset", "train.lr", "datasets.small.audio", "datasets.small.subset", "models"])
def test_a_secret_in_another_place_is_not_shown(name: str, url: str) -> None:
    for value in (url, [url], {url: 1}):
        assert "hunter2" not in refusal(edited(name, value))


@pytest.mark.parametrize("url", ["https://user:hunter2@host/x.zip", "https://host/x.zip?token=hunter2"])
def test_no_stage_begins_with_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Not even if another data set is selected."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(edited("datasets.medium.audio.url", url), sort_keys=False))
    for run in (stage.run, lambda name, main: stage.run_for_system(name, "models", main)):
        monkeypatch.setattr(sys, "argv", ["train.py", "cnn"])
        with pytest.raises(SystemExit) as info:
            run("train", lambda *_: pytest.fail("the stage started"))
        assert re.fullmatch(r"train(@cnn)?: params\.yaml: datasets\.medium\.audio\.url: expected .+", str(info.value))
        assert "hunter2" not in str(info.value)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


# What is allowed. -------------------------------------------------------------------------------------------------


def test_a_new_data_set_needs_only_an_entry(tmp_path: Path) -> None:
    archive = f"{{url: archives/mine.zip, sha1: '{SHA1}'}}"
    entry = f"\n  mine: {{audio: {archive}, metadata: {archive}, subset: small}}"
    text = TEXT.replace("dataset: demo", "dataset: mine").replace("\ndatasets:", f"\ndatasets:{entry}")
    data_set = load_text(tmp_path, text).data_set
    assert (data_set.audio.url, data_set.metadata.sha1, data_set.synthetic) == ("archives/mine.zip", SHA1, False)
    assert data_set.expect.training is None


def test_a_key_repeated_under_a_model_wins_for_that_model_only(tmp_path: Path) -> None:
    loaded = load_edited(tmp_path, "models.cnn.lr", 0.25)
    assert vars(loaded.models["cnn"].train) == vars(DEFAULT.train) | {"lr": 0.25, "epochs": 4, "crops_per_track": 10}
    assert vars(loaded.models["birnn"].train) == vars(DEFAULT.train) | {"epochs": 2, "segment_frames": 64}
    assert loaded.train == DEFAULT.train
    assert "lr" not in loaded.models["cnn"].arguments


def test_a_system_has_a_free_name_and_the_rest_of_its_section_are_arguments(tmp_path: Path) -> None:
    loaded = load_edited(tmp_path, "models.cnn_stft", VALUES["models"]["cnn"] | {"representation": "stft"})
    model = loaded.models["cnn_stft"]
    assert (model.network, model.representation, model.front_end) == ("cnn", "stft", "cepstral")
    assert model.svm_head == (0.01, 0.1)
    assert model.arguments == DEFAULT.models["cnn"].arguments
    assert set(model.arguments) == {"cepstral_coefficients", "channels", "pools", "kernel", "dense", "dropout"}
    second = load_edited(tmp_path, "baselines.svm-2", VALUES["baselines"]["svm"]).baselines["svm-2"]
    assert second == DEFAULT.baselines["svm"]


@pytest.mark.parametrize(
    ("setting", "changed", "read"),
    [
        ("train.lr=0.00001", ["  lr: 1e-05"], lambda found: found.train.lr == 1e-5),
        ("model=birnn", ["model: birnn"], lambda found: found.model == "birnn"),
        ("baselines.svm.mfcc=13", ["    mfcc: 13"], lambda found: found.baselines["svm"].arguments["mfcc"] == 13),
        ("++models.cnn.lr=3", ["    lr: 3"], lambda found: found.models["cnn"].train.lr == 3),
        (
            "++models.cnn_stft={network: cnn, front_end: cepstral, representation: stft, svm_head: [0.5]}",
            [
                "  cnn_stft:", "    network: cnn", "    front_end: cepstral", "    representation: stft",
                "    svm_head:", "    - 0.5",
            ],
            lambda found: found.models["cnn_stft"].svm_head == (0.5,),
        ),
    ],
    ids=["train", "model", "baseline", "one model", "variant"],
)  # fmt: skip
def test_an_experiment_changes_only_its_own_lines(
    tmp_path: Path, setting: str, changed: list[str], read: Callable[[Params], bool]
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT, encoding="utf-8")
    apply_overrides(str(path), [setting])
    lines = difflib.ndiff(TEXT.splitlines(), path.read_text(encoding="utf-8").splitlines())
    added = [line[2:].partition("#")[0].rstrip() for line in lines if line.startswith("+ ")]
    assert added == changed
    assert read(params.load(path))


def test_a_value_in_flow_style_as_an_experiment_writes_it_is_read(tmp_path: Path) -> None:
    section = "{network: birnn, representation: mel, front_end: cepstral, hidden: 8, lr: 1e-05}"
    loaded = load_text(tmp_path, TEXT.replace("\nmodels:\n", f"\nmodels:\n  small-birnn: {section}\n"))
    model = loaded.models["small-birnn"]
    assert (model.train.lr, model.arguments) == (1e-5, {"hidden": 8})
