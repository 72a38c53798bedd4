"""The results as one page, pictures first: page.html, which any browser opens without network.

python src/show.py
"""

import sys
from pathlib import Path
from typing import Any

from fma_genre import InputError, files, params
from fma_genre.page import page

PAGE = Path("page.html")
PICTURES = {
    "Accuracy on the test tracks": "comparison/accuracy",
    "Genres": "comparison/genres",
    "What is taken for what": "comparison/confusion",
    "Where the models disagree": "comparison/disagreement",
    "Learning curves": "comparison/curves",
}


def main(parameters: dict[str, Any]) -> None:
    paths = PICTURES | {f"{model} over time": f"votes/{model}" for model in parameters["models"]}
    pictures = {name: Path(f"plots/{path}.svg").read_bytes() for name, path in paths.items()}
    report = Path("report.md").read_text(encoding="utf-8")
    title, _, text = report.partition("\n")
    files.write_text(PAGE, page(title.removeprefix("# "), pictures, text))
    print(f"{PAGE.resolve().as_uri()}: open it in a browser")


if __name__ == "__main__":
    try:
        main(params.load())
    except FileNotFoundError as error:
        sys.exit(f"show: expected {error.filename}, found none: `make repro` makes it")
    except (InputError, OSError) as error:
        sys.exit(f"show: {error}")
