"""Two architectures on two inputs: effects in a 2 × 2 design, held against a linear model of its four cells."""

import numpy as np
import pytest

from fma_genre.results.bootstrap import holm, p_value
from fma_genre.results.comparison import Comparison
from synthetic import compare_systems, make_comparison, make_index, make_model, make_systems

INDEX = make_index()


def of_models(**models: tuple[str, str, float]) -> Comparison:
    """A comparison of models with a network, a representation and a share of correct tracks."""
    made = {
        key: make_model(INDEX, share, seed=seed, network=network, representation=representation)
        for seed, (key, (network, representation, share)) in enumerate(models.items())
    }
    return compare_systems(make_systems(made, {}), INDEX, next(iter(models)))


def test_effects_are_those_of_a_linear_model_of_the_four_cells() -> None:
    """Least squares with the predictors ±1/2 for architecture and input, and their product."""
    comparison = make_comparison(4)
    found = comparison.factorial
    assert found is not None
    design, accuracies = [], []
    for (network, representation), key in {
        ("cnn", "mel"): "cnn", ("birnn", "stft"): "birnn", ("cnn", "stft"): "cnn_stft", ("birnn", "mel"): "birnn_mel",
    }.items():  # fmt: skip
        architecture, second = (network == "birnn") - 0.5, (representation == "stft") - 0.5
        design.append([1, architecture, second, architecture * second])
        (result,) = (result for result in comparison.models if result.key == key)
        assert found.cells[network, representation] is result
        accuracies.append(result.resampled["accuracy"])
    _, architecture, second, interaction = np.linalg.solve(np.array(design), np.array(accuracies))
    assert found.networks == ("cnn", "birnn")
    assert found.representations == ("mel", "stft")
    corrected = holm([p_value(values) for values in (architecture, second, interaction)])
    for effect, values, p in zip(found.effects, (architecture, second, interaction), corrected, strict=True):
        expected = (values[0], *np.quantile(values[1:], [0.025, 0.975]))
        assert effect.interval == pytest.approx(expected, abs=1e-9)
        assert effect.p == pytest.approx(p)
    assert [effect.name for effect in found.effects] == [
        "architecture (birnn − cnn)",
        "input (stft − mel)",
        "interaction",
    ]


def test_an_effect_of_the_input_alone_is_found_as_such() -> None:
    found = of_models(
        a=("cnn", "mel", 0.2), b=("cnn", "stft", 0.9), c=("birnn", "mel", 0.2), d=("birnn", "stft", 0.9)
    ).factorial
    assert found is not None
    assert found.input.interval.low > 0.2
    assert found.input.p <= 0.05
    for effect in (found.architecture, found.interaction):
        assert effect.p > 0.05
        assert effect.interval.low < 0 < effect.interval.high


@pytest.mark.parametrize(
    "models",
    [
        {"a": ("cnn", "mel", 0.5)},
        {"a": ("cnn", "mel", 0.5), "b": ("birnn", "stft", 0.5)},
        {"a": ("cnn", "mel", 0.5), "b": ("birnn", "stft", 0.5), "c": ("cnn", "stft", 0.5)},
        {"a": ("cnn", "mel", 0.5), "b": ("cnn", "stft", 0.5), "c": ("cnn", "mel", 0.5), "d": ("cnn", "stft", 0.5)},
        {"a": ("cnn", "mel", 0.5), "b": ("birnn", "mel", 0.5), "c": ("x", "stft", 0.5), "d": ("y", "stft", 0.5)},
    ],
    ids=["one", "two", "three cells", "one network", "no common input"],
)
def test_an_incomplete_design_has_no_effects(models: dict[str, tuple[str, str, float]]) -> None:
    assert of_models(**models).factorial is None


def test_the_first_model_of_a_cell_counts_and_other_models_do_not_disturb() -> None:
    found = of_models(
        other=("transformer", "mel", 0.5), cqt=("cnn", "cqt", 0.5), a=("cnn", "mel", 0.4), again=("cnn", "mel", 0.9),
        b=("birnn", "stft", 0.5), c=("birnn", "mel", 0.6), d=("cnn", "stft", 0.7),
    ).factorial  # fmt: skip
    assert found is not None
    assert {cell: result.key for cell, result in found.cells.items()} == {
        ("cnn", "mel"): "a", ("cnn", "stft"): "d", ("birnn", "mel"): "c", ("birnn", "stft"): "b",
    }  # fmt: skip


def test_a_model_with_another_front_end_or_segment_length_fills_no_cell() -> None:
    made = {
        f"{network}_{representation}": make_model(INDEX, 0.5, network=network, representation=representation)
        for network in ("cnn", "birnn")
        for representation in ("mel", "stft")
    }
    assert compare_systems(make_systems(made, {}), INDEX, "cnn_mel").factorial is not None
    for change in ({"front_end": "cepstral"}, {"segment_frames": 64}):
        other = make_model(INDEX, 0.5, network="cnn", representation="mel", **change)
        assert compare_systems(make_systems(made | {"cnn_mel": other}, {}), INDEX, "cnn_mel").factorial is None
        both = compare_systems(make_systems({"other": other, **made}, {}), INDEX, "cnn_mel").factorial
        assert both is not None
        assert both.cells["cnn", "mel"].key == "cnn_mel"
