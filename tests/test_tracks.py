"""tracks.csv: nested subsets, the official split, names of genres, and invalid tables."""

import zipfile
from ast import literal_eval
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fma_genre.archives import genres, tracks
from fma_genre.common.errors import InputError
from fma_genre.common.params import Expect
from real import REAL, needs_real

SPLITS = {"training": 0, "validation": 1, "test": 2}
Row = dict[str, Any]


def row(track: object, split: str = "training", genre: str = "Rock", subset: str = "small", **other: Any) -> Row:
    """A row of tracks.csv. By default, each split has an artist of its own."""
    artist = other.get("artist", SPLITS.get(split, 9))
    return {"track": track, "artist": artist, "split": split, "genre": genre, "subset": subset}


ROWS = [
    row(5, "training"),
    row(2, "training", "Jazz", "medium"),
    row(3, "validation", "Rock"),
    row(7, "validation", "Jazz", "large"),
    row(9, "test", "Rock", "medium"),
    row(11, "test", "", "large"),
]


def csv(rows: list[Row], without: str = "") -> bytes:
    """A table in the FMA's layout: three header lines, with additional columns and another order."""
    columns = [
        ("album", "id", "1"),
        ("set", "split", "{split}"),
        ("set", "subset", "{subset}"),
        ("artist", "id", "{artist}"),
        ("track", "genre_top", "{genre}"),
        ("track", "title", '"one, two"'),
    ]
    kept = [column for column in columns if "/".join(column[:2]) != without]
    first, second, values = (",".join(column) for column in zip(*kept, strict=True))
    lines = [f",{first}", f",{second}", "track_id" + "," * len(kept)]
    lines += [f"{row['track']},{values.format(**row)}" for row in rows]
    return "\n".join(lines).encode() + b"\n"


def read(content: bytes) -> pd.DataFrame:
    return tracks.parse_table(content, "tracks.csv")


def refusal(content: bytes) -> str:
    with pytest.raises(InputError) as error:
        read(content)
    message = str(error.value)
    assert message.startswith("tracks.csv: ")
    assert len(message.splitlines()) == 1
    return message


# The real metadata. -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_table() -> pd.DataFrame:
    with (REAL / "metadata" / "tracks.csv").open("rb") as file:
        return tracks.parse_table(file.read(), "tracks.csv")


@needs_real
@pytest.mark.parametrize(("subset", "counts"), [("small", (45, 4, 9)), ("medium", (127, 9, 58))])
def test_real_subsets_are_nested(real_table: pd.DataFrame, subset: str, counts: tuple[int, ...]) -> None:
    expect = dict(zip(tracks.SPLITS, counts, strict=True))
    selected = tracks.select(real_table, subset, "tracks.csv", Expect(**expect))
    assert len(selected) == sum(counts)
    assert Counter(selected["split"]) == expect


@needs_real
def test_real_table_agrees_with_an_independent_reading(real_table: pd.DataFrame) -> None:
    reference = pd.read_csv(REAL / "metadata" / "tracks.csv", index_col=0, header=[0, 1])
    assert len(real_table) == 682
    for column, name in tracks.COLUMNS.items():
        pd.testing.assert_series_equal(real_table[name], reference[column], check_names=False, check_dtype=False)
    selected = tracks.select(real_table, "large", "tracks.csv")
    labelled = reference[reference["track", "genre_top"].notna()]
    assert selected["track_id"].tolist() == sorted(labelled.index)
    assert len(selected) == 682 - 51
    assert list(selected) == list(tracks.FILE_TYPES)
    assert selected["track_id"].dtype == selected["artist_id"].dtype == "int64"


# Subsets, split and genres. ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("subset", "ids"), [("small", [3, 5]), ("medium", [2, 3, 5, 9]), ("large", [2, 3, 5, 7, 9])])
def test_a_subset_holds_the_smaller_ones_sorted_and_labelled(subset: str, ids: list[int]) -> None:
    selected = tracks.select(read(csv(ROWS)), subset, "tracks.csv")
    assert selected["track_id"].tolist() == ids
    by_id = {row["track"]: row for row in ROWS}
    for track, found in selected.set_index("track_id").to_dict("index").items():
        wanted = by_id[track]
        given = {"artist_id": wanted["artist"], "genre": wanted["genre"], "split": wanted["split"]}
        assert found == given | {"title": "one, two", "artist": "", "genres": "", "member": "", "start": 0}


