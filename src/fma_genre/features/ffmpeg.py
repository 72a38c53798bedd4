"""Decoding with FFmpeg's libraries. They decode past damage, joined files and new formats."""

import io
import mmap
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from av.stream import Disposition

from fma_genre.features.stretches import Stretch, UnreadableClipError, check_format

# Demuxers that read only the file itself. A demuxer of playlists would open other files.
FORMATS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,tta,w64,wav,wv"
OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": ""}
FRAMES = ("mp3", "aac")  # streams of frames without a container
LONGEST_FRAME = 2881  # bytes, in MPEG audio
OGG_BEGINNING = b"OggS\0\x02"  # beginning of a stream's first page


class FFmpeg:
    """A file opened with FFmpeg."""

    name = "ffmpeg"

    def __init__(self, descriptor: int) -> None:
        """Open the file; raise UnreadableClipError if it has no audio that FFmpeg can decode."""
        parts = _parts(descriptor)
        self._links = [_Link(parts[0])]
        self._is_whole = len(parts) == 1
        self._decoded = self._decode(parts[1:])
        self._put_back: list[Stretch] = []
        self.has_ended = False  # whether a read reached the end of the file

    def close(self) -> None:
        for link in self._links:
            link.close()

    def read(self, seconds: float) -> list[Stretch]:
        """Read up to `seconds` more; return an empty list at the end of the file.

        Raises:
            UnreadableClipError: the audio has an impossible format.
        """
        blocks = []
        missing = Fraction(seconds).limit_denominator(10**6)
        while block := self._next():
            count = int(missing * block.rate)
            if count < len(block.channels):
                blocks.append(Stretch(block.channels[:count], block.rate))
                self.put_back([Stretch(block.channels[count:], block.rate)])
                break
            blocks.append(block)
            missing -= block.seconds
        return _joined(blocks)

    def put_back(self, stretches: list[Stretch]) -> None:
        """Put stretches back in front of the unread audio, so that the next `read` begins with them."""
        self._put_back = stretches + self._put_back

    def length(self) -> float:
        """Length of the file in seconds, as estimated from the packets read so far."""
        return float(sum(link.length() for link in self._links))

    def announced(self) -> float:
        """Length of the file in seconds according to its header, or as FFmpeg estimates it; 0 if unknown."""
        return float(self._links[0].announced()) if self._is_whole else 0.0

    def _next(self) -> Stretch | None:
        if self._put_back:
            return self._put_back.pop(0)
        block = next(self._decoded, None)
        self.has_ended = block is None
        return block

    def _decode(self, later: "list[Part]") -> Iterator[Stretch]:
        yield from self._links[0].decode()
        for part in later:
            try:
                self._links.append(_Link(part))
            except UnreadableClipError:
                continue
            yield from self._links[-1].decode()


