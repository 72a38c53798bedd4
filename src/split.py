"""Stage split: the subset's tracks with genre, artist and official split, into data/tracks.csv."""

import stage

from pathlib import Path
from typing import Any

from fma_genre import archives, files, tracks, zips
from fma_genre.params import data_set


def main(params: dict[str, Any]) -> None:
    entry = data_set(params)
    archive = archives.of_data_set(params["dataset"], entry, "metadata", stage.ROOT)
    archives.check_receipt(archive, Path("data/raw/archives.json"), "metadata")
    with zips.open_zip(archive.path) as metadata:
        table = tracks.read(zips.read_member(metadata, "tracks.csv"), f"{archive.name}: tracks.csv")
    selected = tracks.select(table, entry["subset"], archive.name, entry.get("expect"))
    files.write_text(Path("data/tracks.csv"), selected.to_csv(lineterminator="\n"))
    counts = ", ".join(f"{(selected['split'] == split).sum()} {split}" for split in tracks.SPLITS)
    print(f"{len(selected)} tracks of {selected['genre'].nunique()} genres: {counts}")


if __name__ == "__main__":
    stage.run("split", main)
