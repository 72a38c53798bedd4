"""Segments: where they are cut, how clips shorter than one are filled, and what they are standardised by."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from fma_genre.segments import MIN_DEVIATION, Clips, batches, standardise

SEGMENT = 128


def store(lengths: list[int], bins: int = 3, frames: int = 0, seed: int = 0) -> Tensor:
    """(tracks, frames, bins) of random levels; as in a real store, 0 after the `lengths` that clips fill."""
    generator = np.random.default_rng(seed)
    shape = (len(lengths), max(frames, *lengths, 1), bins)
    levels = generator.integers(0, 256, shape, dtype=np.uint8)
    for row, length in enumerate(lengths):
        levels[row, length:] = 0
    return torch.from_numpy(levels)


def clips(lengths: list[int], levels: Tensor | None = None, segment: int = SEGMENT) -> Clips:
    """All rows of a store."""
    count = torch.arange(len(lengths))
    levels = store(lengths) if levels is None else levels
    return Clips(levels, rows=count, lengths=torch.tensor(lengths), labels=count, classes=[], segment=segment)


# Crops. -----------------------------------------------------------------------------------------------------------


def test_crops_are_slices_of_the_tracks_rows() -> None:
    levels = store([300, 200, 128], frames=310)
    chosen = replace(clips([128, 300], levels), rows=torch.tensor([2, 0]))
    cropped = chosen.crop(torch.tensor([1, 0, 1]), torch.tensor([172, 0, 5]))
    expected = torch.stack([levels[0, 172:300], levels[2, :128], levels[0, 5:133]])
    assert cropped.dtype == torch.uint8
    assert torch.equal(cropped, expected)


@pytest.mark.parametrize("length", [1, 2, 50, 127])
def test_a_clip_shorter_than_a_segment_is_repeated(length: int) -> None:
    levels = store([length, 400])
    cropped = clips([length, 400], levels).crop(torch.tensor([0]), torch.tensor([0]))
    expected = np.resize(levels[0, :length].numpy(), (SEGMENT, levels.shape[2]))
    np.testing.assert_array_equal(cropped[0].numpy(), expected)


def test_index_lines_become_rows_lengths_and_labels() -> None:
    index = pd.DataFrame({"row": [4, 1], "frames": [7, 9], "genre": ["b", "a"]}, index=[8, 3])
    chosen = Clips.of(index, store([9] * 5), ["a", "b"], SEGMENT)
    assert chosen.rows.tolist() == [4, 1]
    assert chosen.lengths.tolist() == [7, 9]
    assert chosen.labels.tolist() == [1, 0]
    assert {column.dtype for column in (chosen.rows, chosen.lengths, chosen.labels)} == {torch.int64}


def test_a_store_is_loaded_by_split_with_the_genres_of_all(tmp_path: Path) -> None:
    """The gap in `row` is a clip that could not be read; a genre may be called None."""
    (tmp_path / "index.csv").write_text(
        "row,track_id,artist_id,genre,split,frames\n"
        "0,10,1,Rock,training,9\n2,12,2,None,test,5\n3,13,3,Folk,training,7\n4,14,4,Rock,validation,9\n"
    )
    levels = store([9, 0, 5, 7, 9])
    np.save(tmp_path / "mel.npy", levels.numpy())
    splits = Clips.load(tmp_path, "mel", SEGMENT, torch.device("cpu"))
    found = {split: (of.rows.tolist(), of.lengths.tolist(), of.labels.tolist()) for split, of in splits.items()}
    assert found == {
        "training": ([0, 3], [9, 7], [2, 0]),
        "validation": ([4], [9], [2]),
        "test": ([2], [5], [1]),
    }
    for of_split in splits.values():
        assert torch.equal(of_split.levels, levels)
        assert of_split.classes == ["Folk", "None", "Rock"]
        assert of_split.segment == SEGMENT


@pytest.mark.parametrize("length", [1, 100, 128, 129, 140])
def test_random_starts_are_uniform_over_all_that_fit(length: int) -> None:
    count = 20_000
    starts = clips([500, length]).random_starts(torch.ones(count, dtype=torch.int64), torch.Generator().manual_seed(1))
    possible = max(1, length - SEGMENT + 1)
    assert sorted(set(starts.tolist())) == list(range(possible))
    expected = count / possible
    for seen in Counter(starts.tolist()).values():
        assert abs(seen - expected) <= 5 * np.sqrt(expected)  # five standard deviations of a Poisson count


def test_random_starts_follow_each_tracks_own_length() -> None:
    tracks = torch.tensor([0, 1, 2]).repeat(500)
    starts = clips([128, 1000, 130]).random_starts(tracks, torch.Generator().manual_seed(0)).view(-1, 3)
    assert starts.amax(dim=0)[[0, 2]].tolist() == [0, 2]
    assert 850 < int(starts[:, 1].max()) <= 872


@pytest.mark.parametrize(
    ("length", "starts"),
    [
        (1, [0]),
        (127, [0]),
        (128, [0]),
        (129, [0]),
        (191, [0]),
        (193, [0, 65]),
        (256, [0, 128]),
        (321, [0, 96, 193]),
        (384, [0, 128, 256]),
    ],
)
def test_even_segments_cover_a_clip_from_end_to_end(length: int, starts: list[int]) -> None:
    tracks, found = clips([length]).even_segments()
    assert tracks.tolist() == [0] * len(starts)
    assert found.tolist() == starts


@pytest.mark.parametrize("length", [1291, 1292])
def test_thirty_seconds_are_ten_segments_as_long_as_the_clip(length: int) -> None:
    _, starts = clips([length]).even_segments()
    assert len(starts) == 10
    assert starts[0] == 0
    assert starts[-1] == length - SEGMENT
    assert starts.diff().min() >= SEGMENT


def test_even_segments_never_leave_their_clip_and_skip_little_of_it() -> None:
    lengths = list(range(1, 1500))
    tracks, starts = clips(lengths, torch.zeros(1, 1, 1)).even_segments()
    assert tracks.unique().tolist() == list(range(len(lengths)))
    assert bool((tracks.diff() >= 0).all())
    for track, length in enumerate(lengths):
        of_track = starts[tracks == track]
        assert len(of_track) == max(1, int(length / SEGMENT + 0.5)) or length % SEGMENT == SEGMENT // 2
        assert of_track[0] == 0
        assert of_track[-1] == (max(0, length - SEGMENT) if len(of_track) > 1 else 0)
        assert len(of_track) == 1 or of_track.diff().max() <= 1.5 * SEGMENT


# Normalisation. ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 2, 64])
def test_normalisation_is_numpys_over_the_frames_that_clips_fill(chunk: int) -> None:
    lengths = [1, 40, 300, 7, 128]
    levels = store([*lengths, 299], frames=310)
    chosen = clips(lengths, levels)  # the last row of the store is of another split
    filled = np.concatenate([levels[row, :length].numpy() for row, length in enumerate(lengths)]).astype(np.float64)
    normalisation = chosen.normalisation(chunk)
    np.testing.assert_allclose(normalisation.mean, filled.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(normalisation.deviation, filled.std(axis=0), rtol=1e-6)


def test_deviation_of_a_bin_that_hardly_varies_is_bounded_below() -> None:
    levels = torch.full((4, 200, 2), 7, dtype=torch.uint8)
    levels[:, ::2, 1] = 107
    normalisation = clips([200] * 4, levels).normalisation()
    assert normalisation.deviation.tolist() == [MIN_DEVIATION, 50]
    standard = standardise(levels, normalisation)
    assert standard.dtype == torch.float32
    assert standard.unique().tolist() == [-1, 0, 1]


def test_standardised_frames_have_mean_0_and_deviation_1() -> None:
    levels = store([400] * 3)
    standard = standardise(levels, clips([400] * 3, levels).normalisation())
    np.testing.assert_allclose(standard.mean(dim=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(standard.std(dim=(0, 1), correction=0), 1, rtol=1e-5)


# Batches. ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 7, 64])
def test_batches_cover_everything_evenly_and_none_is_of_one(size: int) -> None:
    """Batch norm cannot train on a batch of one."""
    for count in range(2, 200):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(count))
        parts = list(batches(order, size))
        assert torch.equal(torch.cat(parts), order)
        sizes = [len(part) for part in parts]
        assert min(sizes) >= min(size, count)
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) < 2 * size
        assert len(sizes) == max(1, count // size)
