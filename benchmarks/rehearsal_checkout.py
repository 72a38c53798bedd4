"""The checkout in which a rehearsal runs: a clone of this one, whose params.yaml names the archives to use."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fma_genre.common import documents, files
from fma_genre.common.errors import InputError
from fma_genre.packing import yaml_edits
from rehearsal_archives import DESCRIPTION

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Rehearsal:
    """A run of the pipeline in `folder` on archives that `rehearsal_archives` has built."""

    folder: Path
    archives: Path
    revision: str
    links: bool
    full: bool
    fill: bool
    without: tuple[str, ...]

    @property
    def checkout(self) -> Path:
        return self.folder / "checkout"

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    @property
    def description(self) -> Any:
        """The description of the archives."""
        return documents.read_json(self.archives / DESCRIPTION)

    @property
    def options(self) -> dict[str, Any]:
        """Settings that a record in the log must share to be used again."""
        keys = ("size", "share", "audio", "metadata")
        described = {key: self.description[key] for key in keys}
        chosen = ("revision", "links", "full", "fill", "without")
        return described | {key: getattr(self, key) for key in chosen}

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        return kept | {"PATH": path, "FMA_HOME": str(self.folder / "home")}


def clone(rehearsal: Rehearsal) -> None:
    """Clone this checkout at the revision of the rehearsal, unless that has been done.

    A rehearsal that was interrupted may have left DVC's locks, which DVC would respect for ever.

    Raises:
        InputError: another revision has been cloned.
    """
    checkout = rehearsal.checkout
    if not checkout.exists():
        git(ROOT, "clone", "--quiet", "--no-checkout", str(ROOT), str(checkout))
    if not (checkout / "dvc.yaml").exists():
        git(checkout, "checkout", "--quiet", "--detach", rehearsal.revision)
    (checkout / ".dvc/tmp/rwlock").unlink(missing_ok=True)
    if git(checkout, "rev-parse", "HEAD").strip() != rehearsal.revision:
        found = git(checkout, "rev-parse", "HEAD").strip()
        raise InputError(f"{checkout}: expected revision {rehearsal.revision}, found {found}: use another folder")
    cache = "hardlink,symlink" if rehearsal.links else "reflink,copy"
    config = [sys.executable, "-m", "dvc", "config", "--local", "cache.type", cache]
    subprocess.run(config, cwd=checkout, env=rehearsal.environment, check=True)


def write_params(rehearsal: Rehearsal, epochs: int | None, crops: int | None) -> None:
    """Write params.yaml for the rehearsal's archives, with the length of the training if it is given."""
    name = f"rehearsal_{rehearsal.description['size']}"
    text = yaml_edits.add(original_params(rehearsal), ("datasets", name), data_set(rehearsal))
    text = yaml_edits.set_value(text, ("dataset",), name)
    for system in rehearsal.without:
        section = "models" if system in yaml.safe_load(text)["models"] else "baselines"
        text = yaml_edits.remove(text, (section, system))
    for key, value in {"epochs": epochs, "crops_per_track": crops}.items():
        if value is not None:
            text = yaml_edits.set_value(text, ("train", key), value)
            for model, section in yaml.safe_load(text)["models"].items():
                if key in section:
                    text = yaml_edits.set_value(text, ("models", model, key), value)
    files.write_text(rehearsal.checkout / "params.yaml", text)


def original_params(rehearsal: Rehearsal) -> str:
    return git(rehearsal.checkout, "show", f"{rehearsal.revision}:params.yaml")


def data_set(rehearsal: Rehearsal) -> dict[str, Any]:
    """The section of the archives in params.yaml."""
    description = rehearsal.description
    sources = {
        role: {"url": str(rehearsal.archives / description[role]["name"]), "sha1": description[role]["sha1"]}
        for role in ("audio", "metadata")
    }
    return sources | {"subset": description["size"], "expect": description["expect"]}


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
