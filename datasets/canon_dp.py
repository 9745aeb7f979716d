"""Canon dual-pixel images (DPDD): left, right and combined view through a wide aperture, and the all-in-focus target.

Paper: A. Abuolaim and M. S. Brown, "Defocus Deblurring Using Dual-Pixel Data", ECCV 2020. Code:
Abdullah-Abuolaim/defocus-deblurring-dual-pixel (MIT), commit 7ebf77e; no licence is stated for the images. 500
scenes of a Canon EOS 5D Mark IV, 1680x1120, 16-bit sRGB PNG:

    dd_dp_dataset_canon/{train,val,test}_{c,l,r}/source/1P0ANNNN.png    combined, left and right; _L or _R may follow
    dd_dp_dataset_canon/{train,val,test}_c/target/1P0AMMMM.png          another number: the scene's other capture

Sources and targets are paired by their positions in the sorted lists. The two captures of a scene are not exactly
aligned. Portrait images are rotated by 90 degrees counter-clockwise, as in DPDNet's test loader; our reading: in every
split, so that the views always differ along the rows.

The stand-in applies RDPD's simulator (`datasets.degradations.dual_pixel`) to photographs, in 8 bits like its released
generator.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from functools import partial as bind
from pathlib import Path

import cv2
import numpy as np

from bench.contracts import DataError, Dataset, Item, Made, ParamsError
from bench.data.image_folders import list_images, require_folder
from bench.data.user_images import check_sizes, image_size, read_rgb, same_size
from datasets.degradations.dual_pixel import CAMERAS, SHAPES, barrel, check_camera_set, draw_depth, simulate
from datasets.photographs.packaged import Photograph, motorcycle_depth
from datasets.photographs.patches import SOBEL_SIZES, num_kept, patch_corners, sharpest_corners
from datasets.photographs.stand_in import check_least, stand_in

Make = Callable[[np.random.Generator], Made]
Files = tuple[tuple[str, Path], ...]
"""The files of one scene, as (field, file)."""

COUNTS = {"train": 350, "val": 74, "test": 76}
"""Scenes, from the name lists of DPDNet's code."""
FOLDERS = {"left": "{}_l/source", "right": "{}_r/source", "centre": "{}_c/source", "target": "{}_c/target"}
"""The folder of each field, by split."""
NUMBER_STEPS = (-1, 1, 2)
"""A target's number minus its source's, over all 500 scenes."""
INDOOR = {*range(8, 14), 16, 32, *range(39, 57), *range(59, 68), 74, 75}
"""Positions of the 37 indoor scenes in the sorted test list; the other 39 are outdoor."""
VAL_OVERLAP = 0.01
"""Overlap of DPDNet's validation patches, as a share of the patch."""
TERMS = "no licence stated with the images; research use"


# The official layout --------------------------------------------------------------------------------------------------


def number_of(path: Path) -> int:
    """Return the NNNN of 1P0ANNNN.png, with or without _L, _R or _C. Raises DataError for another name.

    >>> number_of(Path("1P0A0042_L.png"))
    42
    """
    if not (match := re.fullmatch(r"1P0A(\d{4})(_[LRC])?", path.stem)):
        raise DataError(f"{path}: found this name, expected 1P0A and four digits; move files of other origin away")
    return int(match[1])


