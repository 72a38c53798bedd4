"""Schemas: a value that does not match its declaration in a dataclass is an error in one line with its path."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from fma_genre.common import schema
from fma_genre.common.errors import InputError, printable
from fma_genre.common.schema import Length, Name, Pattern, Range, Rest


@dataclass(frozen=True)
class Inner:
    hop: Annotated[int, Range(1, 1024)]


@dataclass(frozen=True)
class Outer:
    epochs: Annotated[int, Range(1, 10)]
    lr: Annotated[float, Range(0, 10)]
    subset: Literal["small", "medium"]
    inner: Inner
    channels: tuple[Annotated[int, Range(1, 512)], ...]
    label: str
    name: Name
    sha1: Annotated[str, Pattern("[0-9a-f]{4}", "4 hexadecimal digits")]
    on: bool
    anything: Mapping[str, Any]
    gain: float = 1.0
    pair: Annotated[tuple[float, ...], Length(2, 2)] | None = None
    optional: Inner | None = None
    made: tuple[int, ...] = field(default_factory=tuple)


VALID: dict[str, Any] = {
    "epochs": 3,
    "lr": 0.5,
    "subset": "small",
    "inner": {"hop": 512},
    "channels": [1, 512],
    "label": "a text",
    "name": "cnn_stft-2",
    "sha1": "00ff",
    "on": True,
    "anything": {"a": [1]},
}
HUGE = 10**5000  # too long for Python to print


def message(value: object, kind: type = Outer, where: str = "train") -> str:
    with pytest.raises(InputError) as refusal:
        schema.read(kind, value, where)
    text = str(refusal.value)
    assert len(text.splitlines()) == 1
    assert len(text) < 500
    return text


def test_a_valid_group_becomes_an_instance_with_the_declared_types() -> None:
    found = schema.read(Outer, VALID | {"lr": 1, "pair": [0, 1], "optional": {"hop": 1}}, "train")
    assert found.inner == Inner(512)
    assert (found.lr, type(found.lr)) == (1, float)
    assert (found.channels, found.pair, found.optional) == ((1, 512), (0.0, 1.0), Inner(1))
    assert (found.gain, found.made) == (1.0, ())


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("epochs", [0, 11, -1, 2.0, True, "3", None, [], {}, math.nan, HUGE, -HUGE], "a whole number from 1 to 10"),
        ("lr", [-0.1, 10.1, False, "0.1", None, [0.1], math.nan, math.inf, -math.inf, HUGE], "a number from 0 to 10"),
        ("gain", [math.nan, math.inf, -math.inf, 10**400, HUGE, True, "1", None], "a number"),
        ("subset", ["tiny", "Small", 1, None, ["small"], True], "one of small, medium"),
        ("inner", [512, None, [], "hop", [["hop", 512]]], "a group of named values"),
        ("channels", [128, None, [], {}, "128", [1] * 101, {1: 1}], "a list of 1 to 100 values"),
        ("pair", [[1], [1, 2, 3], None, 1], "a list of 2 to 2 values"),
        ("label", ["", 7, None, ["a"], True, HUGE], "a non-empty string"),
        ("name", ["", "a b", "../up", "a.b", "é", "-x", "a\n", "x" * 65, 7, None], "a name of at most 64 letters"),
        ("sha1", ["00FF", "00ff\n", "00ff0", 1234], "4 hexadecimal digits"),
        ("on", [1, 0, "true", None, []], "true or false"),
        ("anything", [1, [], "a", None], "a group of named values"),
        ("optional", [None, 1, []], "a group of named values"),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected_and_what_was_found(
    key: str, values: list[Any], expected: str
) -> None:
    for value in values:
        text = message(VALID | {key: value})
        assert text.startswith(f"train.{key}: expected {expected}"), text
        assert f", found {printable(schema.abbreviated(value))}" in text


@pytest.mark.parametrize(("position", "value"), [(0, 0), (1, 1.5), (99, None)])
def test_a_wrong_item_of_a_list_is_named_by_its_position(position: int, value: object) -> None:
    channels = [1] * 100
    channels[position] = value  # type: ignore[call-overload]
    found = message(VALID | {"channels": channels})
    assert found == f"train.channels[{position}]: expected a whole number from 1 to 512, found {value!r}"


def test_a_wrong_value_of_a_nested_group_is_named_by_its_path() -> None:
    assert message(VALID | {"inner": {"hop": 0}}).startswith("train.inner.hop: expected a whole number")
    assert message(VALID | {"inner": {}}) == "train.inner.hop: expected a whole number from 1 to 1024, found none"
    assert message(VALID | {"inner": {"hop": 1, "hob": 1}}) == (
        "train.inner: expected the keys hop, found 'hob'; did you mean hop?"
    )


@pytest.mark.parametrize("key", VALID)
def test_a_missing_key_is_named_with_what_is_expected(key: str) -> None:
    text = message({name: value for name, value in VALID.items() if name != key})
    assert text.startswith(f"train.{key}: expected ")
    assert text.endswith(", found none")
    _, expected = text.removesuffix(", found none").split(": expected ")
    assert message(VALID | {key: None}).startswith(f"train.{key}: expected {expected}")


@pytest.mark.parametrize(
    ("key", "suggested"),
    [("epoch", "epochs"), ("Epochs", "epochs"), ("LR", "lr"), ("chanels", "channels"), ("xyz", None), (7, None)],
)
def test_an_unknown_key_is_refused_and_a_misspelt_one_corrected(key: object, suggested: str | None) -> None:
    text = message(VALID | {key: 1})
    assert text.startswith("train: expected the keys epochs, lr, subset, ")
    assert f"found {key!r}" in text
    assert text.endswith(f"; did you mean {suggested}?") == bool(suggested)
    assert ("did you mean" in text) == bool(suggested)


def test_any_key_can_be_shown() -> None:
    for key in (None, True, 1.5, HUGE, "", "a\nb", "\x1b[31m", "x" * 10**6, (1, (2, (3, (4, 5))))):
        assert message(VALID | {key: 1}).isprintable()
        assert message(VALID | {"inner": {key: 1}}).isprintable()


def test_a_wrong_choice_is_corrected() -> None:
    text = message(VALID | {"subset": "smal"})
    assert text == "train.subset: expected one of small, medium, found 'smal'; did you mean small?"


def test_a_value_that_is_not_a_group_is_refused() -> None:
    for value in (None, 3, "train", [VALID], True, HUGE):
        assert message(value).startswith("train: expected a group of named values, found ")
        assert message(value, where="").startswith("expected a group of named values, found ")


def test_a_very_large_value_is_shown_abbreviated() -> None:
    bomb: Any = ["a"]
    for _ in range(30):
        bomb = [bomb] * 10
    for key in VALID:
        message(VALID | {key: bomb})
        message(VALID | {key: {"a": bomb}} if key != "anything" else VALID | {"anything": bomb})


def test_schemas_of_a_dataclass_without_parameters_take_no_key() -> None:
    @dataclass(frozen=True)
    class Nothing:
        pass

    assert schema.read(Nothing, {}, "models.cnn") == Nothing()
    assert message({"bands": 1}, Nothing, "models.cnn") == "models.cnn: expected no keys, found 'bands'"


def test_a_rest_collects_the_keys_of_no_other_parameter() -> None:
    @dataclass(frozen=True)
    class Section:
        hop: Annotated[int, Range(1, 1024)]
        others: Rest

    assert schema.read(Section, {"b": [1], "hop": 2, "a": {}}, "") == Section(2, {"b": [1], "a": {}})
    assert schema.read(Section, {"hop": 2}, "").others == {}
    assert schema.read(Section, {"hop": 2, "others": 3}, "").others == {"others": 3}
    assert message({"b": 1}, Section, "x") == "x.hop: expected a whole number from 1 to 1024, found none"


# Names that the user chooses. ------------------------------------------------------------------------------------


def test_named_entries_are_read_by_their_place() -> None:
    found = schema.read_named(lambda value, where: (value, where), {"a": 1, "b-2": 2}, "models")
    assert found == {"a": (1, "models.a"), "b-2": (2, "models.b-2")}
    assert schema.read_named(lambda value, where: value, {}, "baselines") == {}


@pytest.mark.parametrize("name", ["my data", "../up", "", 7, None, True, "a.b", "-x", "x" * 65])
def test_names_that_become_file_names_are_plain(name: object) -> None:
    with pytest.raises(InputError, match=r"^models: expected a name of at most 64 letters, digits, - and _, found "):
        schema.read_named(lambda value, where: value, {name: 1}, "models")


# Arguments of a section, declared by several dataclasses. --------------------------------------------------------


@dataclass(frozen=True)
class Network:
    hidden: Annotated[int, Range(1, 512)]
    dropout: float = 0.5


@dataclass(frozen=True)
class FrontEnd:
    coefficients: Annotated[int, Range(1, 128)]


SCHEMAS = {"network": Network, "front_end": FrontEnd}


def test_arguments_go_to_the_dataclass_that_declares_them() -> None:
    found = schema.read_arguments({"coefficients": 20, "hidden": 8}, SCHEMAS, "models.x")
    assert found == {"network": Network(8), "front_end": FrontEnd(20)}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"hidden": 8}, "models.x.coefficients: expected a whole number from 1 to 128, found none"),
        ({"coefficients": 20}, "models.x.hidden: expected a whole number from 1 to 512, found none"),
        ({"coefficients": 0, "hidden": 8}, "models.x.coefficients: expected a whole number from 1 to 128, found 0"),
        (
            {"coefficients": 20, "hiden": 8},
            "models.x: expected the keys hidden, dropout, coefficients, epochs, found 'hiden'; did you mean hidden?",
        ),
        (
            {"coefficients": 20, "hidden": 8, "epoch": 8},
            "models.x: expected the keys hidden, dropout, coefficients, epochs, found 'epoch'; did you mean epochs?",
        ),
        (
            {"coefficients": 20, "hidden": 8, 7: 8},
            "models.x: expected the keys hidden, dropout, coefficients, epochs, found 7",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[Any, Any], says: str) -> None:
    with pytest.raises(InputError) as refusal:
        schema.read_arguments(arguments, SCHEMAS, "models.x", ["epochs"])
    assert str(refusal.value) == says


@pytest.mark.parametrize(("schemas", "others"), [({"a": Network, "b": Network}, []), ({"a": Network}, ["dropout"])])
def test_an_argument_that_is_declared_twice_is_refused(schemas: dict[str, type], others: list[str]) -> None:
    with pytest.raises(InputError, match=r"^models\.x\.\w+: expected one declaration in .*, found several$"):
        schema.read_arguments({"hidden": 8}, schemas, "models.x", others)
