"""Reading a recording piece by piece. libsndfile decodes as much as it can, then FFmpeg decodes the rest."""

from dataclasses import dataclass
from typing import Self

from fma_genre.features.ffmpeg import FFmpeg
from fma_genre.features.sndfile import Sndfile
from fma_genre.features.stretches import Stretch, UnreadableClipError, duration

AGREEMENT = 0.1  # s; decoders may differ by this, since they drop different amounts of the silence that an encoder adds


@dataclass(frozen=True)
class Piece:
    """Some seconds of a recording."""

    stretches: list[Stretch]
    decoder: str  # libsndfile or ffmpeg
    length: float  # s of the file that it covers; the last piece also covers a rest that was not decoded
    is_last: bool

    @property
    def seconds(self) -> float:
        """Length of the decoded audio in seconds."""
        return duration(self.stretches)


class Recording:
    """An audio file opened for reading."""

    def __init__(self, descriptor: int) -> None:
        """Open the file of a descriptor, and start at the beginning of the file.

        Raises:
            UnreadableClipError: no decoder can open the file.
        """
        self._descriptor = descriptor
        self._requested: list[float] = []  # s, for each earlier call of `read`
        self._refusal: UnreadableClipError | None = None  # libsndfile's error
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
        """Read up to `seconds` more; the piece is empty at the end of the file.

        Raises:
            UnreadableClipError: the file has no audio at all.
        """
        if isinstance(self._decoder, Sndfile):
            piece = self._read_by_sndfile(self._decoder, seconds)
        elif self._decoder:
            piece = self._read_by_ffmpeg(self._decoder, seconds)
        else:
            piece = Piece([], "", 0, is_last=True)
        if not piece.stretches and not self._requested:
            raise self._refusal or UnreadableClipError("no samples")
        self._requested.append(seconds)
        return piece

    def announced(self) -> float:
        """Length of the whole file in seconds, as its decoder announces it; 0 if unknown or after the end."""
        return self._decoder.announced() if self._decoder else 0.0

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
        """Continue with FFmpeg, unless it decodes no more than libsndfile did.

        Args:
            begun: the beginning of the piece, as libsndfile decoded it.
        """
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
        """Length in s of a piece with these stretches. The last piece's also counts audio that was not decoded."""
        left = ffmpeg.length() - sum(self._requested) if ffmpeg.has_ended else 0
        return max(left, duration(stretches))

    def _open_ffmpeg(self) -> FFmpeg | None:
        try:
            return FFmpeg(self._descriptor)
        except UnreadableClipError:
            return None
