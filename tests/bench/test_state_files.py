"""Files of weights: every format gives the same tensors, and what holds no state dict is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bench.contracts import WeightsError
from bench.state_files import read_state


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
