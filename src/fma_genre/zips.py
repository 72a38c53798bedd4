"""Reading members straight out of a zip archive, whatever is wrong with it."""

import functools
import io
import lzma
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

from fma_genre import InputError

# What reading a member of a damaged, encrypted or exotic archive raises.
DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, UnicodeDecodeError,
    OSError, EOFError, RuntimeError, NotImplementedError,
)  # fmt: skip
ENCRYPTED = 1  # a flag of a member
LARGEST_CLIP, LARGEST_TABLE = 1 << 28, 1 << 29  # bytes unpacked: FMA's have 1 MB and 260 MB, a bomb has more
LOCAL_HEADER = 30  # bytes before a member's name; the last four are the lengths of name and extra field


def open_zip(path: Path) -> zipfile.ZipFile:
    """Opens a zip archive for reading; raises InputError if the file is none."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a zip archive: {error}") from error


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The one member called `name`, in any folder; raises InputError if there is not one or it is damaged."""
    found = [path for path in archive.namelist() if path == name or path.endswith(f"/{name}")]
    if len(found) != 1:
        raise InputError(f"{archive.filename}: expected one {name} in it, found {len(found)}")
    size = archive.getinfo(found[0]).file_size
    if size > LARGEST_TABLE:
        raise InputError(f"{archive.filename}: expected {found[0]} of at most {LARGEST_TABLE} bytes, found {size}")
    try:
        return archive.read(found[0])
    except DAMAGED as error:
        raise InputError(f"{archive.filename}: cannot read {found[0]}: {error}") from error


def read(path: Path, member: zipfile.ZipInfo) -> bytes:
    """A member's bytes: with bzip2, a fifth faster than `zipfile`, and without reading the archive's directory.

    Only what has the right checksum is taken; all else is left to `zipfile`, which raises one of DAMAGED.
    """
    if member.flag_bits & ENCRYPTED:
        raise zipfile.BadZipFile("encrypted")
    if member.file_size > LARGEST_CLIP:
        raise zipfile.BadZipFile(f"{member.file_size} bytes, no clip is as large")
    if member.header_offset < 0:
        raise zipfile.BadZipFile("the archive begins after it")
    if member.compress_type == zipfile.ZIP_BZIP2:
        content = _read_bzip2(path, member)
        if len(content) == member.file_size and zlib.crc32(content) == member.CRC:
            return content
    return _open(path).read(member)


def _read_bzip2(path: Path, member: zipfile.ZipInfo) -> bytes:
    """At most one byte more than the member should have; nothing if it cannot be read."""
    import rapidgzip  # late: only who reads clips needs it

    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(LOCAL_HEADER)
        if len(header) < LOCAL_HEADER:
            return b""
        file.seek(sum(struct.unpack("<HH", header[-4:])), io.SEEK_CUR)
        compressed = file.read(member.compress_size)
    with tempfile.TemporaryFile() as file:  # rapidgzip never lets go of a Python object such as BytesIO
        file.write(compressed)
        file.seek(0)
        try:
            with rapidgzip.IndexedBzip2File(file.fileno(), parallelization=1) as stream:
                return stream.read(member.file_size + 1)
        except (RuntimeError, ValueError):
            return b""


@functools.lru_cache(maxsize=1)
def _open(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
