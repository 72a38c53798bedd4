"""Extraction: what is wrong with a clip is counted, what is wrong with the disk is not."""

from pathlib import Path

import pytest

from fma_genre import InputError
from fma_genre.extraction import extract

SETTINGS = {
    "sample_rate": 22050, "seconds": 4, "hop": 512, "floor_db": 100, "workers": 1,
    "mel": {"n_fft": 2048, "bands": 128}, "stft": {"n_fft": 1024},
}  # fmt: skip


def test_an_archive_that_has_gone_is_no_unreadable_clip(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(extract(tmp_path / "gone.zip", ["000/000002.mp3"], SETTINGS, tmp_path))


def test_more_mel_bands_than_can_be_told_apart_are_refused(tmp_path: Path) -> None:
    settings = SETTINGS | {"mel": {"n_fft": 256, "bands": 400}}
    with pytest.raises(InputError, match=r"spectrograms\.mel: expected bands that n_fft can tell apart, found \d+"):
        list(extract(tmp_path / "any.zip", [], settings, tmp_path))
