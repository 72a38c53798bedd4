"""Two architectures on two inputs: how much of a difference is due to the architecture, and how much to the input."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from fma_genre.results.bootstrap import Bootstrap, Interval, holm, p_value
from fma_genre.results.result import Result


@dataclass(frozen=True)
class Effect:
    """An effect on the accuracy, with its interval and its p-value after Holm's correction for the three effects."""

    name: str
    interval: Interval
    p: float
    resolution: float  # a true effect of this size is detected half of the time


@dataclass(frozen=True)
class Factorial:
    """A 2 × 2 design: a model for each pair of a network and a representation."""

    networks: tuple[str, str]
    representations: tuple[str, str]
    cells: dict[tuple[str, str], Result]  # by network and representation
    architecture: Effect  # second network minus first, averaged over the representations
    input: Effect  # second representation minus first, averaged over the networks
    interaction: Effect  # effect of the input on the second network minus that on the first

    @property
    def effects(self) -> tuple[Effect, Effect, Effect]:
        return self.architecture, self.input, self.interaction


def factorial(models: Sequence[Result], bootstrap: Bootstrap) -> Factorial | None:
    """Find two networks that were both trained on the same two representations; None if there are none.

    The four models must have the same front end and the same length of segments. If several models could fill a cell,
    the first in params.yaml does.
    """
    for setting in dict.fromkeys(map(_setting, models)):
        cells: dict[tuple[str, str], Result] = {}
        for model in models:
            if _setting(model) == setting:
                cells.setdefault((model.facts["network"], model.facts["representation"]), model)
        networks, representations = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
        for pair, inputs in product(combinations(networks, 2), combinations(representations, 2)):
            if all(cell in cells for cell in product(pair, inputs)):
                return _factorial(pair, inputs, {cell: cells[cell] for cell in product(pair, inputs)}, bootstrap)
    return None


def _setting(model: Result) -> tuple[str, int]:
    return model.facts["front_end"], model.facts["segment_frames"]


def _factorial(
    networks: tuple[str, str],
    representations: tuple[str, str],
    cells: dict[tuple[str, str], Result],
    bootstrap: Bootstrap,
) -> Factorial:
    (one, two), (left, right) = networks, representations
    accuracy = {cell: result.resampled["accuracy"] for cell, result in cells.items()}
    on_first, on_second = (accuracy[network, right] - accuracy[network, left] for network in networks)
    architecture = sum(accuracy[two, x] - accuracy[one, x] for x in representations) / 2
    effects = {
        f"architecture ({two} − {one})": np.asarray(architecture),
        f"input ({right} − {left})": (on_first + on_second) / 2,
        "interaction": on_second - on_first,
    }
    corrected = holm([p_value(values) for values in effects.values()])
    found = [
        Effect(name, bootstrap.interval(values), p, bootstrap.half_width(values, len(effects)))
        for (name, values), p in zip(effects.items(), corrected, strict=True)
    ]
    return Factorial(networks, representations, cells, *found)
