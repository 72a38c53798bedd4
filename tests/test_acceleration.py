"""Faster updates: bfloat16 where it is safe, and CUDA graphs that leave the network as it was."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from fma_genre.common.params import load
from fma_genre.learning import acceleration, build, training
from fma_genre.learning.device import devices, make_deterministic
from project import PARAMS
from stores import make_clips

SEGMENT, BINS, CLASSES = 64, 32, 3
SIZES: dict[str, dict[str, object]] = {
    "cnn": {"channels": [8, 8], "pools": [4, 4], "kernel": 4, "dense": 16, "dropout": 0.5},
    "birnn": {"pool": 2, "embedding": 8, "hidden": 8, "dropout": 0.3},
}
SETTINGS = replace(
    load(PARAMS).train, runs=1, epochs=3, segment_frames=SEGMENT, crops_per_track=2, batch_size=8, lr=0.003
)
CPU = torch.device("cpu")


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build.build_network(name, SIZES[name], "models.x", bins=BINS, frames=SEGMENT, classes=CLASSES)


@pytest.mark.parametrize(
    ("name", "precision", "expected"),
    [
        ("cnn", "float32", torch.float32),
        ("cnn", "bfloat16", torch.bfloat16),
        ("birnn", "float32", torch.float32),
        ("birnn", "bfloat16", torch.float32),
    ],
)
def test_only_networks_without_recurrent_layers_compute_in_bfloat16(
    name: str, precision: str, expected: torch.dtype
) -> None:
    model = network(name)
    with acceleration.autocast(model, precision, CPU):
        logits = model(torch.randn(4, SEGMENT, BINS))
    assert logits.dtype == expected
    assert all(weights.dtype == torch.float32 for weights in model.parameters())


def train(name: str, folder: Path, device: torch.device = CPU, **changed: object) -> tuple[nn.Module, float]:
    """Train a network on random levels; return it with the loss of the last epoch."""
    make_deterministic(0)
    levels = torch.randint(0, 256, (24, 100, BINS), dtype=torch.uint8)
    data = make_clips(levels, SEGMENT, labels=[0, 1, 2] * 8)
    data = replace(
        data, **{key: getattr(data, key).to(device) for key in ("levels", "rows", "lengths", "labels", "frequencies")}
    )
    front_end = build.fit_front_end("standardised", {}, data)
    model = network(name).to(device)
    settings = replace(SETTINGS, **changed)  # type: ignore[arg-type]
    history = training.train(model, data, data, front_end, settings, folder / f"{name}{changed}.pt")
    return model, history[-1].loss


def test_training_in_bfloat16_ends_close_to_float32(tmp_path: Path) -> None:
    _, expected = train("cnn", tmp_path, precision="float32")
    _, found = train("cnn", tmp_path, precision="bfloat16")
    assert found != expected
    assert found == pytest.approx(expected, abs=0.05)


def test_on_a_cpu_there_is_nothing_to_record(tmp_path: Path) -> None:
    assert train("cnn", tmp_path, cuda_graphs=True)[1] == train("cnn", tmp_path, cuda_graphs=False)[1]


@pytest.mark.skipif(devices()[0].type != "cuda", reason="needs a GPU")
@pytest.mark.parametrize("name", SIZES)
def test_a_recorded_update_has_the_same_result(name: str, tmp_path: Path) -> None:
    expected, loss = train(name, tmp_path, devices()[0], cuda_graphs=False)
    found, recorded_loss = train(name, tmp_path, devices()[0], cuda_graphs=True)
    assert recorded_loss == pytest.approx(loss, rel=1e-5)
    for (key, values), other in zip(found.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(values, other, rtol=1e-4, atol=1e-5, msg=key)
