"""Stage waveforms: write the samples of every used clip, at the sample rate of a section of `waveforms`."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from fma_genre import store
from fma_genre.archives.clips import clips_of
from fma_genre.archives.receipt import open_current
from fma_genre.common import files, stage
from fma_genre.common.errors import InputError
from fma_genre.common.params import Params
from fma_genre.features import waveform
from fma_genre.features.extraction import array_path, extract

INDEX = store.DATA / store.INDEX


def main(params: Params, key: str) -> None:
    settings, index = params.waveforms[key], store.read_index(INDEX)
    receipt, archive = open_current(params, "audio")
    clips = clips_of(archive.path, index)

    with stage.scratch(f"waveforms@{key}", [archive.sha1, *store.sources(index), asdict(settings)]) as folder:
        outcomes = extract(archive.path, clips, settings, folder)
        frames = used_frames(index, outcomes)
        description = waveform.describe(key, settings, receipt.dataset, receipt.synthetic, store.classes(index))
        write_store(store.DATA / key, array_path(folder, waveform.ARRAY), frames, description)


def used_frames(index: pd.DataFrame, outcomes: np.ndarray) -> np.ndarray:
    """Number of frames of each clip (tracks,); 0 for a track that the index leaves out, so that no system uses it.

    Raises:
        InputError: a clip that the index uses is unreadable.
    """
    is_used = index["frames"].to_numpy() > 0
    for row in np.flatnonzero(is_used & (outcomes["frames"] == 0)):
        track, reason = index["track_id"].iloc[row], outcomes["unreadable"][row].decode()
        raise InputError(f"{INDEX}: expected track {track} to have a readable clip, found: {reason}")
    return np.where(is_used, outcomes["frames"], 0)


def write_store(folder: Path, levels: Path, frames: np.ndarray, description: store.Description) -> None:
    with files.atomic(folder) as part:
        files.link(levels, part / store.LEVELS)
        np.save(part / store.FRAMES, frames)
        store.write_description(part / store.DESCRIPTION, description)


if __name__ == "__main__":
    stage.run_for_system("waveforms", "waveforms", main)
