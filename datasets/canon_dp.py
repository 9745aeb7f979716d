"""Canon dual-pixel images (DPDD): left, right and combined view through a wide aperture, and the all-in-focus target.

Paper: A. Abuolaim and M. S. Brown, "Defocus Deblurring Using Dual-Pixel Data", ECCV 2020. Code:
Abdullah-Abuolaim/defocus-deblurring-dual-pixel (MIT), commit 7ebf77e; the images have no licence of their own. 500
scenes of a Canon EOS 5D Mark IV, 1680x1120, 16-bit sRGB PNG:

    dd_dp_dataset_canon/{train,val,test}_{c,l,r}/source/1P0ANNNN.png    combined, left and right; _L or _R may follow
    dd_dp_dataset_canon/{train,val,test}_c/target/1P0AMMMM.png          another number: the scene's other capture

Sources and targets pair by their places in the sorted lists. The two captures of a scene are not exactly aligned.
Portrait images are turned by 90 degrees counter-clockwise, as DPDNet's loader does in testing; our reading: in every
split, so that the views differ along the rows everywhere.

The stand-in runs the simulator of RDPD (see `_dual_pixel`) on photographs, in 8 bits as its released generator does.
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
from bench.data.user_images import check_sizes, list_images, read_bytes, read_rgb, require_folder, same_size
from datasets.degradations.dual_pixel import CAMERAS, SHAPES, barrel, check_camera_set, drawn_depth, simulate
from datasets.photographs.packaged import Photograph, motorcycle_depth
from datasets.photographs.stand_in import check_least, stand_in

COUNTS = {"train": 350, "val": 74, "test": 76}  # scenes; the name lists of DPDNet's code
FOLDERS = {"left": "{}_l/source", "right": "{}_r/source", "centre": "{}_c/source", "target": "{}_c/target"}
STEPS = (-1, 1, 2)  # the number of a target less that of its source, in all 500 scenes
INDOOR = {*range(8, 14), 16, 32, *range(39, 57), *range(59, 68), 74, 75}  # places in the sorted test list; 37 of 76
SOBEL_SIZES = (3, 7, 11, 15)
FLAT_SHARE = 0.3  # of an image's training patches, dropped
VAL_OVERLAP = 0.01  # of the patch; DPDNet's validation patches
TERMS = "no licence stated with the images; research use"


# Training patches (DPDNet's code) -------------------------------------------------------------------------------------


def patch_corners(height: int, width: int, patch: int, overlap: float) -> list[tuple[int, int]]:
    """Lay patches over an image: (top, left) of each, row by row; one that would leave the image ends at its border.

    Args:
        patch: side in pixels.
        overlap: share of the side that neighbours share, in [0, 1); the stride is int((1 - overlap) patch).
    """
    stride = int((1 - overlap) * patch)

    def starts(side: int) -> list[int]:
        last = side - patch
        return [*range(0, last, stride), last]

    return [(top, left) for top in starts(height) for left in starts(width)]


def sharpness(patches: list[np.ndarray]) -> np.ndarray:
    """How much detail each patch of one image has, relative to the others: (N,) float64 in [0, 1].

    The Sobel gradient's magnitude, summed over the grey patch, at four sizes; each size's sums are brought to [0, 1]
    over the image's patches and the four are multiplied.

    Args:
        patches: (P, P, 3) RGB in their own bit depth.
    """
    product = np.ones(len(patches))
    grey = [cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY) for patch in patches]
    for size in SOBEL_SIZES:
        sums = np.empty(len(grey))
        for i, image in enumerate(grey):
            across = cv2.Sobel(image, cv2.CV_64F, 1, 0, ksize=size)
            down = cv2.Sobel(image, cv2.CV_64F, 0, 1, ksize=size)
            sums[i] = cv2.magnitude(across, down).sum()
        product *= (sums - sums.min()) / max(np.ptp(sums), np.finfo(np.float64).tiny)
    return product


def num_kept(num_patches: int) -> int:
    """How many of an image's patches stay: all but int(0.3 N)."""
    return num_patches - int(FLAT_SHARE * num_patches)


def sharpest_corners(target: np.ndarray, patch: int, overlap: float) -> list[tuple[int, int]]:
    """The corners of the patches that training keeps, in the order of `patch_corners`: all but the flattest."""
    corners = patch_corners(target.shape[0], target.shape[1], patch, overlap)
    energy = sharpness([target[top : top + patch, left : left + patch] for top, left in corners])
    flat = np.argsort(energy, kind="stable")[: len(corners) - num_kept(len(corners))]
    return [corner for i, corner in enumerate(corners) if i not in set(flat.tolist())]


# The official layout --------------------------------------------------------------------------------------------------


