"""Write the results to a single page, page.html, with the figures first.

    python src/show.py

The page opens in any browser, even offline.
"""

from pathlib import Path

from fma_genre.common import documents, files, params
from fma_genre.common.errors import errors_in_one_line
from fma_genre.common.params import Params
from fma_genre.results.figures import headings
from fma_genre.results.page import page

PAGE, FIGURES, REPORT = Path("page.html"), Path("plots/comparison"), Path("report.md")
MAX_FIGURE_BYTES = 1 << 26


def main(parameters: Params) -> None:
    report = documents.read_text(REPORT)
    title, _, text = report.partition("\n")
    html = page(title.removeprefix("# "), read_figures(parameters), text)
    files.export(PAGE, html.encode())
    print(f"{PAGE.resolve().as_uri()}: open it in a browser")


def read_figures(parameters: Params) -> dict[str, bytes]:
    """The SVG files in plots/comparison by heading, in the order of the page.

    Files without a heading come last, under their own names.
    """
    known = headings(parameters.models)
    position = {name: number for number, name in enumerate(known)}
    paths = sorted(FIGURES.glob("*.svg"), key=lambda path: (position.get(path.stem, len(position)), path.stem))
    if not paths:
        raise FileNotFoundError(2, "No such file", f"{FIGURES}/*.svg")
    return {known.get(path.stem, path.stem): documents.read_bytes(path, MAX_FIGURE_BYTES) for path in paths}


if __name__ == "__main__":
    with errors_in_one_line("show"):
        main(params.load())
