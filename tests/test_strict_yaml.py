"""Strict YAML: a value that DVC and the stages could read differently is an error that names its line."""

import datetime
import itertools
import math
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import loads_yaml

from fma_genre.common.errors import InputError
from fma_genre.common.strict_yaml import parse


def refusal(text: str) -> str:
    with pytest.raises(InputError) as error:
        parse(text)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 700
    return message


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", 1), ("-1", -1), ("+1", 1), ("0", 0), ("0x1F", 31), ("1.", 1.0), (".5", 0.5), ("1.5", 1.5),
        ("1e-05", 1e-5), ("1E-5", 1e-5), ("1.5e-3", 1.5e-3), ("1e5", 1e5), ("-1E+5", -1e5), ("1e-5  # small", 1e-5),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("cnn", "cnn"), ("1e", "1e"), ("1e5x", "1e5x"), ("1e5_0", "1e5_0"), ("69e818c0", "69e818c0"),
        ("0b92aeb9170708b4a0bf", "0b92aeb9170708b4a0bf"),  # a checksum, from which `dvc exp run -S` drops the quotes
        ("v1_000", "v1_000"), ("x:y", "x:y"), ("'010'", "010"), ('"yes"', "yes"),
        ("two\n  lines", "two lines"), ("[1, 2.0, a]", [1, 2.0, "a"]), ("{b: 1}", {"b": 1}),
    ],
)  # fmt: skip
def test_unambiguous_values_are_read(written: str, value: Any) -> None:
    found = parse(f"a: {written}\n")["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "written",
    [
        "010", "-010", "+07", "08", "0o10", "0b11", "1_000", "1_0.5", "_1", "1:30", "190:20:30.15", "+.5", "-.5",
        ".1e5", "yes", "No", "on", "OFF", "2001-01-01", "2001-01-01 10:00:00", "=", "0x_f", "1.2.3",
    ],
)  # fmt: skip
def test_values_that_yaml_1_1_and_1_2_read_differently_are_refused(written: str) -> None:
    expected = f"expected a value that YAML 1.1 and 1.2 read the same way, or a value in quotes, found '{written}'"
    for text in (f"b: 1\na: {written}\n", f"b: 1\na: [{written}]\n"):
        assert refusal(text) == f"line 2: a: {expected}"
    assert refusal(f"train:\n  a: {{b: [1, {written}]}}\n") == f"line 2: train.a.b: {expected}"
    assert parse(f"a: '{written}'") == {"a": written}
    if written != "=":  # as a key, all readers take it for a text
        assert refusal(f"b: 1\n{written}: 1\n") == f"line 2: {expected}"


# An unquoted text; its value in PyYAML (YAML 1.1) and in DVC (ruamel.yaml, YAML 1.2); and whether the stages read it.
# If they do, they read the same value as DVC.
REFUSED = "refused"
READINGS: list[tuple[str, Any, Any, Any]] = [
    # octal and hexadecimal
    ("010", 8, 10, REFUSED),
    ("-010", -8, -10, REFUSED),
    ("08", "08", 8, REFUSED),
    ("0o10", "0o10", 8, REFUSED),
    ("0b11", 3, 3, REFUSED),
    ("0x10", 16, 16, 16),
    ("0X10", "0X10", "0X10", "0X10"),
    ("-0x10", -16, -16, REFUSED),
    # underscores
    ("1_000", 1000, 1000, REFUSED),
    ("1_000.5", 1000.5, 1000.5, REFUSED),
    ("0x_10", 16, 16, REFUSED),
    # base 60
    ("1:30", 90, "1:30", REFUSED),
    ("1:30.5", 90.5, "1:30.5", REFUSED),
    # words
    ("yes", True, "yes", REFUSED),
    ("No", False, "No", REFUSED),
    ("on", True, "on", REFUSED),
    ("OFF", False, "OFF", REFUSED),
    ("y", "y", "y", "y"),
    ("n", "n", "n", "n"),
    ("true", True, True, True),
    ("~", None, None, None),
    # exponents, points and signs
    ("1e-05", "1e-05", 1e-5, 1e-5),
    ("1e5", "1e5", 1e5, 1e5),
    ("1.5e3", "1.5e3", 1500.0, 1500.0),
    ("1.5e+3", 1500.0, 1500.0, 1500.0),
    (".5", 0.5, 0.5, 0.5),
    ("5.", 5.0, 5.0, 5.0),
    ("+1", 1, 1, 1),
    ("+.5", "+.5", 0.5, REFUSED),
    ("-.5", "-.5", -0.5, REFUSED),
    (".inf", math.inf, math.inf, math.inf),
    # dates
    ("2001-01-01", datetime.date(2001, 1, 1), datetime.date(2001, 1, 1), REFUSED),
    ("2001-1-1", "2001-1-1", "2001-1-1", "2001-1-1"),
]


@pytest.mark.parametrize(("written", "pyyaml", "dvc", "stages"), READINGS, ids=[written for written, *_ in READINGS])
def test_ambiguous_values_in_each_reader(written: str, pyyaml: Any, dvc: Any, stages: Any) -> None:
    text = f"train:\n  seed: {written}\n"

    def read(reader: Callable[[str], Any]) -> tuple[object, type]:
        value = reader(text)["train"]["seed"]
        return value, type(value)

    assert read(yaml.safe_load) == (pyyaml, type(pyyaml))
    assert read(loads_yaml) == (dvc, type(dvc))
    if stages is REFUSED:
        assert refusal(text).startswith("line 2: train.seed: expected a value that YAML 1.1 and 1.2 read the same way")
    else:
        assert read(parse) == (dvc, type(dvc)) == (stages, type(stages))


