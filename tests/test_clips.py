"""Clips in memory: crops, segments, short clips, and statistics over the filled frames."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

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
    loaded = Clips.load(open_store("stft", tmp_path), 4, torch.device("cpu"))
    found = {split: (part.rows.tolist(), part.lengths.tolist(), part.labels.tolist()) for split, part in loaded.items()}
    assert found == {
        "training": ([0, 3], [9, 7], [2, 0]),
        "validation": ([4], [9], [2]),
        "test": ([2], [5], [1]),
    }
    for part in loaded.values():
        assert torch.equal(part.levels, levels)
        assert part.classes == ("Folk", "None", "Rock")
        assert part.segment_frames == 4
        assert part.description == description
        assert part.frequencies.tolist() == FREQUENCIES


def test_a_store_that_does_not_fit_is_read_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The device "meta" holds no data, so the levels can only come from the file."""
    levels = random_levels([300, 300])
    index = make_index(["Folk", "Rock"], ["training", "test"], [300, 300])
    write_store(tmp_path, levels.numpy(), index, describe(FREQUENCIES))
    monkeypatch.setattr(clips_module, "fits", lambda size, device: False)
    for _ in range(2):  # as in a process with two runs
        training = Clips.load(open_store("stft", tmp_path), SEGMENT, torch.device("meta"))["training"]
    line = f"{tmp_path}/stft: 0.0 GB of spectrograms do not fit on meta; segments are read from the file\n"
    assert capsys.readouterr().out == line
    assert torch.equal(training.levels, levels)
    on_cpu = replace(clips([300]), levels=training.levels)
    assert torch.equal(on_cpu.crop(torch.tensor([0]), torch.tensor([100])), levels[:1, 100:228])


def test_a_store_larger_than_the_memory_can_be_read(tmp_path: Path) -> None:
    tracks, frames, bins = 2**12, 2**14, 2**14
    lengths = [0] * (tracks - 2) + [200, 200]
    index = make_index(["Folk", "Rock"] * (tracks // 2), ["training"] * (tracks - 1) + ["test"], lengths)
    write_store(tmp_path, np.zeros((0, 0, 0), np.uint8), index, describe(np.linspace(1, 11025, bins)))
    levels = tmp_path / "stft" / LEVELS
    create_array(levels, (tracks, frames, bins))  # 1 TiB, of which the disk stores almost nothing
    write_row(levels, tracks - 1, np.full((2, bins), 7, dtype=np.uint8))
    test = Clips.load(open_store("stft", tmp_path), SEGMENT, torch.device("cpu"))["test"]
    assert test.crop(torch.tensor([0]), torch.tensor([0])).sum(dtype=torch.int64) == 2 * bins * 7


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


@pytest.mark.parametrize("chunk", [1, 2, 64])
def test_statistics_are_those_of_the_filled_frames(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips_module, "CHUNK", chunk)
    lengths = [1, 40, 300, 7, 128]
    levels = random_levels([*lengths, 299], frames=310)  # the last row is in another split
    chosen = make_clips(levels, SEGMENT, lengths=[*lengths, 299]).subset(torch.arange(5))
    frames = np.concatenate([levels[row, :length].numpy() for row, length in enumerate(lengths)]).astype(np.float64)
    found = chosen.statistics()
    assert int(found.frames) == len(frames)
    np.testing.assert_allclose(found.mean, frames.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, frames.std(axis=0), rtol=1e-12)


@pytest.mark.parametrize("chunk", [1, 2, 64])
def test_filled_frames_come_in_order(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips_module, "CHUNK", chunk)
    levels = random_levels([5, 9, 2])
    parts = [part[filled] for part, filled in clips([5, 9, 2], levels).all_frames()]
    assert torch.equal(torch.cat(parts), torch.cat([levels[0, :5], levels[1, :9], levels[2, :2]]))
