"""Text of report.md: its headline, tables and sentences, for few and many systems and for invented numbers."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fma_genre.results import metrics
from fma_genre.results.bootstrap import Interval
from fma_genre.results.comparison import Comparison, Difference, McNemar
from fma_genre.results.factorial import Effect
from fma_genre.results.report import headline, report, table, verdict
from fma_genre.results.result import Result
from synthetic import compare_systems, make_baseline, make_comparison, make_index, make_model, make_systems, row


def tables(text: str) -> list[list[list[str]]]:
    """Cells of all Markdown tables of a text, each with its head as first row."""
    found: list[list[list[str]]] = []
    for line, previous in zip(lines := text.splitlines(), ["", *lines], strict=False):
        if line.startswith("|"):
            if not previous.startswith("|"):
                found.append([])
            if not line.startswith("|-"):
                cells = line.replace("\N{NO-BREAK SPACE}", " ").strip("|").split("|")
                found[-1].append([cell.strip() for cell in cells])
    return found


def difference(key: str, value: float, low: float, high: float, p: float) -> Difference:
    return Difference(key, dict.fromkeys(metrics.METRICS, Interval(value, low, high)), p / 2, p, 0.02)


def with_scores(result: Result, accuracy: Interval, summary: Mapping[str, Any]) -> Result:
    macro = {"precision": 0.41, "recall": 0.42, "f1": 0.43}
    intervals = {"accuracy": accuracy} | {name: Interval(value, 0, 1) for name, value in macro.items()}
    return replace(result, intervals=intervals, summary={"validation_accuracy": 0.6, **summary})


def made_up(*differences: Difference, **changes: Any) -> Comparison:
    """A comparison with invented numbers that are easy to recognise."""
    comparison = make_comparison(2, 1)
    scores: dict[str, tuple[Interval, dict[str, float]]] = {
        "majority": (Interval(0.125, 0.1, 0.15), {"validation_accuracy": 0.13}),
        "svm": (Interval(0.464, 0.42, 0.51), {}),
        "cnn": (Interval(0.501, 0.47, 0.53), {"accuracy_std": 0.012, "segment_accuracy": 0.44}),
        "cnn_svm_head": (Interval(0.487, 0.45, 0.52), {"accuracy_std": 0.021}),
        "birnn": (Interval(0.523, 0.49, 0.55), {"accuracy_std": 0.0}),
    }
    rows = [with_scores(result, *scores[result.key]) for result in comparison.rows]
    found = differences or (
        difference("svm", -0.037, -0.062, -0.011, 0.0042),
        difference("cnn_svm_head", -0.014, -0.04, 0.01, 0.34),
        difference("birnn", 0.022, -0.013, 0.057, 0.17),
    )
    reference = next(result for result in rows if result.key == "cnn")
    return replace(comparison, rows=rows, reference=reference, differences=list(found), **changes)


# The headline. ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("birnn", "svm", "sentence"),
    [
        ((0.03, 0.01), (-0.04, 0.02), "birnn is better; svm is worse"),
        ((0.03, 0.01), (0.04, 0.02), "svm and birnn are better"),
        ((-0.03, 0.01), (-0.04, 0.02), "svm and birnn are worse"),
        ((0.03, 0.06), (0.04, 0.07), "the data cannot tell svm and birnn apart from it"),
        ((0.03, 0.01), (0.04, 0.07), "birnn is better; the data cannot tell svm apart from it"),
        ((-0.03, 0.01), (0.04, 0.07), "birnn is worse; the data cannot tell svm apart from it"),
    ],
)
def test_headline_states_which_systems_are_better_worse_or_neither(
    birnn: tuple[float, float], svm: tuple[float, float], sentence: str
) -> None:
    found = [difference(key, value, -1, 1, p) for key, (value, p) in (("svm", svm), ("birnn", birnn))]
    assert headline(made_up(*found)) == f"small: cnn reaches 50.1 % [47.0, 53.0]; {sentence}"


def test_headline_judges_by_the_corrected_p_value() -> None:
    clear = difference("birnn", 0.03, 0.01, 0.05, 0.05)
    unclear = replace(clear, p=0.02, p_holm=0.06)
    assert verdict(clear, made_up()) == "better"
    assert verdict(unclear, made_up()) == "cannot tell"
    assert verdict(clear, made_up(confidence=0.99)) == "cannot tell"
    assert "cannot tell birnn apart" in headline(made_up(unclear))


def test_headline_leaves_out_derived_systems() -> None:
    found = [difference(key, 0.1, 0, 1, 0.001) for key in ("cnn_svm_head", "fusion", "birnn")]
    assert headline(made_up(*found)) == "small: cnn reaches 50.1 % [47.0, 53.0]; birnn is better"


def test_headline_of_a_single_system_names_its_accuracy() -> None:
    index = make_index()
    model = make_model(index, 0.7, svm_head=True)
    comparison = compare_systems(make_systems({"cnn": model}, {}), index)
    value, low, high = (100 * part for part in comparison.models[0].intervals["accuracy"])
    assert headline(comparison) == f"small: cnn reaches {value:.1f} % [{low:.1f}, {high:.1f}]"


def test_headline_compares_with_a_baseline_if_that_is_the_reference() -> None:
    comparison = make_comparison(2, 1, reference="svm")
    sentence = headline(comparison)
    accuracy = 100 * comparison.baselines[0].summary["accuracy"]
    assert f"svm reaches {accuracy:.1f} %" in sentence
    assert {"cnn", "birnn"} <= set(re.findall(r"\w+", sentence))


def test_headline_of_ten_systems_names_each_of_them_once() -> None:
    comparison = make_comparison(7, 3)
    sentence = headline(comparison)
    names = re.findall(r"\w+", sentence)
    for result in comparison.systems:
        if result.key != "cnn":
            assert names.count(result.key) == 1
    assert "\n" not in sentence


def test_headline_of_the_demo_says_so() -> None:
    assert headline(make_comparison(synthetic=True)).startswith("synthetic demo: ")


# Tables. ----------------------------------------------------------------------------------------------------------


def test_table_of_scores_has_a_row_for_each_system() -> None:
    scores = tables(report(made_up()))[0]
    columns = ["system", "runs", "accuracy", "95 % interval", "precision", "recall", "F1", "validation accuracy"]
    macro = ["41.0", "42.0", "43.0"]
    assert scores == [
        columns,
        ["majority", "1", "12.5", "[10.0, 15.0]", *macro, "13.0"],
        ["svm", "1", "46.4", "[42.0, 51.0]", *macro, "60.0"],
        ["cnn", "2", "50.1 ± 1.2", "[47.0, 53.0]", *macro, "60.0"],
        ["cnn_svm_head", "2", "48.7 ± 2.1", "[45.0, 52.0]", *macro, "60.0"],
        ["birnn", "2", "52.3 ± 0.0", "[49.0, 55.0]", *macro, "60.0"],
    ]


def test_table_of_differences_has_intervals_corrected_p_values_and_verdicts() -> None:
    text = report(made_up())
    assert "\n## Differences from cnn\n" in text
    interval = "95 % interval"
    assert tables(text)[1] == [
        ["system", "accuracy", interval, "F1", interval, "p", "resolution", "verdict"],
        ["svm", "-3.7", "[-6.2, -1.1]", "-3.7", "[-6.2, -1.1]", "0.0042", "2.0", "worse"],
        ["cnn_svm_head", "-1.4", "[-4.0, +1.0]", "-1.4", "[-4.0, +1.0]", "0.34", "2.0", "cannot tell"],
        ["birnn", "+2.2", "[-1.3, +5.7]", "+2.2", "[-1.3, +5.7]", "0.17", "2.0", "cannot tell"],
    ]
    assert "**Differences under the resolution are invisible here:** with 40 test tracks by 10 artists" in text


def test_a_difference_that_is_rounded_to_0_has_no_minus_sign() -> None:
    (cells,) = tables(report(made_up(difference("birnn", -0.0004, -0.02, -0.0001, 0.5))))[1][1:]
    assert cells[1:3] == ["+0.0", "[-2.0, +0.0]"]


def test_numbers_and_verdicts_in_tables_keep_to_one_line() -> None:
    text = report(make_comparison(2, 1, fusion=("cnn", "birnn")))
    cells = [cell.strip() for line in text.splitlines() if line.startswith("|") for cell in line.strip("|").split("|")]
    found = [cell for cell in cells if set("±×") & set(cell) or cell.startswith("cannot")]
    assert len(found) >= 5
    assert not [cell for cell in found if " " in cell]


def test_ensembles_have_their_own_tables_and_mcnemars_test_as_a_footnote() -> None:
    found = [difference("birnn_ensemble", 0.03, 0.01, 0.05, 0.02), difference("svm_ensemble", -0.1, -0.2, -0.05, 0)]
    tests = {"birnn_ensemble": McNemar(1, 42, 0.0417), "svm_ensemble": McNemar(290, 195, 1.9e-5)}
    text = report(made_up(ensemble_differences=found, mcnemar=tests))
    scores, _, ensembles, differences, *_ = tables(text)
    assert not [line for line in scores if line[0].endswith("_ensemble")]
    assert [line[0] for line in ensembles] == ["system", "cnn_ensemble", "birnn_ensemble"]
    assert differences[1] == ["birnn_ensemble", "+3.0", "[+1.0, +5.0]", "+3.0", "[+1.0, +5.0]", "0.02", "2.0", "better"]
    assert (
        "Footnote: McNemar's exact test, which takes tracks as independent (in brackets: number of tracks on which only"
        " cnn_ensemble is correct, and number on which only the other is): birnn_ensemble p = 0.042 (1, 42);"
        " svm_ensemble p < 0.001 (290, 195)." in text
    )


def test_ensembles_are_compared_with_the_first_if_the_reference_has_none() -> None:
    text = report(make_comparison(2, 1, reference="svm"))
    assert "Differences from cnn_ensemble (the first ensemble, since svm has none):" in text
    assert "birnn_ensemble p = " in text


def test_table_of_probability_scores_leaves_out_systems_without_probabilities() -> None:
    comparison = make_comparison(2, 2)
    found = tables(report(comparison))[-1]
    names = {line[0] for line in found[1:]}
    assert names == {"svm", "cnn", "birnn", "cnn_ensemble", "birnn_ensemble"}
    cnn = row(comparison, "cnn")
    expected = [f"{100 * cnn.probability_scores['top2_accuracy']:.1f}", f"{cnn.probability_scores['log_loss']:.2f}"]
    expected += [f"{100 * cnn.probability_scores['calibration_error']:.1f}"]
    expected += [f"{100 * cnn.summary['segment_accuracy']:.1f}"]
    assert next(line for line in found if line[0] == "cnn")[1:] == expected
    assert next(line for line in found if line[0] == "svm")[-1] == ""


@pytest.mark.parametrize(
    ("models", "baselines", "arguments"),
    [
        (1, 0, {}),
        (1, 1, {"runs": 1}),
        (2, 0, {"runs": 1, "fusion": ("cnn", "birnn")}),
        (2, 1, {"reference": "svm", "fusion": ("cnn", "birnn")}),
        (4, 2, {"fusion": ("cnn", "birnn"), "runs": 3}),
        (7, 3, {"fusion": ("cnn", "svm", "transformer")}),
        (2, 1, {"fusion": ("cnn", "birnn"), "stacking": ("svm", "birnn")}),
    ],
    ids=str,
)
def test_report_has_every_row_in_aligned_tables(models: int, baselines: int, arguments: dict[str, Any]) -> None:
    comparison = make_comparison(models, baselines, **arguments)
    text = report(comparison)
    found = tables(text)
    assert [line[0] for line in found[0]] == ["system", *(result.key for result in comparison.rows)]
    assert [line[0] for line in found[1]] == ["system", *(found.key for found in comparison.differences)]
    for group in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(line) for line in group.splitlines()}) == 1
    assert "nan" not in re.findall(r"\w+", text)
    assert text.endswith(".\n")


def test_a_table_is_aligned_markdown() -> None:
    assert (
        table([["a", "long head"], ["cell", "1"]]) == "| a    | long head |\n|------|-----------|\n| cell | 1         |"
    )


def test_a_fusion_has_no_deviation_since_its_runs_share_networks() -> None:
    (cells,) = (
        line for line in tables(report(make_comparison(2, 1, fusion=("cnn", "birnn"))))[0] if line[0] == "fusion"
    )
    assert cells[1] == "2 × 2"
    assert "±" not in cells[2]


# Single runs. -----------------------------------------------------------------------------------------------------


def test_report_of_single_runs_has_no_deviation_and_no_ensembles() -> None:
    text = report(make_comparison(2, 1, runs=1))
    assert "±" not in text
    assert "nsemble" not in text
    assert "cnn and birnn have a single run, so the intervals do not include the randomness of training" in text
    assert "from a bootstrap over artists." in text
    assert "**small (single runs): cnn reaches" in text
    assert {line[1] for line in tables(text)[0][1:]} == {"1"}


def test_report_of_a_2_by_2_design_says_which_models_have_single_runs() -> None:
    assert "This is about single runs of cnn, cnn_stft, birnn_mel and birnn." in report(make_comparison(4, 0, runs=1))
    assert "This is about single runs" not in report(make_comparison(4, 0))


def test_only_systems_with_several_runs_have_a_deviation() -> None:
    index = make_index()
    given = {"cnn": make_model(index, 0.6, runs=3), "birnn": make_model(index, 0.5, runs=1, seed=1)}
    comparison = compare_systems(make_systems(given, {"svm": make_baseline(index, 0.5)}), index)
    text = report(comparison)
    cells = {line[0]: line[1:3] for line in tables(text)[0]}
    deviation = np.std(comparison.models[0].run_scores["accuracy"], ddof=1)
    assert cells["cnn"] == ["3", f"{100 * comparison.models[0].summary['accuracy']:.1f} ± {100 * deviation:.1f}"]
    assert "±" not in cells["birnn"][1] + cells["svm"][1]
    assert "from a bootstrap over artists and runs. birnn has a single run, so" in text
    assert "small (single runs of birnn): " in headline(comparison)


# Architecture and input. ------------------------------------------------------------------------------------------


def effect(name: str, value: float, p: float) -> Effect:
    return Effect(name, Interval(value, value - 0.02, value + 0.02), p, 0.025)


@pytest.mark.parametrize(
    ("p_values", "sentence"),
    [
        ((0.01, 0.6, 0.6), "The architecture matters. The data do not show an effect of the input."),
        ((0.6, 0.01, 0.6), "The input matters. The data do not show an effect of the architecture."),
        ((0.01, 0.01, 0.01), "The architecture and input matter. The effect of the input depends on the architecture."),
        ((0.6, 0.6, 0.6), "The data do not show an effect of the architecture or of the input."),
    ],
)
def test_report_of_a_2_by_2_design_says_which_of_architecture_and_input_matters(
    p_values: tuple[float, float, float], sentence: str
) -> None:
    comparison = make_comparison(4, 0)
    assert comparison.factorial is not None
    names = ("architecture (birnn − cnn)", "input (stft − mel)", "interaction")
    effects = [effect(name, value, p) for name, value, p in zip(names, (0.031, -0.05, 0.004), p_values, strict=True)]
    made = replace(comparison.factorial, architecture=effects[0], input=effects[1], interaction=effects[2])
    text = report(replace(comparison, factorial=made))
    assert f"\n{sentence}\n" in text
    cells, found = next(
        (first, second) for first, second in zip(tables(text), tables(text)[1:], strict=False) if len(first[0]) == 3
    )

    def cell(key: str) -> str:
        value, low, high = (100 * part for part in row(comparison, key).intervals["accuracy"])
        return f"{key}: {value:.1f} [{low:.1f}, {high:.1f}]"

    assert cells == [
        ["accuracy", "mel", "stft"], ["cnn", cell("cnn"), cell("cnn_stft")],
        ["birnn", cell("birnn_mel"), cell("birnn")],
    ]  # fmt: skip
    assert found[1:] == [
        [names[0], "+3.1 [+1.1, +5.1]", f"{p_values[0]:.2g}", "2.5"],
        [names[1], "-5.0 [-7.0, -3.0]", f"{p_values[1]:.2g}", "2.5"],
        [names[2], "+0.4 [-1.6, +2.4]", f"{p_values[2]:.2g}", "2.5"],
    ]


def reading(*facts: tuple[str, str]) -> str:
    """The report on models with these networks and representations."""
    index = make_index()
    models = {
        f"model{place}": make_model(index, 0.5, seed=place, network=network, representation=representation)
        for place, (network, representation) in enumerate(facts)
    }
    return report(compare_systems(make_systems(models, {}), index, "model0"))


def test_report_says_whether_systems_architectures_inputs_or_settings_are_compared() -> None:
    different = reading(("cnn", "mel"), ("birnn", "stft"))
    assert "model0 reads mel, model1 reads stft), so this report compares systems, not architectures." in different
    same = reading(("cnn", "mel"), ("birnn", "mel"))
    assert "All models read the same input, mel, so this report compares architectures." in same
    inputs = reading(("cnn", "mel"), ("cnn", "stft"))
    reads = "model0 reads mel, model1 reads stft"
    assert f"All models use the network cnn, so this report compares inputs ({reads})." in inputs
    settings = reading(("cnn", "mel"), ("cnn", "mel"))
    assert "All models use the network cnn and read mel, so this report compares settings." in settings
    several = reading(("cnn", "mel"), ("birnn", "stft"), ("cnn", "stft"))
    assert "Some models differ in input and architecture" in several
    assert "this report compares" not in reading(("cnn", "mel"))
    full = reading(("cnn", "mel"), ("birnn", "stft"), ("cnn", "stft"), ("birnn", "mel"))
    assert "## Architecture or input" in full
    assert "this report compares" not in full


# Sentences. -------------------------------------------------------------------------------------------------------


def test_report_says_synthetic_only_of_the_demo() -> None:
    assert "synthetic" in report(make_comparison(synthetic=True))
    assert "synthetic" not in report(make_comparison())


def test_report_explains_the_rows_that_it_has() -> None:
    text = report(make_comparison(2, 1, fusion=("cnn", "birnn")))
    assert text.startswith("# cnn and birnn on small\n")
    assert "The scores are in %, measured on 40 test tracks by 10 artists." in text
    assert "The system fusion averages the probabilities of cnn and birnn; its runs are all combinations" in text
    assert "An SVM head is a linear SVM" in text
    assert "stacking" not in text
    index = make_index()
    plain = report(compare_systems(make_systems({"cnn": make_model(index, 0.5)}, {}), index))
    assert "fusion" not in plain
    assert "SVM head" not in plain
    assert "Differences" not in plain


def test_report_explains_the_stacking_and_how_its_validation_accuracy_is_measured() -> None:
    text = report(make_comparison(2, 1, stacking=("birnn", "svm")))
    assert (
        "The system stacking is a linear SVM (C = 1) on the probabilities of birnn and svm; its runs are all"
        " combinations of their runs. It is fitted to the validation tracks and their genres, so its validation"
        " accuracy is out of fold: the SVM that predicts an artist is fitted only to others." in text
    )
    (cells,) = (line for line in tables(text)[0] if line[0] == "stacking")
    assert cells[1] == "2 × 1"
    assert "±" not in cells[2]
    assert "fusion" not in text


def test_report_counts_tracks_from_the_index() -> None:
    comparison = make_comparison()
    index = comparison.index.copy()
    index["frames"] = np.where(index.index < 8, 0, 260)
    index["left_out"] = ["a damaged MP3"] * 3 + [f"reason {n}" for n in range(5)] + [""] * (len(index) - 8)
    index["cut"] = index.index >= len(index) - 3
    index.loc[10:11, "frames"] = 127
    text = report(replace(comparison, index=index))
    assert "112 of 120 tracks are used: 32 training, 40 validation and 40 test tracks." in text
    assert "left out, by reason: 3 × a damaged MP3, 1 × reason 0, 1 × reason 1, 1 × reason 2, 1 × reason 3," in text
    assert "Clips cut to the length of the stored spectrograms: 3." in text
    assert "Clips shorter than a segment (128 frames), which are repeated to fill it: 2." in text
    assert "less than 90 %" not in text
    assert "same bytes" not in text
    complete = report(replace(comparison, index=index[index["frames"] > 0].assign(cut=False, frames=128)))
    assert "112 of 112 tracks are used" in complete
    assert "left out" not in complete
    assert "cut to" not in complete
    assert "shorter" not in complete


def test_report_names_clips_that_are_short_or_the_same() -> None:
    comparison = make_comparison()
    index = comparison.index.copy()
    first, other = index.index[index["split"] == "training"][5], index.index[index["split"] == "test"][5]
    tracks = index["track_id"]
    index.loc[[first, other], "same_as"] = [str(tracks[other]), str(tracks[first])]
    index.loc[first, "decoded"] = 5.0
    text = report(replace(comparison, index=index))
    assert f"Clips with less than 90 % of their length decoded: 1 (tracks {tracks[first]})." in text
    pair = f"track {tracks[first]} in training and track {tracks[other]} in test"
    assert f"same bytes as another clip: 2. Pairs of them in different splits: 1 ({pair})." in text
