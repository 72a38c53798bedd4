"""Faster updates of a network: computation in bfloat16, and CUDA graphs. Both are off in params.yaml."""

import copy
from contextlib import AbstractContextManager

import torch
from torch import nn

from fma_genre.common.params import Train


def autocast(network: nn.Module, precision: str, device: torch.device) -> AbstractContextManager:
    """Context in which `network` computes in `precision` (float32 or bfloat16). Weights and gradients stay in float32.

    Networks with recurrent layers always compute in float32. On a GPU, autocast runs these layers in float16, whatever
    the precision that was asked for, and float16 needs loss scaling.
    """
    is_recurrent = any(isinstance(layer, nn.RNNBase) for layer in network.modules())
    enabled = precision == "bfloat16" and not is_recurrent
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)  # graphs allow no cache


def record_graphs(network: nn.Module, shape: tuple[int, int, int], settings: Train) -> None:
    """Record the training step as CUDA graphs, which need a single launch each, if `settings` ask for it.

    Only the forward and the backward pass in training mode are recorded. A network on a CPU does not change. Recording
    runs the network a few times, so its state and the random numbers are restored afterwards.

    Args:
        shape: shape of all batches of network input (segments, frames, bins).
    """
    device = next(network.parameters()).device
    if not settings.cuda_graphs or device.type != "cuda":
        return
    state, random = copy.deepcopy(network.state_dict()), torch.cuda.get_rng_state(device)
    network.train()
    with autocast(network, settings.precision, device):
        torch.cuda.make_graphed_callables(network, (torch.zeros(shape, device=device),))
    network.load_state_dict(state)
    torch.cuda.set_rng_state(random, device)
