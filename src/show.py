"""Show the results as one page, figures first: page.html, which any browser opens without network.

python src/show.py
"""

import sys
from pathlib import Path

from fma_genre.common import files, params
from fma_genre.common.errors import InputError
from fma_genre.common.params import Params
from fma_genre.results.figures import titles
from fma_genre.results.page import page

PAGE, FIGURES, REPORT = Path("page.html"), Path("plots/comparison"), Path("report.md")


def main(parameters: Params) -> None:
    report = REPORT.read_text(encoding="utf-8")
    title, _, text = report.partition("\n")
    files.write_text(PAGE, page(title.removeprefix("# "), read_figures(parameters), text))
    print(f"{PAGE.resolve().as_uri()}: open it in a browser")


def read_figures(parameters: Params) -> dict[str, bytes]:
    """Every SVG of plots/comparison by its title, in the order of the titles; one without a title goes by its name."""
    known = titles(parameters.models)
    order = list(known)
    paths = sorted(FIGURES.glob("*.svg"), key=lambda path: order.index(path.stem) if path.stem in known else len(order))
    if not paths:
        raise FileNotFoundError(2, "No such file", f"{FIGURES}/*.svg")
    return {known.get(path.stem, path.stem): path.read_bytes() for path in paths}


if __name__ == "__main__":
    try:
        main(params.load())
    except FileNotFoundError as error:
        sys.exit(f"show: expected {error.filename}, found none: `make repro` makes it")
    except (InputError, OSError) as error:
        sys.exit(f"show: {error}")
