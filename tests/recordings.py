"""Ten-second recordings, with a different note in each second, in formats that decoders disagree about."""

import functools
import io
import struct
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import soundfile

RATE = 44100
SECONDS = 10
NOTES = [300 + 150 * second for second in range(SECONDS)]  # Hz
BITRATES = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]  # kbit/s, MPEG-1 layer III
RATES = [44100, 48000, 32000]


def melody(first: int = 0, last: int = SECONDS, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """Seconds `first` to `last` of the melody, (samples, channels) float32."""
    time = np.arange(rate) / rate
    samples = np.concatenate([0.5 * np.sin(2 * np.pi * note * time) for note in NOTES[first:last]])
    return np.repeat(samples[:, None], channels, axis=1).astype(np.float32)


def heard(samples: np.ndarray, rate: int) -> list[int]:
    """The note nearest to the loudest frequency in the middle of each second of the samples (samples,)."""
    notes = []
    for start in range(rate // 4, len(samples) - rate // 2 + 1, rate):
        middle = samples[start : start + rate // 2]
        loudest = 2 * np.abs(np.fft.rfft(middle * np.hanning(len(middle)))).argmax()  # Hz
        notes.append(min(NOTES, key=lambda note: abs(note - loudest)))
    return notes


def encode(
    samples: np.ndarray, rate: int = RATE, kind: str = "mp3", codec: str = "libmp3lame", **options: Any
) -> bytes:
    """Encode (samples, channels) with FFmpeg. With `seekable=False`, the encoder cannot go back to correct a header."""
    file = io.BytesIO() if options.pop("seekable", True) else Pipe()
    bit_rate = options.pop("bit_rate", None)
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    with av.open(file, "w", format=kind, options=options.pop("muxer", {})) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout=layout, options=options.pop("encoder", {}))
        if bit_rate:
            stream.bit_rate = bit_rate
        planar = np.ascontiguousarray(samples.T)
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate)
        for start in range(0, planar.shape[1], rate):
            frame = av.AudioFrame.from_ndarray(planar[:, start : start + rate], format="fltp", layout=layout)
            frame.sample_rate = rate
            for converted in resampler.resample(frame):
                container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
    return file.getvalue()


class Pipe:
    """A file that cannot seek."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def getvalue(self) -> bytes:
        return bytes(self._written)


def mp3(first: int = 0, last: int = SECONDS, rate: int = RATE, channels: int = 1, **options: Any) -> bytes:
    """An MP3 of 64 kbit/s."""
    return encode(melody(first, last, rate, channels), rate, bit_rate=64_000, **options)


def vbr_without_count() -> bytes:
    """An MP3 with noise in the first second. Its long frames make a decoder estimate too short a file."""
    samples = melody()
    samples[:RATE] += 0.2 * np.random.default_rng(0).normal(size=(RATE, 1)).astype(np.float32)
    return encode(samples, bit_rate=96_000, encoder={"abr": "1"}, muxer={"write_xing": "0"})


def flipped(seed: int) -> bytes:
    """An MP3 in which 120 consecutive bytes are inverted."""
    data = np.frombuffer(mp3(), np.uint8).copy()
    start = int(np.random.default_rng(seed).integers(5000, len(data) - 5000))
    data[start : start + 120] ^= 0xFF
    return data.tobytes()


def opus(first: int = 0, last: int = SECONDS, channels: int = 1) -> bytes:
    return encode(melody(first, last, 48000, channels), 48000, "ogg", "libopus")


def vorbis(first: int = 0, last: int = SECONDS, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, melody(first, last, rate), rate, format="OGG", subtype="VORBIS")
    return file.getvalue()


def video(kind: str) -> bytes:
    """AAC beside pictures, which come first and last four times as long."""
    file = io.BytesIO()
    with av.open(io.BytesIO(playable("M4A")), "r") as audio, av.open(file, "w", format=kind) as container:
        pictures = container.add_stream("mpeg4", rate=1, width=16, height=16, pix_fmt="yuv420p")
        sound = container.add_stream_from_template(audio.streams.audio[0])
        for _ in range(4 * SECONDS):
            container.mux(pictures.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(pictures.encode(None))
        for packet in audio.demux(audio.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = sound
                container.mux(packet)
    return file.getvalue()


ID3V1 = b"TAG" + bytes(125)
ID3V2 = b"ID3\x03\0\0" + bytes([0, 12, 26, 64]) + bytes(200_000)  # the size is stored with 7 bits per byte

# Recordings whose ten seconds are all audible, except for a moment at the damage.
PLAYABLE: dict[str, Callable[[], bytes]] = {
    "VBR without a frame count": vbr_without_count,
    "two MP3s joined": lambda: mp3(0, 2) + mp3(2),
    "three MP3s joined, with tags between": lambda: mp3(0, 3) + ID3V1 + mp3(3, 6) + ID3V1 + mp3(6),
    "joined without frame counts": lambda: mp3(0, 5, muxer={"write_xing": "0"}) + mp3(5, muxer={"write_xing": "0"}),
    "mono, then stereo": lambda: mp3(0, 4) + mp3(4, channels=2),
    "stereo, then mono": lambda: mp3(0, 4, channels=2) + mp3(4),
    "44.1 kHz, then 48": lambda: mp3(0, 4) + mp3(4, rate=48000),
    "44.1 kHz, then 22.05": lambda: mp3(0, 7) + mp3(7, rate=22050),
    **{f"120 bytes flipped, seed {seed}": lambda seed=seed: flipped(seed) for seed in range(3)},  # type: ignore[misc]
    "zeros first": lambda: bytes(1000) + mp3(),
    "begins within a frame": lambda: mp3(muxer={"write_xing": "0", "id3v2_version": "0"})[77:],
    "zeros last": lambda: mp3() + bytes(2000),
    "text last": lambda: mp3() + b"<html>the end</html>" * 100,
    "a tag last": lambda: mp3() + ID3V1,
    "streamed FLAC": lambda: encode(melody(), kind="flac", codec="flac", seekable=False),
    "FLAC": lambda: encode(melody(), kind="flac", codec="flac"),
    "streamed WAV": lambda: encode(melody(), kind="wav", codec="pcm_s16le", seekable=False),
    "WAV of 24 bits": lambda: encode(melody(channels=2), kind="wav", codec="pcm_s24le"),
    "WAV of 8 bits": lambda: encode(melody(), kind="wav", codec="pcm_u8"),
    "M4A": lambda: encode(melody(channels=2), kind="ipod", codec="aac"),
    "video in MP4": lambda: video("mp4"),
    "video in Matroska": lambda: video("matroska"),
    "ALAC": lambda: encode(melody(), kind="ipod", codec="alac"),
    "AAC": lambda: encode(melody(), kind="adts", codec="aac"),
    "WMA": lambda: encode(melody(channels=2), kind="asf", codec="wmav2", bit_rate=128_000),
    "Opus": opus,
    "WebM": lambda: encode(melody(rate=48000), 48000, "webm", "libopus"),
    "two Opus streams": lambda: opus(0, 4) + opus(4),
    "mono Opus, then stereo": lambda: opus(0, 4) + opus(4, channels=2),
    "Vorbis of 44.1 kHz, then 22.05": lambda: vorbis(0, 4) + vorbis(4, rate=22050),
    "Opus, then Vorbis": lambda: opus(0, 4) + vorbis(4),
    "two MP3s with a picture between": lambda: mp3(0, 4) + ID3V2 + mp3(4),
    "two MP3s with zeros between": lambda: mp3(0, 4) + bytes(100_000) + mp3(4),
    "very many zeros last": lambda: mp3() + bytes(1_000_000),
    "WAV of 64 bits": lambda: encode(melody(), kind="wav", codec="pcm_s64le"),
    "two AACs": lambda: b"".join(encode(melody(*part), kind="adts", codec="aac") for part in ((0, 4), (4, SECONDS))),
    "AIFF": lambda: encode(melody(), kind="aiff", codec="pcm_s16be"),
}


@functools.cache
def playable(name: str) -> bytes:
    return PLAYABLE[name]()


def audible_seconds(data: bytes) -> float:
    """Seconds of audio in an MPEG-1 layer III stream, summed over the frames with a valid header."""
    found = 0.0
    at = 0
    while at + 4 <= len(data):
        length, seconds = _frame(data, at)
        following = at + length
        if length and (following + 4 > len(data) or _frame(data, following)[0]):
            found += seconds
            at = following
        else:
            at += 1
    return found


def _frame(data: bytes, at: int) -> tuple[int, float]:
    """Length in bytes and duration in seconds of the frame at this position; zeros if there is no frame header."""
    (header,) = struct.unpack_from(">I", data, at)
    bitrate, rate = header >> 12 & 15, header >> 10 & 3
    if header >> 17 != 0x7FFD or bitrate in (0, 15) or rate == 3:
        return 0, 0.0
    padding = header >> 9 & 1
    return 144_000 * BITRATES[bitrate] // RATES[rate] + padding, 1152 / RATES[rate]
