"""Clips in an archive: finding one member for each track, and clips with identical bytes."""

import io
import re
import stat
import warnings
import zipfile
from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
import pytest

import spectrograms
from fma_genre import store
from fma_genre.archives import clips
from fma_genre.archives.clips import find_clips, same_bytes
from fma_genre.common.errors import InputError
from fma_genre.features.extraction import OUTCOME
from stores import sources

CLIP = "fma_large/000/000002.mp3"
LINK, FOLDER, FILE = stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644


def archive(*members: str | tuple[str, bytes], mode: int = 0) -> zipfile.ZipFile:
    """An archive with these members, by name and optional content. `mode` is the file mode of the last one."""
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(file, "w") as written:
        for number, member in enumerate(members, 1):
            name, content = (member, b"") if isinstance(member, str) else member
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16 if number == len(members) else 0
            written.writestr(info, content)
    return zipfile.ZipFile(file)


def found(opened: zipfile.ZipFile, tracks: Sequence[int] = (2,)) -> list[str]:
    return [clip.member.filename for clip in find_clips(opened, sources(tracks), "fma.zip")]


def refusal(opened: zipfile.ZipFile, tracks: Sequence[int] = (2,)) -> str:
    with pytest.raises(InputError) as error:
        found(opened, tracks)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


# One member a track. ----------------------------------------------------------------------------------------------


def test_clips_are_found_by_track_in_the_order_of_the_tracks() -> None:
    names = ["fma_large/README.txt", "fma_large/checksums", "fma_large/155/155320.mp3", CLIP]
    opened = archive(*names, "fma_large/000/cover.mp3", "fma_large/" + 5000 * "9" + ".mp3")
    assert found(opened, [2, 155320]) == [CLIP, names[2]]
    assert clips.candidates(opened).keys() == {2, 155320}


@pytest.mark.parametrize("name", ["000002.mp3", "2.mp3", "any/folder/0002.mp3", "fma_full/000/000002.MP3"])
def test_folder_zeros_and_case_do_not_matter_where_there_is_one_clip(name: str) -> None:
    assert found(archive(name)) == [name]


OTHERS = [
    "old/000002.mp3", "mine/000/000002.mp3", "preview/000002.mp3", "fma_small/000/000002.mp3", "000002.mp3",
    "fma_large/000/2.mp3", "fma_large/000/0000002.mp3", "fma_large/001/000002.mp3", "fma_large/000/000002.MP3",
    "../000002.mp3", "/000002.mp3", CLIP,
]  # fmt: skip


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("other", OTHERS)
def test_two_members_that_could_be_the_clip_are_refused_whichever_comes_first(other: str, last: bool) -> None:
    members = [CLIP, other] if last else [other, CLIP]
    expected = f"fma.zip: expected one clip of track 2, found {members[0]} and {members[1]} (1 such tracks)"
    assert refusal(archive(*members)) == expected


def test_the_first_ambiguous_track_is_named_and_all_are_counted() -> None:
    numbers = (2, 3, 5)
    copies = [f"backup/{number:06d}.mp3" for number in numbers]
    opened = archive("000/000001.mp3", *copies, *(f"fma/000/{number:06d}.mp3" for number in numbers))
    message = "fma.zip: expected one clip of track 3, found backup/000003.mp3 and fma/000/000003.mp3 (2 such tracks)"
    assert refusal(opened, [1, 3, 5]) == message


def test_ambiguous_clips_of_tracks_outside_the_split_do_not_matter() -> None:
    opened = archive(CLIP, "fma_large/000/000003.mp3", "old/000003.mp3")
    assert found(opened) == [CLIP]


@pytest.mark.parametrize(
    "name",
    [
        "__MACOSX/fma_large/000/._000002.mp3", "fma_large/000/._000002.mp3", "fma_large/000/000002.mp3.part",
        "fma_large/000/000002 (1).mp3", "fma_large/000/x000002.mp3", "fma_large/000/000002.wav", f"{CLIP}\n",
        f"{CLIP}/", f"{CLIP}/cover.jpg", "fma_large/000/٢.mp3", "fma_large/000/-2.mp3", "fma_large/000/2.0.mp3",
    ],
)  # fmt: skip
def test_a_member_with_another_name_is_not_a_clip(name: str) -> None:
    assert found(archive(CLIP, name)) == found(archive(name, CLIP)) == [CLIP]
    assert "found none for 1 of them, the first being track 2" in refusal(archive(name))


@pytest.mark.parametrize("mode", [LINK, FOLDER, stat.S_IFIFO | 0o644])
def test_a_special_file_is_not_a_clip(mode: int) -> None:
    assert found(archive(CLIP, "old/000002.mp3", mode=mode)) == [CLIP]
    assert "found none for 1 of them, the first being track 2" in refusal(archive(CLIP, mode=mode))
    assert found(archive(CLIP, mode=FILE)) == [CLIP]


def test_a_message_stays_short_and_does_not_move_the_cursor() -> None:
    message = refusal(archive("\x1b[2J/000002.mp3", "a" * 60_000 + "/000002.mp3"))
    assert "found ?[2J/000002.mp3 and ...aaaa" in message
    assert "aaaa/000002.mp3 (1 such tracks)" in message
    assert len(message) < 400


# Named members. ---------------------------------------------------------------------------------------------------