class Part:
    """A range of bytes of a file, with the methods that PyAV needs. The descriptor's own position does not move."""

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        self._descriptor, self._start, self.size = descriptor, start, end - start
        self._position = 0

    def read(self, size: int) -> bytes:
        data = self.at(self._position, size)
        self._position += len(data)
        return data

    def at(self, position: int, size: int) -> bytes:
        """Read up to `size` bytes at a position."""
        return os.pread(self._descriptor, max(0, min(size, self.size - position)), self._start + position)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position and return it. Return -1 if a damaged file leads to a position before the beginning."""
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if position < 0:
            return -1
        self._position = position
        return position

    def tell(self) -> int:
        return self._position


def _parts(descriptor: int) -> list[Part]:
    """Split a chained Ogg file into its streams, since FFmpeg stops if their formats differ. Other files stay whole."""
    size = os.fstat(descriptor).st_size
    starts = [0]
    if os.pread(descriptor, 4, 0) == OGG_BEGINNING[:4]:
        with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as content:
            while (start := content.find(OGG_BEGINNING, starts[-1] + 1)) >= 0:
                starts.append(start)
    return [Part(descriptor, start, end) for start, end in zip(starts, [*starts[1:], size], strict=True)]


class _Link:
    """One container, with statistics of the packets read from it."""

    def __init__(self, part: Part) -> None:
        """Open the container; raise UnreadableClipError if it has no audio that FFmpeg can decode."""
        self._part = part
        try:
            self._container = av.open(cast(Any, part), "r", options=OPTIONS, metadata_errors="ignore")
            self._stream = self._container.streams.audio[0]
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise UnreadableClipError("no audio that FFmpeg can decode") from error
        if not self._stream.codec_context:
            raise UnreadableClipError("audio in a format that FFmpeg does not know")
        self._stream.codec_context.thread_count = 1
        self._format = self._container.format.name
        self._scanned = Fraction(0)  # seconds of all packets read, including damaged ones
        self._start: int | None = None  # time stamp of the first packet
        self._end = Fraction(0)  # seconds from the first packet's beginning to the latest end of a packet
        self._first = 0  # position of the first packet, bytes
        self._frame_seconds = Fraction(0)
        self._broke_off = False

    def close(self) -> None:
        self._container.close()

    def decode(self) -> Iterator[Stretch]:
        """Decode packet by packet, and skip damaged packets."""
        try:
            for packet in self._container.demux(self._stream):
                self._count(packet)
                yield from _frames(packet)
        except av.FFmpegError:
            self._broke_off = True

    def length(self) -> Fraction:
        """Longest of the lengths in seconds that the packets, their time stamps and the header give."""
        known = max(self._scanned, self._end)
        if self._broke_off:  # assume that the rest has as many bytes per second
            known *= Fraction(self._part.size, max(self._part.tell(), 1))
        return max(known, self._declared())

    def announced(self) -> Fraction:
        """Length of the audio in seconds that FFmpeg found when it opened the container; 0 if unknown."""
        covers = [stream for stream in self._container.streams if stream.disposition & Disposition.attached_pic]
        if len(self._container.streams) == 1 + len(covers):
            return Fraction(self._container.duration or 0, av.time_base)
        if "mp4" in self._format:  # other formats of videos give only the length of the longest stream
            return (self._stream.duration or 0) * (self._stream.time_base or Fraction(0))
        return Fraction(0)

    def _count(self, packet: av.Packet) -> None:
        time_base = self._stream.time_base or Fraction(0)
        seconds = (packet.duration or 0) * time_base
        if not self._scanned:
            self._first, self._frame_seconds = packet.pos or 0, seconds
        self._scanned += seconds
        if packet.pts is not None:
            self._start = packet.pts if self._start is None else self._start
            self._end = max(self._end, (packet.pts - self._start) * time_base + seconds)

    def _declared(self) -> Fraction:
        """Length in seconds according to the header. For a stream of frames, FFmpeg's own value is only a guess."""
        if self._format not in FRAMES:
            return self.announced()
        start = max(0, self._first - LONGEST_FRAME)
        before = self._part.at(start, self._first - start)
        return _declared_frames(before) * self._frame_seconds


def _declared_frames(header: bytes) -> int:
    """Number of frames according to the tag that a VBR encoder writes into an MP3's first frame; 0 without a tag.

    A VBRI tag always has the number. A Xing or Info tag has it if the lowest bit of its flags is set.
    """
    for tag in (b"Xing", b"Info"):
        place = header.rfind(tag)
        if place >= 0 and header[place + 7 : place + 8] and header[place + 7] & 1:
            return int.from_bytes(header[place + 8 : place + 12])
    place = header.rfind(b"VBRI")
    return int.from_bytes(header[place + 14 : place + 18]) if place >= 0 else 0


def _frames(packet: av.Packet) -> Iterator[Stretch]:
    try:
        for frame in cast(list[av.AudioFrame], packet.decode()):
            check_format(len(frame.layout.channels), frame.sample_rate)
            yield Stretch(_samples(frame), frame.sample_rate)
    except (av.FFmpegError, ValueError):
        return


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """(samples, channels) float32, full scale 1."""
    converted = av.AudioResampler(format="fltp").resample(frame)
    return np.concatenate([part.to_ndarray() for part in converted], axis=1).T


def _joined(blocks: list[Stretch]) -> list[Stretch]:
    """Join consecutive blocks of the same format."""
    runs: list[list[Stretch]] = []
    for block in blocks:
        if runs and _format(runs[-1][0]) == _format(block):
            runs[-1].append(block)
        else:
            runs.append([block])
    joined = [Stretch(np.concatenate([block.channels for block in run]), run[0].rate) for run in runs]
    return [stretch for stretch in joined if len(stretch.channels)]


def _format(stretch: Stretch) -> tuple[int, int]:
    return stretch.channels.shape[1], stretch.rate
