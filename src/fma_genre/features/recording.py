"""A recording read piece by piece: by libsndfile as far as that comes, then by FFmpeg."""

from dataclasses import dataclass
from typing import Self

from fma_genre.features.ffmpeg import FFmpeg
from fma_genre.features.sndfile import Sndfile
from fma_genre.features.stretches import Stretch, UnreadableClipError, duration

AGREEMENT = 0.1  # s; the decoders differ in how much they drop of the silence that an encoder adds


@dataclass(frozen=True)
class Piece:
    """Some seconds of a recording."""

    stretches: list[Stretch]
    decoder: str  # libsndfile or ffmpeg
    length: float  # s that the file holds; after the last piece, what is left although it could not be decoded counts
    is_last: bool

    @property
    def seconds(self) -> float:
        """How much was decoded."""
        return duration(self.stretches)


class Recording:
    """An audio file opened for reading."""

    def __init__(self, descriptor: int) -> None:
        """Read the file of this descriptor from its beginning; raises UnreadableClipError if no decoder can."""
        self._descriptor = descriptor
        self._requested: list[float] = []  # s, of every piece so far
        self._refusal: UnreadableClipError | None = None  # libsndfile's reason
        self._decoder: Sndfile | FFmpeg | None  # None after the end
        try:
            self._decoder = Sndfile(descriptor)
        except UnreadableClipError as error:
            self._refusal = error
            self._decoder = self._open_ffmpeg()
            if not self._decoder:
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._decoder:
            self._decoder.close()

    def read(self, seconds: float) -> Piece:
        """The next `seconds`, fewer at the end, none after it; raises UnreadableClipError if there are none at all."""
        if isinstance(self._decoder, Sndfile):
            piece = self._read_by_sndfile(self._decoder, seconds)
        elif self._decoder:
            piece = self._read_by_ffmpeg(self._decoder, seconds)
        else:
            piece = Piece([], "", 0, is_last=True)
        if not piece.stretches and not self._requested:
            raise self._refusal or UnreadableClipError("no samples in it")
        self._requested.append(seconds)
        return piece

    def _read_by_sndfile(self, sndfile: Sndfile, seconds: float) -> Piece:
        try:
            stretches = sndfile.read(seconds)
        except UnreadableClipError as error:
            self._refusal = error
            return self._take_over(sndfile, [], seconds)
        if not sndfile.has_ended:
            return Piece(stretches, sndfile.name, duration(stretches), is_last=False)
        if sndfile.has_read_all():
            return Piece(stretches, sndfile.name, duration(stretches) + sndfile.missing(), is_last=True)
        return self._take_over(sndfile, stretches, seconds)

    def _take_over(self, sndfile: Sndfile, begun: list[Stretch], seconds: float) -> Piece:
        """The piece by FFmpeg, which reads on from here, unless it has no more than what libsndfile has begun."""
        length = duration(begun) + sndfile.missing()
        sndfile.close()
        self._decoder = ffmpeg = self._open_ffmpeg()
        if not ffmpeg:
            return Piece(begun, sndfile.name, length, is_last=True)
        for passed in self._requested:
            ffmpeg.read(passed)
        ahead = ffmpeg.read(duration(begun) + AGREEMENT)
        if not ffmpeg.has_ended:
            ffmpeg.put_back(ahead)
            return self._read_by_ffmpeg(ffmpeg, seconds)
        length = max(length, self._length(ffmpeg, begun))
        ffmpeg.close()
        self._decoder = None
        return Piece(begun, sndfile.name, length, is_last=True)

    def _read_by_ffmpeg(self, ffmpeg: FFmpeg, seconds: float) -> Piece:
        stretches = ffmpeg.read(seconds)
        return Piece(stretches, ffmpeg.name, self._length(ffmpeg, stretches), is_last=ffmpeg.has_ended)

    def _length(self, ffmpeg: FFmpeg, stretches: list[Stretch]) -> float:
        """Seconds that the file holds of a piece with these stretches; of all that follows them, if it is the last."""
        left = ffmpeg.length() - sum(self._requested) if ffmpeg.has_ended else 0
        return max(left, duration(stretches))

    def _open_ffmpeg(self) -> FFmpeg | None:
        try:
            return FFmpeg(self._descriptor)
        except UnreadableClipError:
            return None
