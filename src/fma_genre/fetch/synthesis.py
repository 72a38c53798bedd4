"""Synthetic music for the built-in demo: a track's MP3 file, computed from its genre, its artist and a seed.

A genre is a row of `GENRES` with six attributes: rhythm, drum kit, harmony, lead, backing and production. A track takes
each attribute from its own genre or, with probability `CROSSOVER`, from its artist's second genre, so some tracks are
truly ambiguous. Each artist also has a characteristic spectral tilt, tuning, tempo, lead instrument and noise floor.

Frequencies are in Hz, times in seconds, and pitches in semitones. Samples are float64 until they are rounded to 16
bits. A clip repeats a single loop, which consists of whole bars.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import soundfile
from numpy.typing import NDArray

Samples = NDArray[np.float64]

# Probability that an attribute comes from the artist's second genre. A higher value makes genres overlap more. At 0,
# all genres are distinct. At 0.5, a track's own genre cannot be distinguished from the second genre.
CROSSOVER = 0.12

RATE = 44100  # sample rate in Hz of clips without a defect
LOOP_SECONDS = 5.0  # encoding takes most of the time, so a short loop is encoded and its MP3 frames are repeated
CHORDS = 4  # chords per loop, of equal length


@dataclass(frozen=True)
class Rhythm:
    """Tempo, and one bar of each part as a string: each character is a step of equal length, and `x` is a note."""

    tempo: float  # beats per minute
    kick: str
    snare: str
    hat: str
    bass: str


@dataclass(frozen=True)
class Kit:
    """Sounds of the drum kit."""

    kick_hz: float  # frequency that the kick falls to
    kick: float  # time constants of the decays in s: kick, snare and hat
    snare: float
    hat: float
    level: float  # amplitude of a hit


@dataclass(frozen=True)
class Harmony:
    """Chords and scale, in semitones."""

    roots: tuple[int, ...]  # root of each of the loop's CHORDS chords
    chord: tuple[int, ...]  # intervals above the root
    scale: tuple[int, ...]  # notes of the melody


@dataclass(frozen=True)
class Voice:
    """An instrument and its style of playing."""

    octave: int  # relative to the key
    notes: int  # per bar
    rolloff: float  # partial n has the amplitude n**-rolloff
    fm: float  # modulation index in radians; 0 for no frequency modulation
    ratio: float  # frequency of the modulation relative to the note's frequency
    attack: float  # s
    decay: float  # time constant in s
    vibrato: float  # depth relative to the note's frequency
    breath: float  # level of noise relative to the tone
    level: float  # amplitude of a note


@dataclass(frozen=True)
class Production:
    """Effects on the whole mix."""

    reverb: float  # reverberation time in s
    wet: float  # share of reverberation in the sound
    drive: float  # distortion: gain before a tanh; 0 for no distortion
    tilt: float  # slope of the spectrum in dB per octave


@dataclass(frozen=True)
class Genre:
    """A genre of the demo with its six musical attributes."""

    genre_id: int  # id and title are those of the FMA's genres.csv
    title: str
    size: float  # number of tracks relative to other genres
    rhythm: Rhythm
    kit: Kit
    harmony: Harmony
    lead: Voice
    backing: Voice
    production: Production


MAJOR, MINOR, BLUES = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 6, 7, 10)

GENRES = (
    Genre(12, "Rock", 1.6,
          Rhythm(132, "x-----x-x-x-----", "----x-------x---", "x-x-x-x-x-x-x-x-", "x-x-x-x-x-x-x-x-"),
          Kit(65, 0.12, 0.18, 0.10, 1.0), Harmony((0, 5, 7, 5), (0, 7, 12), BLUES),
          Voice(1, 8, 1.0, 0.0, 1, 0.01, 0.5, 0.004, 0.0, 0.5),
          Voice(0, 8, 0.6, 0.0, 1, 0.005, 0.5, 0.0, 0.0, 0.7), Production(0.4, 0.15, 5.0, 0.5)),
    Genre(15, "Electronic", 1.5,
          Rhythm(126, "x---x---x---x---", "----x-------x---", "--x---x---x---x-", "--x---x---x---x-"),
          Kit(50, 0.22, 0.10, 0.04, 1.2), Harmony((0, -4, 3, -2), (0, 3, 7), MINOR),
          Voice(1, 16, 0.7, 0.0, 1, 0.002, 0.12, 0.0, 0.0, 0.5),
          Voice(0, 4, 0.8, 0.0, 1, 0.03, 0.35, 0.0, 0.0, 0.5), Production(0.6, 0.2, 1.5, 1.0)),
    Genre(21, "Hip-Hop", 1.1,
          Rhythm(88, "x--x------x-----", "----x-------x---", "x-x-x-xxx-x-x-xx", "x--x------x-----"),
          Kit(45, 0.40, 0.14, 0.03, 1.5), Harmony((0, 0, -2, 0), (0, 3, 10), MINOR),
          Voice(0, 4, 2.0, 1.5, 2, 0.01, 0.3, 0.0, 0.0, 0.35),
          Voice(0, 1, 2.0, 0.8, 1, 0.01, 0.8, 0.0, 0.02, 0.3), Production(0.3, 0.1, 2.0, -1.5)),
    Genre(17, "Folk", 0.9,
          Rhythm(108, "x-------x-------", "", "", "x-------x-------"),
          Kit(80, 0.08, 0.05, 0.05, 0.25), Harmony((0, 5, 7, 0), (0, 4, 7), MAJOR),
          Voice(1, 8, 1.5, 0.0, 1, 0.003, 0.4, 0.0, 0.0, 0.6),
          Voice(0, 8, 1.2, 0.3, 3, 0.003, 0.3, 0.0, 0.01, 0.5), Production(0.3, 0.1, 0.0, 0.0)),
    Genre(5, "Classical", 0.8,
          Rhythm(76, "x---------------", "", "", ""),
          Kit(90, 0.50, 0.08, 0.05, 0.2), Harmony((0, 7, 9, 5), (0, 4, 7, 12), MAJOR),
          Voice(2, 8, 1.3, 0.0, 1, 0.08, 0.6, 0.008, 0.01, 0.6),
          Voice(0, 2, 1.6, 0.0, 1, 0.15, 1.2, 0.006, 0.01, 0.5), Production(2.0, 0.4, 0.0, -0.5)),
    Genre(4, "Jazz", 0.7,
          Rhythm(156, "x-----------", "-----x-----x", "x--x-xx--x-x", "x--x--x--x--"),
          Kit(75, 0.10, 0.06, 0.30, 0.6), Harmony((2, 7, 0, 9), (0, 4, 10, 14), BLUES),
          Voice(1, 6, 0.9, 0.0, 1, 0.03, 0.3, 0.010, 0.08, 0.6),
          Voice(0, 3, 2.5, 1.2, 1, 0.003, 0.4, 0.0, 0.0, 0.45), Production(0.8, 0.2, 0.0, -0.5)),
    Genre(2, "International", 0.7,
          Rhythm(104, "x--x--x---x-x---", "--x--x---x--x-xx", "x-xxx-xxx-xxx-xx", "x-----x---x-----"),
          Kit(140, 0.15, 0.04, 0.06, 0.9), Harmony((0, 1, 0, -2), (0, 7), (0, 1, 4, 5, 7, 8, 10)),
          Voice(1, 16, 0.8, 0.6, 2, 0.002, 0.2, 0.015, 0.0, 0.6),
          Voice(-1, 2, 0.8, 0.0, 1, 0.1, 1.5, 0.0, 0.03, 0.4), Production(0.5, 0.2, 0.8, 0.5)),
    Genre(1235, "Instrumental", 0.7,
          Rhythm(64, "", "", "", "x---------------"),
          Kit(55, 0.60, 0.30, 0.40, 0.2), Harmony((0, 0, -3, -3), (0, 7, 14), MAJOR),
          Voice(2, 2, 2.5, 2.0, 3.5, 0.01, 1.5, 0.0, 0.0, 0.35),
          Voice(0, 1, 1.8, 0.0, 1, 0.8, 3.0, 0.003, 0.06, 0.6), Production(3.0, 0.6, 0.0, -2.0)),
)  # fmt: skip
ATTRIBUTES = tuple(field.name for field in fields(Genre) if field.name not in ("genre_id", "title", "size"))


@dataclass(frozen=True)
class Track:
    """A track of the demo. `defect` names the difference between its clip and a good mono clip at 44.1 kHz, if any."""

    track_id: int
    artist_id: int
    genre: Genre
    second: Genre
    split: str
    subset: str
    top: bool = True  # whether it has a top genre; some tracks of the large subset have several genres but no top genre
    defect: str = ""


BASS = Voice(-2, 1, 1.5, 0.0, 1, 0.005, 0.3, 0.0, 0.0, 0.7)


def render_note(voice: Voice, hertz: float, seconds: float, rate: int, rng: np.random.Generator) -> Samples:
    """Render one note of `voice`: a wavetable oscillator with vibrato and phase modulation, and an envelope."""
    t = np.arange(int(seconds * rate)) / rate
    partials = np.arange(1, max(2, min(40, int(9000 / hertz))))
    table = np.zeros(1025, complex)
    table[partials] = -1j * partials**-voice.rolloff
    wave = np.fft.irfft(table)
    envelope = np.minimum(1, t / voice.attack) * np.exp(-t / voice.decay)
    phase = hertz * t
    if voice.vibrato:
        phase += hertz * voice.vibrato / (2 * np.pi * 5.5) * np.sin(2 * np.pi * 5.5 * t)
    if voice.fm:
        phase += voice.fm / (2 * np.pi) * envelope * np.sin(2 * np.pi * voice.ratio * phase)
    note = wave[(phase * len(wave)).astype(np.int64) & (len(wave) - 1)] / np.abs(wave).max()
    if voice.breath:
        note += voice.breath * rng.standard_normal(len(t))
    note[-rate // 100 :] *= np.linspace(1, 0, len(note[-rate // 100 :]))  # fade out, to avoid a click at the end
    return note * envelope


def render_drum(part: str, kit: Kit, rate: int, rng: np.random.Generator) -> Samples:
    """Render one hit: a sine of falling pitch (kick), noise with a tone (snare), or differenced noise (hat)."""
    decay = getattr(kit, part)
    t = np.arange(int(4 * decay * rate)) / rate
    noise = rng.standard_normal(len(t))
    kick = np.sin(2 * np.pi * kit.kick_hz * (t + 0.04 * (1 - np.exp(-t / 0.02))))
    snare = 0.35 * noise + 0.4 * np.sin(2 * np.pi * 2.8 * kit.kick_hz * t)
    hat = 0.12 * np.diff(noise, prepend=0.0)
    return {"kick": kick, "snare": snare, "hat": hat}[part] * np.exp(-t / decay)


def add(mix: Samples, sound: Samples, onset: float) -> None:
    """Add `sound` to the loop `mix`, starting at sample `onset`; the part beyond the end wraps around to the start."""
    start = round(onset) % len(mix)
    head = min(len(sound), len(mix) - start)
    mix[start : start + head] += sound[:head]
    wrapped = sound[head : head + start]
    mix[: len(wrapped)] += wrapped


Notes = list[tuple[float, int]]  # onset as a share of the loop, and pitch in semitones above the key


def melody(voice: Voice, harmony: Harmony, bars: int, rng: np.random.Generator) -> Notes:
    """A melody that walks randomly over the scale, with the same rhythm in every bar."""
    sounding = rng.random(voice.notes) < 0.8
    sounding[0] = True
    walk = np.cumsum(rng.integers(-2, 3, size=(bars, voice.notes)), axis=1) % len(harmony.scale)
    beats = [(bar, note) for bar in range(bars) for note in np.flatnonzero(sounding)]
    return [((bar + note / voice.notes) / bars, harmony.scale[walk[bar, note]]) for bar, note in beats]


def chords(voice: Voice, harmony: Harmony, bars: int) -> Notes:
    """The chords of the loop, with `voice.notes` strikes per bar, and at least one strike of each chord."""
    strikes = max(CHORDS, bars * voice.notes)
    roots = [harmony.roots[i * CHORDS // strikes] for i in range(strikes)]
    return [(i / strikes, root + interval) for i, root in enumerate(roots) for interval in harmony.chord]


def steps(pattern: str, bars: int) -> list[float]:
    """Onsets of a one-bar pattern that repeats in every bar, as shares of the loop."""
    return [(bar + i / len(pattern)) / bars for bar in range(bars) for i, c in enumerate(pattern) if c == "x"]


def play(mix: Samples, voice: Voice, notes: Notes, key: float, rate: int, rng: np.random.Generator) -> None:
    """Add notes to the loop `mix`; render each pitch only once. `key` is the frequency of pitch 0 in Hz."""
    gap = len(mix) / rate / len({when for when, _ in notes} or {0})
    # A note ends when it has decayed, or at the latest during the next note.
    seconds = min(3 * voice.decay, max(0.2, 1.5 * gap), len(mix) / rate)
    rendered: dict[int, Samples] = {}
    for when, pitch in notes:
        if pitch not in rendered:
            hertz = key * 2 ** (voice.octave + pitch / 12)
            rendered[pitch] = voice.level * render_note(voice, hertz, seconds, rate, rng)
        add(mix, rendered[pitch], when * len(mix))


def perform(style: Genre, size: int, bars: int, key: float, rate: int, rng: np.random.Generator) -> Samples:
    """Mix all parts of a loop of `size` samples and `bars` bars, without effects."""
    mix = np.zeros(size)
    for part in ("kick", "snare", "hat"):
        hit = style.kit.level * render_drum(part, style.kit, rate, rng)
        for when in steps(getattr(style.rhythm, part), bars):
            add(mix, hit, when * size)
    line = [(when, style.harmony.roots[int(when * CHORDS)]) for when in steps(style.rhythm.bass, bars)]
    play(mix, BASS, line, key, rate, rng)
    play(mix, style.backing, chords(style.backing, style.harmony, bars), key, rate, rng)
    play(mix, style.lead, melody(style.lead, style.harmony, bars, rng), key, rate, rng)
    return mix


def produce(mix: Samples, production: Production, rate: int, rng: np.random.Generator) -> Samples:
    """Add distortion, reverberation and tilt to a loop. Every step is circular, so the loop has no audible seam."""
    if production.drive:
        mix = np.tanh(production.drive * mix) / np.tanh(production.drive)
    t = np.arange(min(len(mix), int(2 * production.reverb * rate))) / rate
    room = rng.standard_normal(len(t)) * np.exp(-3 * t / production.reverb)
    room *= production.wet / np.sqrt(np.sum(room**2))
    room[0] += 1 - production.wet
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(mix), 1 / rate), 30) / 1000)
    spectrum = np.fft.rfft(mix) * np.fft.rfft(room, len(mix)) * 10 ** (production.tilt * octaves / 20)
    return np.fft.irfft(spectrum, len(mix))


def style_of(track: Track, seed: int) -> tuple[Genre, float, float]:
    """A track's musical attributes, its key in Hz, and its noise floor relative to the peak."""
    artist = np.random.default_rng([seed, 1, track.artist_id])
    own = np.random.default_rng([seed, 2, track.track_id])
    crossed = own.random(len(ATTRIBUTES)) < CROSSOVER
    crossed[ATTRIBUTES.index("lead")] = artist.random() < CROSSOVER  # an artist plays the same lead on all tracks
    borrowed = [name for name, is_crossed in zip(ATTRIBUTES, crossed, strict=True) if is_crossed]
    style = replace(track.genre, **{name: getattr(track.second, name) for name in borrowed})
    tempo = style.rhythm.tempo * artist.uniform(0.9, 1.1) * own.uniform(0.95, 1.05)
    tilt = style.production.tilt + artist.normal(0, 0.7)
    key = 220 * 2 ** ((own.integers(-5, 7) + artist.uniform(-0.3, 0.3)) / 12)
    rhythm, production = replace(style.rhythm, tempo=tempo), replace(style.production, tilt=tilt)
    return replace(style, rhythm=rhythm, production=production), key, 10 ** artist.uniform(-4, -2)