def number_of(path: Path) -> int:
    """The NNNN of 1P0ANNNN.png, with or without _L, _R or _C. Raises DataError for another name."""
    if not (match := re.fullmatch(r"1P0A(\d{4})(_[LRC])?", path.stem)):
        raise DataError(
            f"{path}: found this name, expected 1P0A and four digits; move files that are not the set's away"
        )
    return int(match[1])


def scenes(folder: Path, split: str) -> list[dict[str, Path]]:
    """List the files of each scene of a split by field, sorted by the source's name.

    Raises:
        DataError: when a view or a target is missing, or a pair's numbers are not those of one scene.
    """
    files = {field: list_images(folder / name.format(split)) for field, name in FOLDERS.items()}
    numbers = {field: {number_of(path): path for path in paths} for field, paths in files.items()}
    for field in ("left", "right"):
        if alone := sorted(numbers[field].keys() ^ numbers["centre"].keys()):
            have, lack = ("centre", field) if alone[0] in numbers["centre"] else (field, "centre")
            raise DataError(
                f"{folder}: found {len(alone)} scenes of {split!r} that lack a view; {FOLDERS[have].format(split)} has "
                f"1P0A{alone[0]:04d}, {FOLDERS[lack].format(split)} does not; unpack the archive again"
            )
    sources, targets = sorted(numbers["centre"]), sorted(numbers["target"])
    pairs = list(zip(sources, targets, strict=False))
    wrong = next((pair for pair in pairs if pair[1] - pair[0] not in STEPS), None)
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


def header_size(path: Path) -> tuple[int, int]:
    """Read (H, W) from the header of a 16-bit PNG. Raises DataError for another file; later damage is not seen."""
    try:
        with path.open("rb") as file:
            header = file.read(26)
    except OSError:
        header = read_bytes(path)[:26]  # its message
    if len(header) < 26 or not header.startswith(b"\x89PNG\r\n\x1a\n"):
        raise DataError(f"{path}: found no PNG header, expected a PNG of 16 bits a value; take the files as published")
    if header[24] != 16:
        raise DataError(f"{path}: found {header[24]} bits a value, expected 16; take the files as published")
    return int.from_bytes(header[20:24]), int.from_bytes(header[16:20])


@lru_cache(maxsize=1)
def read_scene(files: tuple[tuple[str, Path], ...]) -> tuple[dict[str, np.ndarray], int]:
    """Read one scene by field, (H, W, 3) uint16, and the degrees by which it was turned: 90 for a portrait, else 0.

    The last scene read is kept for its further patches.

    Raises:
        DataError: when a file is damaged or not of 16 bits, or the sizes differ.
    """
    images = {field: read_rgb(path, bits=16) for field, path in files}
    same_size(str(dict(files)["centre"]), images)
    height, width = images["target"].shape[:2]
    if height <= width:
        return images, 0
    return {field: np.ascontiguousarray(np.rot90(image)) for field, image in images.items()}, 90


@lru_cache(maxsize=1)
def kept_corners(files: tuple[tuple[str, Path], ...], patch: int, overlap: float) -> list[tuple[int, int]]:
    """The corners of one scene's training patches; those of the last scene asked are kept."""
    return sharpest_corners(read_scene(files)[0]["target"], patch, overlap)


def read_whole(files: tuple[tuple[str, Path], ...], scene: str, rng: np.random.Generator) -> Made:
    """One whole scene; nothing is drawn."""
    images, turned = read_scene(files)
    return Made(dict(images), {"kind": "captured", "turned": turned}, {"scene": scene})


def read_patch(
    files: tuple[tuple[str, Path], ...],
    patch: int,
    overlap: float,
    keep_all: bool,
    place: int,
    rng: np.random.Generator,
) -> Made:
    """Patch number `place` of a scene, counted row by row among those that are kept; nothing is drawn."""
    images, turned = read_scene(files)
    height, width = images["target"].shape[:2]
    corners = patch_corners(height, width, patch, overlap) if keep_all else kept_corners(files, patch, overlap)
    top, left = corners[place]
    cut = {name: np.ascontiguousarray(image[top : top + patch, left : left + patch]) for name, image in images.items()}
    return Made(cut, {"kind": "captured", "turned": turned, "crop_top": top, "crop_left": left}, {"scene": ""})


