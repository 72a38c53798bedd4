"""Recordings that libsndfile refuses or decodes only in part: FFmpeg decodes all audible seconds."""

import functools
import itertools
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fma_genre.features import audio, recording
from fma_genre.features.audio import UnreadableClipError
from fma_genre.features.ffmpeg import FFmpeg
from real import REAL, needs_real
from recordings import NOTES, PLAYABLE, RATE, SECONDS, encode, heard, melody, mp3, playable

TARGET = 22050  # Hz
DAMAGE = 0.6  # s that may be lost near damaged bytes
ROUNDING = 2  # samples; tolerance where the format changes within a recording
PADDING = 0.3  # s of silence that encoders add
KINDS = pytest.mark.parametrize("kind", PLAYABLE)


@KINDS
def test_all_audible_seconds_are_decoded(kind: str) -> None:
    """Each second of the recordings has a known note."""
    clip = audio.load(playable(kind), TARGET, 30)
    assert SECONDS - DAMAGE < len(clip.samples) / TARGET < SECONDS + PADDING
    assert clip.piece.seconds == pytest.approx(len(clip.samples) / TARGET, abs=0.01)
    assert SECONDS - 0.05 < clip.piece.length < SECONDS + PADDING
    assert not clip.cut
    assert heard(clip.samples, TARGET)[: SECONDS - 1] == NOTES[: SECONDS - 1]


@KINDS
def test_windows_are_the_clip_in_pieces(kind: str, tmp_path: Path) -> None:
    """Prediction in windows and extraction of a whole clip give the same samples, whichever decoder takes over."""
    data = playable(kind)
    (tmp_path / "file").write_bytes(data)
    windows = list(audio.windows(tmp_path / "file", TARGET, 3))
    assert sum(window.length for window in windows) == pytest.approx(audio.load(data, TARGET, 30).piece.length, abs=0.1)
    pieces = [window.samples for window in windows]
    assert [len(piece) for piece in pieces[:3]] == pytest.approx([3 * TARGET] * 3, abs=ROUNDING)
    whole = audio.load(data, TARGET, 30).samples
    assert sum(map(len, pieces)) == pytest.approx(len(whole), abs=0.1 * TARGET)
    assert list(itertools.chain(*(heard(piece, TARGET) for piece in pieces[:3]))) == NOTES[:9]


@KINDS
def test_a_longer_recording_is_cut(kind: str) -> None:
    clip = audio.load(playable(kind), TARGET, 5)
    assert clip.cut
    assert clip.piece.length == pytest.approx(5, abs=1e-4)
    assert len(clip.samples) == pytest.approx(5 * TARGET, abs=ROUNDING)
    assert heard(clip.samples, TARGET) == NOTES[:5]


@KINDS
@pytest.mark.parametrize("start", [2, 6])
def test_a_clip_begins_at_its_start_whichever_decoder_reads_it(kind: str, start: int) -> None:
    """FFmpeg takes over before the clip, within it, or not at all."""
    clip = audio.load(playable(kind), TARGET, 3, start)
    assert clip.cut
    assert clip.piece.length == pytest.approx(3, abs=1e-4)
    assert len(clip.samples) == pytest.approx(3 * TARGET, abs=ROUNDING)
    assert heard(clip.samples, TARGET) == NOTES[start : start + 3]


@KINDS
def test_no_recording_has_a_clip_that_begins_after_its_end(kind: str) -> None:
    with pytest.raises(UnreadableClipError, match=r"^no samples after 11 s$"):
        audio.load(playable(kind), TARGET, 3, SECONDS + 1)


def test_a_recording_that_only_ffmpeg_decodes_to_its_end_is_cut() -> None:
    """libsndfile decodes only the first two seconds."""
    clip = audio.load(mp3(0, 2) + mp3(2), TARGET, 2)
    assert (len(clip.samples), clip.cut) == (2 * TARGET, True)


@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), bytes(300), b"x" * 50], ids=["ID3v1", "zeros", "text"])
@pytest.mark.parametrize("seconds", [10, 4.5])
def test_bytes_after_the_audio_change_no_sample(tail: bytes, seconds: float) -> None:
    data = mp3()
    plain, followed = audio.load(data, TARGET, seconds), audio.load(data + tail, TARGET, seconds)
    assert plain.samples.tobytes() == followed.samples.tobytes()
    assert (plain.piece.decoder, followed.piece.decoder, followed.cut) == ("libsndfile", "libsndfile", plain.cut)


