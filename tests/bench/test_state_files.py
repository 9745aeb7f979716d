"""Files of weights: every format gives the same tensors, and what holds no state dict is refused."""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bench.contracts import UserError, WeightsError
from bench.state_files import plain_name, read_state


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
def test_every_format_is_read_to_the_same_tensors(suffix, tmp_path):
    state = {"module.a": torch.rand(2, 3), "module.b": torch.arange(4.0)}
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save({"epoch": 3, "state_dict": state}, path)
    elif suffix == ".safetensors":
        save_file(state, path)
    else:
        np.savez(path, **{name: value.numpy() for name, value in state.items()})
    read = read_state(path)
    assert read.keys() == {"a", "b"}
    assert all(torch.equal(read[name], state[f"module.{name}"]) for name in read)


def test_a_file_with_a_colon_in_its_name_is_a_file(tmp_path):
    save_file({"part.a": torch.ones(2), "b": torch.zeros(1)}, tmp_path / "x:part.safetensors")
    assert read_state(tmp_path / "x:part.safetensors").keys() == {"part.a", "b"}
    assert read_state(tmp_path / "x:part.safetensors:part").keys() == {"a"}


@pytest.mark.parametrize(
    ("value", "message"), [([1, 2], "holds list"), ({"a": 1}, "a is not a tensor"), ({}, "holds dict")]
)
def test_a_file_without_a_state_dict(tmp_path, value, message):
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=message):
        read_state(tmp_path / "w.pth")


# Training checkpoints -------------------------------------------------------------------------------------------------


