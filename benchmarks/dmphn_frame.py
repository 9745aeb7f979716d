"""Compare the speed of our DMPHN with its authors' network for one frame: `python -m benchmarks.dmphn_frame`.

Both run in float32 with equal weights on the same number of threads; with --bfloat16 ours also runs as in `restore
--precision bfloat16`. Each side runs in a separate process, because the memory allocator and the waiting of threads are
set per process. The sides take turns frame by frame in one run. The ratios can be compared between machines, the times
cannot. The command fails when the results differ.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.contracts import UserError
from bench.state_files import read_state
from bench.training.device import tune_allocator
from methods.dmphn import DMPHN, method

FLOAT32_TOLERANCE, BFLOAT16_TOLERANCE = 1e-4, 3e-2
"""The largest accepted relative difference from the authors' result, in the Euclidean norm."""


# The authors' network -------------------------------------------------------------------------------------------------


def residual_unit(channels: int) -> nn.Sequential:
    """Make a convolution, a ReLU and a convolution; the encoder or decoder adds the input."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
    )


class Encoder(nn.Module):
    """The authors' encoder, with their names of the layers."""

    def __init__(self):
        super().__init__()
        self.layer1 = nn.Conv2d(3, 32, 3, padding=1)
        self.layer2, self.layer3 = residual_unit(32), residual_unit(32)
        self.layer5 = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.layer6, self.layer7 = residual_unit(64), residual_unit(64)
        self.layer9 = nn.Conv2d(64, 128, 3, stride=2, padding=1)
        self.layer10, self.layer11 = residual_unit(128), residual_unit(128)

    def forward(self, x: Tensor) -> Tensor:
        """Encode `x` (1, 3, H, W) to (1, 128, H/4, W/4)."""
        x = self.layer1(x)
        x = self.layer2(x) + x
        x = self.layer3(x) + x
        x = self.layer5(x)
        x = self.layer6(x) + x
        x = self.layer7(x) + x
        x = self.layer9(x)
        x = self.layer10(x) + x
        return self.layer11(x) + x


class Decoder(nn.Module):
    """The authors' decoder, with their names of the layers."""

    def __init__(self):
        super().__init__()
        self.layer13, self.layer14 = residual_unit(128), residual_unit(128)
        self.layer16 = nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1)
        self.layer17, self.layer18 = residual_unit(64), residual_unit(64)
        self.layer20 = nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1)
        self.layer21, self.layer22 = residual_unit(32), residual_unit(32)
        self.layer24 = nn.Conv2d(32, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Decode `x` (1, 128, H/4, W/4) to (1, 3, H, W)."""
        x = self.layer13(x) + x
        x = self.layer14(x) + x
        x = self.layer16(x)
        x = self.layer17(x) + x
        x = self.layer18(x) + x
        x = self.layer20(x)
        x = self.layer21(x) + x
        x = self.layer22(x) + x
        return self.layer24(x)


class Authors(nn.ModuleDict):
    """The authors' test script as a network: eight modules, each patch computed separately."""

    def __init__(self):
        super().__init__({f"encoder_lv{level}": Encoder() for level in range(1, 5)})
        self.update({f"decoder_lv{level}": Decoder() for level in range(1, 5)})

    def forward(self, x: Tensor) -> Tensor:
        """Restore `x` (1, 3, H, W), RGB in [0, 1]."""
        image = x - 0.5
        halves = image.chunk(2, 2)
        quarters = [quarter for half in halves for quarter in half.chunk(2, 3)]
        features4, residual4 = [], []
        for quarter in quarters:
            above, below = quarter.chunk(2, 2)
            features4.append(torch.cat((self["encoder_lv4"](above), self["encoder_lv4"](below)), 2))
            residual4.append(self["decoder_lv4"](features4[-1]))
        features3, residual3 = [], []
        for first in (0, 2):
            left, right = (self["encoder_lv3"](quarters[i] + residual4[i]) for i in (first, first + 1))
            features3.append(torch.cat((left, right), 3) + torch.cat((features4[first], features4[first + 1]), 3))
            residual3.append(self["decoder_lv3"](features3[-1]))
        top, bottom = (self["encoder_lv2"](half + residual) for half, residual in zip(halves, residual3, strict=True))
        features2 = torch.cat((top, bottom), 2) + torch.cat(features3, 2)
        residual2 = self["decoder_lv2"](features2)
        features1 = self["encoder_lv1"](image + residual2) + features2
        return self["decoder_lv1"](features1) + 0.5


# The two sides --------------------------------------------------------------------------------------------------------


def authors(state: dict[str, Tensor], image: Tensor) -> Callable[[], Tensor]:
    """Return the restoration of one frame as in the authors' test script: default memory layout, no gradients."""
    network = Authors().eval()
    network.load_state_dict(state)

    def call() -> Tensor:
        with torch.no_grad():
            return network(image)

    return call


def ours(state: dict[str, Tensor], image: Tensor) -> Callable[[], Tensor]:
    """Return the restoration of one frame as in our engine: weights channels-last, inference mode."""
    network = DMPHN().to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    network.load_state_dict(method.reference["network"](state))
    image = image.contiguous(memory_format=torch.channels_last)

    def call() -> Tensor:
        with torch.inference_mode():
            return network(image)

    return call


def ours_bfloat16(state: dict[str, Tensor], image: Tensor) -> Callable[[], Tensor]:
    """Return the restoration of one frame as by `restore --precision bfloat16`."""
    in_float32 = ours(state, image)

    def call() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return in_float32().float()

    return call


class Side(NamedTuple):
    """One side of the comparison."""

    make: Callable[[dict[str, Tensor], Tensor], Callable[[], Tensor]]
    """From the authors' tensors and an image (1, 3, H, W) to a function that restores it."""
    tuned: bool
    """Whether the allocator and the waiting of threads are set as by `restore`."""
    tolerance: float = FLOAT32_TOLERANCE
    """The largest accepted relative difference from the authors' result."""


COMPARED = {"authors": Side(authors, False), "ours": Side(ours, True)}
SETTINGS = {"authors, our settings": Side(authors, True), "ours, default settings": Side(ours, False)}
BFLOAT16 = {"ours, bfloat16": Side(ours_bfloat16, True, BFLOAT16_TOLERANCE)}


def weights(folder: Path | None) -> dict[str, Tensor]:
    """Return the authors' tensors by their names: from their files in `folder`, or random ones with a fixed seed."""
    if folder:
        return read_state(folder)
    torch.manual_seed(0)
    return Authors().state_dict()


def serve(side: Side, folder: Path | None, size: tuple[int, int], threads: int, pipe: Connection) -> None:
    """Run one side in its process: send the first frame, then the times of one more frame for each True received.

    Args:
        side: what is run.
        folder: of the authors' weights; None for random ones.
        size: height and width of the frame.
        threads: of torch.
        pipe: receives True for one more frame and False to end; sends the frame (1, 3, H, W), then pairs of wall and
            processor seconds.
    """
    if side.tuned and not tune_allocator():
        print("this C library's allocator has no settings to tune", file=sys.stderr)
    torch.set_num_threads(threads)
    height, width = size
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    call = side.make(weights(folder), image)
    pipe.send(call().numpy())
    while pipe.recv():
        wall, processor = time.perf_counter(), time.process_time()
        call()
        pipe.send((time.perf_counter() - wall, time.process_time() - processor))


def measure(
    sides: dict[str, Side], folder: Path | None, size: tuple[int, int], threads: int, repeats: int
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, NDArray[np.float32]]]:
    """Run the sides in turn.

    Args:
        sides: by name.
        folder: of the authors' weights; None for random ones.
        size: height and width of the frame.
        threads: of each side.
        repeats: timed frames of each side.

    Returns:
        by side the wall and processor seconds of each frame, and by side the frame (1, 3, H, W).
    """
    settings = "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "OMP_WAIT_POLICY"
    context = multiprocessing.get_context("spawn")
    pipes, frames, processes = {}, {}, []
    for name, side in sides.items():
        for setting in settings:
            os.environ.pop(setting, None)  # only the side's own settings count
        if side.tuned:
            os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch is imported, before the side's code
        pipes[name], end = context.Pipe()
        process = context.Process(target=serve, args=(side, folder, size, threads, end), daemon=True)
        process.start()
        end.close()
        processes.append(process)
        frames[name] = pipes[name].recv()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name in sides:
            pipes[name].send(True)
            times[name].append(pipes[name].recv())
    for pipe in pipes.values():
        pipe.send(False)
    for process in processes:
        process.join()
    return times, frames


