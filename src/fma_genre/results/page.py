"""The results as one self-contained HTML page, which needs neither network access nor scripts."""

import base64
import html
from collections.abc import Mapping

from markdown_it import MarkdownIt

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1a1a1a; --line: #ccc }
@media (prefers-color-scheme: dark) { :root { --ground: #16181c; --text: #e6e6e6; --line: #444 } }
body { background: var(--ground); color: var(--text); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto;
       max-width: 72rem; padding: 1rem }
h1 { font-size: 1.6rem; line-height: 1.2 }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem }
figure, .wide { overflow-x: auto }
figure { background: #fff; border: 1px solid var(--line); border-radius: 6px; box-sizing: border-box; margin: 0;
         max-width: 100%; padding: .5rem; width: fit-content }
img { display: block; height: auto; max-width: 100% }
p { max-width: 48rem }
.wide { margin: 1rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .8rem; text-align: left; white-space: nowrap }
@media (max-width: 40rem) {
  body, figure { padding: .3rem }
  img { max-width: none; zoom: .72 }
  td, th { padding: .3rem .4rem }
}
"""


def page(title: str, figures: Mapping[str, bytes], report: str) -> str:
    """Make an HTML page that shows the figures and then the report.

    Args:
        title: heading of the page, as plain text.
        figures: content of SVG files, by heading.
        report: Markdown; any HTML in it is shown as text.
    """
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    text = markdown.render(report).replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    sections = [_figure(heading, svg) for heading, svg in figures.items()]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
{"".join(sections)}
{text}
</body>
</html>
"""


def _figure(heading: str, svg: bytes) -> str:
    data = base64.b64encode(svg).decode()
    text = html.escape(heading)
    return f'<h2>{text}</h2>\n<figure><img alt="{text}" src="data:image/svg+xml;base64,{data}"></figure>\n'
