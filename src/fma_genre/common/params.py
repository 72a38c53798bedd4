"""params.yaml, read and checked as a whole: every stage calls `load` before anything else.

Parameters are explained in params.yaml. Arguments of networks, front ends, features and classifiers are declared beside
these, and checked by the stages that use them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from fma_genre.common import documents, schema
from fma_genre.common.errors import InputError
from fma_genre.common.schema import Pattern, Range
from fma_genre.common.strict_yaml import parse
from fma_genre.common.urls import secret_in

PACKAGE = Path(__file__).resolve().parents[1]
DEMO = "demo"  # the url of the built-in data set
# Files of metrics/, keys of metrics/comparison.json and columns of plots/predictions.csv: no names of systems.
RESERVED_NAMES = (
    "comparison", "promoted", "majority", "dataset", "n_test", "n_artists", "track_id", "artist_id", "actual"
)  # fmt: skip
DERIVED_NAME = re.compile(".*_seed[0-9]+|.*_minus_.*")  # there, a single run of a system, or a pair of systems

SHA1 = Pattern("[0-9a-fA-F]{40}", "40 hexadecimal digits in quotes")
Seed = Annotated[int, Range(0, 2**31)]
Count = Annotated[int, Range(1, 10**7)]
SampleRate = Annotated[int, Range(4000, 192_000)]
Seconds = Annotated[float, Range(1, 600)]
Hop = Annotated[int, Range(1, 2**20)]
FloorDb = Annotated[float, Range(20, 120)]
TransformLength = Annotated[int, Range(16, 2**16)]
Bands = Annotated[int, Range(2, 2**12)]
Candidates = tuple[Annotated[float, Range(1e-9, 1e9)], ...]  # for the C of an SVM


@dataclass(frozen=True)
class Source:
    url: str
    sha1: Annotated[str, SHA1] | None = None


@dataclass(frozen=True)
class Expect:
    training: Count | None = None
    validation: Count | None = None
    test: Count | None = None
    genres: Count | None = None


@dataclass(frozen=True)
class Synthesis:
    seed: Seed
    seconds: Annotated[int, Range(2, 60)]
    training: Annotated[int, Range(2, 1000)]
    validation: Annotated[int, Range(1, 1000)]
    test: Annotated[int, Range(1, 1000)]


@dataclass(frozen=True)
class DataSet:
    audio: Source
    metadata: Source
    subset: Literal["small", "medium", "large"]
    expect: Expect = Expect()
    synthesis: Synthesis | None = None

    @property
    def synthetic(self) -> bool:
        """Whether it is the built-in demo, whose results say nothing about music."""
        return self.audio.url == DEMO


@dataclass(frozen=True)
class Mel:
    n_fft: TransformLength
    bands: Bands


@dataclass(frozen=True)
class Stft:
    n_fft: TransformLength


@dataclass(frozen=True)
class Spectrograms:
    sample_rate: SampleRate
    seconds: Seconds
    hop: Hop
    floor_db: FloorDb
    mel: Mel
    stft: Stft


@dataclass(frozen=True)
class Train:
    seed: Seed
    runs: Annotated[int, Range(1, 100)]
    epochs: Annotated[int, Range(1, 100_000)]
    segment_frames: Annotated[int, Range(2, 2**16)]
    crops: Annotated[int, Range(1, 1000)]
    batch_size: Annotated[int, Range(2, 2**16)]
    batches: Annotated[int, Range(1, 10**6)]
    lr: Annotated[float, Range(1e-9, 10)]
    weight_decay: Annotated[float, Range(0, 10)]
    gradient_norm: Annotated[float, Range(1e-9, 1e9)]
    label_smoothing: Annotated[float, Range(0, 0.9)]
    pitch: Annotated[float, Range(0, 24)]
    mixup: Annotated[float, Range(0, 100)]


@dataclass(frozen=True)
class Compare:
    resamples: Annotated[int, Range(1, 20_000)]
    confidence: Annotated[float, Range(0.5, 0.999)]
    seed: Seed


@dataclass(frozen=True, kw_only=True)
class ModelKeys:
    network: schema.Name
    representation: Literal["mel", "stft"]
    front_end: schema.Name
    svm_head: Candidates | None = None


@dataclass(frozen=True, kw_only=True)
class Model(ModelKeys):
    train: Train  # `train`, where the keys that the model repeats win
    arguments: Mapping[str, Any]  # of the network and the front end, not checked yet


@dataclass(frozen=True, kw_only=True)
class BaselineKeys:
    features: schema.Name
    classifier: schema.Name


@dataclass(frozen=True, kw_only=True)
class Baseline(BaselineKeys):
    arguments: Mapping[str, Any]  # of features and classifier, not checked yet


@dataclass(frozen=True)
class Params:
    dataset: str
    model: str
    datasets: Mapping[str, DataSet]
    spectrograms: Spectrograms
    models: Mapping[str, Model]
    train: Train
    baselines: Mapping[str, Baseline]
    compare: Compare

    @property
    def data_set(self) -> DataSet:
        """The entry of `datasets` that `dataset` names."""
        return self.datasets[self.dataset]


def load(path: Path = Path("params.yaml")) -> Params:
    """Read params.yaml; raises InputError naming the first parameter or line that is wrong."""
    try:
        text = documents.read_text(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a file that can be read, found: {error.strerror}") from error
    try:
        return check(parse(text))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def check(values: object) -> Params:
    """The parameters in the content of params.yaml; raises InputError naming the first one that is wrong."""
    group = schema.as_group(values, "")
    schema.check_keys(Params, group, "")
    train = schema.read(Train, group["train"], "train")
    params = Params(
        dataset=schema.convert(str, group["dataset"], "dataset"),
        model=schema.convert(str, group["model"], "model"),
        datasets=schema.read_named(_data_set, group["datasets"], "datasets"),
        spectrograms=schema.read(Spectrograms, group["spectrograms"], "spectrograms"),
        models=schema.read_named(lambda value, where: _model(value, where, train), group["models"], "models"),
        train=train,
        baselines=schema.read_named(_baseline, group["baselines"], "baselines"),
        compare=schema.read(Compare, group["compare"], "compare"),
    )
    check_choice(params.dataset, params.datasets, "dataset")
    check_choice(params.model, params.models, "model")
    _check_system_names(params)
    return params


def check_choice(value: str, choices: Iterable[str], where: str) -> None:
    """Raise InputError, with a suggestion, unless `value` is one of the choices."""
    choices = list(choices)
    if value not in choices:
        expected = f"one of {', '.join(choices)}" if choices else "a name that is defined (none is)"
        raise InputError(f"{schema.wrong(where, expected, value)}{schema.suggestion(value, choices)}")


def _check_system_names(params: Params) -> None:
    """Raise InputError for a system whose files or columns would be those of something else."""
    for section, systems in (("models", params.models), ("baselines", params.baselines)):
        for key in systems:
            if key in RESERVED_NAMES or DERIVED_NAME.fullmatch(key):
                expected = f"a name other than {', '.join(RESERVED_NAMES)}, *_seed<number> and *_minus_*"
                raise schema.wrong(f"{section}.{key}", expected, key)
    for key in params.baselines:
        if key in params.models:
            raise InputError(f"baselines.{key}: expected a name that no model has, found models.{key}")


def _data_set(value: object, where: str) -> DataSet:
    entry = schema.read(DataSet, value, where)
    for role, source in (("audio", entry.audio), ("metadata", entry.metadata)):
        _check_no_secret(source.url, f"{where}.{role}.url")
    if (entry.metadata.url == DEMO) != entry.synthetic:
        expected = f"{DEMO} for both audio and metadata, or for neither"
        raise schema.wrong(f"{where}.metadata.url", expected, entry.metadata.url)
    for role, source in (("audio", entry.audio), ("metadata", entry.metadata)):
        if source.sha1 is None and not entry.synthetic:
            raise InputError(f"{where}.{role}.sha1: expected {SHA1}, found none")
        if source.sha1 is not None and entry.synthetic:
            raise schema.wrong(f"{where}.{role}.sha1", f"none for the url {DEMO}", source.sha1)
    if entry.synthesis is None and entry.synthetic:
        raise InputError(f"{where}.synthesis: expected a group of named values, found none")
    if entry.synthesis is not None and not entry.synthetic:
        raise InputError(f"{where}.synthesis: expected none, since the url is not {DEMO}, found one")
    return entry


def _check_no_secret(url: str, where: str) -> None:
    """Raise InputError, which does not show it, for a secret in a url: whatever is in params.yaml is shared."""
    if found := secret_in(url):
        expected = "a url without secrets (user and password belong in ~/.netrc, an @ in a path is written %40)"
        raise InputError(f"{where}: expected {expected}, found {found}")


def _model(value: object, where: str, train: Train) -> Model:
    """A model's section: its own keys, keys of `train`, and arguments, which are the rest."""
    own, others = schema.divide(schema.as_group(value, where), schema.names(ModelKeys))
    overrides, arguments = schema.divide(others, schema.names(Train))
    _check_spelling(ModelKeys, own, arguments, where)
    keys = schema.read(ModelKeys, own, where)
    _check_module(keys.network, "networks", f"{where}.network")
    _check_module(keys.front_end, "front_ends", f"{where}.front_end")
    return Model(**vars(keys), train=schema.read(Train, vars(train) | overrides, where), arguments=arguments)


def _baseline(value: object, where: str) -> Baseline:
    own, arguments = schema.divide(schema.as_group(value, where), schema.names(BaselineKeys))
    _check_spelling(BaselineKeys, own, arguments, where)
    keys = schema.read(BaselineKeys, own, where)
    _check_module(keys.features, "baselines", f"{where}.features")
    _check_module(keys.classifier, "baselines", f"{where}.classifier")
    return Baseline(**vars(keys), arguments=arguments)


def _check_spelling(keys: type, own: Mapping[str, Any], arguments: Mapping[str, Any], where: str) -> None:
    """Raise InputError for an argument that looks like a required key which is missing."""
    missing = [name for name in schema.required(keys) if name not in own]
    for key in arguments:
        if schema.suggestion(key, missing):
            raise schema.unknown(key, missing, where)


def _check_module(name: str, package: str, where: str) -> None:
    """Raise InputError unless the package has a module of this name."""
    modules = sorted(path.stem for path in (PACKAGE / package).glob("[!_]*.py"))
    check_choice(name, modules, where)
