"""Stage download: the data set's archives, verified, into FMA_HOME; a receipt into data/raw/archives.json."""

import stage

from pathlib import Path
from typing import Any

from fma_genre import archives, files, zips
from fma_genre.params import data_set


def main(params: dict[str, Any]) -> None:
    receipt = {}
    for part in ("metadata", "audio"):
        archive = archives.of_data_set(params["dataset"], data_set(params), part, stage.ROOT)
        zips.open_zip(archive.path).close()
        receipt[part] = {"name": archive.name, "size": archive.size, "sha1": archive.sha1}
        print(f"{archive.name}: {archive.size / 1e6:.1f} MB, sha1 {archive.sha1}")
    files.write_json(Path("data/raw/archives.json"), receipt)


if __name__ == "__main__":
    stage.run("download", main)
