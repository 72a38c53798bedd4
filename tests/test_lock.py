"""Why the records of two revisions' dvc.lock differ."""

from typing import Any

import pytest

from fma_genre.common.errors import InputError
from fma_genre.results import lock
from fma_genre.results.lock import Reason, Values, stage_names, stage_records

PIPELINE = {
    "stages": {
        "split": {"cmd": "x"},
        "train": {"foreach": "${models}", "do": {"cmd": "x"}},
        "tune": {"foreach": "${search.values}", "do": {"cmd": "x"}},
        "list": {"foreach": ["a", 1], "do": {"cmd": "x"}},
        "group": {"foreach": {"b": {"x": 1}}, "do": {"cmd": "x"}},
        "unknown": {"foreach": "${nowhere.at.all}", "do": {"cmd": "x"}},
    }
}


def test_stages_are_those_of_the_pipeline_and_its_parameters() -> None:
    parameters = {"models": {"cnn": {}, "other": {}}, "search": {"values": [3, 4]}}
    found = stage_names(PIPELINE, parameters)
    assert found == {"split", "train@cnn", "train@other", "tune@3", "tune@4", "list@a", "list@1", "group@b"}
    assert stage_names({}, parameters) == set()


def record(deps: dict[str, str], outs: dict[str, str], params: dict[str, Any] | None = None, cmd: str = "x") -> Values:
    """A record with files by path; each value is the file's hash."""
    files = [[{"path": path, "md5": md5} for path, md5 in paths.items()] for paths in (deps, outs)]
    return {"cmd": cmd, "deps": files[0], "outs": files[1], "params": {"params.yaml": params or {}}}


def revision(**changed: Values) -> dict[str, Values]:
    """A pipeline: extract → train@a and train@b → compare, which reads the folder of their predictions."""
    stages = {
        "extract": record({"src/extract.py": "1"}, {"data/levels": "1"}, {"rate": 1}),
        "train@a": record({"data/levels": "1", "src/train": "1"}, {"out/a.npz": "1"}, {"models.a": {"lr": 0.1}}),
        "train@b": record({"data/levels": "1", "src/train": "1"}, {"out/b.npz": "1"}, {"models.b": {"lr": 0.1}}),
        "compare": record({"out": "1"}, {"report.md": "1"}),
    }
    return stages | {name.replace("_", "@"): value for name, value in changed.items()}


def test_equal_records_have_no_changes() -> None:
    assert lock.changes(revision(), revision()) == {}


def test_a_changed_parameter_is_the_reason_of_its_stage_and_upstream_of_the_others() -> None:
    """Stages that read outputs of an edited stage are edited, too, but have no reason of their own."""
    after = revision(
        train_a=record({"data/levels": "1", "src/train": "1"}, {"out/a.npz": "2"}, {"models.a": {"lr": 0.2}}),
        compare=record({"out": "2"}, {"report.md": "2"}),
    )
    found = lock.changes(revision(), after)
    assert list(found) == ["train@a", "compare"]
    assert found["train@a"] == lock.Change([Reason("models.a.lr", 0.1, 0.2)], [], is_edited=True, is_elsewhere=False)
    assert found["compare"] == lock.Change([], ["train@a"], is_edited=True, is_elsewhere=False)
    assert not any(change.is_origin or change.is_other_machine for change in found.values())


def test_the_first_stage_with_the_same_inputs_and_other_outputs_ran_elsewhere() -> None:
    after = revision(
        extract=record({"src/extract.py": "1"}, {"data/levels": "2"}, {"rate": 1}),
        train_a=record({"data/levels": "2", "src/train": "1"}, {"out/a.npz": "2"}, {"models.a": {"lr": 0.1}}),
        train_b=record({"data/levels": "2", "src/train": "1"}, {"out/b.npz": "2"}, {"models.b": {"lr": 0.3}}),
        compare=record({"out": "2"}, {"report.md": "2"}),
    )
    found = lock.changes(revision(), after)
    assert [name for name, change in found.items() if change.is_origin] == ["extract"]
    assert [name for name, change in found.items() if change.is_other_machine] == ["extract", "train@a"]
    assert found["train@b"] == lock.Change(
        [Reason("models.b.lr", 0.1, 0.3)], ["extract"], is_edited=True, is_elsewhere=True
    )
    assert (found["compare"].is_edited, found["compare"].is_elsewhere) == (True, True)


def test_an_upstream_stage_with_the_same_outputs_is_no_cause() -> None:
    """Its code changed, but the stages that read its outputs saw no change."""
    after = revision(
        extract=record({"src/extract.py": "2"}, {"data/levels": "1"}, {"rate": 1}),
        train_a=record({"data/levels": "1", "src/train": "1"}, {"out/a.npz": "2"}, {"models.a": {"lr": 0.1}}),
    )
    found = lock.changes(revision(), after)
    assert found["extract"].reasons == [Reason("src/extract.py")]
    assert found["train@a"].is_origin


