"""Stage split: select the subset's tracks, and write them with genres and official splits to data/tracks.csv."""

from fma_genre.archives import genres, tracks, zips
from fma_genre.archives.receipt import open_current
from fma_genre.common import stage
from fma_genre.common.params import Params


def main(params: Params) -> None:
    receipt, archive = open_current(params, "metadata")
    label = f"{archive.name} of data set {receipt.dataset}"

    with zips.open_zip(archive.path) as metadata:
        content = zips.read_member(metadata, "tracks.csv")
        genre_names = genres.read_names(metadata)
    table = tracks.parse_table(content, f"{label}: tracks.csv", genre_names)
    selected = tracks.select(table, params.data_set.subset, label, params.data_set.expect)
    tracks.write_tracks(selected)

    normalised = tracks.describe_normalised(table.loc[selected["track_id"]])
    if normalised:
        print(normalised)
    counts = ", ".join(f"{(selected['split'] == split).sum()} {split}" for split in tracks.SPLITS)
    print(f"{receipt.dataset}: {len(selected)} tracks of {selected['genre'].nunique()} genres ({counts})")


if __name__ == "__main__":
    stage.run("split", main)
