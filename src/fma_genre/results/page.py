"""The results as one self-contained HTML page, which needs neither network access nor scripts.

The page consists of sections. A list of links to them comes first, so that they can be reached with a few keys.
"""

import base64
import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import pandas as pd
from markdown_it import MarkdownIt

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1a1a1a; --faint: #595959; --line: #ccc;
        --predicted: #0b5cad; --actual: #a34700; --other: #6b6b6b }
@media (prefers-color-scheme: dark) {
  :root { --ground: #16181c; --text: #e6e6e6; --faint: #a8a8a8; --line: #444;
          --predicted: #78b4f5; --actual: #f0a35e; --other: #a0a0a0 }
}
body { background: var(--ground); color: var(--text); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto;
       max-width: 72rem; padding: 1rem }
h1 { font-size: 1.6rem; line-height: 1.2 }
h2 { font-size: 1.35rem; margin: 2.5rem 0 .5rem }
h3 { font-size: 1.1rem; margin: 1.5rem 0 .5rem }
h4 { font-size: 1rem; margin: 0 }
a, summary, audio { border-radius: 3px; outline-offset: 2px }
a { color: var(--predicted) }
:focus-visible { outline: 3px solid var(--predicted) }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; list-style: none; padding: 0 }
.figures { display: grid; gap: 0 2rem; grid-template-columns: repeat(auto-fill, minmax(min(33rem, 100%), 1fr)) }
.figures > div { min-width: 0 }
figure, .wide { overflow-x: auto }
figure { background: #fff; border: 1px solid var(--line); border-radius: 6px; box-sizing: border-box; margin: 0;
         max-width: 100%; padding: .5rem; width: fit-content }
img { display: block; height: auto; max-width: 100% }
p { max-width: 48rem }
summary { cursor: pointer; margin: .5rem 0; width: fit-content }
summary h3 { display: inline }
.wide { margin: 1rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .8rem; text-align: left; white-space: nowrap }
.wrapped td, .wrapped th { vertical-align: top; white-space: normal; overflow-wrap: anywhere }
.tracks { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr));
          list-style: none; padding: 0 }
.tracks > li { border: 1px solid var(--line); border-radius: 6px; min-width: 0; overflow-wrap: anywhere;
               padding: .6rem .8rem }
.tracks p, .tracks ul { margin: .3rem 0; padding: 0 }
.tracks ul { list-style: none }
.tracks audio { display: block; margin-top: .5rem; width: 100% }
.others { color: var(--faint); font-size: .9rem }
.chart { display: block; margin: .4rem 0 .1rem; width: 100% }
.chart text { fill: var(--faint); font: 11px system-ui, sans-serif }
.chart path, .mark path { fill: none; stroke: var(--line) }
.chart .curve, .mark .curve { stroke: var(--other); stroke-dasharray: 1 3; stroke-width: 2 }
.chart .curve.actual, .mark .curve.actual { stroke: var(--actual); stroke-dasharray: 7 3 }
.chart .curve.predicted, .mark .curve.predicted { stroke: var(--predicted); stroke-dasharray: none }
.mark { height: .6em; width: 1.8em }
@media (max-width: 40rem) {
  body, figure { padding: .3rem }
  img { max-width: none; zoom: .72 }
  td, th { padding: .3rem .4rem }
}
"""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    heading: str  # plain text
    content: str  # HTML, whose headings are of level 3 and below; text from the data must be escaped


@dataclass(frozen=True)
class Picture:
    """A figure of the page."""

    heading: str  # plain text
    svg: bytes
    more: str = ""  # HTML below the figure


def page(title: str, sections: Iterable[Section], *, audio: bool = False) -> str:
    """Make an HTML page of sections.

    Args:
        title: heading of the page, as plain text.
        sections: their headings must differ.
        audio: whether the page may play the sounds that it contains.
    """
    sections = list(sections)
    links = "".join(f'<li><a href="#{_id(section)}">{html.escape(section.heading)}</a></li>' for section in sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}{"; media-src data:" if audio else ""}">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main>
{"".join(map(_section, sections))}</main>
</body>
</html>
"""


def figures(pictures: Sequence[Picture], heading: str = "Figures") -> Section:
    """A section that shows figures."""
    return Section(heading, f'<div class="figures">\n{"".join(map(_figure, pictures))}</div>\n')


def missing(heading: str, reason: str) -> Section:
    """A section without content.

    Args:
        reason: why it is missing and which command makes it, as plain text.
    """
    return Section(heading, f"<p>Not shown: {html.escape(reason)}</p>\n")


def report(markdown: str) -> Section:
    """The section that shows a report in Markdown; any HTML in it is shown as text."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 1, 6)}"  # below the section's own heading
    text = parser.renderer.render(tokens, parser.options, {})
    return Section("Report", text.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>"))


def confusion_text(shares: pd.DataFrame) -> str:
    """The numbers of a confusion matrix as a table that fits a narrow window, in HTML.

    A share that rounds to 0 % is left out.

    Args:
        shares: the columns actual, predicted and share. The share of a genre without test tracks is NaN.
    """
    rows = [_confusion_row(str(genre), group) for genre, group in shares.groupby("actual", sort=False)]
    return (
        "<details><summary>The same numbers as text</summary>\n"
        '<div class="wide"><table class="wrapped"><tr><th scope="col">genre</th><th scope="col">right</th>'
        f'<th scope="col">predicted instead</th></tr>\n{"".join(rows)}</table></div></details>\n'
    )


def _confusion_row(genre: str, shares: pd.DataFrame) -> str:
    percent: dict[str, float] = dict(zip(shares["predicted"], (100 * shares["share"]).round(), strict=True))
    right = percent.pop(genre)
    wrong = sorted(((name, share) for name, share in percent.items() if share >= 1), key=lambda pair: -pair[1])
    instead = ", ".join(f"<bdi>{html.escape(name)}</bdi>&nbsp;{share:.0f}&nbsp;%" for name, share in wrong)
    shown = "no test tracks" if math.isnan(right) else f"{right:.0f}&nbsp;%"
    return f'<tr><th scope="row"><bdi>{html.escape(genre)}</bdi></th><td>{shown}</td><td>{instead}</td></tr>\n'


def _section(section: Section) -> str:
    name, heading = _id(section), html.escape(section.heading)
    return f'<section id="{name}" aria-label="{heading}">\n<h2>{heading}</h2>\n{section.content}</section>\n'


def _id(section: Section) -> str:
    return re.sub(r"\W+", "-", section.heading.lower())


def _figure(picture: Picture) -> str:
    data, heading = base64.b64encode(picture.svg).decode(), html.escape(picture.heading)
    alt = html.escape(description(picture.svg) or picture.heading)
    image = f'<img alt="{alt}" src="data:image/svg+xml;base64,{data}">'
    return f"<div>\n<h3>{heading}</h3>\n<figure>{image}</figure>\n{picture.more}</div>\n"


def description(svg: bytes) -> str:
    """The title of an SVG file, which describes what it shows; empty if it has none."""
    try:
        return " ".join((ElementTree.fromstring(svg).findtext("{*}title") or "").split())
    except ElementTree.ParseError:
        return ""
