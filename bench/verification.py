"""Verify everything that a profile has recorded: built sets, auxiliary maps, runs, evaluations, searches.

Commands verify what they read, and no more. This reads every byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts import DataError
from bench.data import auxiliary, manifest
from bench.data.manifest import REBUILD, BuiltSet
from bench.data.packed import Packed, packed_field
from bench.files import sha256
from bench.hashes import check_digest, read_sealed
from bench.params.schema import Params
from bench.params.values import STUDY
from bench.record import AGAIN, RECORD, read_record

if TYPE_CHECKING:
    from tqdm import tqdm


def verify(params: Params) -> str:
    """Verify all files of the chosen profile; return how many files and bytes that were.

    Raises:
        DataError: something is missing or has changed; the message lists all of it.
    """
    from tqdm import tqdm

    data, out = (Path(root, params.profile) for root in (params.paths.data, params.paths.out))
    sets = [folder for folder in subfolders(data) if folder.suffix != auxiliary.SUFFIX]
    records, searches = [*subfolders(out / "runs"), *subfolders(out / "scores")], subfolders(out / "search")
    roots = (data, out / "runs", out / "scores", out / "search")
    total = sum(path.stat().st_size for root in roots for path in root.rglob("*") if path.is_file())
    with tqdm(desc="verify", unit="B", unit_scale=True, total=total, disable=None) as bar:
        verification = Verification(bar)
        for folder in sets:
            verification.built_set(folder)
        for folder in records:
            verification.recorded(folder)
        for folder in searches:
            verification.search(folder)
    if faults := verification.faults:
        lines = "".join(f"\n  {fault}" for fault in faults)
        raise DataError(f"{len(faults)} files or images of packed files are missing or have changed:{lines}")
    return f"{verification.files:,} files, {verification.num_bytes:,} bytes: all as they were written"


def subfolders(root: Path) -> list[Path]:
    """Return the folders in a folder, which may be missing; without hidden ones, which killed processes left."""
    return sorted(path for path in root.glob("[!.]*") if path.is_dir())


class Verification:
    """Verifies files, counts what is right and collects faults.

    Args:
        bar: shows the bytes.
    """

    def __init__(self, bar: tqdm):
        self.bar = bar
        self.files = self.num_bytes = 0
        self.faults: list[str] = []

    @contextmanager
    def _fault(self) -> Iterator[None]:
        """Collect the fault that ends what is inside."""
        try:
            yield
        except DataError as error:
            self.faults.append(str(error))

    def _count(self, num_bytes: int, files: int = 1) -> None:
        self.files, self.num_bytes = self.files + files, self.num_bytes + num_bytes
        self.bar.update(num_bytes)

    def file(self, path: Path, digest: str, advice: str) -> None:
        """Verify a file; it is read in parts, whatever its size. Arguments as for `bench.hashes.check_digest`."""
        with self._fault():
            if not path.is_file():
                raise DataError(f"{path}: missing; {advice}")
            try:
                actual = sha256(path)
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
            check_digest(path, actual, digest, advice)
            self._count(path.stat().st_size)

    def _packed(self, packed: Packed) -> None:
        """Verify every image of a packed file."""
        self._count(0)
        for index in range(len(packed)):
            with self._fault():
                self._count(len(packed.image(index)), files=0)

    def built_set(self, folder: Path) -> None:
        """Verify a built set: the manifest, every image, the packed images, and its auxiliary maps."""
        with self._fault():
            built = manifest.read(folder)
            self._count((folder / manifest.NAME).stat().st_size)
            for row in built.rows.to_dict("records"):
                self._images(folder, {str(key): value for key, value in row.items()})
            for field in sorted(name.removeprefix("file_") for name in built.columns if name.startswith("file_")):
                rows = built.rows[built.rows[f"packed_{field}"] >= 0]
                if len(rows):
                    with self._fault():
                        self._packed(packed_field(folder, rows, field, REBUILD))
            for place in subfolders(auxiliary.folder(built, "")):
                self._map(built, place.name)

    def _images(self, folder: Path, row: Mapping[str, object]) -> None:
        """Verify the images of a manifest row."""
        for key, file in row.items():
            if key.startswith("file_") and isinstance(file, str) and file:
                self.file(folder / file, str(row[key.replace("file_", "sha256_", 1)]), REBUILD)
        for entry in json.loads(str(row["references"])):
            self.file(folder / entry["file"], entry["sha256"], REBUILD)

    def _map(self, built: BuiltSet, name: str) -> None:
        """Verify an auxiliary map of a built set."""
        with self._fault():
            _, made = auxiliary.open_map(built, name)
            for file in (auxiliary.MANIFEST, auxiliary.DIGESTS):
                self._count((auxiliary.folder(built, name) / file).stat().st_size)
            self._packed(made.packed)

    def recorded(self, folder: Path) -> None:
        """Verify a run or an evaluation: its record and the files that the record lists."""
        with self._fault():
            record = read_record(folder / RECORD)
            self._count((folder / RECORD).stat().st_size)
            for name, digest in record.files.items():
                self.file(folder / name, digest, AGAIN)

    def search(self, folder: Path) -> None:
        """Verify a search: its study and the files that the study lists."""
        again = f"run: python -m bench search {folder.name}"
        with self._fault():
            study = read_sealed(folder / STUDY, again)
            self._count((folder / STUDY).stat().st_size)
            for name, digest in study["files"].items():
                self.file(folder / name, digest, again)
