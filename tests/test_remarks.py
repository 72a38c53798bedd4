"""Sentences of the report about clips that were decoded only in part or have identical bytes."""

from fma_genre.results.remarks import remarks, same_bytes
from stores import make_index


def test_clips_of_the_same_bytes_are_grouped() -> None:
    index = make_index(["Rock"] * 6, ["training", "test", "training", "test", "test", "test"], [9, 9, 9, 9, 9, 0])
    index["same_as"] = ["12", "13", "10", "11", "10", "11"]
    assert same_bytes(index) == [{"training": [10, 12], "test": [14]}, {"test": [11, 13]}]


def test_complete_and_different_clips_get_no_remark() -> None:
    assert remarks(make_index(["Rock"] * 3, ["training", "test", "test"], [5, 0, 3])) == []


def test_short_clips_are_counted_and_the_first_five_named() -> None:
    index = make_index(["Rock"] * 7, ["test"] * 7, [9] * 7).assign(decoded=1.0, length=[1.1, *[2.0] * 6])
    (said,) = remarks(index)
    assert said == "Clips with less than 90 % of their length decoded: 6 (tracks 11, 12, 13, 14, 15, ...)."
    (said,) = remarks(index[:3])
    assert said == "Clips with less than 90 % of their length decoded: 2 (tracks 11, 12)."


def test_clips_of_the_same_bytes_are_counted_and_named_where_they_cross_the_split() -> None:
    index = make_index(["Rock"] * 5, ["training", "training", "test", "test", "validation"], [9, 9, 9, 9, 9])
    index["same_as"] = ["11", "10", "", "", ""]
    assert remarks(index) == ["Clips with the same bytes as another clip: 2. Pairs of them in different splits: none."]
    index["same_as"] = ["13", "", "14", "10", "12"]
    assert remarks(index) == [
        "Clips with the same bytes as another clip: 4. Pairs of them in different splits:"
        " 2 (track 10 in training and track 13 in test, track 12 in test and track 14 in validation)."
    ]


def test_a_clip_with_very_many_ids_takes_one_sentence() -> None:
    count = 50_000
    index = make_index(["Rock"] * count, ["training", "test"] * (count // 2), [9] * count)
    index["same_as"] = ["11", *["10"] * (count - 1)]
    (said,) = remarks(index)
    assert said.startswith(
        "Clips with the same bytes as another clip: 50000. Pairs of them in different splits: 625000000 (track 10 "
    )
    assert said.endswith(" track 10 in training and track 19 in test, ...).")