def scenes(folder: Path, split: str) -> list[dict[str, Path]]:
    """List the files of each scene of a split by field, sorted by the source's name.

    Raises:
        DataError: a view or a target is missing, or the numbers of a pair are not those of one scene.
    """
    files = {field: list_images(folder / name.format(split)) for field, name in FOLDERS.items()}
    numbers = {field: {number_of(path): path for path in paths} for field, paths in files.items()}
    for field in ("left", "right"):
        if alone := sorted(numbers[field].keys() ^ numbers["centre"].keys()):
            present, absent = ("centre", field) if alone[0] in numbers["centre"] else (field, "centre")
            raise DataError(
                f"{folder}: found {len(alone)} scenes of {split!r} that lack a view; {FOLDERS[present].format(split)} "
                f"has 1P0A{alone[0]:04d}, {FOLDERS[absent].format(split)} does not; unpack the archive again"
            )
    sources, targets = sorted(numbers["centre"]), sorted(numbers["target"])
    pairs = list(zip(sources, targets, strict=False))
    wrong = next((pair for pair in pairs if pair[1] - pair[0] not in NUMBER_STEPS), None)
    if wrong or len(sources) != len(targets):
        first = f", the first wrong one of 1P0A{wrong[0]:04d} with target 1P0A{wrong[1]:04d}" if wrong else ""
        raise DataError(
            f"{folder}: {len(sources)} sources and {len(targets)} targets of split {split!r} do not make pairs{first}; "
            "expected as many of both, each target's number 1 below or 1 or 2 above its source's; unpack it all again"
        )
    return [
        {field: numbers[field][source] for field in ("left", "right", "centre")} | {"target": numbers["target"][target]}
        for source, target in pairs
    ]


@lru_cache(maxsize=1)
def read_scene(files: Files) -> tuple[dict[str, np.ndarray], int]:
    """Read a scene. The last one is cached for its further patches.

    Returns:
        the images (H, W, 3) uint16 by field, and the degrees by which they were rotated: 90 for a portrait, else 0.

    Raises:
        DataError: a file is damaged or not of 16 bits, or the sizes differ.
    """
    images = {field: read_rgb(path, bits=16) for field, path in files}
    same_size(str(dict(files)["centre"]), images)
    height, width = images["target"].shape[:2]
    if height <= width:
        return images, 0
    return {field: np.ascontiguousarray(np.rot90(image)) for field, image in images.items()}, 90


@lru_cache(maxsize=1)
def kept_corners(files: Files, patch: int, overlap: float) -> list[tuple[int, int]]:
    """Return the corners of a scene's training patches; those of the last scene are cached."""
    return sharpest_corners(read_scene(files)[0]["target"], patch, overlap)


def read_whole(files: Files, scene: str, rng: np.random.Generator) -> Made:
    """Make one item: a whole scene. Nothing is drawn."""
    images, turned = read_scene(files)
    return Made(dict(images), {"kind": "captured", "turned": turned}, {"scene": scene})


def read_patch(
    files: Files,
    patch: int,
    overlap: float,
    keep_all: bool,
    number: int,
    rng: np.random.Generator,
) -> Made:
    """Make one item: a patch of a scene. Nothing is drawn.

    Args:
        files: of the scene.
        patch: as for `patch_corners`.
        overlap: as for `patch_corners`.
        keep_all: use all patches, else those of `sharpest_corners`.
        number: of the patch among those that are used, row by row.
        rng: not used.
    """
    images, turned = read_scene(files)
    height, width = images["target"].shape[:2]
    corners = patch_corners(height, width, patch, overlap) if keep_all else kept_corners(files, patch, overlap)
    top, left = corners[number]
    crops = {
        name: np.ascontiguousarray(image[top : top + patch, left : left + patch]) for name, image in images.items()
    }
    return Made(crops, {"kind": "captured", "turned": turned, "crop_top": top, "crop_left": left}, {"scene": ""})


