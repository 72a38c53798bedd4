"""Record the results of this run in docs/results, and update the tables in its README.

    python src/record.py [--page]

Run it after `dvc repro` on small, medium or large, on the same machine, when all changes are committed. It writes
docs/results/<dataset>-<commit>.json. With --page, it only updates the tables, e.g. after a merge conflict.
docs/results/README.md explains how to add a result by pull request.
"""

import argparse

from fma_genre.common import params
from fma_genre.common.errors import errors_in_one_line
from fma_genre.results import record, results_page


def main() -> None:
    parser = argparse.ArgumentParser(description="Record the results of this run in docs/results.")
    parser.add_argument("--page", action="store_true", help="only update the tables in docs/results/README.md")
    arguments = parser.parse_args()
    if not arguments.page:
        print(f"{record.write(params.load())}: written")
    print(f"{results_page.update()}: updated")


if __name__ == "__main__":
    with errors_in_one_line("record"):
        main()
