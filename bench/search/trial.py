"""One trial: a short training with the numbers of the trial, scored on the photographs that are held out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts import DataError
from bench.search.setup import SearchSetup
from bench.search.space import with_numbers
from bench.search.study import Attempt
from bench.training.device import full_float32
from bench.training.divergence import Diverged

if TYPE_CHECKING:
    from bench.training.state import TrainingState


def run_trial(setup: SearchSetup, attempt: Attempt) -> float:
    """Train a trial and return its score.

    Args:
        setup: of the search.
        attempt: the numbers of the trial, and where its scores at the rungs are reported.

    Raises:
        Pruned: by `attempt.report`, at a rung.
        Diverged: a loss or a restored image is not finite, or a loss is far above its first value.
    """
    from bench.training.helpers import build_helpers
    from bench.training.loop import prepare

    recipe = with_numbers(setup.short_recipe, attempt.values, f"trial {attempt.number}")
    recipe = recipe.model_copy(update={"name": f"{recipe.name}: trial {attempt.number}"})
    helpers, _ = build_helpers(setup.method, recipe, setup.weights)
    try:
        training = prepare(setup.training(recipe, helpers, attempt.folder))

        def report_at_rungs(total: int) -> None:
            if total in setup.rungs:
                attempt.report(total, mean_score(setup, training.state, recipe.name))

        return mean_score(setup, training.run(after_step=report_at_rungs), recipe.name)
    finally:
        setup.accelerator.free_memory()


def mean_score(setup: SearchSetup, state: TrainingState, trial: str) -> float:
    """Restore the validation images in float32 and return the mean of the metric.

    Args:
        setup: of the search.
        state: of the training, whose networks restore; they are in training mode before and after.
        trial: its name, for messages.

    Raises:
        Diverged: a restored image is not finite.
    """
    from bench.scoring.cases import to_depth
    from bench.scoring.restore import restore

    networks = [state.networks[name] for name in state.trained]
    method = replace(setup.method, auxiliary={})  # the maps are in the batches already
    scores = []
    for network in networks:
        network.eval()
    try:
        for image in setup.images:
            height, width = image.truth.shape[:2]
            with full_float32():
                pred = restore(method, state.networks, image.batch)[0, :, :height, :width]
            restored = to_depth(pred.permute(1, 2, 0).cpu().numpy(), image.truth.dtype)
            scores.append(setup.metric.score(restored, image.truth, image.mask))
    except DataError as error:
        raise Diverged(f"{trial}: a restored image: {error}") from None
    finally:
        for network in networks:
            network.train()
    return float(np.mean(scores))
