"""Stage promote: the model that this branch ships, into models/promoted and metrics/promoted.json."""

import shutil
from pathlib import Path

from fma_genre.common import files, stage
from fma_genre.common.params import Params


def main(params: Params) -> None:
    with files.atomic(Path("models/promoted")) as folder:
        shutil.copytree(Path("models") / params.model, folder)
    with files.atomic(Path("metrics/promoted.json")) as metrics:
        shutil.copyfile(Path("metrics") / f"{params.model}.json", metrics)
    print(f"{params.model} is the promoted model")


if __name__ == "__main__":
    stage.run("promote", main)
