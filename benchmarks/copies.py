"""Copies of an audio archive whose clips were recorded, encoded or played differently.

FFmpeg makes the copies, so its resampler and its MP3 encoder are not those of the project. Each copy has the names of
the original's members, and can be used as `audio` of a data set.
"""

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import pandas as pd
import soundfile
from joblib import Parallel, delayed

from fma_genre.archives import receipt, zips
from fma_genre.archives.clips import clips_of
from fma_genre.common import documents, files
from fma_genre.common.errors import InputError
from fma_genre.common.params import Spectrograms
from fma_genre.common.workers import worker_count
from fma_genre.features import audio
from fma_genre.features.extraction import array_path, extract
from fma_genre.store import LEVELS, Description, Store, sources

SEMITONE = 2 ** (1 / 12)
CUT = 0.1  # s


@dataclass(frozen=True)
class Change:
    """How a clip is changed, and then encoded."""

    filters: tuple[tuple[str, str], ...] = ()  # FFmpeg's audio filters with their arguments; {rate} is the clip's rate
    codec: str = "flac"
    container: str = "flac"
    bitrate: int | None = None  # bit/s


def pitch(factor: float) -> Change:
    """A shift of the pitch at the same tempo. The clip is played faster or slower, then stretched."""
    return Change((("asetrate", f"{{rate}}*{factor}"), ("aresample", "{rate}"), ("atempo", f"{1 / factor}")))


CHANGES = {
    "16 kHz": Change((("aresample", "16000"),)),
    "8 kHz": Change((("aresample", "8000"),)),
    "MP3 64 kbit/s": Change((), "libmp3lame", "mp3", 64_000),
    "-20 dB": Change((("volume", "-20dB"),)),
    "+1 semitone": pitch(SEMITONE),
    "-1 semitone": pitch(1 / SEMITONE),
    "start cut": Change((("atrim", f"start={CUT}"),)),
}


def copied_archive(name: str, tracks: pd.DataFrame, folder: Path) -> Path:
    """Copy the clips of these tracks to an archive in `folder`, unless it exists.

    Args:
        name: a key of CHANGES.
        tracks: rows of the index for the tracks.

    Returns:
        The path of the copy, which has a clip for each track.
    """
    original, change = receipt.open_archive(receipt.read_receipt(), "audio"), CHANGES[name]
    copy = folder / f"{documents.hash_json([original.sha1, asdict(change), *sources(tracks)])[:16]}.zip"
    if not copy.exists():
        folder.mkdir(parents=True, exist_ok=True)
        members = list(dict.fromkeys(clip.member for clip in clips_of(original.path, tracks)))  # clips may share one
        write_copy(original.path, members, copy, change)
    return copy


def write_copy(original: Path, members: Sequence[zipfile.ZipInfo], copy: Path, change: Change) -> None:
    """Write an archive with changed copies of some clips. Unreadable clips stay as they are."""
    tasks = (delayed(_changed)(original, member, change) for member in members)
    with files.atomic(copy) as part, zipfile.ZipFile(part, "w") as target:
        for member, data in zip(members, Parallel(worker_count(), return_as="generator")(tasks), strict=True):
            target.writestr(zipfile.ZipInfo(member.filename), data)


def extract_store(
    archive: Path, tracks: pd.DataFrame, settings: Spectrograms, descriptions: Mapping[str, Description], folder: Path
) -> dict[str, Store]:
    """Extract the spectrograms of an archive to `folder`. A rerun resumes.

    Args:
        tracks: rows of the index for the tracks; their clips must be readable.
        descriptions: description of each representation's store.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = extract(archive, clips_of(archive, tracks), settings, folder)
    if not outcomes["frames"].all():
        raise InputError(f"{archive}: expected readable clips of all tracks, found others")
    index = tracks.assign(frames=outcomes["frames"]).reset_index(drop=True)
    stores = {name: Store(folder / name, description, index) for name, description in descriptions.items()}
    for name, opened in stores.items():
        opened.folder.mkdir(exist_ok=True)
        files.link(array_path(folder, name), opened.folder / LEVELS)
    return stores


def _changed(archive: Path, member: zipfile.ZipInfo, change: Change) -> bytes:
    data = zips.read(archive, member)
    try:
        stretches = audio.decode(data, seconds=600).piece.stretches
    except audio.UnreadableClipError:
        return data
    rate, wav = stretches[0].rate, io.BytesIO()
    samples = stretches[0].channels if len(stretches) == 1 else audio.to_mono(stretches, rate)
    soundfile.write(wav, samples, rate, format="WAV", subtype="FLOAT")
    wav.seek(0)
    return encode(wav, change)


def encode(wav: io.BytesIO, change: Change) -> bytes:
    """Change and encode a WAV file."""
    encoded = io.BytesIO()
    with av.open(wav, "r") as source, av.open(encoded, "w", format=change.container) as target:
        stream = source.streams.audio[0]
        frames = list(_filtered(source.decode(stream), stream, change))
        output = target.add_stream(change.codec, rate=frames[0].sample_rate, layout=frames[0].layout.name)
        assert isinstance(output, av.AudioStream)
        output.format = frames[0].format.name
        if change.bitrate:
            output.bit_rate = change.bitrate
        for frame in frames:
            target.mux(output.encode(frame))
        target.mux(output.encode(None))
    return encoded.getvalue()


def _filtered(frames: Iterator[av.AudioFrame], stream: av.AudioStream, change: Change) -> Iterator[av.AudioFrame]:
    """Yield frames after the filters, in the codec's sample format."""
    graph = av.filter.Graph()
    sample_format = "fltp" if change.codec == "libmp3lame" else "s16"
    steps = [*change.filters, ("aformat", f"sample_fmts={sample_format}:channel_layouts=mono|stereo")]
    nodes = [graph.add_abuffer(template=stream)]
    nodes += [graph.add(name, arguments.format(rate=stream.rate)) for name, arguments in steps]
    nodes.append(graph.add("abuffersink"))
    graph.link_nodes(*nodes).configure()
    for frame in [*frames, None]:
        graph.push(frame)
        while True:
            try:
                filtered = graph.pull()
            except (av.BlockingIOError, av.EOFError):
                break
            assert isinstance(filtered, av.AudioFrame)
            filtered.pts = None  # the encoder numbers the samples
            yield filtered
