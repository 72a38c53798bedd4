"""Stage compare: compare all systems on the same test tracks; write the numbers, tables, figures and report.md."""

from pathlib import Path

from fma_genre import store
from fma_genre.common import files, stage
from fma_genre.common.params import Params
from fma_genre.results import systems
from fma_genre.results.comparison import compare
from fma_genre.results.figures import write_figures
from fma_genre.results.recording_conditions import conditions
from fma_genre.results.report import headline, report
from fma_genre.results.tables import numbers, write_tables


def main(params: Params) -> None:
    systems.remove_leftovers(params)
    index = store.read_index(store.DATA / store.INDEX)
    loaded = systems.load(params, index)
    comparison = compare(
        loaded,
        index,
        params.compare,
        dataset=params.dataset,
        synthetic=params.data_set.synthetic,
        conditions=conditions(params.dataset, index),
    )

    files.write_json(Path("metrics/comparison.json"), numbers(comparison))
    files.write_text(Path("report.md"), report(comparison))
    write_tables(comparison, Path("plots"))
    write_figures(comparison, Path("plots/comparison"))
    print(headline(comparison))


if __name__ == "__main__":
    stage.run("compare", main)