def scalars() -> list[str]:
    """Texts of the characters in numbers, times and words: all of length one or two, and some longer ones."""
    characters = "0127+-._eExob:~ynNcf"
    short = ["".join(pair) for length in (1, 2) for pair in itertools.product(characters, repeat=length)]
    generator = random.Random(1)
    long = ["".join(generator.choices(characters, k=generator.randint(3, 7))) for _ in range(1500)]
    return short + long


def test_accepted_values_are_the_same_in_dvc() -> None:
    accepted = 0
    for scalar in scalars():
        text = f"a: {scalar}\n"
        try:
            found = parse(text)
        except InputError:
            continue
        accepted += 1
        read = loads_yaml(text)
        assert (found, type(found["a"])) == (read, type(read["a"])), scalar
    assert accepted > 1000


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("a: &x 1\nb: *x\n", "line 1: a", "x"),
        ("a: 1\nb: &all {c: 1}\n", "line 2: b", "all"),
        ("a: 1\nb: *nothing\n", "line 2: b", "nothing"),
        ("a:\n- &x [1]\n", "line 2: a", "x"),
        ("&key a: 1\n", "line 1", "key"),
    ],
)
def test_anchors_and_aliases_are_refused(text: str, place: str, found: str) -> None:
    expected = "expected no anchor or alias (`dvc exp run -S` expands them)"
    assert refusal(text) == f"{place}: {expected}, found '{found}'"


def test_merge_keys_are_refused() -> None:
    expected = "expected no merge key (`dvc exp run -S` expands it), found '<<'"
    assert refusal("a: 1\nb:\n  <<: {c: 1}\n") == f"line 3: b: {expected}"
    assert refusal("<<: [{c: 1}]\n") == f"line 1: {expected}"


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    lines = ["- &l0 [a]", *(f"- &l{depth} [{', '.join(10 * [f'*l{depth - 1}'])}]" for depth in range(1, 30))]
    assert refusal("\n".join(lines)).startswith("line 1: expected no anchor or alias")


@pytest.mark.parametrize("tag", ["!!int", "!!str", "!!python/object:os.system", "!mine", "!", "!!binary", "!!set"])
def test_tags_are_refused(tag: str) -> None:
    for value in ('"010"', "[1]", "{b: 1}"):
        assert refusal(f"a: 1\nb: {tag} {value}\n").startswith("line 2: b: expected a value without a tag, found '")


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "a: {lr: 1, lr: 1}\n", "a: {'b': 1, b: 2}\n", "a: [{b: 1, b: 1}]"])
def test_a_key_written_twice_is_refused(text: str) -> None:
    assert "expected unique keys, found '" in refusal(text)


@pytest.mark.parametrize("written", [r'"\0"', r'"a\nb"', r'"\e[31m"', r'"\ud800"', r'"\u202e"', "|\n  block\n"])
def test_control_characters_in_a_text_are_refused(written: str) -> None:
    message = refusal(f"b: 1\na: {written}\n")
    assert message.startswith("line 2: a: expected a string without line breaks or control characters, found ")
    assert message.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "a: [1, 2", "a: b: c", "a:\n\tb: 1", "\0", "a: \x1b[31m", "a: \x89", "--- 1\n--- 2", "? [a]\n: 1", "@a",
        "a: `b", "'", "%YAML 9.9\n---\na: 1", "- " * 3000, "a: " + "1" * 5000, "a: [" + "x" * 10**6,
    ],
    ids=range(15),
)  # fmt: skip
def test_text_that_is_not_yaml_is_refused(text: str) -> None:
    message = refusal(text)
    assert re.match(r"(line \d+: )?cannot be read as YAML: ", message)
    assert "<unicode string>" not in message, "PyYAML's name of the text"


def test_a_control_character_is_refused_with_its_line() -> None:
    assert refusal("a: 1\nb: \0") == "line 2: cannot be read as YAML: the character U+0000 is not allowed"


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\u2029"])
def test_a_line_break_of_yaml_1_1_alone_is_refused(character: str) -> None:
    """DVC's reader takes the line break for a part of the comment and misses the second key."""
    assert yaml.safe_load(f"a: 1  # a comment{character}b: 2\n") == {"a": 1, "b": 2}
    expected = f"line 2: expected line breaks that YAML 1.1 and 1.2 read the same way, found {character!r}"
    assert refusal(f"c: 1\na: 1  # a comment{character}b: 2\n") == expected
    assert refusal(f"c: 1\na: x{character}\n") == expected


@pytest.mark.parametrize("directive", ["%YAML 1.1", "%YAML 1.2", "%TAG ! tag:x,2000:"])
def test_a_directive_is_refused(directive: str) -> None:
    """With the first directive, DVC reads `y` as true and PyYAML reads a text."""
    expected = "line 1: expected no directive (it changes how DVC reads values), found '%'"
    assert refusal(f"{directive}\n---\na: y\n") == expected


def test_a_secret_near_an_error_is_not_shown() -> None:
    for text in (
        "a: {url: https://user:secret@host/x.zip: 1}",
        "a: [https://user:secret@host/x.zip, 1",
        "a: &https://user:secret@host/x.zip 1",
        "a: !https://user:secret@host/x.zip 1",
        "a: 'https://user:secret@host/x.zip\n\n  b'",
        "https://user:secret@host/x.zip: 1\nhttps://user:secret@host/x.zip: 2",
        "https://user:secret@host/x.zip: {a: 010}",
        "`https://user:secret@host/x.zip",
    ):
        assert "secret" not in refusal(text)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "[[], "])
def test_a_hundred_thousand_brackets_are_refused(opening: str) -> None:
    assert refusal(opening * 100_000).startswith("cannot be read as YAML: ")
