"""Settings of the machine: threads, the memory allocator, the device that scores, and full float32 on GPUs."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from bench.processors import available

# Parameters of glibc's mallopt, from malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def tune_allocator() -> bool:
    """Keep freed memory in the process: otherwise the system maps new pages for every large tensor.

    Measured on convolution networks: training steps are 1.05 to 1.8 times faster.

    Returns:
        False where the C library does not have these settings; then nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    settings = {M_TOP_PAD: 256 << 20, M_MMAP_THRESHOLD: 1 << 30, M_TRIM_THRESHOLD: (1 << 31) - 1}
    return all(mallopt(key, value) == 1 for key, value in settings.items())


def set_threads(count: int) -> int:
    """Set the number of torch's threads and return it. Results depend on it, so it is part of a run's identity.

    Args:
        count: of threads; 0 for OMP_NUM_THREADS where that is set, else one per core that this process may use.
    """
    import torch

    if count:
        torch.set_num_threads(count)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(available())
    return torch.get_num_threads()


def scoring_device() -> str:
    """Return the device on which networks restore and perceptual metrics run: "cuda" where there is one, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def full_float32() -> Iterator[None]:
    """Make a GPU convolve in full float32: torch's default may round inputs to the 10 mantissa bits of TF32.

    Scores are computed under it. Without a GPU nothing changes.
    """
    from torch.backends import cudnn

    before = cudnn.allow_tf32
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before