def originals(root: Path, *, partial: bool = False, patch: int | None = 512, overlap: float = 0.6) -> list[Item]:
    """List the training and validation patches and the whole test images under `root`.

    If all 76 test images are there, each one's scene, indoor or outdoor, is known by its position in the list.

    Args:
        root: the folder with dd_dp_dataset_canon, or that folder itself.
        partial: accept fewer scenes than the official count, a missing split, and reduced copies: images smaller than a
            patch are stored whole, with a warning.
        patch: side in pixels of the stored patches. The flattest 30 % of an image's training patches are dropped.
            Validation patches overlap by 1 % and are all kept. None stores these images whole.
        overlap: share of the side that neighbouring training patches have in common.

    Raises:
        DataError: the files are not the official ones.
        ParamsError: an option is out of its range.
    """
    if patch is not None and patch < max(SOBEL_SIZES):
        raise ParamsError(
            f"patch: found {patch}, expected at least {max(SOBEL_SIZES)} pixels, or none for whole images"
        )
    if not 0 <= overlap < 1 or (patch and int((1 - overlap) * patch) < 1):
        raise ParamsError(f"overlap: found {overlap}, expected a share of the patch, at least 0 and below 1")
    folder = require_folder(root) / "dd_dp_dataset_canon"
    folder = folder if folder.is_dir() else root
    by_split = scenes_by_split(folder, partial)
    sizes = {
        scene["centre"]: scene_size(folder, split, scene) for split, listed in by_split.items() for scene in listed
    }
    items = []
    for split, listed in by_split.items():
        for position, scene in enumerate(listed):
            name, size = f"1P0A{number_of(scene['centre']):04d}", sizes[scene["centre"]]
            side = None if split == "test" else stored_patch(name, size, patch, partial)
            if side is None:
                known = split == "test" and len(listed) == COUNTS["test"]
                place = ("indoor" if position in INDOOR else "outdoor") if known else ""
                makes: dict[str, Make] = {name: bind(read_whole, tuple(scene.items()), place)}
            else:
                makes = patches_of(name, tuple(scene.items()), size, side, None if split == "val" else overlap)
            source = scene["centre"].relative_to(root).as_posix()
            items += [Item(key, split, make, source, TERMS, tuple(scene.values())) for key, make in makes.items()]
    return items


def scenes_by_split(folder: Path, partial: bool) -> dict[str, list[dict[str, Path]]]:
    """List the scenes of all splits. Raises DataError unless they are the official number, or some if `partial`."""
    present = {split: any((folder / name.format(split)).is_dir() for name in FOLDERS.values()) for split in COUNTS}
    by_split = {split: scenes(folder, split) if present[split] or not partial else [] for split in COUNTS}
    if not any(by_split.values()) or (not partial and any(len(by_split[split]) != COUNTS[split] for split in COUNTS)):
        counts = "; ".join(
            f"{len(by_split[split])} scenes in split {split!r}, the official set has {COUNTS[split]}"
            for split in COUNTS
        )
        raise DataError(
            f"{folder}: {counts}. Unpack the whole archive, or give --partial to use the scenes that are there"
        )
    return by_split


def scene_size(folder: Path, split: str, scene: dict[str, Path]) -> tuple[int, int]:
    """Return (H, W) of a scene from the headers of its files. Raises DataError when they differ."""
    sizes = {str(path): image_size(path, bits=16) for path in scene.values()}
    check_sizes(f"{folder} {split} {scene['centre'].stem}", sizes)
    return sizes[str(scene["target"])]


def stored_patch(name: str, size: tuple[int, int], patch: int | None, partial: bool) -> int | None:
    """Return the patch's side for a training or validation image; None to store the image whole.

    Args:
        name: of the scene, for messages.
        size: (H, W) of its images.
        patch: the option, in pixels; None stores images whole.
        partial: the option: store an image smaller than a patch whole, with a warning.

    Raises:
        ParamsError: the image is smaller than a patch, unless `partial`.
    """
    short, long = min(size), max(size)
    if patch is None or patch <= short:
        return patch
    if not partial:
        raise ParamsError(f"patch: found {patch}, expected at most {short}, the shorter side of {name} in pixels")
    warnings.warn(f"{name}: {long}x{short} is smaller than a patch of {patch}; stored whole", stacklevel=3)
    return None


def patches_of(name: str, files: Files, size: tuple[int, int], patch: int, overlap: float | None) -> dict[str, Make]:
    """Return the item's `make` for each patch of a scene, by item name.

    Args:
        name: of the scene.
        files: of the scene.
        size: (H, W) of its images.
        patch: side in pixels.
        overlap: of training patches; None for validation patches, which are all kept.
    """
    keep_all, share = (True, VAL_OVERLAP) if overlap is None else (False, overlap)
    total = len(patch_corners(min(size), max(size), patch, share))
    make = bind(read_patch, files, patch, share, keep_all)
    return {f"{name}-{k:02d}": bind(make, k) for k in range(total if keep_all else num_kept(total))}


# The stand-in ---------------------------------------------------------------------------------------------------------


