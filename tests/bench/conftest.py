"""What tests of imports share: a folder of weights as authors release them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.bench.authors import as_authors


@pytest.fixture(scope="session")
def dmphn(tmp_path_factory) -> tuple[Path, dict[str, Tensor]]:
    """A folder of eight files as DMPHN's authors released them, of a narrow network; and its tensors by our names."""
    folder = tmp_path_factory.mktemp("dmphn")
    theirs, ours = as_authors("dmphn_1_2_4_8", "dmphn", "network", channels=4)
    for stem in sorted({name.split(".")[0] for name in theirs}):
        torch.save({n.partition(".")[2]: v for n, v in theirs.items() if n.startswith(stem)}, folder / f"{stem}.pkl")
    assert len(list(folder.iterdir())) == 8
    return folder, ours
