"""A set of images of noise with an auxiliary map, for tests of auxiliary maps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import AuxiliaryMap, Item, Made, Method, Phase, Player
from bench.data.built_images import as_float
from bench.data.manifest import BuiltSet
from tests.images import read_png

TRAIN, SIDES = 4, (28, 37)  # images of different heights: 28, 29, ...


def drawn(rng: np.random.Generator, height: int) -> Made:
    """A sample of noise with some holes."""
    target = rng.integers(0, 256, (height, SIDES[1], 3), dtype=np.uint8)
    mask = np.zeros((height, SIDES[1]), np.uint8)
    mask[5:15, ::2] = 255
    return Made({"target": target, "mask": mask})


def offline() -> list[Item]:
    """Four training images and a test image."""
    names = [("train", f"n{i}") for i in range(TRAIN)] + [("test", "t")]
    made = [partial(drawn, height=SIDES[0] + i) for i in range(TRAIN + 1)]
    return [Item(name, split, make, "noise", "CC0-1.0") for (split, name), make in zip(names, made, strict=True)]


def signed(target: np.ndarray) -> np.ndarray:
    """The map of these tests: red and green, from [0, 1] to [-1, 1]."""
    return 2 * target[..., :2] - 1


def signed_input(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The map of an image with holes: 0 where the image is unknown."""
    return (2 * x[..., :2] - 1) * (1 - mask)


def wrong(target: np.ndarray, kind: str) -> np.ndarray:
    """A map with a mistake: axes swapped ("turned"), a NaN, or a value above 1 ("high")."""
    texture = signed(target)
    if kind == "turned":
        return texture.transpose(1, 0, 2)
    texture[3, 4, 0] = np.nan if kind == "nan" else 1.5
    return texture


def map_of(of_target: Callable[[np.ndarray], np.ndarray] = signed) -> AuxiliaryMap:
    """The declaration of the map, made from a complete image by this function."""
    return AuxiliaryMap(of_target, signed_input, "methods/_sign.py")


def targets(built: BuiltSet) -> list[np.ndarray]:
    """The training images, (H, W, 3) in [0, 1]."""
    return [as_float(read_png(built.folder / file)) for file in built.split("train")["file_target"]]


class Spy(nn.Module):
    """Gives the map's red channel back as the image, and keeps the sizes of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor, sign: Tensor) -> Tensor:
        self.sizes.append(tuple(sign.shape))
        return (self.scale * sign[:, :1] + 1).expand_as(x) / 2


def spying(auxiliary_map: AuxiliaryMap, **about: Any) -> Method:
    """A method that needs the map; its network has an argument named like the map's option."""

    def forward(networks: nn.ModuleDict, batch: Any) -> dict[str, Tensor]:
        return {"pred": networks["network"](batch["x"], batch["sign"])}

    def losses(networks: nn.ModuleDict, batch: Any, outputs: Any) -> dict[str, Tensor]:
        return {"l2": (outputs["pred"] - batch["target"]).square().mean()}

    phase = Phase(forward, {"network": Player(("network",), losses)})
    return Method(
        ("inpaint",),
        lambda gain=1.0: {"network": Spy()},
        {"train": phase},
        lambda networks, batch: forward(networks, batch)["pred"],  # type: ignore[arg-type]
        auxiliary={"sign": auxiliary_map},
        **about,
    )


def image_and_hole(height: int, width: int) -> dict[str, Tensor]:
    """A batch of two images with one hole each."""
    x, mask = torch.rand(2, 3, height, width), torch.zeros(2, 1, height, width)
    mask[..., 3:9, 4:20] = 1
    return {"x": x * (1 - mask), "mask": mask}
