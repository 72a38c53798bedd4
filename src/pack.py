"""Pack your own music into a data set for the pipeline.

    python src/pack.py FOLDER --name mine      a folder that has a folder for each genre
    python src/pack.py SONGS.csv --name mine   a CSV file with the columns path and genre, and optionally artist, split,
                                               start and seconds

Writes a pair of archives in the FMA's layout, adds their entry to `datasets` in params.yaml, and prints what was found.
Files are stored as they are. The clip of a song is its middle, or with --clips 3 up to three parts of it, which stay in
one split. Without the column split, the songs are divided 80/10/10 by genre, with every artist in one split. Artists
are in the column artist, or else in the files' tags.

An interrupted run resumes. The archives have the same bytes on every machine.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from fma_genre.archives.tracks import check_trainable
from fma_genre.common import stage
from fma_genre.common.errors import InputError
from fma_genre.common.params import Params
from fma_genre.packing import archives, entry, splits, summary, tracks
from fma_genre.packing.measuring import measure_all
from fma_genre.packing.songs import Song, read, skipped

OUT = Path("data_sets")
KEPT = stage.WORK / "pack"
MAX_CLIPS, MAX_SEED = 100, 2**31
NEXT = """\
dvc exp run -S dataset={name}    run the pipeline on it; `dataset: {name}` in params.yaml makes it the default"""


def main(params: Params, arguments: argparse.Namespace) -> None:
    source, name = arguments.source, arguments.name
    audio, metadata = archives.paths(arguments.out, name)
    entry.check(name, audio, metadata, params)
    songs = read(source)
    check_songs(songs, source)

    measured = measure_all(tracks.by_path(songs), KEPT / f"{name}.jsonl")
    print_lines(summary.skipped(skipped(source)))
    print_lines(summary.left_out(songs, measured))
    found = tracks.decodable(songs, measured)
    if not found:
        raise InputError(f"{source}: expected audio that can be decoded, found none in {len(songs)} files")
    chosen = tracks.choose_splits(found, arguments.seed, str(source))
    files, rows = tracks.make(found, chosen, params.spectrograms.seconds, arguments.clips)
    print(summary.genres(found, rows), end="\n\n")
    print_lines(summary.remarks(songs, found, rows, chosen))
    check_trainable(pd.DataFrame(map(vars, rows), columns=["genre", "split"]), f"readable files of {source}")

    archives.write(audio, metadata, files, rows)
    entry.write(name, entry.make(audio, metadata))
    verb = "replaced" if name in params.datasets else "added"
    print(f"{audio}, {metadata}: written; {verb} in {entry.PARAMS} as datasets.{name}\n\n{NEXT.format(name=name)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="FOLDER_OR_CSV", help="your music")
    parser.add_argument("--name", required=True, help="name of the data set in params.yaml")
    parser.add_argument("--clips", type=int, default=1, metavar="N", help="most clips of a song (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split, if it is not given (default: 0)")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of the archives (default: {OUT})")
    arguments = parser.parse_args()
    for option, low, high in (("clips", 1, MAX_CLIPS), ("seed", 0, MAX_SEED)):
        if not low <= getattr(arguments, option) <= high:
            parser.error(f"--{option}: expected {low} to {high}, found {getattr(arguments, option)}")
    return arguments


def check_songs(songs: list[Song], source: Path) -> None:
    """Raise InputError for what no measurement can change, before anything is measured."""
    listed = pd.DataFrame({"genre": [song.genre for song in songs], "split": [song.split for song in songs]})
    if songs[0].split:
        check_trainable(listed, str(source))
        splits.check_given(list(listed["split"]), [song.artist for song in songs], str(source))
    elif listed["genre"].nunique() < 2:
        raise InputError(f"{source}: expected at least two genres, found only {songs[0].genre}")


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


if __name__ == "__main__":
    given = parse_arguments()
    stage.run("pack", lambda params: main(params, given))
