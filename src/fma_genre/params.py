"""params.yaml, read and checked as a whole: every stage calls `load` before anything else.

A wrong type, an unknown or missing key and an impossible value are each refused with one line.
"""

import ast
import difflib
import math
import re
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from fma_genre import InputError

MODELS = Path(__file__).parent / "models"
# No models' names: files of metrics/, and keys of metrics/comparison.json.
TAKEN = ("baseline", "comparison", "dataset", "majority", "n_artists", "n_test", "promoted")
SHARED = ("sample_rate", "seconds", "hop", "floor_db", "segment_frames")  # by both representations
Check = Callable[[Any, str], None]

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 100, 100
shown = _SHORT.repr  # a value as a message shows it, however large it is


class _Loader(yaml.SafeLoader):
    """With YAML 1.2's floats (PyYAML takes `1e-05`, as DVC writes it, for a string), and no key twice in a group."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{shown(key.value)} twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def load(path: Path = Path("params.yaml")) -> dict[str, Any]:
    """The parameters, checked.

    Raises:
        InputError: `path` cannot be read, or a parameter is wrong; the message names it.
    """
    try:
        params = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected YAML, found: {' '.join(str(error).split())}") from error
    try:
        check(params)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return params


def data_set(params: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of `datasets` that `dataset` names."""
    return params["datasets"][params["dataset"]]


def is_synthetic(params: Mapping[str, Any]) -> bool:
    """Whether the data set is the built-in demo, whose results say nothing about music."""
    return data_set(params)["audio"]["url"] == DEMO


def training_settings(params: Mapping[str, Any], model: str) -> dict[str, Any]:
    """`train`, where a key that `models.<model>` repeats wins."""
    section = params["models"][model]
    return {key: section.get(key, value) for key, value in params["train"].items()}


def architecture(params: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The keyword arguments of `models.<model>` for its constructor."""
    return {key: params["models"][model][key] for key in _constructor(model)}


def representation(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """How spectrograms of the representation `name` are made: what a trained model's input must be like."""
    settings = params["spectrograms"]
    return {"representation": name, **{key: settings[key] for key in SHARED}, **settings[name]}


# What each parameter may be. ------------------------------------------------------------------------------------


def integer(low: int, high: float = math.inf) -> Check:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise _wrong(name, f"a whole number {_range(low, high)}", value)

    return check


def number(low: float, high: float) -> Check:
    def check(value: Any, name: str) -> None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:
            raise _wrong(name, f"a number {_range(low, high)}", value)

    return check


def one_of(*choices: str) -> Check:
    def check(value: Any, name: str) -> None:
        if value not in choices:
            raise _wrong(name, f"one of {', '.join(map(str, choices))}", value)

    return check


def anything(value: Any, name: str) -> None:
    pass


def text(value: Any, name: str) -> None:
    if not isinstance(value, str) or not value:
        raise _wrong(name, "a text", value)


def matching(pattern: str, expected: str) -> Check:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise _wrong(name, expected, value)

    return check


identifier = matching(r"[A-Za-z0-9_-]+", "names of letters, digits, - and _")


def list_of(item: Check, longest: float = math.inf) -> Check:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, list) or not value:
            raise _wrong(name, "a list", value)
        if len(value) > longest:
            raise _wrong(name, f"a list of {longest} at most", len(value))
        for position, element in enumerate(value):
            item(element, f"{name}[{position}]")

    return check