def reduce(image: np.ndarray, max_side: int, interpolation: int) -> np.ndarray:
    """Reduce an image to a longer side of `max_side` pixels; a smaller image is returned as it is.

    Args:
        image: (H, W) or (H, W, C).
        max_side: in pixels.
        interpolation: of OpenCV, such as `cv2.INTER_AREA`.
    """
    scale = max_side / max(image.shape[:2])
    if scale >= 1:
        return image
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    return cv2.resize(image, size, interpolation=interpolation)


def make_offline(
    photograph: Photograph,
    max_side: int | None,
    camera_number: int | None,
    radial_distortion: bool,
    rng: np.random.Generator,
) -> Made:
    """Make one item of the stand-in: simulate the views of a photograph, with real depth (motorcycle) or drawn depth.

    Our reading: the real depth, in metres, is scaled so that its median is in focus. The camera sets have no fixed
    unit, and without scaling all of the motorcycle is in front of three of the five focus distances.

    Args:
        photograph: the one to degrade.
        max_side: longer side in pixels; None for the photograph's size.
        camera_number: position in CAMERAS; None draws one.
        radial_distortion: distort all images by the camera's barrel.
        rng: the item's own generator.
    """
    number = int(rng.integers(len(CAMERAS))) if camera_number is None else camera_number
    camera, shape = CAMERAS[number], SHAPES[int(rng.integers(len(SHAPES)))]
    image = photograph.load()
    if max_side:
        image = reduce(image, max_side, cv2.INTER_AREA)
    if photograph.name == "motorcycle_left":
        metres, valid = motorcycle_depth()
        scale = camera.focus_distance / float(np.median(metres[valid]))
        # Nearest neighbour: the mean of the two sides of an edge is a depth without an object.
        depth = cv2.resize(metres, image.shape[1::-1], interpolation=cv2.INTER_NEAREST) * scale
        drawn, scene = {"depth": "real", "depth_scale": round(scale, 6)}, "real depth"
    else:
        depth, drawn = draw_depth(rng, image.shape[0], image.shape[1], camera)
        scene = "drawn depth"

    images = simulate(image, depth, camera, shape) | {"target": image}
    if radial_distortion:
        images = {name: barrel(view, camera.barrel) for name, view in images.items()}
    about = {
        "kind": "dual-pixel simulator",
        "camera_set": number,
        "order": shape.order,
        "cut_off": shape.cut_off,
        "floor": shape.floor,
        "radial_distortion": radial_distortion,
    }
    return Made(images, about | drawn, {"scene": scene})


def offline(
    *,
    draws: int = 4,
    test_draws: int = 2,
    max_side: int | None = 512,
    camera_set: int | None = None,
    radial_distortion: bool = False,
) -> list[Item]:
    """List simulated views of the photographs inside installed packages: whole photographs, 8 bits.

    The scene of a test image is "real depth" (motorcycle_left) or "drawn depth" (all others).

    Args:
        draws: simulations per training photograph, each with its own lens, kernel shape and depth.
        test_draws: simulations per validation and test photograph.
        max_side: longer side in pixels, reduced by area; None keeps the photograph's size.
        camera_set: 0 to 4 of the released generator; None draws one.
        radial_distortion: distort views and target by the camera's barrel; False in the released generator too.

    Raises:
        ParamsError: an option is out of its range.
    """
    if max_side is not None:
        check_least("max_side", max_side, 64)
    if camera_set is not None:
        check_camera_set(camera_set)
    return stand_in(
        draws, test_draws, lambda photo, split, draw: bind(make_offline, photo, max_side, camera_set, radial_distortion)
    )


dataset = Dataset(
    title="Canon dual-pixel (DPDD)",
    tasks=("dual-pixel",),
    fields=("left", "right", "centre", "target"),
    originals=originals,
    offline=offline,
    counts=COUNTS,
    source=(
        "dd_dp_dataset_canon.zip, linked from github.com/Abdullah-Abuolaim/defocus-deblurring-dual-pixel. A. Abuolaim "
        f"and M. S. Brown, Defocus Deblurring Using Dual-Pixel Data, ECCV 2020. Terms: {TERMS}."
    ),
)