def originals(root: Path, *, partial: bool = False, patch: int | None = 512, overlap: float = 0.6) -> list[Item]:
    """List the training and validation patches and the whole test images under `root`.

    With all 76 test images there, each has its scene, indoor or outdoor, by its place in the list; else it has none.

    Args:
        root: the folder that holds dd_dp_dataset_canon, or that folder itself.
        partial: fewer scenes than the official count pass, a split that is not there at all, and reduced copies:
            images smaller than a patch are stored whole, with a warning.
        patch: side in pixels of the stored training patches, the flattest 30% of each image left out, and of the
            validation patches, 1% overlapping and all kept; None stores these images whole.
        overlap: share of the side that neighbouring training patches share.

    Raises:
        DataError: when the files are not the official ones.
        ParamsError: when an option is out of its range.
    """
    if patch is not None and patch < max(SOBEL_SIZES):
        raise ParamsError(
            f"patch: found {patch}, expected at least {max(SOBEL_SIZES)} pixels, or none for whole images"
        )
    if not 0 <= overlap < 1 or (patch and int((1 - overlap) * patch) < 1):
        raise ParamsError(f"overlap: found {overlap}, expected a share of the patch, at least 0 and below 1")
    folder = require_folder(root) / "dd_dp_dataset_canon"
    folder = folder if folder.is_dir() else root
    there = {split: any((folder / name.format(split)).is_dir() for name in FOLDERS.values()) for split in COUNTS}
    found = {split: scenes(folder, split) if there[split] or not partial else [] for split in COUNTS}
    told = [f"{len(found[split])} scenes in split {split!r}, the official set has {COUNTS[split]}" for split in COUNTS]
    if not any(found.values()) or (not partial and any(len(found[split]) != COUNTS[split] for split in COUNTS)):
        raise DataError(
            f"{folder}: {'; '.join(told)}. Unpack the whole archive, or give --partial to use the scenes that are there"
        )

    sizes = {}
    for split, groups in found.items():
        for group in groups:
            each = {str(path): header_size(path) for path in group.values()}
            check_sizes(f"{folder} {split} {group['centre'].stem}", each)
            sizes[group["centre"]] = each[str(group["target"])]

    items = []
    for split, groups in found.items():
        for place, group in enumerate(groups):
            name, files = f"1P0A{number_of(group['centre']):04d}", tuple(group.items())
            height, width = sizes[group["centre"]]
            short, long = min(height, width), max(height, width)
            makes: dict[str, Callable[[np.random.Generator], Made]]
            small = patch is not None and patch > short
            if small and split != "test" and partial:
                warnings.warn(f"{name}: {long}x{short} is smaller than a patch of {patch}; stored whole", stacklevel=2)
            if split == "test" or patch is None or (small and partial):
                known = split == "test" and len(groups) == COUNTS["test"]
                scene = ("indoor" if place in INDOOR else "outdoor") if known else ""
                makes = {name: bind(read_whole, files, scene)}
            else:
                if small:
                    raise ParamsError(
                        f"patch: found {patch}, expected at most {short}, the shorter side of {name} in pixels"
                    )
                keep_all, share = (True, VAL_OVERLAP) if split == "val" else (False, overlap)
                total = len(patch_corners(short, long, patch, share))
                cut = bind(read_patch, files, patch, share, keep_all)
                makes = {f"{name}-{k:02d}": bind(cut, k) for k in range(total if keep_all else num_kept(total))}
            source = group["centre"].relative_to(root).as_posix()
            items += [Item(key, split, make, source, TERMS, tuple(group.values())) for key, make in makes.items()]
    return items


# The stand-in ---------------------------------------------------------------------------------------------------------


def reduce(image: np.ndarray, max_side: int, interpolation: int) -> np.ndarray:
    """Bring the longer side down to `max_side` pixels, where it is longer."""
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
    """Simulate the views of a photograph, from its real depth (motorcycle) or from a drawn one.

    Our reading: the real depth, in metres, is scaled so that its median lies in focus; the camera sets' units are the
    scene's own, and unscaled the motorcycle lies wholly in front of three of the five focus distances.
    """
    number = int(rng.integers(len(CAMERAS))) if camera_number is None else camera_number
    camera, shape = CAMERAS[number], SHAPES[int(rng.integers(len(SHAPES)))]
    image = photograph.load()
    if max_side:
        image = reduce(image, max_side, cv2.INTER_AREA)
    if photograph.name == "motorcycle_left":
        metres, valid = motorcycle_depth()
        scale = camera.focus_distance / float(np.median(metres[valid]))
        # Nearest neighbour: a mean of two sides of an edge would be a depth where nothing is.
        depth = cv2.resize(metres, image.shape[1::-1], interpolation=cv2.INTER_NEAREST) * scale
        drawn, scene = {"depth": "real", "depth_scale": round(scale, 6)}, "real depth"
    else:
        depth, drawn = drawn_depth(rng, image.shape[0], image.shape[1], camera)
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

    The scene of a test image says whether its depth is real (motorcycle_left) or drawn (all others).

    Args:
        draws: simulations of each training photograph, each with its own lens, kernel shape and depth.
        test_draws: simulations of each validation and test photograph.
        max_side: the longer side is reduced to this many pixels by area; None keeps the photograph's size.
        camera_set: 0 to 4 of the released generator; None draws one.
        radial_distortion: distort views and target alike by the camera's barrel; off in the released generator too.

    Raises:
        ParamsError: when an option is out of its range.
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