def test_a_record_with_the_same_inputs_and_outputs_ran_on_no_other_machine() -> None:
    """Another version of DVC may write other details."""
    after = revision()
    after["extract"] = {**after["extract"], "outs": [{**after["extract"]["outs"][0], "nfiles": 3}]}
    assert lock.changes(revision(), after) == {"extract": lock.Change([], [], is_edited=False, is_elsewhere=False)}


def test_an_output_that_was_added_or_removed_is_from_no_other_machine() -> None:
    """It is an edit of dvc.yaml. Other contents of an output that both revisions have are still found."""
    inputs = {"src/extract.py": "1"}, {"rate": 1}
    one, two, other = (
        {"extract": record(inputs[0], outs, inputs[1])}
        for outs in ({"data/levels": "1"}, {"data/levels": "1", "log": "1"}, {"data/levels": "2", "log": "1"})
    )
    for before, after in ((one, two), (two, one)):
        assert lock.changes(before, after) == {"extract": lock.Change([], [], is_edited=False, is_elsewhere=False)}
    assert lock.changes(one, other)["extract"].is_origin


def test_a_file_in_a_folder_of_outputs_is_an_output() -> None:
    """Also in a deeper folder."""

    def read(content: str) -> dict[str, Values]:
        reader = record({"data/levels/0/a.npy": content}, {"b": content})
        return {"extract": record({}, {"data/levels": content}, {"rate": int(content)}), "read": reader}

    assert lock.changes(read("1"), read("2"))["read"] == lock.Change(
        [], ["extract"], is_edited=True, is_elsewhere=False
    )


def test_a_removed_stage_is_upstream_of_its_readers_and_comes_last() -> None:
    after = revision(compare=record({"out": "2"}, {"report.md": "2"}))
    del after["train@b"]
    found = lock.changes(revision(), after)
    assert list(found) == ["compare", "train@b"]
    assert found["compare"] == lock.Change([], ["train@b"], is_edited=True, is_elsewhere=False)


def test_code_commands_new_stages_and_removed_stages_are_reasons() -> None:
    before, after = revision(), revision(extract=record({"src/extract.py": "2"}, {"data/levels": "1"}, cmd="y"))
    after["train@c"] = after.pop("train@b")
    found = lock.changes(before, after)
    assert found["extract"].reasons == [
        Reason("rate", 1, lock.MISSING), Reason("command", "x", "y"), Reason("src/extract.py"),
    ]  # fmt: skip
    assert found["train@c"].reasons[0].before is found["train@b"].reasons[0].after is lock.MISSING
    assert found["train@c"].reasons[0].name == found["train@b"].reasons[0].name == ""


def test_a_section_that_one_side_lacks_is_one_reason() -> None:
    """A part of a section that both sides have is a reason of its own, and so is a parameter without a section."""
    old = {"models": {"a": {"lr": 1, "size": 2}, "b": {"lr": 1}}, "rate": 1}
    new = {"models": {"a": {"lr": 1, "size": 3}, "c": {"lr": 1, "size": {"x": 1}}}}
    before, after = ({"compare": record({}, {}, params)} for params in (old, new))
    assert lock.changes(before, after)["compare"].reasons == [
        Reason("models.a.size", 2, 3),
        Reason("models.b", {}, lock.MISSING),
        Reason("rate", 1, lock.MISSING),
        Reason("models.c", lock.MISSING, {}),
    ]


def test_records_in_a_circle_are_explained_in_bounded_time() -> None:
    """DVC refuses such a pipeline, but a stranger's dvc.lock may hold one of any length."""

    def circle(content: str) -> dict[str, Values]:
        return {f"s{i}": record({f"f{i}": content}, {f"f{(i + 1) % 3000}": content}) for i in range(3000)}

    found = lock.changes(circle("1"), circle("2"))
    assert len(found) == 3000
    assert not any(change.is_edited or change.is_elsewhere for change in found.values())


def test_the_stage_that_writes_a_file() -> None:
    assert lock.producer("out/b.npz", revision()) == "train@b"
    assert lock.producer("out", revision()) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"stages": [1]}, r"dvc\.lock: stages: expected"),
        ({"stages": {"a": 1}}, r"dvc\.lock: stages\.a: expected"),
        ({"stages": {"a": {"deps": {"x": 1}}}}, r"dvc\.lock: stages\.a\.deps: expected a list of files"),
        ({"stages": {"a": {"outs": [{"path": 3}]}}}, r"dvc\.lock: stages\.a\.outs: expected files with a valid path"),
        (
            {"stages": {"a": {"deps": [{"path": "x\0"}]}}},
            r"dvc\.lock: stages\.a\.deps: expected files with a valid path",
        ),
        (
            {"stages": {"a": {"deps": [{"path": "x" * 1001}]}}},
            r"dvc\.lock: stages\.a\.deps: expected files with a valid",
        ),
        ({"stages": {"a": {"params": {"params.yaml": 3}}}}, r"dvc\.lock: stages\.a\.params: expected"),
    ],
)
def test_records_without_the_form_that_dvc_writes_are_refused(content: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        stage_records(content)
