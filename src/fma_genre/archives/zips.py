"""Reading of zip members into memory, without unpacking the archive to disk."""

import bz2
import functools
import io
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

from fma_genre.common.errors import InputError

# Errors that `read` raises for a damaged, encrypted or unsupported member.
ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, UnicodeDecodeError, OSError, EOFError, RuntimeError, NotImplementedError,
)  # fmt: skip
MAX_CLIP_BYTES, MAX_TABLE_BYTES = 1 << 28, 1 << 29  # unpacked; the FMA's clips have 1 MB, its tracks.csv 260 MB
# LZMA is not supported, because a member's header decides how much memory unpacking takes.
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2}
ENCRYPTED = 1  # this bit in the flags of a member marks encryption
READ_SIZE = 1 << 12  # bytes per read; `zipfile` unpacks at least this many at once
LOCAL_HEADER = 30  # bytes before a member's name; the last four are the lengths of the name and of the extra field


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip archive for reading; raise InputError if the file is not a zip archive."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise InputError(f"{path}: expected a zip archive, found: {error}") from error


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read the member called `name` in any folder; raise InputError unless exactly one exists and is undamaged."""
    found = [path for path in archive.namelist() if path == name or path.endswith(f"/{name}")]
    if len(found) != 1:
        names = " and ".join(found[:2]) or "none"
        raise InputError(f"{archive.filename}: expected one member {name}, found {names}")
    try:
        return read(Path(archive.filename or ""), archive.getinfo(found[0]), MAX_TABLE_BYTES)
    except ZIP_ERRORS as error:
        raise InputError(f"{archive.filename}: cannot read {found[0]}: {error}") from error


def read(path: Path, member: zipfile.ZipInfo, max_bytes: int = MAX_CLIP_BYTES) -> bytes:
    """Read a member of the archive at `path`, and verify its checksum.

    A member compressed with bzip2, as in the FMA's archives, takes a fast path, which is a fifth faster than `zipfile`
    and does not need the archive's directory. If the fast path fails, `zipfile` reads the member again and raises its
    own error.

    Raises:
        one of ZIP_ERRORS: the member is damaged, encrypted, unsupported, or larger than `max_bytes`.
    """
    _check_header(path, member, max_bytes)
    if member.compress_type == zipfile.ZIP_BZIP2:
        compressed = _read_compressed(path, member)
        content = _decompress(compressed, member.file_size)
        if len(content) == member.file_size and zlib.crc32(content) == member.CRC:
            return content
        _refuse_bomb(compressed, member.file_size)
    with _open(path).open(member) as stream:
        return b"".join(iter(lambda: stream.read(READ_SIZE), b""))


def _read_compressed(path: Path, member: zipfile.ZipInfo) -> bytes:
    """Read a member's compressed bytes. Return no bytes if the archive ends within the member's header."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(member.header_offset)
        header = file.read(LOCAL_HEADER)
        if len(header) < LOCAL_HEADER:
            return b""
        name_length, extra_length = struct.unpack("<HH", header[-4:])
        file.seek(name_length + extra_length, io.SEEK_CUR)
        available = max(0, size - file.tell())
        return file.read(min(member.compress_size, available))  # read(n) allocates n bytes even if the file has fewer


def _decompress(compressed: bytes, size: int) -> bytes:
    """Unpack bzip2 data, to at most `size` + 1 bytes. A result longer than `size` shows that `size` is wrong.

    Return no bytes for data that are not bzip2 or are damaged.
    """
    import rapidgzip  # imported here, because only reading clips and tables needs it

    with tempfile.TemporaryFile() as file:  # not BytesIO: rapidgzip never frees a Python object
        file.write(compressed)
        file.seek(0)
        try:
            with rapidgzip.IndexedBzip2File(file.fileno(), parallelization=1) as stream:
                return stream.read(size + 1)
        except (RuntimeError, ValueError):
            return b""


@functools.lru_cache(maxsize=1)
def _open(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


# Damaged and hostile archives. ------------------------------------------------------------------------------------


def _check_header(path: Path, member: zipfile.ZipInfo, max_bytes: int) -> None:
    """Raise BadZipFile if the archive's directory shows that the member cannot be read, or is too large."""
    if member.flag_bits & ENCRYPTED:
        raise zipfile.BadZipFile("encrypted")
    if member.compress_type not in METHODS:
        raise zipfile.BadZipFile(f"compressed by method {member.compress_type}, expected none, deflate or bzip2")
    if member.file_size > max_bytes:
        raise zipfile.BadZipFile(f"{member.file_size} bytes unpacked, expected at most {max_bytes}")
    if not 0 <= member.header_offset < path.stat().st_size:
        raise zipfile.BadZipFile("outside the archive, whose beginning may be missing")


def _refuse_bomb(compressed: bytes, size: int) -> None:
    """Raise BadZipFile if bzip2 data unpack to more than `size` bytes, since `zipfile` would unpack all of the data."""
    try:
        unpacked = len(bz2.BZ2Decompressor().decompress(compressed, size + 1))
    except OSError:  # damaged data are not a bomb
        return
    if unpacked > size:
        raise zipfile.BadZipFile(f"unpacks to more than the {size} bytes given in its header")