def test_a_named_member_is_the_clip_whatever_its_name() -> None:
    opened = archive(CLIP, "Björk \n'x'.flac")
    table = pd.concat([sources([2]), sources([3, 4], "Björk \n'x'.flac", 1.5)])
    assert [(clip.member.filename, clip.start) for clip in find_clips(opened, table, "mine.zip")] == [
        (CLIP, 0), ("Björk \n'x'.flac", 1.5), ("Björk \n'x'.flac", 1.5)
    ]  # fmt: skip


def test_a_named_member_that_is_missing_or_ambiguous_is_refused() -> None:
    for members, says in (((CLIP,), "the first being track 2 (a.wav)"), (("a.wav", "a.wav"), "found a.wav and a.wav")):
        with pytest.raises(InputError, match=re.escape(says)):
            find_clips(archive(*members), sources([2], "a.wav"), "mine.zip")
    with pytest.raises(InputError, match="found none for 1"):
        find_clips(archive("a.wav", mode=LINK), sources([2], "a.wav"), "mine.zip")


# The same bytes. --------------------------------------------------------------------------------------------------


def same(contents: dict[int, bytes]) -> dict[int, int]:
    opened = archive(*((f"{track}.mp3", content) for track, content in contents.items()))
    return same_bytes(dict(zip(contents, find_clips(opened, sources(contents), ""), strict=True)))


def test_clips_of_the_same_bytes_name_the_lowest_other_track() -> None:
    assert same({9: b"a", 7: b"b", 5: b"a", 30: b"a", 8: b"c", 6: b"bb"}) == {5: 9, 9: 5, 30: 5}
    assert same({1: b"a", 2: b"b"}) == {}
    assert same({}) == {}


def test_two_parts_of_one_member_are_different_clips() -> None:
    opened = archive(("a.wav", b"a"), ("b.wav", b"a"))
    parts = [sources([number], name, start) for number, (name, start) in enumerate(product(("a.wav", "b.wav"), (0, 9)))]
    clips = find_clips(opened, pd.concat(parts), "")
    assert same_bytes(dict(enumerate(clips))) == {0: 2, 2: 0, 1: 3, 3: 1}


# The index and the printed lines. ---------------------------------------------------------------------------------


def outcomes(frames: Sequence[int], decoded: Sequence[float]) -> np.ndarray:
    """Outcomes in the form that the extraction returns. A clip with 0 frames was unreadable."""
    rows = np.zeros(len(frames), OUTCOME)
    rows["frames"], rows["decoded"], rows["length"] = frames, decoded, 29.99955
    rows["decoder"] = np.where(rows["frames"] > 0, b"ffmpeg", b"")
    rows["unreadable"] = np.where(rows["frames"] > 0, b"", b"a damaged MP3")
    return rows


def make_index(contents: Sequence[bytes], frames: Sequence[int], decoded: Sequence[float]) -> pd.DataFrame:
    tracks = list(range(5, 5 + len(contents)))
    opened = archive(*((f"{track}.mp3", content) for track, content in zip(tracks, contents, strict=True)))
    table = sources(tracks).assign(artist_id=tracks, genre="Rock", split="training", artist="", title="", genres="")
    index = spectrograms.make_index(table, find_clips(opened, table, ""), outcomes(frames, decoded))
    return index[store.COLUMNS]


def test_the_index_says_how_much_was_decoded_and_what_is_the_same() -> None:
    index = make_index([b"a", b"b", b"a"], [9, 9, 9], [10.00049, 29.99955, 3])
    assert list(index) == store.COLUMNS
    assert index["decoder"].tolist() == ["ffmpeg"] * 3
    assert index["decoded"].tolist() == [10.0, 30.0, 3.0]
    assert index["length"].tolist() == [30.0] * 3
    assert index["same_as"].tolist() == ["7", "", "5"]


def test_an_unreadable_clip_is_identical_to_no_other() -> None:
    """The checksum in the directory of the archive was not verified for such a clip."""
    index = make_index([b"a", b"a", b"a"], [0, 9, 9], [0, 30, 30])
    assert index["same_as"].tolist() == ["", "7", "6"]
    assert index["decoder"].tolist() == ["", "ffmpeg", "ffmpeg"]
    assert index["left_out"].tolist() == ["a damaged MP3", "", ""]


@pytest.mark.parametrize(("count", "lines"), [(0, 0), (20, 20), (21, 21), (500, 21)])
def test_no_more_than_twenty_lines_about_tracks_that_are_left_out(
    count: int, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [b"%d" % number for number in range(count + 1)]
    spectrograms.print_left_out(make_index(names, [9, *[0] * count], [30, *[0] * count]))
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == lines
    assert printed[:1] == ["track 6 left out: a damaged MP3"][:lines]
    if count > 20:
        assert printed[-1] == f"{count - 20} other tracks left out"


def test_short_and_identical_clips_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    index = make_index([b"a", b"b", b"c"], [9, 9, 9], [30, 30, 30])
    spectrograms.print_remarks(index)
    assert not capsys.readouterr().out
    spectrograms.print_remarks(index.assign(decoded=[30.0, 20.0, 10.0], length=30.0, same_as=["6", "", "5"]))
    assert capsys.readouterr().out.splitlines() == [
        "2 clips decoded to less than 90 % of their length: tracks 6, 7",
        "2 clips with the same bytes as another clip: see the column same_as in data/index.csv",
    ]
