"""Damaged and hostile archives: a correct result or an error in one line, in bounded time and memory.

A case depends only on its number: `ATTACK=all pytest tests/test_attack_archives.py -k 'zip and 17'` repeats one.
"""

import io
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attacks import ALL, MEMORY, Nursery, nursery
from fma_genre import store
from fma_genre.archives.tracks import read_tracks
from recordings import PLAYABLE, audible_seconds, playable
from test_bad_input import LEAST, archive, audio, metadata, table, tone

COUNT = 300 if ALL else 15
SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, COUNT))]
AUDIO, METADATA, TABLE = audio(LEAST), metadata(LEAST), table(LEAST)
Change = Callable[[bytearray, np.random.Generator], None]
EXTRACTED = 5  # s extracted from each clip
AUDIBLE = 0.2  # s; no decoder may accept the few intact frames of a damaged file


@pytest.fixture(scope="module")
def stages() -> Iterator[Nursery]:
    with nursery() as process:
        yield process


def attack(stages: Nursery, folder: Path, name: str, audio: bytes, metadata: bytes, memory: int = MEMORY) -> int:
    """Run the stages on the two archives; check how they end and that they write only into the checkout."""
    outcome = stages.run(folder / "checkout", audio, metadata, memory)
    outcome.assert_sound(name)
    assert [path.name for path in folder.iterdir()] == ["checkout"], f"{name} wrote outside the checkout"
    written = {path.name for path in (folder / "checkout").iterdir()}
    assert written <= {"params.yaml", "audio.zip", "metadata.zip", "log", "home", "data"}, name
    if outcome.code == 0:
        assert_complete(folder / "checkout" / "data")
    return outcome.code


def assert_complete(data: Path) -> None:
    """Check that both stores open, and that index and levels have a row for every track."""
    tracks = read_tracks(data / "tracks.csv")
    for representation in ("mel", "stft"):
        opened = store.open_store(representation, data)
        assert opened.index["track_id"].tolist() == tracks["track_id"].tolist()
        assert len(opened.levels) == len(tracks)
        assert opened.index["frames"].between(0, opened.levels.shape[1]).all()
        assert (opened.index["left_out"] == "").tolist() == (opened.index["frames"] > 0).tolist()
        assert len(opened.used) > 0


# Mutations of bytes. ----------------------------------------------------------------------------------------------


def truncate(data: bytearray, random: np.random.Generator) -> None:
    del data[int(random.integers(len(data))) :]


def flip(data: bytearray, random: np.random.Generator) -> None:
    for _ in range(int(random.integers(1, 20))):
        data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))


def overwrite(data: bytearray, random: np.random.Generator) -> None:
    length = int(random.integers(1, 64))
    start = int(random.integers(len(data)))
    data[start : start + length] = random.bytes(length)


def cut_out(data: bytearray, random: np.random.Generator) -> None:
    start = int(random.integers(len(data)))
    del data[start : start + int(random.integers(1, 4096))]


def repeat(data: bytearray, random: np.random.Generator) -> None:
    start, length = int(random.integers(len(data))), int(random.integers(1, 4096))
    data[start:start] = data[start : start + length]


