"""Write the results to a single page, page.html, with the figures first.

    python src/show.py [--listen]    --listen embeds an excerpt of each listed track

The page opens in any browser, even offline. It shows the data alone before the first training, and as long as the
results are those of another data set.
"""

import argparse
import io
from pathlib import Path

import pandas as pd

from fma_genre import listening, store
from fma_genre.archives import receipt
from fma_genre.common import documents, files, params
from fma_genre.common.errors import InputError, errors_in_one_line
from fma_genre.common.params import Params
from fma_genre.results import mistakes, page, systems, track_cards
from fma_genre.results.data_charts import data_figures
from fma_genre.results.figures import CONFUSION, headings
from fma_genre.results.page import Picture, Section
from fma_genre.results.style import as_svg

PAGE, FIGURES, REPORT = Path("page.html"), Path("plots/comparison"), Path("report.md")
MATRICES, COMPARISON = Path("plots/confusion.csv"), Path("metrics/comparison.json")
MAX_FIGURE_BYTES = 1 << 26


def main(parameters: Params, *, listen: bool = False) -> None:
    name = name_of_data(parameters)
    lack = lack_of_results(name)
    if (store.DATA / store.INDEX).exists() and lack and not listen:
        title, sections = name, [data_section()]
        print(f"{lack}, so the page shows only the data: `dvc repro` trains the models")
    else:
        title, sections = read_results(parameters, listen=listen)
    html = page.page(title, sections, audio=listen)
    files.export(PAGE, html.encode())
    licences = "; it contains recordings, so check their licences before you share it" if listen else ""
    print(f"{PAGE.resolve().as_uri()}: open it in a browser{licences}")


def name_of_data(parameters: Params) -> str:
    """Name of the data set in the folder data."""
    try:
        return receipt.read_receipt().dataset
    except FileNotFoundError:
        return parameters.dataset


def lack_of_results(name: str) -> str:
    """Why there are no results on the data set with this name; empty if there are any."""
    if not REPORT.exists():
        return f"{REPORT} is missing"
    found = documents.read_json(COMPARISON).get("dataset") if COMPARISON.exists() else name
    return "" if found == name else f"{REPORT} is on the data set {found}, but the data are those of {name}"


def read_results(parameters: Params, *, listen: bool) -> tuple[str, list[Section]]:
    """Title and sections of the page on results."""
    title, _, text = documents.read_text(REPORT).partition("\n")
    sections = [page.figures(read_figures(parameters)), mistakes_section(parameters, listen=listen)]
    return title.removeprefix("# "), [*sections, data_section(), page.report(text)]


def data_section() -> Section:
    """The section on the data set. Without an index, it says how to get it."""
    try:
        drawn = data_figures(store.read_index(store.DATA / store.INDEX))
    except (InputError, FileNotFoundError) as error:
        return page.missing("Data", _reason(error))
    return page.figures([Picture(heading, as_svg(figure)) for heading, figure in drawn.items()], "Data")


def read_figures(parameters: Params) -> list[Picture]:
    """The SVG files in plots/comparison, in the order of the page.

    Files without a heading come last, under their own names.
    """
    known = headings(parameters.models)
    position = {name: number for number, name in enumerate(known)}
    paths = sorted(FIGURES.glob("*.svg"), key=lambda path: (position.get(path.stem, len(position)), path.stem))
    if not paths:
        raise FileNotFoundError(2, "No such file", f"{FIGURES}/*.svg")
    tables = confusion_tables(parameters)
    return [
        Picture(
            known.get(path.stem, path.stem), documents.read_bytes(path, MAX_FIGURE_BYTES), tables.get(path.stem, "")
        )
        for path in paths
    ]


def confusion_tables(parameters: Params) -> dict[str, str]:
    """The numbers of the confusion matrices in HTML, by the name of the figure that shows them."""
    types = {"system": str, "actual": str, "predicted": str, "share": float}
    try:
        text = io.StringIO(documents.read_text(MATRICES))
        table = pd.read_csv(text, dtype=types, keep_default_na=False, na_values={"share": [""]})
        shares = dict(iter(table[list(types)].groupby("system")))
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError) as error:
        expected = f"the columns {', '.join(types)}"
        raise InputError(f"{MATRICES}: expected {expected}, found: {error}: `dvc repro` writes it again") from error
    return {
        CONFUSION.format(model): page.confusion_text(shares[model]) for model in parameters.models if model in shares
    }


def mistakes_section(parameters: Params, *, listen: bool) -> Section:
    """The section that lists mistakes. Without data, it says how to get them.

    Raises:
        InputError, FileNotFoundError: the data or the archive are missing or damaged, and `listen` is true.
    """
    try:
        index = store.read_index(store.DATA / store.INDEX)
        loaded = {system.key: system for system in systems.load(parameters, index)}
    except (InputError, FileNotFoundError) as error:
        if listen:
            raise
        return page.missing(track_cards.HEADING, _reason(error))
    model = loaded.pop(parameters.model)
    lists = mistakes.track_lists(model, list(loaded.values()), index)
    ids = {track.track_id for found in lists for track in found.tracks}
    excerpts = listening.excerpts(index[index["track_id"].isin(ids)], parameters) if listen else {}
    return track_cards.section(model.key, len(model.predictions.seeds), lists, excerpts)


def _reason(error: InputError | FileNotFoundError) -> str:
    """Why data are not shown, and which command makes them."""
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is missing: `dvc pull` fetches it, or `dvc repro` makes it"
    return str(error)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", action="store_true", help="embed an excerpt of each listed track")
    with errors_in_one_line("show"):
        main(params.load(), listen=parser.parse_args().listen)
