"""Stage spectrograms: the clips' mel and STFT spectrograms, their index, and how many clips are used."""

from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

import stage
from fma_genre import InputError, archives, files, store, tracks, zips
from fma_genre.extraction import REPRESENTATIONS, Outcome, extract, members
from fma_genre.params import data_set

FOLDER = Path("data/spectrograms")


def main(params: dict[str, Any]) -> None:
    table = pd.read_csv("data/tracks.csv", keep_default_na=False, dtype={"genre": str})
    tracks.check_trainable(table, "data/tracks.csv")
    archive = archives.of_data_set(params["dataset"], data_set(params), "audio", stage.ROOT)
    archives.check_receipt(archive, Path("data/raw/archives.json"), "audio")
    clips = find_clips(archive, table["track_id"].tolist())
    settings = params["spectrograms"]
    with files.scratch(stage.WORK / "spectrograms") as work:
        results = extract(archive.path, clips, settings, work)
        outcomes = list(tqdm(results, total=len(clips), unit="clip", disable=None))
        table["row"] = range(len(table))
        table["frames"] = [outcome.frames for outcome in outcomes]
        report_unreadable(table, outcomes)
        index = table[table["frames"] > 0]
        tracks.check_trainable(index, f"{archive.name}, clips that can be read")
        store.write_index(work / "index.csv", index)
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name in (*(f"{name}.npy" for name in REPRESENTATIONS), "index.csv"):
            (work / name).replace(FOLDER / name)
    summary = summarise(table, outcomes, settings["segment_frames"])
    files.write_json(Path("metrics/dataset.json"), {"dataset": params["dataset"], **summary})


def find_clips(archive: archives.Archive, track_ids: list[int]) -> list[str]:
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


def report_unreadable(table: pd.DataFrame, outcomes: list[Outcome]) -> None:
    for track, outcome in zip(table["track_id"], outcomes, strict=True):
        if outcome.unreadable:
            print(f"track {track} left out: {outcome.unreadable}")


def summarise(table: pd.DataFrame, outcomes: list[Outcome], segment_frames: int) -> dict[str, Any]:
    """By split: tracks used, of these the ones padded or cut, and tracks left out as unreadable."""
    used = table["frames"] > 0
    kinds = {
        "used": used,
        "padded": used & (table["frames"] < segment_frames),
        "cut": pd.Series([outcome.cut for outcome in outcomes]),
        "unreadable": ~used,
    }
    counts = {
        kind: {split: int((which & (table["split"] == split)).sum()) for split in tracks.SPLITS}
        for kind, which in kinds.items()
    }
    return {"genres": int(table["genre"][used].nunique()), **counts}


if __name__ == "__main__":
    stage.run("spectrograms", main)