def main() -> None:
    """Print one line per side: median wall and processor seconds, and the authors' times divided by them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1280, help="of the frame, in pixels; a multiple of 8")
    parser.add_argument("--height", type=int, default=720, help="of the frame, in pixels; a multiple of 16")
    parser.add_argument("--repeats", type=int, default=5, help="timed frames of each side, after one untimed frame")
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument(
        "--weights", type=Path, metavar="DIR", help="folder of the authors' eight files; random weights without it"
    )
    parser.add_argument(
        "--settings", action="store_true", help="also run each side with the other's memory and thread settings"
    )
    parser.add_argument("--bfloat16", action="store_true", help="also run ours in bfloat16")
    options = parser.parse_args()
    if options.width % 8 or options.height % 16 or min(options.width, options.height, options.repeats) < 1:
        parser.error("the width must be a multiple of 8, the height of 16, and the repeats at least 1")
    try:
        if options.weights:
            read_state(options.weights)  # reports a wrong folder before any process starts
    except UserError as error:
        parser.error(str(error))
    sides = COMPARED | (SETTINGS if options.settings else {}) | (BFLOAT16 if options.bfloat16 else {})
    size = (options.height, options.width)
    times, frames = measure(sides, options.weights, size, options.threads, options.repeats)
    print(
        f"{options.width}x{options.height}, float32, torch {torch.__version__}, {options.threads} threads,"
        f" {options.repeats} frames per side, {platform.machine()}"
    )
    print(f"{'':<25} {'wall, s':>8} {'processor, s':>13} {'wall ratio':>11} {'processor ratio':>16} {'difference':>11}")
    slow_wall, slow_processor = (statistics.median(column) for column in zip(*times["authors"], strict=True))
    truth = frames["authors"]
    wrong = []
    for name, side in sides.items():
        wall, processor = (statistics.median(column) for column in zip(*times[name], strict=True))
        difference = float(np.linalg.norm(frames[name] - truth) / np.linalg.norm(truth))
        if not difference < side.tolerance:
            wrong.append(f"{name} by {difference:.1e}, expected less than {side.tolerance:g}")
        ratios = f"{slow_wall / wall:>11.2f} {slow_processor / processor:>16.2f}"
        print(f"{name:<25} {wall:>8.2f} {processor:>13.2f} {ratios} {difference:>11.1e}")
    if wrong:
        sys.exit(f"the results differ, this is not the same network: {'; '.join(wrong)}")


if __name__ == "__main__":
    main()
