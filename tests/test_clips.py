"""Clips in memory: crops, segments, short clips, and statistics over the filled frames."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fma_genre.common.errors import InputError
from fma_genre.learning import clips as clips_module
from fma_genre.learning.clips import Clips
from fma_genre.store import LEVELS, create_array, open_store, write_row
from stores import describe, make_clips, make_index, write_store

SEGMENT = 128
FREQUENCIES = [100.0, 200.0, 400.0]


def random_levels(lengths: list[int], bins: int = 3, frames: int = 0, seed: int = 0) -> Tensor:
    """Random levels (tracks, frames, bins), with zeros after the length of each clip, as in a store."""
    generator = np.random.default_rng(seed)
    shape = (len(lengths), max(frames, *lengths, 1), bins)
    levels = generator.integers(0, 256, shape, dtype=np.uint8)
    for row, length in enumerate(lengths):
        levels[row, length:] = 0
    return torch.from_numpy(levels)


def clips(lengths: list[int], levels: Tensor | None = None) -> Clips:
    """Clips of all rows of a store."""
    return make_clips(random_levels(lengths) if levels is None else levels, SEGMENT, lengths=lengths)


# Crops. -----------------------------------------------------------------------------------------------------------


def test_crops_are_slices_of_the_tracks_rows() -> None:
    levels = random_levels([300, 200, 128], frames=310)
    chosen = replace(clips([300, 200, 128], levels), rows=torch.tensor([2, 0]), lengths=torch.tensor([128, 300]))
    cropped = chosen.crop(torch.tensor([1, 0, 1]), torch.tensor([172, 0, 5]))
    expected = torch.stack([levels[0, 172:300], levels[2, :128], levels[0, 5:133]])
    assert cropped.dtype == torch.uint8
    assert torch.equal(cropped, expected)


@pytest.mark.parametrize("length", [1, 2, 50, 127])
def test_a_clip_shorter_than_a_segment_is_repeated(length: int) -> None:
    levels = random_levels([length, 400])
    cropped = clips([length, 400], levels).crop(torch.tensor([0]), torch.tensor([0]))
    expected = np.resize(levels[0, :length].numpy(), (SEGMENT, levels.shape[2]))
    np.testing.assert_array_equal(cropped[0].numpy(), expected)


def test_a_subset_keeps_rows_lengths_and_labels() -> None:
    chosen = clips([7, 9, 5]).subset(torch.tensor([2, 0]))
    assert chosen.rows.tolist() == chosen.labels.tolist() == [2, 0]
    assert chosen.lengths.tolist() == [5, 7]


def test_a_store_is_loaded_by_split_with_the_genres_of_all(tmp_path: Path) -> None:
    """The second track has no readable clip and is the only one of its genre. A genre may be called None."""
    genres, splits = ["Rock", "Pop", "None", "Folk", "Rock"], ["training", "test", "test", "training", "validation"]
    levels = random_levels([9, 0, 5, 7, 9])
    description = describe(FREQUENCIES, classes=("Folk", "None", "Rock"))
    write_store(tmp_path, levels.numpy(), make_index(genres, splits, [9, 0, 5, 7, 9]), description)
    for split, rows, labels in [("training", [0, 3], [2, 0]), ("validation", [4], [2]), ("test", [2], [1])]:
        part = load(tmp_path, split, 4)
        assert torch.equal(part.levels[part.rows], levels[rows])
        assert part.labels.tolist() == labels
        assert part.lengths.tolist() == [[9, 0, 5, 7, 9][row] for row in rows]
        assert part.classes == ("Folk", "None", "Rock")
        assert part.segment_frames == 4
        assert part.description == description
        assert part.frequencies.tolist() == FREQUENCIES


def test_a_split_larger_than_the_memory_can_be_loaded(tmp_path: Path) -> None:
    tracks, frames, bins = 2**12, 2**14, 2**14
    lengths = [200] * tracks
    index = make_index(["Folk", "Rock"] * (tracks // 2), ["training"] * (tracks - 1) + ["test"], lengths)
    write_store(tmp_path, np.zeros((0, 0, 0), np.uint8), index, describe(np.linspace(1, 11025, bins)))
    levels = tmp_path / "stft" / LEVELS
    create_array(levels, (tracks, frames, bins))  # 1 TiB, of which the disk stores almost nothing
    write_row(levels, tracks - 2, np.full((2, bins), 7, dtype=np.uint8))
    last = load(tmp_path, "training").read(torch.tensor([tracks - 2]))
    assert last.crop(torch.tensor([0]), torch.tensor([0])).sum(dtype=torch.int64) == 2 * bins * 7


# Pools. -----------------------------------------------------------------------------------------------------------


def load(data: Path, split: str, segment_frames: int = SEGMENT) -> Clips:
    return Clips.load(open_store("stft", data), split, segment_frames, torch.device("cpu"))


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Tensor]:
    """A store with 100 training tracks, every fifth track being a test track, and its levels. A pool has 30 tracks."""
    lengths = [128 + track for track in range(125)]
    levels = random_levels(lengths)
    splits = ["test" if track % 5 == 4 else "training" for track in range(125)]
    write_store(
        tmp_path,
        levels.numpy(),
        make_index(["Folk", "Rock", "Rock", "Folk", "Folk"] * 25, splits, lengths),
        describe(FREQUENCIES),
    )
    monkeypatch.setattr(clips_module, "POOL", 30 * levels[0].numel())
    monkeypatch.setattr(clips_module, "BLOCK", 4)
    return tmp_path, levels


def test_a_split_of_several_pools_stays_in_its_file_until_it_is_read(many: tuple[Path, Tensor]) -> None:
    folder, levels = many
    training = load(folder, "training")
    assert training.levels.is_meta
    assert training.pool_sizes() == [25] * 4
    chosen = training.read(torch.tensor([99, 3, 4, 0]))
    assert torch.equal(chosen.levels[chosen.rows], levels[[123, 3, 5, 0]])
    assert chosen.lengths.tolist() == [251, 131, 133, 128]


def test_parts_are_all_tracks_in_order(many: tuple[Path, Tensor]) -> None:
    folder, levels = many
    training = load(folder, "training")
    parts = list(training.parts())
    assert [len(part.labels) for part in parts] == [25] * 4
    assert torch.equal(torch.cat([part.levels[part.rows] for part in parts]), levels[training.rows])
    assert torch.equal(torch.cat([part.labels for part in parts]), training.labels)


def test_pools_have_random_blocks_of_all_tracks(many: tuple[Path, Tensor]) -> None:
    """The length of a clip tells which track it is."""
    folder, levels = many
    training = load(folder, "training")
    torch.manual_seed(0)
    orders = []
    for _ in range(2):
        pools = list(training.pools())
        for pool in pools:
            tracks = pool.lengths - 128
            assert len(tracks) == 25
            assert torch.equal(pool.levels[pool.rows], levels[tracks])
            positions = torch.searchsorted(training.rows, tracks)
            blocks = (positions // 4).unique()
            assert len(blocks) <= 25 // 4 + 2, "whole blocks, except where a pool begins and ends"
            assert (blocks.diff() > 1).any(), "other blocks than neighbours"
        orders.append(torch.cat([pool.lengths for pool in pools]))
        assert sorted(orders[-1].tolist()) == training.lengths.tolist()
    assert not torch.equal(*orders), "each epoch has another order"


def test_pools_are_the_same_in_memory_and_from_the_file(many: tuple[Path, Tensor]) -> None:
    training = load(many[0], "training")
    in_memory = training.read(torch.arange(100))
    assert in_memory.file is None
    orders = []
    for clips in (training, in_memory):
        torch.manual_seed(3)
        orders.append([pool.lengths.tolist() for pool in clips.pools()])
    assert orders[0] == orders[1]


def test_a_single_pool_draws_no_random_numbers() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    (pool,) = clips([200, 300]).pools()
    assert pool.lengths.tolist() == [200, 300]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pool_has_at_least_one_track() -> None:
    assert clips_module.pool_sizes(3, 2**40) == [1, 1, 1]


def test_a_damaged_file_ends_the_reading(many: tuple[Path, Tensor]) -> None:
    """The error of the reading thread reaches the caller."""
    folder, levels = many
    training = load(folder, "training")
    os.truncate(folder / "stft" / LEVELS, 90 * levels[0].numel())
    with pytest.raises(InputError, match=r"levels\.npy: expected at least \d+ rows, found fewer"):
        list(training.parts())


# Random segments. -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 100, 128, 129, 140])
def test_random_starts_are_uniform(length: int) -> None:
    count = 20_000
    torch.manual_seed(1)
    starts = clips([500, length]).random_starts(torch.ones(count, dtype=torch.int64))
    possible = max(1, length - SEGMENT + 1)
    assert sorted(set(starts.tolist())) == list(range(possible))
    expected = count / possible
    for seen in Counter(starts.tolist()).values():
        assert abs(seen - expected) <= 5 * np.sqrt(expected)  # five standard deviations of a Poisson count


def test_random_starts_follow_each_tracks_own_length() -> None:
    tracks = torch.tensor([0, 1, 2]).repeat(500)
    torch.manual_seed(0)
    starts = clips([128, 1000, 130]).random_starts(tracks).view(-1, 3)
    assert starts.amax(dim=0)[[0, 2]].tolist() == [0, 2]
    assert 850 < int(starts[:, 1].max()) <= 872


@pytest.mark.parametrize(
    ("length", "starts"),
    [
        (1, [0]),
        (127, [0]),
        (128, [0]),
        (129, [0, 1]),
        (256, [0, 128]),
        (257, [0, 64, 129]),
        (321, [0, 96, 193]),
        (384, [0, 128, 256]),
    ],
)
def test_even_segments_cover_a_clip_from_end_to_end(length: int, starts: list[int]) -> None:
    tracks, found = clips([length]).even_segments()
    assert tracks.tolist() == [0] * len(starts)
    assert found.tolist() == starts


def test_even_segments_never_leave_their_clip_and_skip_nothing_of_it() -> None:
    lengths = list(range(1, 1500))
    tracks, starts = clips(lengths, torch.zeros(1, 1, 1)).even_segments()
    assert tracks.unique().tolist() == list(range(len(lengths)))
    assert bool((tracks.diff() >= 0).all())
    for track, length in enumerate(lengths):
        track_starts = starts[tracks == track]
        assert track_starts[0] == 0
        assert track_starts[-1] == max(0, length - SEGMENT)
        assert len(track_starts) == -(-length // SEGMENT)
        assert len(track_starts) == 1 or 0 < track_starts.diff().min() <= track_starts.diff().max() <= SEGMENT


# Statistics. ------------------------------------------------------------------------------------------------------


def test_moments_are_those_of_the_filled_frames() -> None:
    lengths = [1, 40, 300, 7, 600]
    levels = random_levels([*lengths, 299], frames=610)  # the last row is in another split
    levels[..., 2] = 255  # the sum of the most squares of the highest level
    chosen = make_clips(levels, SEGMENT, lengths=[*lengths, 299]).subset(torch.arange(5))
    frames = np.concatenate([levels[row, :length].numpy() for row, length in enumerate(lengths)]).astype(np.float64)
    found = chosen.moments()
    np.testing.assert_allclose(found.mean, frames.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, frames.std(axis=0), rtol=1e-12, atol=1e-12)


def test_moments_are_the_same_from_memory_and_from_the_file(many: tuple[Path, Tensor]) -> None:
    training = load(many[0], "training")
    found, expected = training.moments(), training.read(torch.arange(100)).moments()
    assert torch.equal(found.mean, expected.mean)
    assert torch.equal(found.deviation, expected.deviation)


def test_filled_frames_come_in_order() -> None:
    levels = random_levels([5, 900, 2])
    parts = list(clips([5, 900, 2], levels).frames())
    assert torch.equal(torch.cat(parts), torch.cat([levels[0, :5], levels[1, :900], levels[2, :2]]).float())