def loop(track: Track, seed: int, rate: int, frame: int) -> Samples:
    """Render a loop of about `LOOP_SECONDS`, with a whole number of bars and of MP3 frames of `frame` samples each."""
    rng = np.random.default_rng([seed, 3, track.track_id])
    style, key, floor = style_of(track, seed)
    bar = 4 * 60 / style.rhythm.tempo
    bars = max(1, round(LOOP_SECONDS / bar))
    size = 8 * frame * round(bars * bar * rate / frame / 8)  # a multiple of 8 frames, for a fast FFT
    mix = produce(perform(style, size, bars, key, rate, rng), style.production, rate, rng)
    mix = mix / np.abs(mix).max() + floor * rng.standard_normal(len(mix))
    mix *= rng.uniform(0.4, 0.9) / np.abs(mix).max()
    if track.defect == "silent":
        mix[:] = 0
    return np.rint(mix * 32767) / 32768


KILOBITS_PER_SECOND = {  # by MPEG version, then by the bit rate index in a frame's header
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def mp3_frames(stream: bytes, rate: int) -> Iterator[bytes]:
    """Split an MPEG-1 or MPEG-2 Layer III stream (ISO 11172-3, 13818-3) of known sample rate into its frames."""
    version = 1 if rate >= 32000 else 2
    position = 0
    while position + 4 <= len(stream):
        header = stream[position : position + 4]
        bit_rate, padding = KILOBITS_PER_SECOND[version][header[2] >> 4], header[2] >> 1 & 1
        size = 144_000 // version * bit_rate // rate + padding  # bytes
        yield stream[position : position + size]
        position += size


def encode(samples: Samples, rate: int) -> bytes:
    """Encode samples (samples,) or (samples, channels) as an MP3 stream.

    The samples are passed as floats, because libsndfile 1.2.2 garbles 16-bit stereo.
    """
    stream = io.BytesIO()
    quality = {"compression_level": 0.8, "bitrate_mode": "VARIABLE"}  # fastest setting that keeps sounds up to 14 kHz
    soundfile.write(stream, samples, rate, format="MP3", subtype="MPEG_LAYER_III", **quality)
    return stream.getvalue()


def clip(track: Track, seed: int, seconds: float) -> bytes:
    """Render a track as an MP3 file of `seconds`.

    The loop is encoded once, and its frames are repeated. This is possible because the first frames of a new encoder do
    not refer to earlier frames. The sound is quiet for about 10 ms at each joint. The FMA's clips also
    consist of copied frames, taken from longer files.
    """
    if track.defect == "unreadable":  # an ID3 tag of 1.7 kB, without any MP3 frame
        return b"ID3\x04\x00\x00\x00\x00" + bytes([1700 // 128, 1700 % 128]) + bytes(1700)
    rate = {"48 kHz": 48000, "22.05 kHz": 22050}.get(track.defect, RATE)
    frame = 1152 if rate >= 32000 else 576
    samples = loop(track, seed, rate, frame)
    if track.defect == "stereo":
        samples = np.stack([samples, np.roll(samples, rate // 80)], axis=1)
    header, *frames = mp3_frames(encode(samples, rate), rate)
    frames = frames[: len(samples) // frame]
    count = int((1.5 if track.defect == "short" else seconds) * rate) // frame
    sound = b"".join((frames * (count // len(frames) + 1))[:count])
    # The first frame contains no sound, only a Xing header with the numbers of frames and bytes in the file.
    position = header.index(b"Xing") + 8
    sizes = struct.pack(">II", count, len(header) + len(sound))
    return header[:position] + sizes + header[position + len(sizes) :] + sound