def headers(data: bytearray, random: np.random.Generator) -> None:
    """Write extreme numbers into headers of members and directory: sizes, offsets, flags, methods."""
    starts = [at for mark in (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06") for at in positions(data, mark)]
    for _ in range(int(random.integers(1, 4))):
        at = int(random.choice(starts)) + int(random.integers(4, 44))
        value = int(random.choice([0, 1, 9, 12, 14, 99, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
        form = "<H" if value <= 0xFFFF and random.random() < 0.5 else "<I"
        if at + 4 <= len(data):
            struct.pack_into(form, data, at, value)


def zip64(data: bytearray, random: np.random.Generator) -> None:
    """Write a 64-bit number for a member's size, compressed size or offset into the directory."""
    at = int(random.choice(list(positions(data, b"PK\x01\x02"))))
    field = int(random.choice([20, 24, 42]))
    value = [0, 1 << 31, 1 << 32, 1 << 62, 1 << 63, (1 << 64) - 1][int(random.integers(6))]
    struct.pack_into("<I", data, at + field, 0xFFFFFFFF)
    name, extra = struct.unpack_from("<HH", data, at + 28)
    struct.pack_into("<H", data, at + 30, extra + 12)
    data[at + 46 + name : at + 46 + name] = struct.pack("<HHQ", 1, 8, value)
    end = data.rfind(b"PK\x05\x06") + 12
    struct.pack_into("<I", data, end, struct.unpack_from("<I", data, end)[0] + 12)  # size of the directory


def positions(data: bytes | bytearray, mark: bytes) -> Iterator[int]:
    at = data.find(mark)
    while at >= 0:
        yield at
        at = data.find(mark, at + 1)


EVIL = [
    "", "None", "\x1b[2J", "<script>", "=cmd()", "1e999", "-1", "٣", "\x00", "a" * 10_000, '"', "\n", '"a\rb"',
    "../../x", "NaN",
]  # fmt: skip
ELSEWHERE = [
    "/etc/000005.mp3", "../../000005.mp3", "C:\\000005.mp3", "fma/\x1b[2J/000005.mp3", "a" * 60_000, "..",
    "fma/nul\x00/1.mp3",
]  # fmt: skip
BYTES: list[Change] = [truncate, flip, overwrite, cut_out, repeat]


def invert(data: bytearray, random: np.random.Generator) -> None:
    start = int(random.integers(len(data)))
    data[start : start + 120] = bytes(byte ^ 0xFF for byte in data[start : start + 120])


def join(data: bytearray, random: np.random.Generator) -> None:
    """Append another recording, perhaps with another sample rate or number of channels."""
    rate, channels = int(random.choice([44100, 48000, 32000])), int(random.integers(1, 3))
    data += tone(seconds=2, rate=rate, channels=channels)


def zeros_first(data: bytearray, random: np.random.Generator) -> None:
    data[:0] = bytes(int(random.integers(1, 2000)))


def zeros_last(data: bytearray, random: np.random.Generator) -> None:
    data += bytes(int(random.integers(1, 4000)))


def within_a_frame(data: bytearray, random: np.random.Generator) -> None:
    del data[: int(random.integers(1, 1000))]


CLIPS: list[Change] = [*BYTES, invert, join, zeros_first, zeros_last, within_a_frame]


def mutated(data: bytes, changes: list[Change], seed: int) -> tuple[str, bytes]:
    random = np.random.default_rng(seed)
    change = changes[seed % len(changes)]
    result = bytearray(data)
    change(result, random)
    return f"{change.__name__}, seed {seed}", bytes(result)


@pytest.mark.parametrize("seed", SEEDS)
def test_zip(stages: Nursery, tmp_path: Path, seed: int) -> None:
    """An archive with damaged bytes."""
    contents = [AUDIO, METADATA]
    part = 0 if seed % 3 else 1
    name, contents[part] = mutated(contents[part], [*BYTES, headers, headers, zip64], seed)
    attack(stages, tmp_path, name, contents[0], contents[1])


@pytest.mark.parametrize("seed", SEEDS)
def test_mp3(stages: Nursery, tmp_path: Path, seed: int) -> None:
    """A damaged clip is left out, or its undamaged part is used."""
    track = LEAST[seed % len(LEAST)]
    name, clip = mutated(track.clip, CLIPS, seed)
    members = {other.member: clip if other is track else other.clip for other in LEAST}
    if attack(stages, tmp_path, name, archive(members), METADATA) == 0:
        index = store.read_index(tmp_path / "checkout/data/index.csv")
        assert_heard(index, track.track_id, audible_seconds(clip), name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLAYABLE)
def test_recordings_that_decoders_disagree_about(stages: Nursery, tmp_path: Path, kind: str) -> None:
    """Everything that a player would play is used."""
    track = LEAST[0]
    members = {other.member: playable(kind) if other is track else other.clip for other in LEAST}
    assert attack(stages, tmp_path, kind, archive(members), METADATA) == 0
    assert_heard(store.read_index(tmp_path / "checkout/data/index.csv"), track.track_id, EXTRACTED, kind)


def assert_heard(index: pd.DataFrame, track: int, audible: float, name: str) -> None:
    """Check that the audible seconds of a clip were decoded. A clip with almost none may be left out."""
    row = index[index["track_id"] == track].iloc[0]
    if row["left_out"]:
        assert audible < AUDIBLE, f"{name}: {audible:.1f} s could be heard, but {row['left_out']}"
        return
    assert row["decoded"] > 0.9 * min(audible, EXTRACTED) - AUDIBLE, f"{name}: {row.to_dict()}"
    assert row["length"] > row["decoded"] - 0.001, name


@pytest.mark.parametrize("seed", SEEDS)
def test_tracks_csv(stages: Nursery, tmp_path: Path, seed: int) -> None:
    """A tracks.csv with damaged bytes or hostile cells."""
    random = np.random.default_rng(seed)
    if seed % 2:
        name, content = mutated(TABLE, BYTES, seed)
    else:
        evil = random.choice(EVIL)
        lines = TABLE.decode().split("\n")
        row = int(random.integers(len(lines) - 1))
        cells = lines[row].split(",")
        cells[int(random.integers(len(cells)))] = str(evil)
        lines[row] = ",".join(cells)
        name, content = f"{evil!r:.20} in line {row}, seed {seed}", "\n".join(lines).encode()
    attack(stages, tmp_path, name, AUDIO, archive({"fma_metadata/tracks.csv": content}))


# Hostile archives. ------------------------------------------------------------------------------------------------


def with_clip(name: str, content: bytes, **fields: int) -> bytes:
    """AUDIO with another member; `fields` are set in its directory entry."""
    file = io.BytesIO(AUDIO)
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(file, "a", zipfile.ZIP_BZIP2) as opened:
        info = zipfile.ZipInfo(name)
        info.external_attr = fields.get("external_attr", 0)
        opened.writestr(info, content, zipfile.ZIP_BZIP2)
    return file.getvalue()


FIRST = LEAST[0]


@pytest.mark.parametrize("name", ELSEWHERE, ids=range(len(ELSEWHERE)))
def test_names_that_lead_elsewhere(stages: Nursery, tmp_path: Path, name: str) -> None:
    """No file is written outside the checkout and FMA_HOME."""
    code = attack(stages, tmp_path, name, with_clip(name, FIRST.clip), METADATA)
    assert code == name.endswith("000005.mp3"), "a second clip of track 5 is refused"


def test_a_duplicate_name(stages: Nursery, tmp_path: Path) -> None:
    assert attack(stages, tmp_path, "twice", with_clip(FIRST.member, b"another"), METADATA) == 1


def test_a_link_is_not_a_clip(stages: Nursery, tmp_path: Path) -> None:
    link = with_clip("old/000005.mp3", b"/etc/passwd", external_attr=0o120777 << 16)
    assert attack(stages, tmp_path, "link", link, METADATA) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "declared"),
    [
        *[(zipfile.ZIP_BZIP2, size) for size in (600_000_000, 1000, 0xFFFFFFF0)],
        (zipfile.ZIP_DEFLATED, 1000),
    ],
)
def test_a_bomb(stages: Nursery, tmp_path: Path, method: int, declared: int) -> None:
    """A member of 600 MB of zeros, with different declared sizes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as opened:
        with opened.open(FIRST.member, "w") as bomb:
            for _ in range(600):
                bomb.write(bytes(1_000_000))
        opened.getinfo(FIRST.member).file_size = declared  # the directory is written when the archive is closed
        for track in LEAST[1:]:
            opened.writestr(track.member, track.clip)
    assert attack(stages, tmp_path, "bomb", file.getvalue(), METADATA) == 1  # no other training track of its genre


@pytest.mark.slow
def test_a_table_that_is_a_bomb(stages: Nursery, tmp_path: Path) -> None:
    bomb = archive({"fma_metadata/tracks.csv": TABLE + bytes(600_000_000)})
    assert attack(stages, tmp_path, "bomb", AUDIO, bomb) == 1


@pytest.mark.slow
def test_very_many_empty_members(stages: Nursery, tmp_path: Path) -> None:
    file = io.BytesIO(AUDIO)
    with zipfile.ZipFile(file, "a") as opened:
        for number in range(1_000_000 if ALL else 50_000):
            opened.writestr(zipfile.ZipInfo(f"x/{number}"), b"")
    assert attack(stages, tmp_path, "many", file.getvalue(), METADATA, memory=2 << 30) == 0


def test_an_encrypted_clip(stages: Nursery, tmp_path: Path) -> None:
    locked = bytearray(AUDIO)
    for directory in positions(AUDIO, b"PK\x01\x02"):
        locked[directory + 8] |= 1
    attack(stages, tmp_path, "encrypted", bytes(locked), METADATA)