def test_columns_are_found_by_name_wherever_they_stand() -> None:
    """Even if another group has a column of the same name: album/id is not artist/id."""
    table = read(csv([row(1, artist=42)]))
    expected = {"artist_id": 42, "genre": "Rock", "split": "training", "subset": "small", "raw_genre": "Rock"}
    assert table.loc[1, list(expected)].to_dict() == expected


def test_rows_without_a_genre_are_counted_before_they_are_dropped() -> None:
    expect = Expect(training=2, validation=2, test=2, genres=2)
    assert 11 not in tracks.select(read(csv(ROWS)), "large", "tracks.csv", expect)["track_id"].tolist()


@pytest.mark.parametrize(
    ("expect", "says"),
    [
        ({"training": 3}, "subset large: expected 3 training tracks, found 2"),
        ({"training": 2, "test": 1}, "subset large: expected 1 test tracks, found 2"),
        ({"genres": 16}, "subset large: expected 16 genres, found 2"),
    ],
)
def test_published_counts_that_differ_are_refused(expect: dict[str, int], says: str) -> None:
    with pytest.raises(InputError, match=f"^archive, {says}$"):
        tracks.select(read(csv(ROWS)), "large", "archive", Expect(**expect))


def test_a_split_that_has_no_track_at_all_counts_as_none() -> None:
    with pytest.raises(InputError, match="subset small: expected 1 test tracks, found 0"):
        tracks.select(read(csv(ROWS)), "small", "archive", Expect(test=1))


def test_an_artist_in_two_splits_is_refused() -> None:
    rows = [*ROWS, row(13, "test", artist=0), row(14, "validation", artist=0)]
    with pytest.raises(InputError, match=r"^archive: .* artist 0 in .*training.* \(1 such artists\)$") as error:
        tracks.select(read(csv(rows)), "small", "archive")
    assert {split for split in SPLITS if split in str(error.value)} == set(SPLITS)


def test_an_artist_in_two_splits_does_not_matter_outside_the_subset() -> None:
    rows = [*ROWS, row(13, "test", subset="large", artist=0)]
    assert 13 not in tracks.select(read(csv(rows)), "medium", "archive")["track_id"].tolist()


# Wrong tables. ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["artist/id", "track/genre_top", "set/split", "set/subset"])
def test_a_missing_column_is_named(column: str) -> None:
    assert f"found: no column {column}" in refusal(csv(ROWS, without=column))


@pytest.mark.parametrize("column", ["artist/id", "track/genre_top", "set/split", "set/subset"])
@pytest.mark.parametrize("first", [True, False])
def test_a_duplicate_column_is_named(column: str, first: bool) -> None:
    """Otherwise the first of them would silently be used."""
    assert f"found: repeated column {column}" in refusal(with_column(csv(ROWS), column, first))


def test_columns_that_are_not_read_may_be_duplicate() -> None:
    content = with_column(with_column(csv(ROWS), "album/title", True), "album/id", False)
    content = with_column(content, "album/title", False)
    pd.testing.assert_frame_equal(read(content), read(csv(ROWS)))


def with_column(content: bytes, name: str, first: bool) -> bytes:
    """The table with an additional column before or after all others."""
    rows = content.decode().splitlines()
    cells = [*name.split("/"), "", *["9"] * (len(rows) - 3)]
    lines = []
    for line, cell in zip(rows, cells, strict=True):
        index, _, rest = line.partition(",")
        lines.append(",".join([index, cell, rest] if first else [index, rest, cell]))
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"track_id,split\n1,training\n",
        b"\n".join(csv(ROWS).splitlines()[:2]) + b"\n",
        b"\n".join(csv(ROWS).splitlines()[2:]) + b"\n",
        b"PK\x03\x04" + bytes(range(256)) * 20,
        b"\x00" * 1000,
        b"\xff\xfe" + "track_id,artist\n".encode("utf-16-le") * 9,
    ],
    ids=["empty", "blank", "one header", "only two headers", "no upper headers", "zip", "zeros", "utf-16"],
)
def test_a_table_in_another_form_is_refused_in_one_line(content: bytes) -> None:
    assert "three header lines" in refusal(content)


