"""Stage spectrograms: the clips' mel and STFT spectrograms, their index, and how many clips are used."""

import stage

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fma_genre import InputError, archives, files, store, tracks, zips
from fma_genre.extraction import REPRESENTATIONS, extract, members
from fma_genre.params import data_set

FOLDER = Path("data/spectrograms")
CONTENT = ("sample_rate", "seconds", "hop", "floor_db", "mel", "stft")  # the settings that the arrays depend on


def main(params: dict[str, Any]) -> None:
    table = pd.read_csv("data/tracks.csv", keep_default_na=False, dtype={"genre": str})
    tracks.check_trainable(table, "data/tracks.csv")
    archive = archives.of_data_set(params["dataset"], data_set(params), "audio", stage.ROOT)
    archives.check_receipt(archive, Path("data/raw/archives.json"), "audio")
    track_ids = table["track_id"].tolist()
    clips = find_clips(archive, track_ids)
    settings = params["spectrograms"]
    with stage.work("spectrograms", [archive.sha1, track_ids, {key: settings[key] for key in CONTENT}]) as work:
        outcomes = extract(archive.path, clips, settings, work)
        table["row"] = range(len(table))
        table["frames"] = outcomes["frames"]
        report_unreadable(table, outcomes)
        index = table[table["frames"] > 0]
        tracks.check_trainable(index, f"{archive.name}, clips that can be read")
        for name in REPRESENTATIONS:
            files.link(work / f"{name}.npy", FOLDER / f"{name}.npy")
        store.write_index(FOLDER / "index.csv", index)
        summary = summarise(table, outcomes, settings["segment_frames"])
        files.write_json(Path("metrics/dataset.json"), {"dataset": params["dataset"], **summary})


def find_clips(archive: archives.Archive, track_ids: list[int]) -> list[zipfile.ZipInfo]:
    """The archive's member of each track; raises InputError if one is not there."""
    with zips.open_zip(archive.path) as audio:
        available = members(audio)
    absent = [track for track in track_ids if track not in available]
    if absent:
        raise InputError(
            f"{archive.name}: expected a clip of each of the {len(track_ids)} tracks in data/tracks.csv,"
            f" found no clip of {len(absent)}, the first of track {absent[0]}"
        )
    return [available[track] for track in track_ids]


def report_unreadable(table: pd.DataFrame, outcomes: np.ndarray) -> None:
    for track, reason in zip(table["track_id"], outcomes["unreadable"], strict=True):
        if reason:
            print(f"track {track} left out: {reason.decode()}")


def summarise(table: pd.DataFrame, outcomes: np.ndarray, segment_frames: int) -> dict[str, Any]:
    """By split: tracks used, of these the ones padded or cut, and tracks left out as unreadable."""
    used = table["frames"] > 0
    kinds = {
        "used": used,
        "padded": used & (table["frames"] < segment_frames),
        "cut": pd.Series(outcomes["cut"]),
        "unreadable": ~used,
    }
    counts = {
        kind: {split: int((which & (table["split"] == split)).sum()) for split in tracks.SPLITS}
        for kind, which in kinds.items()
    }
    return {"genres": int(table["genre"][used].nunique()), **counts}


if __name__ == "__main__":
    stage.run("spectrograms", main)
