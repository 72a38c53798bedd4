"""The devices that networks run on, and reproducibility there."""

import os

import torch

WORKSPACE = 6e9  # bytes of a GPU's memory for networks, activations and batches: an estimate


def devices() -> list[torch.device]:
    """The GPUs, or the CPU if there are none."""
    return [torch.device("cuda", gpu) for gpu in range(torch.cuda.device_count())] or [torch.device("cpu")]


def fits(size: int, device: torch.device) -> bool:
    """Whether `size` bytes of data fit on the device beside the workspace."""
    if device.type == "cpu":
        return True
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # PyTorch's, of an earlier run
    return size + WORKSPACE <= torch.cuda.mem_get_info(device)[0] + cached


def make_deterministic(seed: int) -> None:
    """Same seed, same kind of machine, same bits; on a GPU as far as its operations allow (PyTorch warns if not).

    On a CPU, one thread: the result then does not depend on the number of cores, and networks of this size gain more
    from runs side by side than from threads.
    """
    torch.manual_seed(seed)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    else:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required for a deterministic cuBLAS
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs one kernel per tensor
        torch.set_float32_matmul_precision("high")  # TF32 on tensor cores: half the mantissa, no loss scaling
