"""What every test shares: one thread, so that results repeat, folders of golden cases and real files, and projects."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import pandas as pd

    from bench.record import Record

# Before torch is imported anywhere: results and times then do not depend on the machine's cores. Commands that tests
# start inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
# A server or a profile that the user has set must not be used by tests.
for variable in ("MLFLOW_TRACKING_URI", "SHARPBENCH_PROFILE"):
    os.environ.pop(variable, None)

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden", type=Path, default=Path(__file__).parent / "golden", metavar="DIR", help="the golden cases"
    )
    parser.addoption(
        "--every-frame", action="store_true", help="restore all nine real frames with the released weights, not two"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per golden case, listed from the folder, so that every case is tested."""
    if "golden_case" in metafunc.fixturenames:
        folder = metafunc.config.getoption("golden")
        metafunc.parametrize("golden_case", sorted(path.stem for path in folder.glob("*.json")))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import cv2
    import torch

    torch.set_num_threads(1)
    # A build forks; a child of a process whose OpenCV has threads waits for them for ever.
    cv2.setNumThreads(1)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """What a test draws, and its precision, do not depend on the tests before it, which two workers share out."""
    import torch

    torch.manual_seed(0)
    yield
    if state := sys.modules.get("accelerate.state"):
        state.AcceleratorState._reset_state()  # one per process; it keeps its first precision


@pytest.fixture(scope="session")
def golden(pytestconfig: pytest.Config) -> Path:
    """The folder of golden cases."""
    return pytestconfig.getoption("golden").resolve()


@pytest.fixture(scope="session")
def samples() -> Path:
    """The real files next to the checkout; the test is skipped without them."""
    folder = ROOT.parent / "shared" / "samples"
    if not folder.is_dir():
        pytest.skip("no sample files next to this checkout")
    return folder


# Projects -------------------------------------------------------------------------------------------------------------

PARAMS = """\
profile: sample
threads: 1
evaluate:
  sample:
    metrics: [psnr-rgb8, ssim-gauss11, psnr-float, psnr-y, ssim-uniform7, ssim-y, ssim-matlab-rgb, mae, mse,
              l1-relative, l2-relative, psnr-rgb8-hole, mae-hole, psnr-kohler, ssim-kohler, lpips-alex, fid]
    cost_size: [32, 48]
    timing_repeats: 1
    keep_images: 2
datasets:
  gopro: {offline: {draws: 1, test_draws: 1, max_side: 64}}
  places2: {offline: {draws: 1, test_draws: 1}}
  paris-streetview: {offline: {draws: 1}}
  visdrone: {offline: {draws: 1, test_draws: 1}}
  canon-dp: {originals: {patch: 256}, offline: {draws: 1, test_draws: 1, max_side: 96}}
  kohler: {offline: {draws: 1, min_frames: 3, max_frames: 4}}
defaults:
  sample: {train: {steps: 2, batch_size: 2, crop_size: 32}}
recipes:
  mrfnet: {sample: {network: {channels: 4}, train: {steps: 2}}}
  dmphn: {paper: {network: {channels: 4}}, sample: {network: {channels: 4}, train: {steps: 2, crop_size: 32}},
          datasets: {places2: {sample: {train: {steps: 2, crop_size: 32}}}}}
  rn: {sample: {network: {channels: 8, num_blocks: 2, critic_channels: 8}, train: {steps: 2}}}
  edgeconnect: {paper: {network: &small {channels: 8, num_blocks: 2, critic_channels: 8}}, sample: {network: *small}}
  dpdnet: {sample: {network: {channels: 4}, train: {steps: 2, crop_size: 32}}}
  dmtnet: {sample: {network: {num_blocks: 1, num_dmssrm: 1, channels: 16, rgm_channels: 16, num_rbm: 1, num_rm: 1,
                              window_size: 4, num_heads: 2, up_channels: [16, 16]}}}
runs:
  all:
    mrfnet-gopro: {method: mrfnet, dataset: gopro}
    dmphn-places2: {method: dmphn, dataset: places2, task: deblur}
    rn-places2: {method: rn, dataset: places2}
    dpdnet-canon-dp: {method: dpdnet, dataset: canon-dp}
baselines:
  input-gopro: {method: input, dataset: gopro}
  input-kohler: {method: input, dataset: kohler}
  telea-places2: {method: telea, dataset: places2}
transfers:
  mrfnet-kohler: {run: mrfnet-gopro, dataset: kohler}
chains:
  dmphn+rn: {first: dmphn-places2, second: rn-places2, dataset: places2}
"""


@dataclass(frozen=True)
class Done:
    """How a command ended: its exit status and what it printed."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Project:
    """A folder with a small `params.yaml` in which commands run, in this process."""

    folder: Path

    def run(self, *arguments: str | Path) -> Done:
        """Run one command of Sharpbench there."""
        from bench.cli.main import main

        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([str(argument) for argument in arguments])
        return Done(status, out.getvalue(), err.getvalue())

    def good(self, *arguments: str | Path) -> str:
        """Run a command that must succeed and return what it printed."""
        done = self.run(*arguments)
        assert done.status == 0, done.err
        return done.out

    def bad(self, *arguments: str | Path) -> str:
        """Run a command that must refuse its input: one message, status 2, no file more than before."""
        before = self.files()
        done = self.run(*arguments)
        assert done.status == 2, done.out
        assert done.err.count("\n") == 1, f"more than one message: {done.err}"
        assert "Traceback" not in done.err
        assert self.files() == before
        return done.err

    def files(self) -> set[Path]:
        """Every file below the folder."""
        return {path for path in self.folder.rglob("*") if path.is_file()}

    def scores(self, name: str) -> pd.DataFrame:
        """The rows of an evaluation."""
        import pandas as pd

        return pd.read_parquet(self.folder / "out" / "sample" / "scores" / name / "scores.parquet")

    def record(self, name: str) -> Record:
        """The record of an evaluation."""
        from bench.record import RECORD, read_record

        return read_record(self.folder / "out" / "sample" / "scores" / name / RECORD)

    def pretend_trained(self, name: str) -> None:
        """Leave what a training of the run would, with weights as they are drawn: training is tested elsewhere."""
        import torch
        from safetensors.torch import save_file

        from bench import folders, runs
        from bench.data import manifest
        from bench.files import sha256
        from bench.params import loading
        from bench.record import RECORD, new_record, write_record

        with contextlib.chdir(self.folder):
            loaded = loading.load()
            recipe, method = runs.resolve(loaded, name)
            built = manifest.read(folders.data_folder(loaded, recipe.dataset))
            place = folders.run_folder(loaded, name)
            place.mkdir(parents=True)
            torch.manual_seed(0)
            networks = torch.nn.ModuleDict(method.networks(**recipe.network))
            save_file(networks.state_dict(), place / runs.WEIGHTS)
            record = new_record(recipe, method, built, "trained")
            provenance = replace(record.provenance, weights_sha256=sha256(place / runs.WEIGHTS))
            write_record(place / RECORD, replace(record, provenance=provenance))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One project per test file; what a test builds is kept for the next test."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text(PARAMS)
    return Project(folder)
