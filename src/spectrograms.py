"""Stage spectrograms: extract spectrograms from every readable clip; write them and an index of all tracks."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from fma_genre import store
from fma_genre.archives import tracks
from fma_genre.archives.clips import Clip, clips_of, same_bytes
from fma_genre.archives.receipt import Receipt, open_current
from fma_genre.archives.tracks import TRACKS
from fma_genre.common import files, stage
from fma_genre.common.errors import printable
from fma_genre.common.params import Params, Spectrograms
from fma_genre.features.build import build, describe
from fma_genre.features.extraction import array_path, extract

MAX_LINES = 20  # largest number of left-out tracks that are printed with the reason, one per line
MAX_NAMED = 5  # largest number of track ids in a remark


def main(params: Params) -> None:
    table = tracks.read_tracks()
    tracks.check_trainable(table, str(TRACKS))
    receipt, archive = open_current(params, "audio")
    clips = clips_of(archive.path, table)

    for name in params.spectrograms.representations:
        # This imports the representation's module, so that the hash in the scratch folder's name covers its code.
        build(name, params.spectrograms)
    with stage.scratch("spectrograms", [archive.sha1, *store.sources(table), asdict(params.spectrograms)]) as folder:
        outcomes = extract(archive.path, clips, params.spectrograms, folder)
        index = make_index(table, clips, outcomes)
        print_left_out(index)
        print_remarks(index)
        tracks.check_trainable(store.used(index), f"readable clips in {archive.name}")
        write_outputs(index, receipt, params.spectrograms, folder)


def make_index(table: pd.DataFrame, clips: Sequence[Clip], outcomes: np.ndarray) -> pd.DataFrame:
    """The index, with a row for each track; `fma_genre.store` explains its columns.

    Args:
        table: the tracks.
        clips: clip of each track.
        outcomes: outcome of the extraction for each track, from `extract`.
    """
    track_ids = table["track_id"].tolist()
    read = {track: clip for track, clip, frames in zip(track_ids, clips, outcomes["frames"], strict=True) if frames}
    same = same_bytes(read)
    return table.assign(
        frames=outcomes["frames"],
        cut=outcomes["cut"],
        decoder=[decoder.decode() for decoder in outcomes["decoder"]],
        decoded=outcomes["decoded"].round(3),
        length=outcomes["length"].round(3),
        rate=outcomes["rate"],
        channels=outcomes["channels"],
        bit_rate=bit_rates(clips, outcomes["file_length"]),
        bandwidth=outcomes["bandwidth"].round().astype(int),
        loudness=outcomes["loudness"].round(1),
        same_as=[str(same.get(track, "")) for track in track_ids],
        left_out=[reason.decode() for reason in outcomes["unreadable"]],
    )


def bit_rates(clips: Sequence[Clip], seconds: np.ndarray) -> np.ndarray:
    """Bit rate of each clip's file in kbit/s, (clips,), from the length of the file; 0 if the length is unknown."""
    bits = np.array([8 * float(clip.member.file_size) for clip in clips])  # a damaged archive may claim any size
    return np.divide(bits, 1000 * seconds, out=np.zeros(len(bits)), where=seconds > 0).round().astype(int)


def print_left_out(index: pd.DataFrame) -> None:
    rows = index[index["left_out"] != ""]
    for row in rows.head(MAX_LINES).itertuples():
        print(f"track {row.track_id} left out: {printable(str(row.left_out))}")
    if len(rows) > MAX_LINES:
        print(f"{len(rows) - MAX_LINES} other tracks left out")


def print_remarks(index: pd.DataFrame) -> None:
    ids = store.incomplete(index)["track_id"]
    if len(ids):
        named = ", ".join(map(str, ids.head(MAX_NAMED))) + (", ..." if len(ids) > MAX_NAMED else "")
        print(f"{len(ids)} clips decoded to less than {100 * store.MIN_DECODED:g} % of their length: tracks {named}")
    same = (index["same_as"] != "").sum()
    if same:
        print(f"{same} clips with the same bytes as another clip: see the column same_as in {store.DATA / store.INDEX}")


def write_outputs(index: pd.DataFrame, receipt: Receipt, params: Spectrograms, folder: Path) -> None:
    """Write the store of each representation from its array in `folder`, then the index."""
    for name in params.representations:
        description = describe(name, params, receipt.dataset, receipt.synthetic, store.classes(index))
        with files.atomic(store.DATA / name) as part:
            files.link(array_path(folder, name), part / store.LEVELS)
            store.write_description(part / store.DESCRIPTION, description)
    store.write_index(store.DATA / store.INDEX, index)


if __name__ == "__main__":
    stage.run("spectrograms", main)
