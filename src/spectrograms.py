"""Stage spectrograms: spectrograms of every readable clip, and the index of all tracks."""

import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from fma_genre import store
from fma_genre.archives import tracks, zips
from fma_genre.archives.receipt import Archive, Receipt, check_current, open_archive, read_receipt
from fma_genre.archives.tracks import TRACKS
from fma_genre.common import files, stage
from fma_genre.common.errors import InputError, printable
from fma_genre.common.params import Params, Spectrograms
from fma_genre.features.extraction import array_path, extract, members
from fma_genre.features.representations import REPRESENTATIONS, describe


def main(params: Params) -> None:
    table = tracks.read_tracks()
    tracks.check_trainable(table, str(TRACKS))
    track_ids = table["track_id"].tolist()
    receipt = read_receipt()
    check_current(receipt, params.dataset, params.data_set)
    archive = open_archive(receipt, "audio")
    clips = find_clips(archive, track_ids)

    with stage.scratch("spectrograms", [archive.sha1, track_ids, asdict(params.spectrograms)]) as folder:
        outcomes = extract(archive.path, clips, params.spectrograms, folder)
        index = make_index(table, outcomes)
        print_left_out(index)
        tracks.check_trainable(store.used(index), f"{archive.name}, clips that can be read")
        write_outputs(index, receipt, params.spectrograms, folder)


def find_clips(archive: Archive, track_ids: Sequence[int]) -> list[zipfile.ZipInfo]:
    """The archive's member of each track; raises InputError if one is missing."""
    with zips.open_zip(archive.path) as audio:
        available = members(audio)
    absent = [track for track in track_ids if track not in available]
    if absent:
        raise InputError(
            f"{archive.name}: expected a clip of each of the {len(track_ids)} tracks in {TRACKS},"
            f" found no clip of {len(absent)}, the first of track {absent[0]}"
        )
    return [available[track] for track in track_ids]


def make_index(table: pd.DataFrame, outcomes: np.ndarray) -> pd.DataFrame:
    """The tracks with what became of their clips, a row each (see fma_genre.store)."""
    reasons = [reason.decode() for reason in outcomes["unreadable"]]
    return table.assign(frames=outcomes["frames"], cut=outcomes["cut"], left_out=reasons)


def print_left_out(index: pd.DataFrame) -> None:
    for row in index[index["left_out"] != ""].itertuples():
        print(f"track {row.track_id} left out: {printable(str(row.left_out))}")


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
