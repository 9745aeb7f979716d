"""Networks of arguments that a person wrote: too large, or such that no network can be built."""

from __future__ import annotations

import psutil
import pytest
import torch

from bench import registry
from bench.contracts import ParamsError
from bench.networks import LARGE, new_networks


@pytest.fixture
def mrfnet():
    return registry.method("mrfnet")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 10**9}, "found 1,000,000,000 among the arguments, expected at most 65,536"),
        ({"channels": 65536}, r"the weights of the networks take [0-9,]+ GiB, free are [0-9.,]+ GiB; give smaller"),
        ({"channels": [8]}, r"the networks cannot be built with {'channels': \[8\]} \(TypeError: "),
        ({"chanels": 8}, "the networks cannot be built with {'chanels': 8}"),
    ],
)
def test_networks_that_cannot_be_built_are_one_sentence(mrfnet, arguments, message):
    with pytest.raises(ParamsError, match=message) as refusal:
        new_networks(mrfnet, arguments)
    assert "\n" not in str(refusal.value)


def test_a_large_network_that_fits_is_built_with_the_weights_of_its_seed(monkeypatch, mrfnet):
    made = []
    for large in (LARGE, 1):  # not measured, and measured before
        monkeypatch.setattr("bench.networks.LARGE", large)
        torch.manual_seed(5)
        made.append(new_networks(mrfnet, {"channels": 4})["network"].state_dict())
    assert all(torch.equal(value, made[1][name]) for name, value in made[0].items())


def test_networks_are_measured_against_the_free_memory(monkeypatch, mrfnet):
    monkeypatch.setattr("bench.networks.LARGE", 1)
    weights = sum(tensor.nbytes for tensor in new_networks(mrfnet, {"channels": 4})["network"].state_dict().values())
    for free, fits in ((weights, True), (weights - 1, False)):
        memory = psutil.virtual_memory()._replace(available=free)
        monkeypatch.setattr(psutil, "virtual_memory", lambda memory=memory: memory)
        if fits:
            new_networks(mrfnet, {"channels": 4})
        else:
            with pytest.raises(ParamsError, match="the weights of the networks take 0 GiB"):
                new_networks(mrfnet, {"channels": 4})


def test_a_mistake_of_the_method_itself_is_not_hidden():
    """Without arguments nobody but the method can be wrong: the error is a crash with its traceback."""

    def networks():
        raise ZeroDivisionError

    method = registry.method("mrfnet").__class__(("deblur",), networks, {}, lambda networks, batch: batch["x"])
    with pytest.raises(ZeroDivisionError):
        new_networks(method, {})
