"""Show the results as one page, figures first: page.html, which any browser opens without network.

python src/show.py
"""

from pathlib import Path

from fma_genre.common import documents, files, params
from fma_genre.common.errors import in_one_line
from fma_genre.common.params import Params
from fma_genre.results.figures import titles
from fma_genre.results.page import page

PAGE, FIGURES, REPORT = Path("page.html"), Path("plots/comparison"), Path("report.md")
LARGEST_FIGURE = 1 << 26  # bytes


def main(parameters: Params) -> None:
    report = documents.read_text(REPORT)
    title, _, text = report.partition("\n")
    shown = page(title.removeprefix("# "), read_figures(parameters), text)
    files.export(PAGE, shown.encode())
    print(f"{PAGE.resolve().as_uri()}: open it in a browser")


def read_figures(parameters: Params) -> dict[str, bytes]:
    """Every SVG of plots/comparison by its title, in the order of the titles; one without a title goes by its name."""
    known = titles(parameters.models)
    order = list(known)
    paths = sorted(FIGURES.glob("*.svg"), key=lambda path: order.index(path.stem) if path.stem in known else len(order))
    if not paths:
        raise FileNotFoundError(2, "No such file", f"{FIGURES}/*.svg")
    return {known.get(path.stem, path.stem): documents.read_bytes(path, LARGEST_FIGURE) for path in paths}


if __name__ == "__main__":
    with in_one_line("show"):
        main(params.load())
