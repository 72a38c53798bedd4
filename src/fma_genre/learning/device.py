"""Choice of the devices that run networks, and reproducible results on them."""

import os

import torch

WORKSPACE = 6e9  # bytes of GPU memory for networks, activations and batches (an estimate)


def devices() -> list[torch.device]:
    """All GPUs, or the CPU if there is no GPU."""
    return [torch.device("cuda", gpu) for gpu in range(torch.cuda.device_count())] or [torch.device("cpu")]


def fits(size: int, device: torch.device) -> bool:
    """Return whether `size` bytes of data fit on a GPU, in addition to the workspace.

    On a CPU, return False: larger data stay in their file, of which the page cache keeps what fits.
    """
    if device.type == "cpu":
        return False
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # free, but reserved by PyTorch
    return size + WORKSPACE <= torch.cuda.mem_get_info(device)[0] + cached


def make_deterministic(seed: int) -> None:
    """Seed PyTorch, and make results reproducible bit for bit on the same type of machine.

    On a GPU, PyTorch warns if an operation has no deterministic implementation. On a CPU, PyTorch uses one thread, so
    that the results do not depend on the number of cores. The networks are small, so parallel runs use the cores better
    than threads would.
    """
    torch.manual_seed(seed)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    else:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Filling new tensors would help only debugging, and cost a kernel launch for each tensor:
        torch.utils.deterministic.fill_uninitialized_memory = False
        torch.set_float32_matmul_precision("high")  # allows TF32; unlike float16, TF32 needs no loss scaling