def group(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    known = {**required, **(optional or {})}

    def check(value: Any, name: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(name, f"a group with {', '.join(known)}", value)
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
                raise InputError(f"{_join(name, key)}: unknown parameter, {hint}")
        for key in required:
            if key not in value:
                raise InputError(f"{_join(name, key)}: missing")
        for key, item in value.items():
            known[key](item, _join(name, key))

    return check


def named(item: Callable[[str], Check]) -> Check:
    """A group whose keys are names that the user chooses; `item(name)` is the check of each."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, dict) or not value:
            raise _wrong(name, "a group of named entries", value)
        for key, entry in value.items():
            identifier(key, name)
            item(key)(entry, _join(name, key))

    return check


def _join(name: str, key: object) -> str:
    part = key if isinstance(key, str) and key.isprintable() and len(key) <= 100 else shown(key)
    return f"{name}.{part}" if name else part


def _range(low: float, high: float) -> str:
    return f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"


def _wrong(name: str, expected: str, found: object) -> InputError:
    return InputError(f"{name or 'the file'}: expected {expected}, found {shown(found)}")


# The file. --------------------------------------------------------------------------------------------------------

DEMO = "demo"  # the url of the built-in data set
ARCHIVE = group({"url": text, "sha1": matching(r"[0-9a-fA-F]{40}", "the 40 hex digits of a sha1")})
BUILT_IN = group({"url": one_of(DEMO)})
SPLIT_COUNTS = {split: integer(1) for split in ("training", "validation", "test")}
EXPECT = group({}, SPLIT_COUNTS | {"genres": integer(1)})
SYNTHESIS = group(SPLIT_COUNTS | {"training": integer(2), "seed": integer(0, 2**31), "seconds": integer(2, 60)})
TRAIN = {
    "seed": integer(0, 2**31),
    "runs": integer(1, 100),
    "epochs": integer(1),
    "crops": integer(1),
    "batch_size": integer(2),
    "batches": integer(1),
    "lr": number(1e-9, 10),
    "weight_decay": number(0, 10),
    "gradient_norm": number(1e-9, 1e9),
    "label_smoothing": number(0, 0.9),
    "coefficients": integer(1),
    "pitch": number(0, 24),
    "mixup": number(0, 100),
}
SPECTROGRAMS = {
    "sample_rate": integer(4000, 192000),
    "seconds": number(1, 600),
    "hop": integer(1, 2**20),
    "floor_db": number(20, 120),
    "segment_frames": integer(2, 2**16),
    "workers": integer(0),
    "backend": one_of("loky", "dask", "ray"),
    "mel": group({"n_fft": integer(16, 2**16), "bands": integer(2, 2**12)}),
    "stft": group({"n_fft": integer(16, 2**16)}),
}
REPRESENTATION = {"representation": one_of("mel", "stft")}
# What `representation` gives.
INPUT = group(
    REPRESENTATION | {key: SPECTROGRAMS[key] for key in SHARED} | {"n_fft": integer(16, 2**16)},
    {"bands": integer(2, 2**12)},
)
# What a network's constructor may ask for: by the argument's name, else by its annotation.
ARGUMENTS = {
    "dropout": number(0, 0.95),
    "int": integer(1, 2**16),
    "float": number(0, 1e9),
    "str": text,
    "list[int]": list_of(integer(1, 2**16), 100),
    "list[float]": list_of(number(0, 1e9), 100),
}


def _data_set(value: Any, name: str) -> None:
    built_in = isinstance(value, dict) and isinstance(value.get("audio"), dict) and value["audio"].get("url") == DEMO
    archive = BUILT_IN if built_in else ARCHIVE
    required = {"audio": archive, "metadata": archive, "subset": one_of("small", "medium", "large")}
    group(required | ({"synthesis": SYNTHESIS} if built_in else {}), {"expect": EXPECT})(value, name)


def _constructor(model: str) -> dict[str, str]:
    """The keyword arguments of the class `Model` in models/<model>.py with their annotations.

    Read from the source, so that a parameter can be checked without the seconds that importing torch takes.
    """
    for node in ast.parse((MODELS / f"{model}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == "Model":
            init = next(item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__")
            arguments = {arg.arg: ast.unparse(arg.annotation) for arg in init.args.kwonlyargs if arg.annotation}
            return {key: kind for key, kind in arguments.items() if key not in ("bins", "frames", "classes")}
    raise InputError(f"models.{model}: expected a class Model in models/{model}.py")


def network(model: str) -> dict[str, Check]:
    """What the constructor of models/<model>.py may be given, by its arguments' names.

    Raises:
        InputError: there is no such network, or it asks for something that params.yaml cannot hold.
    """
    if not (MODELS / f"{model}.py").is_file():
        known = sorted(path.stem for path in MODELS.glob("[!_]*.py"))
        raise InputError(f"models.{model}: expected a network in src/fma_genre/models, found none but {known}")
    arguments = {}
    for key, kind in _constructor(model).items():
        if key not in ARGUMENTS and kind not in ARGUMENTS:
            raise InputError(f"models.{model}.{key}: expected one of the types {', '.join(ARGUMENTS)}, found {kind}")
        arguments[key] = ARGUMENTS.get(key) or ARGUMENTS[kind]
    return arguments


def _model(model: str) -> Check:
    if model in TAKEN:
        raise InputError(f"models.{model}: expected another name, since metrics/ has something else under it")
    return group(REPRESENTATION | network(model), {**TRAIN, "svm": list_of(number(1e-9, 1e9))})


CHECKS = group(
    {
        "dataset": text,
        "model": text,
        "datasets": named(lambda name: _data_set),
        "models": named(_model),
        "spectrograms": group(SPECTROGRAMS),
        "train": group(TRAIN),
        "baseline": group({"mfcc": integer(1), "svm": list_of(number(1e-9, 1e9))}),
        "compare": group({"resamples": integer(1), "confidence": number(0.5, 0.999), "seed": integer(0)}),
    }
)


def check(params: Any) -> None:
    """Raises InputError naming the first parameter that is wrong."""
    CHECKS(params, "")
    one_of(*params["datasets"])(params["dataset"], "dataset")
    one_of(*params["models"])(params["model"], "model")
    bands, coefficients = params["spectrograms"]["mel"]["bands"], params["baseline"]["mfcc"]
    if coefficients > bands:
        raise _wrong("baseline.mfcc", f"no more than the {bands} of spectrograms.mel.bands", coefficients)
