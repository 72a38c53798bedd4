"""Segments: where they are cut, how clips shorter than one are filled, and what they are standardised by."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from scipy.fft import dct, idct
from torch import Tensor

from fma_genre import segments
from fma_genre.frequencies import centres
from fma_genre.segments import Clips
from fma_genre.store import create, write

SEGMENT = 128
MEL = {"representation": "mel", "sample_rate": 22050, "n_fft": 2048, "bands": 3, "segment_frames": SEGMENT}


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
    return Clips(
        levels,
        rows=count,
        lengths=torch.tensor(lengths),
        labels=count,
        classes=[],
        segment=segment,
        frequencies=torch.arange(levels.shape[2]),
    )


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


def test_some_tracks_keep_their_rows_lengths_and_labels() -> None:
    chosen = clips([7, 9, 5]).of(torch.tensor([2, 0]))
    assert chosen.rows.tolist() == chosen.labels.tolist() == [2, 0]
    assert chosen.lengths.tolist() == [5, 7]


def test_a_store_is_loaded_by_split_with_the_genres_of_all(tmp_path: Path) -> None:
    """The gap in `row` is a clip that could not be read; a genre may be called None."""
    (tmp_path / "index.csv").write_text(
        "row,track_id,artist_id,genre,split,frames\n"
        "0,10,1,Rock,training,9\n2,12,2,None,test,5\n3,13,3,Folk,training,7\n4,14,4,Rock,validation,9\n"
    )
    levels = store([9, 0, 5, 7, 9])
    np.save(tmp_path / "mel.npy", levels.numpy())
    splits = Clips.load(tmp_path, MEL, torch.device("cpu"))
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
        np.testing.assert_array_equal(of_split.frequencies, centres(MEL))


def test_a_store_that_does_not_fit_is_read_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The device "meta" holds no data: whatever is cut out can only have come from the file."""
    (tmp_path / "index.csv").write_text("row,track_id,artist_id,genre,split,frames\n0,10,1,Rock,training,300\n")
    levels = store([300])
    np.save(tmp_path / "mel.npy", levels.numpy())
    monkeypatch.setattr(segments, "fits", lambda size, device: False)
    training = Clips.load(tmp_path, MEL, torch.device("meta"))["training"]
    assert "mel.npy: 0.0 GB do not fit on meta, so segments are read from the file" in capsys.readouterr().out
    assert torch.equal(training.levels, levels)
    on_cpu = replace(clips([300]), levels=training.levels)
    assert torch.equal(on_cpu.crop(torch.tensor([0]), torch.tensor([100])), levels[:, 100:228])


def test_a_store_larger_than_the_memory_can_be_read(tmp_path: Path) -> None:
    tracks, bands = 2**20, 1024
    create(tmp_path / "mel.npy", (tracks, 1024, bands))  # 1 TiB, next to none of which is on the disk
    write(tmp_path / "mel.npy", tracks - 1, np.full((2, bands), 7, dtype=np.uint8))
    (tmp_path / "index.csv").write_text(f"row,track_id,artist_id,genre,split,frames\n{tracks - 1},1,1,Rock,test,200\n")
    test = Clips.load(tmp_path, MEL | {"bands": bands}, torch.device("cpu"))["test"]
    assert test.crop(torch.tensor([0]), torch.tensor([0])).sum(dtype=torch.int64) == 2 * bands * 7


def test_moved_bins_count_as_if_levels_had_been_moved() -> None:
    levels = store([200, 200, 200], bins=8)
    normalisation = clips([200] * 3, levels).normalisation(5)
    taken = torch.tensor([[0, 0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7, 7]])
    found = normalisation.shifted_coefficients([levels[:2], levels[2:]], taken)
    moved = torch.cat([levels[:2][..., taken[0]], levels[2:][..., taken[1]]])
    np.testing.assert_allclose(found, normalisation.coefficients(moved), atol=1e-4)


