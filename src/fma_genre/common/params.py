"""The parameters in params.yaml. Every stage first calls `load`, which checks the whole file.

params.yaml explains each parameter. A module of a network, front end, representation, feature set or classifier
declares its own arguments; the stages that use the module check them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from fma_genre.common import documents, schema
from fma_genre.common.errors import InputError
from fma_genre.common.schema import Pattern, Range
from fma_genre.common.strict_yaml import parse
from fma_genre.common.urls import secret_in

PACKAGE = Path(__file__).resolve().parents[1]
REPRESENTATION_FOLDER = "features/representations"  # relative to PACKAGE
DEMO = "demo"  # the `url` of the built-in data set's archives
# Names that no system may have. They are used for files in metrics/, for systems in metrics/comparison.json or for
# columns in plots/predictions.csv.
RESERVED_NAMES = (
    "comparison", "promoted", "majority", "fusion", "stacking", "conditions", "track_id", "artist_id", "actual"
)  # fmt: skip
# Names in data/ that no section of `waveforms` may have, in addition to those of the representations of `spectrograms`.
RESERVED_FOLDERS = ("predictions", "work")
DERIVED_NAME = re.compile(".*_seed[0-9]+|.*_svm_head|.*_ensemble")  # names of single runs, SVM heads and ensembles

SHA1 = Pattern("[0-9a-fA-F]{40}", "40 hexadecimal digits in quotes")
Seed = Annotated[int, Range(0, 2**31)]
Count = Annotated[int, Range(1, 10**7)]
SampleRate = Annotated[int, Range(4000, 192_000)]
Seconds = Annotated[float, Range(1, 600)]
Hop = Annotated[int, Range(1, 2**20)]
FloorDb = Annotated[float, Range(20, 120)]
TransformLength = Annotated[int, Range(16, 2**16)]
Members = Annotated[tuple[schema.Name, ...], schema.Length(0, 100)]  # systems that are combined to one more
Candidates = tuple[Annotated[float, Range(1e-9, 1e9)], ...]  # candidate values of an SVM's parameter C


@dataclass(frozen=True)
class Source:
    """Address and checksum of an archive. Only the demo's archives have no checksum."""

    url: str
    sha1: Annotated[str, SHA1] | None = None


@dataclass(frozen=True)
class Expect:
    """Published numbers of tracks and genres. A number that is None is not checked."""

    training: Count | None = None
    validation: Count | None = None
    test: Count | None = None
    genres: Count | None = None


@dataclass(frozen=True)
class Synthesis:
    """Settings of the built-in demo."""

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
        """Return whether this is the built-in demo, whose results say nothing about music."""
        return self.audio.url == DEMO


@dataclass(frozen=True)
class Spectrograms:
    sample_rate: SampleRate
    seconds: Seconds
    hop: Hop
    floor_db: FloorDb
    representations: schema.Rest  # arguments of each representation, not yet checked


@dataclass(frozen=True, kw_only=True)
class WaveformKeys:
    sample_rate: SampleRate
    hop: Annotated[int, Range(1, 2**16)]


@dataclass(frozen=True, kw_only=True)
class Waveform(WaveformKeys):
    """A section of `waveforms`."""

    seconds: Seconds  # `spectrograms.seconds`, so that all systems hear the same part of a clip


@dataclass(frozen=True)
class Train:
    seed: Seed
    runs: Annotated[int, Range(1, 100)]
    epochs: Annotated[int, Range(1, 100_000)]
    segment_frames: Annotated[int, Range(2, 2**16)]
    crops_per_track: Annotated[int, Range(1, 1000)]
    batch_size: Annotated[int, Range(2, 2**16)]
    lr: Annotated[float, Range(1e-9, 10)]
    weight_decay: Annotated[float, Range(0, 10)]
    gradient_norm: Annotated[float, Range(1e-9, 1e9)]
    label_smoothing: Annotated[float, Range(0, 0.9)]
    max_pitch_shift: Annotated[float, Range(0, 24)]
    mixup: Annotated[float, Range(0, 100)]
    precision: Literal["float32", "bfloat16"]
    cuda_graphs: bool


@dataclass(frozen=True)
class Compare:
    reference: schema.Name
    fusion: Members
    stacking: Members
    resamples: Annotated[int, Range(1, 20_000)]
    confidence: Annotated[float, Range(0.5, 0.999)]
    seed: Seed


@dataclass(frozen=True, kw_only=True)
class ModelKeys:
    """Keys of every model, in addition to overrides of `train` and the arguments of its network and front end."""

    network: schema.Name
    representation: schema.Name
    front_end: schema.Name
    svm_head: Candidates | None = None


