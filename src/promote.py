"""Stage promote: the model that this branch ships, into models/promoted and metrics/promoted.json."""

import stage

import shutil
from pathlib import Path
from typing import Any

from fma_genre import files


def main(params: dict[str, Any]) -> None:
    model = params["model"]
    with files.whole(Path("models/promoted")) as folder:
        shutil.copytree(Path("models") / model, folder)
    with files.whole(Path("metrics/promoted.json")) as metrics:
        shutil.copyfile(Path("metrics") / f"{model}.json", metrics)
    print(f"{model} is the promoted model")


if __name__ == "__main__":
    stage.run("promote", main)
