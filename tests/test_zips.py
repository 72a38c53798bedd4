"""Zip archives: the same contents and errors as with zipfile, but faster."""

import random
import re
import zipfile
from pathlib import Path

import pytest

from fma_genre.archives import zips
from fma_genre.common.errors import InputError

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + b"\xff" * 18, None])
def test_a_file_that_is_not_a_zip_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: expected a zip archive, found: "):
        zips.open_zip(path)


def test_a_member_is_found_in_any_folder(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as new:
        for name in (
            "fma_metadata/raw_tracks.csv",
            "fma_metadata/tracks.csv",
            "top.csv",
            "a/two.csv",
            "b/two.csv",
        ):
            new.writestr(name, name)
    with zips.open_zip(path) as archive:
        assert zips.read_member(archive, "tracks.csv") == b"fma_metadata/tracks.csv"
        assert zips.read_member(archive, "top.csv") == b"top.csv"
        for name, found in (("csv", "none"), ("absent.csv", "none"), ("two.csv", "a/two.csv and b/two.csv")):
            with pytest.raises(InputError, match=f"a.zip: expected one member {name}, found {found}"):
                zips.read_member(archive, name)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_is_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as new:
        new.writestr("tracks.csv", "a,b\n" * 1000)
    content = bytearray(path.read_bytes())
    content[60] ^= 255
    path.write_bytes(content)
    with zips.open_zip(path) as archive, pytest.raises(InputError, match=r"a\.zip: cannot read tracks\.csv: "):
        zips.read_member(archive, "tracks.csv")


def test_compression_with_unbounded_memory_is_refused(tmp_path: Path) -> None:
    """The header of an LZMA member can request a dictionary of up to 4 GB."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as new:
        new.writestr("tracks.csv", "a,b\n" * 1000)
    with zips.open_zip(path) as archive, pytest.raises(InputError, match="method 14, expected none, deflate or bzip2"):
        zips.read_member(archive, "tracks.csv")


def contents(seed: int) -> dict[str, bytes]:
    """Contents: random like audio, repetitive like text, and empty."""
    audio = random.Random(seed).randbytes(5000)
    return {"fma/000/000002.mp3": audio, "fma/000/000003.mp3": b"checksum  000/000003.mp3\n" * 99, "fma/e.mp3": b""}


@pytest.mark.parametrize("method", METHODS)
def test_members_are_read(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as new:
        for name, content in contents(0).items():
            new.writestr(name, content)
        new.writestr("fma/blocks.mp3", bytes(2_000_000))  # a bzip2 block has 900,000 bytes
    with zipfile.ZipFile(path) as archive:
        found = {member.filename: zips.read(path, member) for member in archive.infolist()}
    assert found == contents(0) | {"fma/blocks.mp3": bytes(2_000_000)}


def test_intact_bzip2_members_are_read_without_zipfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as new:
        new.writestr("a.mp3", b"a clip")
        (member,) = new.infolist()
    monkeypatch.setattr(zips, "_open", None)
    assert zips.read(path, member) == b"a clip"


def outcome(read: object) -> bytes | str:
    try:
        return read()  # type: ignore[operator]
    except zips.ZIP_ERRORS as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("seed", range(200))
def test_a_damaged_archive_gives_the_content_or_the_error_of_zipfile(tmp_path: Path, seed: int) -> None:
    """Bytes are changed in headers, where the content may stay intact, or inside a member."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as new:
        for name, content in contents(seed).items():
            new.writestr(name, content)
        members, end = new.infolist(), new.start_dir
    damaged = bytearray(path.read_bytes())
    generator = random.Random(seed)
    for _ in range(generator.randint(1, 4)):
        start = generator.choice([generator.randrange(end), generator.randrange(60)])
        length = generator.randrange(1, 40)
        damaged[start : start + length] = generator.randbytes(length)
    path.write_bytes(damaged)
    for member in members:
        expected = outcome(lambda member=member: zipfile.ZipFile(path).read(member))
        found = outcome(lambda member=member: zips.read(path, member))
        bomb = f"BadZipFile: unpacks to more than the {member.file_size} bytes given in its header"
        if found == bomb:  # before it is unpacked
            assert isinstance(expected, str)
        else:
            assert found in (expected, contents(seed)[member.filename])


def test_a_member_that_is_longer_than_declared_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as new:
        new.writestr("a.mp3", bytes(10_000_000))
        (member,) = new.infolist()
        member.file_size = 1000
    with pytest.raises(zipfile.BadZipFile, match="more than the 1000 bytes"):
        zips.read(path, member)


def test_an_archive_whose_beginning_is_missing_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("a.mp3", bytes(1000))
        new.writestr("b.mp3", b"whole")
    path.write_bytes(path.read_bytes()[500:])
    with zipfile.ZipFile(path) as archive:
        first, second = archive.infolist()
    with pytest.raises(zipfile.BadZipFile, match="outside the archive"):
        zips.read(path, first)
    for offset in (1 << 62, 1 << 63, (1 << 64) - 1):  # a size that zip64 allows
        second.header_offset, sound = offset, second.header_offset
        with pytest.raises(zipfile.BadZipFile, match="outside the archive"):
            zips.read(path, second)
        second.header_offset = sound
    assert zips.read(path, second) == b"whole"


def test_an_encrypted_member_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as new:
        new.writestr("a.mp3", b"secret")
        (member,) = new.infolist()
    member.flag_bits |= 1
    with pytest.raises(zipfile.BadZipFile, match=r"^encrypted$"):
        zips.read(path, member)


def test_intact_bzip2_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as new:
        new.writestr("a.mp3", b"a clip")
        (member,) = new.infolist()
    member.CRC ^= 1
    with pytest.raises(zipfile.BadZipFile, match="CRC-32"):
        zips.read(path, member)
