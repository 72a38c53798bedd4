"""Excerpts of tracks to listen to, as small MP3 files that any browser plays, straight from the audio archive."""

import io
from pathlib import Path

import av
import numpy as np
import pandas as pd

from fma_genre.archives import zips
from fma_genre.archives.clips import Clip, clips_of
from fma_genre.archives.receipt import open_current
from fma_genre.common.errors import InputError
from fma_genre.common.params import Params
from fma_genre.features import audio
from fma_genre.features.stretches import UnreadableClipError

SECONDS = 30.0  # longest excerpt; the FMA's clips are not longer
RATE, BIT_RATE = 32_000, 48_000  # Hz and bit/s, so that an excerpt has at most 180 kB


def excerpts(tracks: pd.DataFrame, params: Params) -> dict[int, bytes]:
    """The clip of each track, or its first SECONDS, mixed to mono, as MP3 files by track id.

    Args:
        tracks: rows of the index (see `fma_genre.store`).

    Raises:
        InputError: the archive is missing or belongs to another data set, or a clip cannot be read.
        FileNotFoundError: the receipt of the archives does not exist.
    """
    _, archive = open_current(params, "audio")
    clips = clips_of(archive.path, tracks)
    seconds = min(SECONDS, params.spectrograms.seconds)  # a clip may be a part of a longer file
    return {
        int(track): mp3(_samples(archive.path, clip, int(track), seconds), RATE)
        for track, clip in zip(tracks["track_id"], clips, strict=True)
    }


def _samples(path: Path, clip: Clip, track: int, seconds: float) -> np.ndarray:
    try:
        return audio.load(zips.read(path, clip.member), RATE, seconds, clip.start).samples
    except (*zips.ZIP_ERRORS, UnreadableClipError) as error:
        raise InputError(f"{path}: expected a clip of track {track} that can be decoded, found: {error}") from error


def mp3(samples: np.ndarray, rate: int) -> bytes:
    """Encode mono samples (samples,), full scale 1, at BIT_RATE."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("mp3", rate=rate, layout="mono", bit_rate=BIT_RATE)
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()
