"""Centre frequencies, against librosa's."""

import librosa
import numpy as np
import pytest

from fma_genre.frequencies import centres, mels


@pytest.mark.parametrize("rate", [1600, 8000, 22050, 48000])
@pytest.mark.parametrize("bands", [2, 20, 128])
def test_mel_bands_are_where_librosa_has_them(rate: int, bands: int) -> None:
    found = centres({"sample_rate": rate, "n_fft": 2048, "bands": bands})
    expected = librosa.mel_frequencies(n_mels=bands + 2, fmin=0, fmax=rate / 2)[1:-1]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("rate", [8000, 22050])
def test_stft_bins_are_where_librosa_has_them_without_0_hertz(rate: int) -> None:
    found = centres({"sample_rate": rate, "n_fft": 1024})
    np.testing.assert_allclose(found, librosa.fft_frequencies(sr=rate, n_fft=1024)[1:], rtol=1e-12)


def test_mel_scale_is_librosas() -> None:
    hertz = np.array([0, 1, 440, 999, 1000, 1001, 22050])
    np.testing.assert_allclose(mels(hertz), librosa.hz_to_mel(hertz), rtol=1e-12)
    assert float(mels(440)) == pytest.approx(librosa.hz_to_mel(440))