@needs_real
@pytest.mark.parametrize("name", ["music/fma_music.zip", "cc_music/fma_ccmusic.zip"])
def test_intact_clips_never_need_the_second_decoder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their samples and the speed of extraction do not depend on FFmpeg."""
    monkeypatch.setattr(recording.Recording, "_open_ffmpeg", lambda _: pytest.fail("FFmpeg was used"))
    with zipfile.ZipFile(REAL / name) as archive:
        members = [member for member in archive.namelist() if member.endswith(".mp3")][::10]
        for member in members:
            piece = audio.load(archive.read(member), TARGET, 30).piece
            assert piece.length == piece.seconds


# Recordings that hold less than they should. ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (mp3(), 10),
        (mp3(muxer={"write_xing": "0"}), 5),  # the file does not say that it was longer
        (encode(melody(), kind="flac", codec="flac"), 10),
        (encode(melody(), kind="wav", codec="pcm_s16le"), 10),
        (encode(melody(), kind="wav", codec="pcm_f32le"), 10),
        (encode(melody(), kind="w64", codec="pcm_s16le"), 10),
        (encode(melody(), kind="au", codec="pcm_s16be"), 10),
        (encode(melody(), kind="adts", codec="aac"), 5),
    ],
    ids=["MP3", "MP3 without a frame count", "FLAC", "WAV", "WAV of floats", "W64", "AU", "AAC"],
)
def test_half_a_recording_is_decoded_and_known_to_be_half(data: bytes, length: float) -> None:
    piece = audio.load(data[: len(data) // 2], TARGET, 30).piece
    assert piece.seconds == pytest.approx(5, abs=0.5)
    assert piece.length == pytest.approx(length, abs=0.5)


def test_the_length_counts_only_what_was_requested() -> None:
    data = mp3()
    piece = audio.load(data[: len(data) // 2], TARGET, 6).piece
    assert (piece.seconds, piece.length) == (pytest.approx(5, abs=0.5), 6)


@pytest.mark.parametrize("seconds", [3, 30])
def test_an_error_late_in_a_file_leaves_what_comes_before(tmp_path: Path, seconds: float) -> None:
    data = bytearray(encode(melody(), kind="flac", codec="flac"))
    data[int(0.75 * len(data)) :] = bytes(len(data) - int(0.75 * len(data)))
    (tmp_path / "file").write_bytes(data)
    windows = list(audio.windows(tmp_path / "file", TARGET, seconds))
    decoded = np.concatenate([window.samples for window in windows])
    assert sum(window.length for window in windows) == pytest.approx(SECONDS, abs=0.1)
    assert 7 < len(decoded) / TARGET < 8
    assert heard(decoded, TARGET)[:7] == NOTES[:7]


def test_a_window_that_is_not_finite_leaves_the_others(tmp_path: Path) -> None:
    samples = melody()
    samples[4 * RATE + 5] = np.nan
    soundfile.write(tmp_path / "file", samples, RATE, format="WAV", subtype="FLOAT")
    windows = list(audio.windows(tmp_path / "file", TARGET, 3))
    assert [len(window.samples) / TARGET for window in windows] == [3, 0, 3, 1]
    assert sum(window.length for window in windows) == SECONDS


# Files that are no recordings. ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile '{}'\n"],
    ids=["HLS", "concat"],
)
def test_a_playlist_opens_no_other_file(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.mp3").write_bytes(mp3())
    monkeypatch.chdir(tmp_path)
    for name in ("secret.mp3", str(tmp_path / "secret.mp3"), f"file:{tmp_path}/secret.mp3"):
        with pytest.raises(UnreadableClipError):
            audio.load(text.format(name).encode(), TARGET, 30)


def test_an_unknown_codec_is_refused() -> None:
    data = bytearray(encode(melody(0, 1), kind="wav", codec="pcm_s16le"))
    struct.pack_into("<H", data, 20, 0x1234)
    with pytest.raises(UnreadableClipError):
        audio.load(bytes(data), TARGET, 30)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("kind", ["caf", "asf", "ogg", "mp4", "matroska", "aiff"])
def test_a_damaged_file_is_decoded_in_part_or_refused(kind: str, seed: int) -> None:
    """No damage causes another exception, for example by a seek before the beginning or an unknown codec."""
    random = np.random.default_rng(seed)
    data = bytearray(second(kind))
    for _ in range(int(random.integers(1, 8))):
        data[int(random.integers(len(data) if seed % 2 else 200))] = int(random.integers(256))
    try:
        piece = audio.load(bytes(data), TARGET, 30).piece
    except UnreadableClipError:
        return
    assert 0 < piece.seconds <= piece.length + 1e-6


@functools.cache
def second(kind: str) -> bytes:
    codecs = {"caf": "alac", "asf": "wmav2", "ogg": "libopus", "mp4": "aac", "matroska": "libopus", "aiff": "pcm_s16be"}
    return encode(melody(0, 1, 48000, 2), 48000, kind, codecs[kind], bit_rate=128_000)


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_refused(seed: int) -> None:
    with pytest.raises(UnreadableClipError):
        audio.load(np.random.default_rng(seed).bytes(100_000), TARGET, 30)


def test_a_resource_fork_in_the_current_folder_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a file opened by its descriptor, which has no name, libsndfile looks for one in the current folder."""
    data = mp3(muxer={"id3v2_version": "0"})
    assert data.startswith(b"\xff")
    expected = audio.load(data, TARGET, 30)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".AppleDouble").mkdir()
    (tmp_path / "._").touch()
    clip = audio.load(data, TARGET, 30)
    assert clip.piece.decoder == expected.piece.decoder == "libsndfile"
    assert clip.samples.tobytes() == expected.samples.tobytes()


def test_a_rate_that_changes_is_resampled_at_the_change() -> None:
    """Each part has the same samples as alone, except for padding by the encoder at both ends."""
    first, second = mp3(0, 4), mp3(4, rate=48000)
    both = audio.load(first + second, TARGET, 30).samples
    alone = audio.load(first, TARGET, 30).samples
    np.testing.assert_allclose(both[: int(3.9 * TARGET)], alone[: int(3.9 * TARGET)], atol=1e-3)
    assert len(both) / TARGET == pytest.approx(SECONDS, abs=PADDING)


def test_the_decoders_agree_on_an_intact_mp3() -> None:
    """They are independent implementations of the standard."""
    data = mp3()
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        (stretch,) = FFmpeg(file.fileno()).read(30)
    other = audio.decode(data, 30)[0].stretches[0]
    assert stretch.rate == other.rate == RATE
    assert len(stretch.channels) == len(other.channels)
    np.testing.assert_allclose(stretch.channels, other.channels, atol=1e-4)
