"""Where networks compute, and how they are kept reproducible there."""

import os

import torch

WORKSPACE = 6e9  # bytes of a GPU's memory for networks, their activations and batches: an estimate


def devices() -> list[torch.device]:
    """The GPUs if there are any, else the CPU."""
    return [torch.device("cuda", gpu) for gpu in range(torch.cuda.device_count())] or [torch.device("cpu")]


def fits(size: int, device: torch.device) -> bool:
    """Whether `size` bytes of data can be on the device, beside what is computed there."""
    if device.type == "cpu":
        return True
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # PyTorch's own, of an earlier run
    return size + WORKSPACE <= torch.cuda.mem_get_info(device)[0] + kept


def make_deterministic(seed: int) -> None:
    """Same seed, same kind of machine, same bits; on a GPU as far as its operations allow (PyTorch warns if not).

    On a CPU, one thread: the result then does not depend on how many cores there are, and networks of this size gain
    more from runs side by side than from threads.
    """
    torch.manual_seed(seed)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    else:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it to be deterministic
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # a check for mistakes, at a kernel a tensor
        torch.set_float32_matmul_precision("high")  # TF32 on tensor cores: half the mantissa, no scaling of losses