@dataclass(frozen=True, kw_only=True)
class Model(ModelKeys):
    """A section of `models`."""

    train: Train  # the section `train` with the model's overrides
    arguments: Mapping[str, Any]  # of the network and the front end, not yet checked


@dataclass(frozen=True, kw_only=True)
class BaselineKeys:
    """Keys of every baseline, in addition to the arguments of its features and classifier."""

    features: schema.Name
    classifier: schema.Name


@dataclass(frozen=True, kw_only=True)
class Baseline(BaselineKeys):
    """A section of `baselines`."""

    arguments: Mapping[str, Any]  # of the features and the classifier, not yet checked


@dataclass(frozen=True)
class Params:
    """The checked content of params.yaml."""

    dataset: str
    model: str
    datasets: Mapping[str, DataSet]
    spectrograms: Spectrograms
    waveforms: Mapping[str, Waveform]
    models: Mapping[str, Model]
    train: Train
    baselines: Mapping[str, Baseline]
    compare: Compare

    @property
    def data_set(self) -> DataSet:
        """The entry of `datasets` that is selected by `dataset`."""
        return self.datasets[self.dataset]


def load(path: Path = Path("params.yaml")) -> Params:
    """Read params.yaml; raise InputError for the first invalid parameter or line."""
    content = read(path)
    try:
        return check(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def read(path: Path) -> Any:
    """Parse params.yaml, or another file that a person writes; raise InputError for the first invalid line."""
    try:
        return parse(documents.read_text(path))
    except FileNotFoundError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def check(values: object) -> Params:
    """Convert the parsed content of params.yaml to parameters; raise InputError for the first invalid one."""
    group = schema.as_group(values, "")
    schema.check_keys(Params, group, "")
    train = schema.read(Train, group["train"], "train")
    spectrograms = schema.read(Spectrograms, group["spectrograms"], "spectrograms")
    params = Params(
        dataset=schema.convert(str, group["dataset"], "dataset"),
        model=schema.convert(str, group["model"], "model"),
        datasets=schema.read_named(_read_data_set, group["datasets"], "datasets"),
        spectrograms=spectrograms,
        waveforms=schema.read_named(
            lambda value, where: _read_waveform(value, where, spectrograms.seconds), group["waveforms"], "waveforms"
        ),
        models=schema.read_named(lambda value, where: _read_model(value, where, train), group["models"], "models"),
        train=train,
        baselines=schema.read_named(_read_baseline, group["baselines"], "baselines"),
        compare=schema.read(Compare, group["compare"], "compare"),
    )
    check_choice(params.dataset, params.datasets, "dataset")
    check_choice(params.model, params.models, "model")
    _check_representations(params)
    _check_system_names(params)
    systems = [*params.models, *params.baselines]
    check_choice(params.compare.reference, systems, "compare.reference")
    _check_members(params.compare.fusion, systems, "compare.fusion")
    _check_members(params.compare.stacking, systems, "compare.stacking")
    return params


def check_choice(value: str, choices: Iterable[str], where: str) -> None:
    """Raise InputError unless `value` is one of the choices. The message suggests a similar choice if there is one."""
    choices = list(choices)
    if value not in choices:
        expected = f"one of {', '.join(choices)}" if choices else "one of the defined names (none is defined)"
        raise InputError(f"{schema.mismatch(where, expected, value)}{schema.suggestion(value, choices)}")


def _check_representations(params: Params) -> None:
    """Raise InputError if a representation in `spectrograms` has no module, or if a model names an unknown one.

    A section of `waveforms` is a representation, too. It may have any name that is free in the folder data.
    """
    representations, modules = params.spectrograms.representations, module_names(REPRESENTATION_FOLDER)
    for name, arguments in representations.items():
        if name not in modules:
            own = [key for key in schema.names(Spectrograms) if key != "representations"]
            raise schema.unknown_key(name, [*own, *modules], "spectrograms")
        schema.as_group(arguments, f"spectrograms.{name}")
    for name in params.waveforms:
        if name in (*RESERVED_FOLDERS, *modules):
            expected = f"a name other than {', '.join([*RESERVED_FOLDERS, *modules])}"
            raise schema.mismatch(f"waveforms.{name}", expected, name)
    for key, model in params.models.items():
        check_choice(model.representation, [*representations, *params.waveforms], f"models.{key}.representation")


def _check_members(members: Sequence[str], systems: Sequence[str], where: str) -> None:
    """Raise InputError unless `members` is empty or names several systems, each once."""
    for member in members:
        check_choice(member, systems, where)
    if len(members) == 1 or len(set(members)) < len(members):
        raise schema.mismatch(where, "no system or at least 2 different ones", list(members))


def _check_system_names(params: Params) -> None:
    """Raise InputError if a system has the name of another system, or a name that is reserved."""
    for section, systems in (("models", params.models), ("baselines", params.baselines)):
        for key in systems:
            if key in RESERVED_NAMES or DERIVED_NAME.fullmatch(key):
                expected = f"a name other than {', '.join(RESERVED_NAMES)}, *_seed<number>, *_svm_head and *_ensemble"
                raise schema.mismatch(f"{section}.{key}", expected, key)
    for key in params.baselines:
        if key in params.models:
            raise InputError(f"baselines.{key}: expected a name that no model has, found models.{key}")


def _read_data_set(value: object, where: str) -> DataSet:
    """Read an entry of `datasets`. Only the demo has a section `synthesis`; all other data sets have sha1s."""
    entry = schema.read(DataSet, value, where)
    for role, source in (("audio", entry.audio), ("metadata", entry.metadata)):
        _check_no_secret(source.url, f"{where}.{role}.url")
    if (entry.metadata.url == DEMO) != entry.synthetic:
        expected = f"{DEMO} for both audio and metadata, or for neither"
        raise schema.mismatch(f"{where}.metadata.url", expected, entry.metadata.url)
    for role, source in (("audio", entry.audio), ("metadata", entry.metadata)):
        if source.sha1 is None and not entry.synthetic:
            raise InputError(f"{where}.{role}.sha1: expected {SHA1}, found none")
        if source.sha1 is not None and entry.synthetic:
            raise schema.mismatch(f"{where}.{role}.sha1", f"no sha1 for the url {DEMO}", source.sha1)
    if entry.synthesis is None and entry.synthetic:
        raise InputError(f"{where}.synthesis: expected a group of named values, found none")
    if entry.synthesis is not None and not entry.synthetic:
        raise InputError(f"{where}.synthesis: expected no such key, since the url is not {DEMO}, found one")
    return entry


def _check_no_secret(url: str, where: str) -> None:
    """Raise InputError for a secret in a url, since everyone with access to the repository can read params.yaml.

    The message does not show the secret.
    """
    if found := secret_in(url):
        expected = "a url without secrets (put the user name and password into ~/.netrc, and write @ in a path as %40)"
        raise InputError(f"{where}: expected {expected}, found {found}")


def _read_waveform(value: object, where: str, seconds: float) -> Waveform:
    return Waveform(**vars(schema.read(WaveformKeys, value, where)), seconds=seconds)


def _read_model(value: object, where: str, train: Train) -> Model:
    """Read a model's section.

    Its keys are those of ModelKeys, overrides of `train`, and arguments of the network and the front end.
    """
    own, others = schema.partition(schema.as_group(value, where), schema.names(ModelKeys))
    overrides, arguments = schema.partition(others, schema.names(Train))
    _check_spelling(ModelKeys, own, arguments, where)
    keys = schema.read(ModelKeys, own, where)
    check_module(keys.network, "networks", f"{where}.network")
    check_module(keys.front_end, "front_ends", f"{where}.front_end")
    return Model(**vars(keys), train=schema.read(Train, vars(train) | overrides, where), arguments=arguments)


def _read_baseline(value: object, where: str) -> Baseline:
    own, arguments = schema.partition(schema.as_group(value, where), schema.names(BaselineKeys))
    _check_spelling(BaselineKeys, own, arguments, where)
    keys = schema.read(BaselineKeys, own, where)
    check_module(keys.features, "baselines", f"{where}.features")
    check_module(keys.classifier, "baselines", f"{where}.classifier")
    return Baseline(**vars(keys), arguments=arguments)


def _check_spelling(keys: type, own: Mapping[str, Any], arguments: Mapping[str, Any], where: str) -> None:
    """Raise InputError if the name of an argument looks like a misspelling of a missing required key."""
    missing = [name for name in schema.required(keys) if name not in own]
    for key in arguments:
        if schema.suggestion(key, missing):
            raise schema.unknown_key(key, missing, where)


def check_module(name: str, package: str, where: str) -> None:
    """Raise InputError unless the package has a module called `name`."""
    check_choice(name, module_names(package), where)


def module_names(package: str) -> list[str]:
    """Names of the modules in a folder of PACKAGE, such as `networks`."""
    return sorted(path.stem for path in (PACKAGE / package).glob("[!_]*.py"))
