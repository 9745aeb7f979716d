"""The auxiliary maps of a built set: a further image per training image, too slow to compute at each training step.

A map is the folder `<dataset>.auxiliary/<map>/`, next to the built set: one packed file of float16, the training images
one after the other in the order of their manifest rows; the SHA-256 of each image's values; and a manifest with the
set, the source file and the options that it was made with. A map of another build or of other options, or whose source
file has changed since, is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import code, registry, runs
from bench.contracts import AuxiliaryMap, DataError, ParamsError
from bench.data.manifest import BuiltSet
from bench.data.packed import Packed, as_bytes
from bench.files import sha256
from bench.hashes import read_sealed, read_verified
from bench.names import check_name
from bench.params.resolving import all_runs
from bench.params.schema import Params
from bench.params.values import PATH
from bench.registry import nearest

SUFFIX = ".auxiliary"
"""The end of the name of the folder of a set's maps, next to the set."""
DTYPE = np.dtype(np.float16)
"""The type of the values on disk."""
PACKED, DIGESTS, MANIFEST = "packed.bin", "digests.txt", "manifest.json"
"""The files of a map: its values; the SHA-256 of each image's values, one per line; and what it was made of, by which
code and with which options, with the SHA-256 of the digests."""


@dataclass(frozen=True)
class MadeMap:
    """An auxiliary map on disk.

    Args:
        packed: its values, float16 (H, W, C) per image, in the order of the set's training rows.
        channels: C.
        digest: of its values, its set, its code and its options: what a training with it depends on.
    """

    packed: Packed
    channels: int
    digest: str


def folder(built: BuiltSet, name: str) -> Path:
    """Return the folder of an auxiliary map of a built set; of the name "" that of all its maps."""
    return built.folder.with_name(f"{built.folder.name}{SUFFIX}") / name


def declared(params: Params, dataset: str) -> dict[str, AuxiliaryMap]:
    """Return the auxiliary maps that the methods of a dataset's runs declare, by name, with params.yaml's options.

    Raises:
        ParamsError: two methods declare different maps under one name; section `auxiliary` names an undeclared map.
    """
    maps: dict[str, AuxiliaryMap] = {}
    for name, run in all_runs(params).items():
        if run.dataset == dataset:
            method = registry.method(run.method)
            method = runs.with_options(method, runs.auxiliary_options(params, dataset, method))
            for key, auxiliary_map in method.auxiliary.items():
                check_name(key, f"{run.method}: the name of an auxiliary map")
                if maps.setdefault(key, auxiliary_map) != auxiliary_map:
                    raise ParamsError(
                        f"{PATH}: run {name}: {run.method} declares another auxiliary map {key!r} than another run"
                    )
    for key, stage in params.auxiliary.items():
        if stage.dataset == dataset and stage.map not in maps:
            near = nearest(stage.map, maps) if maps else "none"
            raise ParamsError(
                f"{PATH}: auxiliary.{key}.map: no method of a run on {dataset} declares {stage.map!r}; the nearest "
                f"are: {near}"
            )
    return maps


def read(built: BuiltSet, name: str, auxiliary_map: AuxiliaryMap) -> MadeMap:
    """Return an auxiliary map of a built set, after checking that it was made of these images by the present code.

    Raises:
        DataError: it is missing, outdated, truncated or changed; the message names the command to run.
    """
    about, made = open_map(built, name)
    place, again = folder(built, name), _again(built)
    if about["code"] != code_of(auxiliary_map):
        raise DataError(f"{place}: the code of {auxiliary_map.module} has changed since the map was made; {again}")
    if (options := about.get("options", {})) != dict(auxiliary_map.options):
        raise DataError(f"{place}: made with {options}, expected {dict(auxiliary_map.options)}; {again}")
    return made


def open_map(built: BuiltSet, name: str) -> tuple[dict[str, Any], MadeMap]:
    """Open an auxiliary map of a built set, whatever code made it; return what its manifest holds, and the map.

    Raises:
        DataError: it is missing, truncated or changed, or of another set; the message names the command to run.
    """
    place, again = folder(built, name), _again(built)
    if not (place / MANIFEST).is_file():
        raise DataError(f"{place}: the auxiliary map {name!r} has not been made yet; {again}")
    about = read_sealed(place / MANIFEST, again)
    if about["map"] != name:
        raise DataError(f"{place}: holds the auxiliary map {about['map']!r}; {again}")
    if about["manifest_sha256"] != built.digest:
        raise DataError(f"{place}: made of another build of {built.folder.name} than the present one; {again}")
    advice = f"delete the folder, then {again}"
    sizes = pixels_per_image(built) * about["channels"] * DTYPE.itemsize
    digests = as_bytes([read_verified(place / DIGESTS, about["digests_sha256"], advice).decode()])
    packed = Packed(place / PACKED, np.cumsum(sizes) - sizes, sizes, digests, advice)
    return about, MadeMap(packed, about["channels"], sha256(place / MANIFEST))


def _again(built: BuiltSet) -> str:
    """Return what to do about a map that cannot be used."""
    return f"run: python -m bench auxiliary {built.folder.name}"


def code_of(auxiliary_map: AuxiliaryMap) -> str:
    """Return the digest of the code that makes a map: its file and all that this imports.

    Raises:
        ParamsError: there is no such file.
    """
    path = code.ROOT / auxiliary_map.module
    if not path.is_file():
        raise ParamsError(
            f"{auxiliary_map.module}: no such file in the project; an auxiliary map names the file that makes it"
        )
    return code.digest(code.closure([], [path]))


def pixels_per_image(built: BuiltSet) -> np.ndarray:
    """Return the number of pixels of each training image, in the order of the manifest."""
    return built.split("train")[["height", "width"]].to_numpy(np.int64).prod(axis=1)
