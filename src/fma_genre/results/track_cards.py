"""The page's section on mistakes: a card for each listed track, with its predictions and their course over time."""

import base64
import html
from collections.abc import Mapping, Sequence
from itertools import pairwise

from fma_genre.results.mistakes import Curve, ListedTrack, TrackList
from fma_genre.results.page import Section

HEADING = "Mistakes"
# Sizes of a chart in units of its `viewBox`, which is about as wide as a phone has pixels.
WIDTH, HEIGHT, TOP, LEFT, BELOW = 320, 64, 6, 42, 16
MARK = '<svg class="mark" viewBox="0 0 28 8" aria-hidden="true"><path class="{}" d="M0 4H28"/></svg>'


def section(model: str, runs: int, lists: Sequence[TrackList], excerpts: Mapping[int, bytes] | None = None) -> Section:
    """The section with lists of tracks; only the first list is open.

    Args:
        model: key of the model whose predictions these are.
        runs: number of the model's runs.
        excerpts: MP3 files by track id, which the page then plays.
    """
    averaged = f" Its probabilities are means over {runs} runs." if runs > 1 else ""
    intro = (
        f"<p>Test tracks with the predictions of {html.escape(model)}, the model that is shipped.{averaged} A curve "
        "shows the probability of a genre over the time of the clip.</p>\n"
    )
    shown = "".join(_list(found, excerpts or {}, is_open=not place) for place, found in enumerate(lists))
    return Section(HEADING, intro + shown)


def _list(found: TrackList, excerpts: Mapping[int, bytes], *, is_open: bool) -> str:
    heading = html.escape(f"{found.heading} ({len(found.tracks)} of {found.total})")
    cards = "".join(_card(track, excerpts.get(track.track_id)) for track in found.tracks)
    listed = f'<ol class="tracks">\n{cards}</ol>\n' if cards else "<p>None.</p>\n"
    return (
        f"<details{' open' if is_open else ''}><summary><h3>{heading}</h3></summary>\n"
        f"<p>{html.escape(found.meaning)}</p>\n{listed}</details>\n"
    )


def _card(track: ListedTrack, excerpt: bytes | None) -> str:
    name = f"Track {track.track_id}"
    title = f": {_bdi(track.title)}" if track.title else ""
    artist = f"<p>by {_bdi(track.artist)}</p>\n" if track.artist else ""
    predicted, *others = track.votes
    keys = "".join(_key(curve, track) for curve in track.curves)
    votes = "; ".join(
        f"{html.escape(vote.system)} {_bdi(vote.genre)}\N{NO-BREAK SPACE}{_percent(vote.probability)}"
        for vote in others
    )
    return (
        f"<li>\n<h4>{name}{title}</h4>\n{artist}"
        f"<p>{_bdi(track.genre)}, predicted as {_bdi(predicted.genre)}</p>\n{_chart(track)}\n<ul>{keys}</ul>\n"
        + (f'<p class="others">Others: {votes}</p>\n' if votes else "")
        + (_player(name, excerpt) if excerpt else "")
        + "</li>\n"
    )


def _player(name: str, excerpt: bytes) -> str:
    data = base64.b64encode(excerpt).decode()
    return f'<audio controls preload="none" aria-label="{name}" src="data:audio/mpeg;base64,{data}"></audio>\n'


def _key(curve: Curve, track: ListedTrack) -> str:
    roles = [
        name for name, genre in (("predicted", track.votes[0].genre), ("actual", track.genre)) if genre == curve.genre
    ]
    note = f" ({' and '.join(roles)})" if roles else ""
    return f"<li>{MARK.format(_style(curve, track))} {_bdi(curve.genre)} {_percent(curve.probability)}{note}</li>"


def _chart(track: ListedTrack) -> str:
    """Draw the curves of a track as inline SVG."""
    bottom, middle = TOP + HEIGHT, TOP + HEIGHT / 2
    grid = f'<path d="M{LEFT} {TOP}H{WIDTH}M{LEFT} {middle:g}H{WIDTH}M{LEFT} {bottom}H{WIDTH}"/>'
    labels = "".join(
        f'<text x="{LEFT - 4}" y="{y + 4:g}" text-anchor="end">{text}</text>'
        for y, text in ((TOP, "100\N{NO-BREAK SPACE}%"), (middle, "50"), (bottom, "0"))
    )
    end = f"{track.seconds:.0f}\N{NO-BREAK SPACE}s"
    labels += f'<text x="{LEFT}" y="{bottom + 14}">0</text>'
    labels += f'<text x="{WIDTH}" y="{bottom + 14}" text-anchor="end">{end}</text>'
    curves = "".join(
        f'<path class="{_style(curve, track)}" d="{_path(curve, track)}"/>' for curve in reversed(track.curves)
    )
    spoken = html.escape(_spoken(track))
    size = f"0 0 {WIDTH} {bottom + BELOW}"
    return f'<svg class="chart" role="img" aria-label="{spoken}" viewBox="{size}">{grid}{labels}{curves}</svg>'


def _path(curve: Curve, track: ListedTrack) -> str:
    """A step for each segment, which lasts until the next one begins."""
    edges = [0, *track.starts[1:], max(track.seconds, track.starts[-1])]
    scale = (WIDTH - LEFT) / max(edges[-1], 1e-3)
    steps = [
        (LEFT + scale * start, LEFT + scale * end, TOP + HEIGHT * (1 - probability))
        for (start, end), probability in zip(pairwise(edges), curve.segments, strict=True)
    ]
    return "".join(f"{'V' if place else f'M{x:.1f} '}{y:.1f}H{end:.1f}" for place, (x, end, y) in enumerate(steps))


def _spoken(track: ListedTrack) -> str:
    """The chart in words."""
    curves = [
        f"{curve.genre} from {_percent(curve.segments.min())} to {_percent(curve.segments.max())}"
        for curve in track.curves
    ]
    return f"Probabilities over {track.seconds:.0f} seconds: {', '.join(curves)}"


def _style(curve: Curve, track: ListedTrack) -> str:
    """Classes of a curve in the style sheet."""
    if curve.genre == track.votes[0].genre:
        return "curve predicted"
    return "curve actual" if curve.genre == track.genre else "curve"


def _bdi(text: str) -> str:
    """A name from the data. The order of its characters cannot change that of the text around it."""
    return f"<bdi>{html.escape(text)}</bdi>"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"