def test_the_index_must_be_called_track_id() -> None:
    assert "index 'song'" in refusal(csv(ROWS).replace(b"track_id", b"song"))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (row(21, "dev"), "track 21: expected one of training, validation, test as split, found 'dev'"),
        (row(21, ""), "track 21: expected one of training, validation, test as split, found ''"),
        (row(21, subset="tiny"), "track 21: expected one of small, medium, large as subset, found 'tiny'"),
        (row(5), "expected every track once, found duplicate track_id 5"),
        (row("x"), "expected whole numbers of up to 15 digits as track_id, found 'x'"),
        (row("1e3"), "expected whole numbers of up to 15 digits as track_id, found '1e3'"),
        (row(""), "expected whole numbers of up to 15 digits as track_id, found ''"),
        (row("05"), "expected every track once, found duplicate track_id 05"),
        (row(21, artist="nobody"), "track 21: expected a whole number of up to 15 digits as artist_id, found 'nobody'"),
        (row(21, artist=""), "track 21: expected a whole number of up to 15 digits as artist_id, found ''"),
        (row(21, artist=1.5), "track 21: expected a whole number of up to 15 digits as artist_id, found '1.5'"),
        (row(21, genre=201 * "x"), f"track 21: expected a genre of at most 200 characters, found '{100 * 'x'}'"),
        (row(21, genre="a,b"), "found: 8 columns instead of 7 for track '21'"),
    ],
)
def test_a_bad_row_is_named(bad: Row, says: str) -> None:
    assert says in refusal(csv([*ROWS, bad]))


def test_blank_lines_and_windows_lines_do_not_matter() -> None:
    content = csv(ROWS)
    for other in (content.replace(b"\n", b"\r\n"), content.replace(b"\n", b"\n\n"), "\ufeff".encode() + content):
        pd.testing.assert_frame_equal(read(other), read(content))


def test_ids_with_a_decimal_point_are_whole_numbers_too() -> None:
    """pandas writes them in this form if a column has missing values."""
    assert read(csv([row(1, artist="5.0")]))["artist_id"].tolist() == [5]


def test_an_unclosed_quote_is_refused() -> None:
    assert "unexpected end of data" in refusal(csv(ROWS)[:-3])