@pytest.mark.parametrize("length", [1, 100, 128, 129, 140])
def test_random_starts_are_uniform_over_all_that_fit(length: int) -> None:
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
        of_track = starts[tracks == track]
        assert of_track[0] == 0
        assert of_track[-1] == max(0, length - SEGMENT)
        assert len(of_track) == -(-length // SEGMENT)
        assert len(of_track) == 1 or 0 < of_track.diff().min() <= of_track.diff().max() <= SEGMENT


# Normalisation. ---------------------------------------------------------------------------------------------------


def filled(levels: Tensor, lengths: list[int]) -> np.ndarray:
    """The frames that clips fill, (frames, bins)."""
    return np.concatenate([levels[row, :length].numpy() for row, length in enumerate(lengths)]).astype(np.float64)


@pytest.mark.parametrize("chunk", [1, 2, 64])
def test_mel_bands_become_standardised_cepstra(chunk: int) -> None:
    """Over bands as wide as each other, the cosines are SciPy's DCT."""
    lengths = [1, 40, 300, 7, 128]
    levels = store([*lengths, 299], bins=12, frames=310)  # the last row of the store is of another split
    even = replace(clips(lengths, levels), frequencies=torch.arange(1.0, 13) * 60)  # where the mel scale is linear
    normalisation = even.normalisation(5, chunk)
    frames = filled(levels, lengths)
    standard = (frames - frames.mean(axis=0)) / frames.std(axis=0)
    cepstrum = dct(standard, axis=1)[:, :5]
    expected = cepstrum / cepstrum.std(axis=0)
    found = normalisation.coefficients(torch.from_numpy(frames))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    smooth = idct(np.pad(expected * [2, 1, 1, 1, 1], ((0, 0), (0, 7))), axis=1)
    found = normalisation(torch.from_numpy(frames)).numpy()
    np.testing.assert_allclose(found / found.std(), smooth / smooth.std(), atol=1e-4)


def test_bins_have_a_say_by_their_share_of_the_mel_scale() -> None:
    """Both representations of one smooth spectrum have the same coefficients, but for their sampling."""
    levels, generator = {}, np.random.default_rng(0)
    amplitudes = generator.normal(size=(1, 400, 3)) * [3, 2, 1]
    for name, settings in (("mel", MEL | {"bands": 128}), ("stft", {"sample_rate": 22050, "n_fft": 1024})):
        place = librosa.hz_to_mel(centres(settings)) / librosa.hz_to_mel(11025)
        waves = amplitudes @ np.cos(np.pi * np.arange(1, 4)[:, None] * place)
        chosen = replace(
            clips([400], torch.from_numpy((128 + 10 * waves).astype(np.uint8))),
            frequencies=torch.tensor(centres(settings)),
        )
        levels[name] = chosen.normalisation(4).coefficients(chosen.levels)[0, :, 1:]
    for first, second in zip(levels["mel"].T, levels["stft"].T, strict=True):
        assert np.corrcoef(first, second)[0, 1] > 0.97


def test_input_of_a_network_has_mean_0_and_deviation_about_1() -> None:
    lengths = [400] * 3
    levels = store(lengths, bins=24)
    standard = clips(lengths, levels).normalisation(8)(levels)
    assert standard.shape == levels.shape
    np.testing.assert_allclose(standard.mean(dim=(0, 1)), 0, atol=1e-4)
    assert float(standard.square().mean()) == pytest.approx(1, rel=1e-4)


def test_with_as_many_coefficients_as_bins_nothing_is_lost() -> None:
    levels = store([400], bins=6)
    normalisation = clips([400], levels).normalisation(100)
    assert normalisation.analysis.shape == (6, 6)
    back = normalisation(levels) @ torch.linalg.inv(normalisation.analysis @ normalisation.synthesis)
    np.testing.assert_allclose(back + normalisation.mean, levels, atol=0.01)


def test_what_hardly_varies_is_not_blown_up() -> None:
    levels = torch.full((4, 200, 8), 7, dtype=torch.uint8)
    levels[:, ::2] = 107  # all bins alike: every coefficient but the first is constant
    normalisation = clips([200] * 4, levels).normalisation(8)
    assert normalisation(levels).abs().max() < 10
    empty = store([200], bins=8)
    empty[..., 6:] = 0  # as above half the rate of what was resampled
    normalisation = clips([200], empty).normalisation(8)
    taken = torch.tensor([[0, 0, 1, 2, 3, 4, 5, 5]])  # content moves into it
    shifted = normalisation.shifted_coefficients([empty], taken)
    assert normalisation.spectra(shifted).square().mean() < 100 * normalisation(empty).square().mean()
    silent = clips([200], torch.zeros(1, 200, 8, dtype=torch.uint8)).normalisation(8)
    assert torch.equal(silent(torch.zeros(1, 5, 8, dtype=torch.uint8)), torch.zeros(1, 5, 8))