def trained() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The states of a network and of its optimiser after a step."""
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    return network.state_dict(), optimiser.state_dict()


STATE, OPTIMISER = trained()
DOUBLED = {name: 2 * value for name, value in STATE.items()}
UNAMBIGUOUS = {
    "plain": {"epoch": 3, "state_dict": STATE, "optimizer": OPTIMISER},
    "rfr": {"n_iter": 9, "generator": STATE, "optimizer_G": OPTIMISER},
    "scheduler": {"model": STATE, "optimizer": OPTIMISER, "scheduler": {"last_epoch": 3}, "loss": torch.tensor(0.5)},
    "lightning": {
        "epoch": 1, "state_dict": STATE, "loops": {"fit_loop": {"state_dict": {}}}, "optimizer_states": [OPTIMISER],
        "hyper_parameters": {"lr": 1.0}, "callbacks": {"checkpoint": {"best": torch.tensor(0.1), "path": "x"}},
    },
    "mmengine": {"meta": {"epoch": 1}, "state_dict": STATE, "message_hub": {"log_scalars": {}}},
    "deep": {"model": {"network": OrderedDict(STATE)}, "optimizers": {"G": OPTIMISER, "D": OPTIMISER}},
    "random": {"model": STATE, "rng": {"cpu": torch.get_rng_state()}, "scaler": {"scale": torch.tensor(65536.0)}},
    "arguments": {"model": STATE, "args": argparse.Namespace(lr=1e-4), "best": np.float64(31.5)},
}  # fmt: skip


@pytest.mark.parametrize("kind", list(UNAMBIGUOUS))
def test_the_only_state_dict_of_a_checkpoint_is_taken(tmp_path, kind):
    path = tmp_path / "best.pth.tar"
    torch.save(UNAMBIGUOUS[kind], path)
    assert_equal(read_state(path), STATE)


def assert_equal(read: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(read) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in read.items())


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"params": STATE, "params_ema": DOUBLED}, ["params", "params_ema"]),
        ({"netG": STATE, "netD": DOUBLED, "optG": OPTIMISER}, ["netG", "netD"]),
        ({"state_dict": {"generator": STATE, "critic": DOUBLED}}, ["state_dict.generator", "state_dict.critic"]),
    ],
)
def test_of_several_state_dicts_one_must_be_named(tmp_path, content, names):
    path = tmp_path / "w.pth"
    torch.save(content, path)
    with pytest.raises(
        WeightsError, match=f"holds 2 state dicts: {', '.join(names)}; name .*, as in .*w.pth:{names[0]}"
    ):
        read_state(path)
    for name, expected in zip(names, (STATE, DOUBLED), strict=True):
        assert_equal(read_state(Path(f"{path}:{name}")), expected)
    with pytest.raises(UserError, match=f"no part 'nothing'; the nearest are: .*{names[0]}"):
        read_state(Path(f"{path}:nothing"))


def test_a_part_can_be_a_network_inside_a_state_dict(tmp_path):
    state = {f"model.{name}": value for name, value in STATE.items()} | {"loss.vgg": torch.ones(2)}
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "w.ckpt")
    torch.save({"a": state, "b": STATE}, tmp_path / "two.ckpt")
    assert_equal(read_state(tmp_path / "w.ckpt:model"), STATE)
    assert_equal(read_state(tmp_path / "w.ckpt:state_dict.model"), STATE)
    assert_equal(read_state(tmp_path / "two.ckpt:a.model"), STATE)
    with pytest.raises(UserError, match="no part 'modl'; the nearest are: model"):
        read_state(tmp_path / "w.ckpt:modl")


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module."]
)
def test_prefixes_of_wrappers_are_taken_off(tmp_path, prefix):
    torch.save({f"{prefix}{name}": value for name, value in STATE.items()}, tmp_path / "w.pth")
    assert_equal(read_state(tmp_path / "w.pth"), STATE)
    assert plain_name("encoder._orig_mod.0.weight") == "encoder.0.weight" and plain_name("module") == "module"


def test_an_averaged_model_of_torch_is_read_without_its_counter(tmp_path):
    torch.save(torch.optim.swa_utils.AveragedModel(torch.nn.Linear(3, 2)).state_dict(), tmp_path / "ema.pth")
    assert list(read_state(tmp_path / "ema.pth")) == ["weight", "bias"]


def test_names_that_are_equal_without_their_prefixes_are_refused(tmp_path):
    torch.save({"a.weight": torch.ones(2), "module.a.weight": torch.zeros(2)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"two tensors are named a\.weight, with and without a prefix"):
        read_state(tmp_path / "w.pth")


def test_a_checkpoint_that_holds_itself_ends(tmp_path):
    content: dict[str, Any] = {"model": STATE, "deep": {}}
    content["deep"]["again"] = content["deep"]
    torch.save(content, tmp_path / "w.pth")
    assert_equal(read_state(tmp_path / "w.pth"), STATE)


def test_a_folder_is_read_without_the_files_of_macos(tmp_path):
    torch.save(STATE, tmp_path / "encoder.pth.tar")
    torch.save(DOUBLED, tmp_path / "decoder.bin")
    for name in ("._encoder.pth.tar", ".DS_Store", "README.md"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    read = read_state(tmp_path)
    assert list(read) == ["decoder.weight", "decoder.bias", "encoder.weight", "encoder.bias"]
    assert_equal(read_state(Path(f"{tmp_path}:encoder")), STATE)


@pytest.mark.parametrize("kind", ["torch", "safetensors", "npz"])
def test_the_content_tells_the_format_and_not_the_name(tmp_path, kind):
    path = tmp_path / "pytorch_model.bin"
    if kind == "torch":
        torch.save(STATE, path)
    elif kind == "safetensors":
        save_file(STATE, path)
    else:
        with path.open("wb") as file:
            np.savez_compressed(file, **{name: value.numpy() for name, value in STATE.items()})
    read = read_state(path)
    assert all(torch.equal(read[name], value) for name, value in STATE.items())


# Files that are no weights --------------------------------------------------------------------------------------------


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(2000), r"found an HDF5 file, as Keras writes.*into \.npz.*h5py.*numpy\.savez"),
        (zipped("config.json", "model.weights.h5"), "found a Keras file"),
        (zipped("weights/net.pth"), "found a zip archive; unpack it"),
        (b"\x1f\x8b\x08" + bytes(90), r"found a gzip archive; unpack it \(gunzip\)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "found a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>Sign in</html>", "found a web page in place of the weights"),
        (bytes(257) + b"ustar" + bytes(300), "found a tar archive"),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        read_state(tmp_path / "w.pth")


def test_the_command_for_keras_files_makes_what_is_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "net.hdf5", "w") as file:
        file["model_weights/conv2d_1/conv2d_1/kernel:0"] = np.ones((3, 3, 6, 4), np.float32)
    with pytest.raises(WeightsError) as error:
        read_state(tmp_path / "net.hdf5")
    command = str(error.value).partition("h5py: ")[2].replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert read_state(tmp_path / "net.npz")["model_weights/conv2d_1/conv2d_1/kernel:0"].shape == (3, 3, 6, 4)


def test_what_else_a_pickle_holds_is_named(tmp_path):
    torch.save({"model": STATE, "path": Path("x")}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"refused: this pickle holds pathlib\.\w+, more than tensors"):
        read_state(tmp_path / "w.pth")


@pytest.mark.parametrize("layout", ["sparse", "meta"])
def test_tensors_that_are_not_dense_are_refused(tmp_path, layout):
    weight = torch.eye(3).to_sparse() if layout == "sparse" else torch.ones(3, 3, device="meta")
    torch.save({"model": {"weight": weight, "bias": torch.ones(3)}}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"weight is a .* tensor, expected a dense one"):
        read_state(tmp_path / "w.pth")


# Bombs ----------------------------------------------------------------------------------------------------------------


def compressed_torch(path: Path) -> None:
    """A file of torch whose 512 MiB of zeros are compressed; torch itself would unpack it."""
    torch.save({"weight": torch.zeros(2, 4)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in entries.items():
            with archive.open(name, "w", force_zip64=True) as entry:
                for _ in range(2**9 if name.endswith("/data/0") else 1):
                    entry.write(bytes(2**20) if name.endswith("/data/0") else data)


def compressed_npz(path: Path) -> None:
    """512 MiB of zeros, compressed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**27,)})
        with archive.open("weight.npy", "w", force_zip64=True) as entry:
            entry.write(header.getvalue())
            for _ in range(2**9):
                entry.write(bytes(2**20))