def test_a_hostile_table_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers, rows and cells are read only up to a limit."""
    wide, header = b"," * (tracks.MAX_ROW_LENGTH + 1), b"\n".join(csv(ROWS).splitlines()[:3])
    lines = b',"\n"' * (tracks.MAX_ROW_LENGTH // 4)
    for content in (
        wide,
        wide + header,
        *(header + row for row in (b"\n1" + lines, b'\n1,"' + wide, b"\n\n\n1" + lines)),
    ):
        assert f"a row of more than {tracks.MAX_ROW_LENGTH} characters" in refusal(content)
    assert "columns instead of 7 for track '1'" in refusal(header + b"\n1" + wide[: tracks.MAX_ROW_LENGTH // 2])
    monkeypatch.setattr(tracks, "MAX_TRACKS", len(ROWS) - 1)
    assert f"more than {len(ROWS) - 1} tracks" in refusal(csv(ROWS))


# Trainable tables. ------------------------------------------------------------------------------------------------

TRAINABLE = [row(number, split, genre) for number, (split, genre) in enumerate((s, g) for s in SPLITS for g in "ab")]


def test_a_table_with_both_genres_in_every_split_is_trainable() -> None:
    tracks.check_trainable(pd.DataFrame(TRAINABLE), "x")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([row for row in TRAINABLE if row["split"] != "training"], "found none in training"),
        ([row for row in TRAINABLE if row["split"] != "validation"], "found none in validation"),
        ([row for row in TRAINABLE if row["split"] != "test"], "found none in test"),
        ([row for row in TRAINABLE if row["genre"] == "a"], r"expected at least two genres, found \['a'\]"),
        ([*TRAINABLE, row(8, "test", "c"), row(9, "validation", "d")], "training track for every genre.* c, d"),
        ([], "found none in training"),
    ],
)
def test_a_table_that_is_not_trainable_is_refused(rows: list[Row], says: str) -> None:
    with pytest.raises(InputError, match=f"^x: .*{says}$"):
        tracks.check_trainable(pd.DataFrame(rows, columns=list(TRAINABLE[0])), "x")


@pytest.mark.parametrize("genre", ["1980", "007", "True", "None", "NA"])
def test_a_genre_is_text_whatever_it_looks_like(genre: str) -> None:
    rows = [row(1, "training", genre), row(2, "test", genre)]
    assert read(csv(rows))["genre"].tolist() == [genre, genre]


# Names of genres. -------------------------------------------------------------------------------------------------

COMPOSED, DECOMPOSED = "\u00e9lectro", "e\u0301lectro"


@pytest.mark.parametrize(
    ("written", "genre"),
    [
        (DECOMPOSED, COMPOSED), (COMPOSED, COMPOSED), ("Rock ", "Rock"), ("  Rock", "Rock"), ("Rock\t", "Rock"),
        ("\u00a0Rock\u3000", "Rock"), ("Rock\u200b", "Rock"), (" \ufeff Rock \u200b ", "Rock"), ('"Rock\n"', "Rock"),
        ('"Hip\r\nHop"', "Hip Hop"), ("Old-Time / Historic", "Old-Time / Historic"), ("a  b", "a  b"), ("rock", "rock"),
        ("\u1112\u1161\u11ab", "\ud55c"), ("\u2126", "\u03a9"), ("\ufb01", "\ufb01"), ("n\u200do", "n\u200do"),
    ],
)  # fmt: skip
def test_names_are_composed_and_without_outer_spaces(written: str, genre: str) -> None:
    assert read(csv([row(1, genre=written)]))["genre"].tolist() == [genre]
    assert tracks.normalise_genre(genre) == genre


@pytest.mark.parametrize("blank", [" ", "\t ", "\u00a0", "\u200b", '"\n"'])
def test_a_genre_of_spaces_is_none(blank: str) -> None:
    table = read(csv([*ROWS, row(21, genre=blank)]))
    assert tracks.select(table, "large", "x")["track_id"].tolist() == [2, 3, 5, 7, 9]
    assert tracks.describe_normalised(table) == ""


def test_one_name_written_in_two_ways_is_one_genre_and_that_is_said() -> None:
    genres = [COMPOSED, DECOMPOSED, "Rock", "Rock ", "Rock ", " Rock"]
    table = read(csv([row(number, genre=genre) for number, genre in enumerate(genres)]))
    selected = tracks.select(table, "small", "x", Expect(genres=2))
    assert selected["genre"].tolist() == [COMPOSED] * 2 + ["Rock"] * 4
    assert list(selected) == list(tracks.FILE_TYPES)
    assert tracks.describe_normalised(table) == (
        r"genres normalised for 4 tracks: 'e\u0301lectro' to '\xe9lectro', 'Rock ' to 'Rock', ' Rock' to 'Rock'"
    )


def test_no_more_than_five_names_are_printed() -> None:
    table = read(csv([row(number, genre=f" {number}") for number in range(8)]))
    said = tracks.describe_normalised(table)
    assert said.startswith("genres normalised for 8 tracks: ' 0' to '0', ")
    assert said.endswith(" ' 4' to '4', 3 others")


def test_nothing_is_printed_if_no_name_was_normalised() -> None:
    assert tracks.describe_normalised(read(csv(ROWS))) == ""


# Optional columns. ------------------------------------------------------------------------------------------------


def with_values(name: str, *values: str) -> bytes:
    """A table of training tracks 1, 2, … with one more column."""
    lines = csv([row(number) for number, _ in enumerate(values, 1)]).decode().splitlines()
    cells = [*name.split("/"), "", *values]
    return "\n".join(f"{line},{cell}" for line, cell in zip(lines, cells, strict=True)).encode()


@needs_real
def test_real_names_and_genres_agree_with_an_independent_reading() -> None:
    folder = REAL / "metadata"
    by_id = genres.parse_names((folder / "genres.csv").read_text(encoding="utf-8"))
    table = tracks.parse_table((folder / "tracks.csv").read_bytes(), "tracks.csv", by_id)
    reference = pd.read_csv(folder / "tracks.csv", index_col=0, header=[0, 1])
    titles = pd.read_csv(folder / "genres.csv", index_col=0)["title"]
    assert by_id == titles.to_dict()
    assert table["genres"].tolist() == [
        "; ".join(titles[literal_eval(ids)]) for ids in reference["track", "genres_all"]
    ]
    for name, column in (("artist", ("artist", "name")), ("title", ("track", "title"))):
        expected = [" ".join(text.split()) for text in reference[column].fillna("").astype(str)]
        assert table[name].tolist() == expected, name


def test_a_clip_may_have_a_member_and_a_start() -> None:
    assert read(with_values("track/member", '"a, b.wav"', ""))["member"].tolist() == ["a, b.wav", ""]
    assert read(with_values("track/start", "130.305", "", "7"))["start"].tolist() == [130.305, 0, 7]
    assert read(csv(ROWS))[["member", "start"]].drop_duplicates().to_numpy().tolist() == [["", 0]]


@pytest.mark.parametrize("value", ["-1", "1e3", "nan", "1.2345", "86401", "99999.9", "x", " 1"])
def test_a_start_that_is_not_a_number_of_milliseconds_is_refused(value: str) -> None:
    expected = "tracks.csv: track 1: expected a start from 0 to 86400 s in whole milliseconds, found"
    assert refusal(with_values("track/start", value)).startswith(expected)


def test_a_member_that_no_table_can_hold_is_refused() -> None:
    expected = "tracks.csv: track 1: expected a member without a carriage return, found 'a\\rb.wav'"
    assert refusal(with_values("track/member", '"a\rb.wav"')) == expected


def test_names_are_text_on_one_line() -> None:
    found = read(with_values("artist/name", '"a\n  b"', "\x1b[2J", "e\u0301", "x" * 999))["artist"].tolist()
    assert found == ["a b", "?[2J", "\u00e9", "x" * 200]


@pytest.mark.parametrize("value", ["[1", "1; 2", "[1.5]", "Rock", '"[1, 2"'])
def test_lists_of_genres_of_another_form_are_refused(value: str) -> None:
    content = with_values("track/genres_all", value)
    with pytest.raises(InputError, match=r"^tracks\.csv: track 1: expected a list of ids as genres_all, found"):
        tracks.parse_table(content, "tracks.csv", {1: "Rock"})


def test_genres_without_a_name_are_skipped() -> None:
    content = with_values("track/genres_all", '"[1, 5, 2]"', "[]", "", "[9]")
    table = tracks.parse_table(content, "tracks.csv", {1: "Rock", 2: "Folk"})
    assert table["genres"].tolist() == ["Rock; Folk", "", "", ""]
    assert read(content)["genres"].tolist() == [""] * 4


@pytest.mark.parametrize(
    ("text", "says"),
    [("id,title\n1,Rock\n", "no column genre_id"), ("genre_id,title\nx,Rock\n", "genre_id 'x'"), ("", "no column")],
)
def test_a_table_of_genres_of_another_form_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "metadata.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fma_metadata/genres.csv", text)
    with zipfile.ZipFile(path) as archive, pytest.raises(InputError, match=f"expected the FMA's genres.csv, .*{says}"):
        genres.read_names(archive)


def test_an_archive_without_genres_names_none(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "metadata.zip", "w") as archive:
        assert genres.read_names(archive) == {}


# data/tracks.csv. -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "genres", [["1980", "007"], ["True", "False"], ["None", "NA"], ['"quoted", and more', "\x1b[2J"]]
)
def test_later_stages_read_the_table_that_split_writes(tmp_path: Path, genres: list[str]) -> None:
    """Genres are texts, even if they look like numbers. The same tracks give the same bytes."""
    columns = {"track_id": [1, 2], "artist_id": [7, 8], "genre": genres, "split": ["training", "test"]}
    columns |= {"artist": ["None", ""], "title": ["007", "a; b"], "genres": ["", "1; 2"], "member": ["", "1"]}
    columns |= {"start": [0.0, 130.305]}
    selected, path = pd.DataFrame(columns), tmp_path / "data" / "tracks.csv"
    tracks.write_tracks(selected, path)
    again = tracks.read_tracks(path)
    assert again.to_dict("list") == columns
    content = path.read_bytes()
    assert content.startswith(b"track_id,artist_id,genre,split,artist,title,genres,member,start\n1,7,")
    assert b"\r" not in content
    tracks.write_tracks(again, path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "content",
    [
        "", "track_id,genre\n2,Rock\n", f"{','.join(tracks.FILE_TYPES)}\nx,1,Rock,test,,,,,0\n",
        "track_id,artist_id,genre,split\n2,1,Rock,test\n",
        f"{','.join(tracks.FILE_TYPES)},genre\n2,1,Rock,test,,,,,0,Folk\n",
    ],
)  # fmt: skip
def test_tracks_of_another_form_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tracks.csv").write_text(content)
    with pytest.raises(InputError, match=r"csv: (expected|cannot read) the columns track_id, artist_id, genre, split"):
        tracks.read_tracks(tmp_path / "tracks.csv")
