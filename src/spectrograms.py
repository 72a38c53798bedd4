"""Stage spectrograms: spectrograms of every readable clip, and the index of all tracks."""

import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from fma_genre import store
from fma_genre.archives import tracks, zips
from fma_genre.archives.clips import find_clips, same_bytes
from fma_genre.archives.receipt import Receipt, check_current, open_archive, read_receipt
from fma_genre.archives.tracks import TRACKS
from fma_genre.common import files, stage
from fma_genre.common.errors import printable
from fma_genre.common.params import Params, Spectrograms
from fma_genre.features.extraction import array_path, extract
from fma_genre.features.representations import REPRESENTATIONS, describe

MOST_LINES = 20  # about single tracks
MOST_NAMED = 5  # tracks in a line


def main(params: Params) -> None:
    table = tracks.read_tracks()
    tracks.check_trainable(table, str(TRACKS))
    track_ids = table["track_id"].tolist()
    receipt = read_receipt()
    check_current(receipt, params.dataset, params.data_set)
    archive = open_archive(receipt, "audio")
    with zips.open_zip(archive.path) as audio:
        clips = find_clips(audio, track_ids, archive.name)

    with stage.scratch("spectrograms", [archive.sha1, track_ids, asdict(params.spectrograms)]) as folder:
        outcomes = extract(archive.path, clips, params.spectrograms, folder)
        index = make_index(table, clips, outcomes)
        print_left_out(index)
        print_remarks(index)
        tracks.check_trainable(store.used(index), f"{archive.name}, clips that can be read")
        write_outputs(index, receipt, params.spectrograms, folder)


def make_index(table: pd.DataFrame, clips: Sequence[zipfile.ZipInfo], outcomes: np.ndarray) -> pd.DataFrame:
    """The tracks with what became of their clips, a row each (see fma_genre.store)."""
    track_ids = table["track_id"].tolist()
    read = {track: clip for track, clip, frames in zip(track_ids, clips, outcomes["frames"], strict=True) if frames}
    same = same_bytes(read)
    return table.assign(
        frames=outcomes["frames"],
        cut=outcomes["cut"],
        decoder=[decoder.decode() for decoder in outcomes["decoder"]],
        decoded=outcomes["decoded"].round(3),
        length=outcomes["length"].round(3),
        same_as=[str(same.get(track, "")) for track in track_ids],
        left_out=[reason.decode() for reason in outcomes["unreadable"]],
    )


def print_left_out(index: pd.DataFrame) -> None:
    rows = index[index["left_out"] != ""]
    for row in rows.head(MOST_LINES).itertuples():
        print(f"track {row.track_id} left out: {printable(str(row.left_out))}")
    if len(rows) > MOST_LINES:
        print(f"{len(rows) - MOST_LINES} other tracks left out")


def print_remarks(index: pd.DataFrame) -> None:
    short = store.short(index)["track_id"]
    if len(short):
        named = ", ".join(map(str, short.head(MOST_NAMED))) + (", ..." if len(short) > MOST_NAMED else "")
        print(f"{len(short)} clips decoded to less than {100 * store.WHOLE:g} % of their length: tracks {named}")
    same = (index["same_as"] != "").sum()
    if same:
        print(f"{same} clips with the same bytes as another: see same_as in {store.DATA / store.INDEX}")


def write_outputs(index: pd.DataFrame, receipt: Receipt, params: Spectrograms, folder: Path) -> None:
    """Write a store for each representation whose array is in `folder`, then the index, which completes them."""
    for name in REPRESENTATIONS:
        description = describe(name, params, receipt.dataset, receipt.synthetic, store.classes(index))
        with files.atomic(store.DATA / name) as part:
            files.link(array_path(folder, name), part / store.LEVELS)
            store.write_description(part / store.DESCRIPTION, description)
    store.write_index(store.DATA / store.INDEX, index)


if __name__ == "__main__":
    stage.run("spectrograms", main)