def lying(path: Path) -> None:
    """An entry that claims, uncompressed, more bytes than the file has, as entries that overlap do."""
    torch.save({"weight": torch.zeros(2, 4)}, path)
    with zipfile.ZipFile(path) as archive:
        name = next(entry.filename for entry in archive.infolist() if "/data/" in entry.filename).encode()
    data = bytearray(path.read_bytes())
    entry = data.rindex(name) - 46  # in the list at the end, the name follows 46 bytes
    data[entry + 20 : entry + 28] = 2 * (2**30).to_bytes(4, "little")
    path.write_bytes(data)


def expanded(path: Path) -> None:
    """One value, seen as 4 GiB of them."""
    torch.save({"model": {"weight": torch.ones(1).expand(2**30), "bias": torch.ones(2)}}, path)


def tied(path: Path) -> None:
    """A thousand names for one tensor."""
    weight = torch.ones(2**18)
    torch.save({f"layer{i}.weight": weight for i in range(1000)}, path)


class ByteArray:
    """Pickled as a call that fills memory."""

    def __reduce__(self) -> tuple[object, ...]:
        return bytearray, (2**29,)


def byte_array(path: Path) -> None:
    """A pickle of a few bytes that makes 512 MiB."""
    torch.save({"model": STATE, "extra": ByteArray()}, path, pickle_protocol=2)


BOMBS = {
    "compressed_torch": (compressed_torch, "its entries are compressed, which torch never does"),
    "lying": (lying, "its entries take 10737[0-9]+ bytes, the file has [0-9]+;"),
    "compressed_npz": (compressed_npz, "its tensors would take 512 MiB, the file has [0-9.]+ MiB"),
    "expanded": (expanded, "its tensors would take 4096 MiB"),
    "tied": (tied, "its tensors would take 1000 MiB"),
    "byte_array": (byte_array, "it makes byte arrays"),
}
MEASURED = """
import resource, sys
from pathlib import Path
import numpy, torch, safetensors.torch
from bench.contracts import WeightsError
from bench.state_files import read_state
def used(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) * 1024
first, *bombs = map(Path, sys.argv[1:])
read_state(first)  # imports what it needs
before = used("VmHWM:")
resource.setrlimit(resource.RLIMIT_AS, (used("VmSize:") + 2**28,) * 2)
for path in bombs:
    try:
        read_state(path)
    except WeightsError as error:
        print(error)
    assert used("VmHWM:") - before < 2**26, path
"""


@pytest.fixture(scope="module")
def bombs(tmp_path_factory) -> Path:
    """All bombs, each a small file."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, (make, _) in BOMBS.items():
        make(folder / name)
    assert max(path.stat().st_size for path in folder.iterdir()) < 4 * 2**20
    return folder


@pytest.mark.parametrize("name", list(BOMBS))
def test_a_bomb_is_refused(bombs, name):
    with pytest.raises(WeightsError, match=f"{name}: refused: {BOMBS[name][1]}"):
        read_state(bombs / name)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc")
def test_bombs_are_refused_before_memory_is_taken(bombs, tmp_path):
    torch.save(STATE, tmp_path / "first.pth")
    command = [sys.executable, "-c", MEASURED, tmp_path / "first.pth", *(bombs / name for name in BOMBS)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": refused: ") == len(BOMBS)
