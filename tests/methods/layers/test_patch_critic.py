"""The patch critic of EdgeConnect: its size, its gradients, and the forms of the authors' checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.layers.patch_critic import PatchCritic, rename_critic
from methods.losses.adversarial import log_critic


def test_the_patch_critic_has_the_size_of_the_paper_and_gives_five_features() -> None:
    critic = PatchCritic()
    assert sum(p.numel() for p in critic.parameters()) == 2_763_776
    shapes = [tuple(feature.shape) for feature in PatchCritic(2, 8)(torch.rand(3, 2, 64, 48))]
    assert shapes == [(3, 8, 32, 24), (3, 16, 16, 12), (3, 32, 8, 6), (3, 64, 7, 5), (3, 1, 6, 4)]


def test_gradients_of_two_forward_passes_in_bfloat16_are_float32() -> None:
    critic, fake = PatchCritic(3, 8), torch.rand(2, 3, 32, 32, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = log_critic(critic(torch.rand(2, 3, 32, 32))[-1], critic(fake)[-1])
    value.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in critic.parameters())
    assert fake.grad is not None


def old_names(critic: PatchCritic) -> dict[str, Tensor]:
    """The state of our critic under the names of the authors' code."""
    state = {}
    for i, conv in enumerate(critic.convs, start=1):
        norm = conv.parametrizations.weight
        values = {"weight_orig": norm.original, "weight_u": norm[0].u, "weight_v": norm[0].v}
        state |= {f"conv{i}.0.{name}": value.detach() for name, value in values.items()}
    return state


def test_the_patch_critic_reads_every_form_of_the_authors_checkpoints() -> None:
    critic, ours = PatchCritic(3, 8), PatchCritic(3, 8)
    theirs = old_names(critic)
    with_copy = theirs | {name.replace("conv1", "features"): value for name, value in theirs.items() if "conv1" in name}
    parallel = {f"module.{name}": value for name, value in with_copy.items()}
    whole = {f"discriminator.{name}": value for name, value in parallel.items()} | {"generator.x": torch.zeros(1)}
    for state in (theirs, with_copy, parallel, whole, {"iteration": 3, "discriminator": parallel}):
        ours.load_state_dict(rename_critic(state))
        for name, value in critic.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value), name
