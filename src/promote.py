"""Stage promote: copy the model chosen in params.yaml to models/promoted, with a model card, and copy its metrics."""

import shutil
from pathlib import Path

from fma_genre import model_card
from fma_genre.common import documents, files, stage
from fma_genre.common.params import Params


def main(params: Params) -> None:
    model = Path("models") / params.model
    metrics = documents.read_json(Path("metrics") / f"{params.model}.json")
    card = model_card.from_files(model, Path("data/index.csv"), Path("metrics/comparison.json"))
    with files.atomic(Path("models/promoted")) as folder:
        copy(model, folder)
        files.write_text(folder / model_card.FILE, card)
    files.write_json(Path("metrics/promoted.json"), metrics)
    print(f"{params.model} is the promoted model")


def copy(model: Path, folder: Path) -> None:
    """Copy a model's files; raise InputError unless all are regular files: reading a device may never end."""
    folder.mkdir()
    for path in sorted(model.iterdir()):
        documents.check_kind(path, path.stat().st_mode)
        shutil.copyfile(path, folder / path.name)


if __name__ == "__main__":
    stage.run("promote", main)
