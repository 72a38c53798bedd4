"""Reading members straight out of a zip archive, whatever is wrong with it."""

import lzma
import zipfile
import zlib
from pathlib import Path

from fma_genre import InputError

# What reading a member of a damaged, encrypted or exotic archive raises.
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, NotImplementedError)


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
    try:
        return archive.read(found[0])
    except DAMAGED as error:
        raise InputError(f"{archive.filename}: cannot read {found[0]}: {error}") from error
