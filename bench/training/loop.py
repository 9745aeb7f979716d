"""The training loop: one for every method, any number of players and phases, one process or several, any device.

All randomness is stateless: a batch is a function of (seed, step), and torch is seeded at each step. So a training that
was killed and is resumed from its last checkpoint reaches the weights of an undisturbed one, bit by bit on a CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench import stop_signals
from bench.contracts import Batch, Outputs, Player
from bench.training import checkpoint
from bench.training.divergence import Diverged
from bench.training.loss_log import is_kept
from bench.training.optimizers import rate_factor, set_learning_rate
from bench.training.placement import average_gradients, share_of_batch, to_device
from bench.training.rehearsal import check_recipe
from bench.training.state import Setup, TrainingState, begin_phase, initial_state
from bench.training.weighting import weighted_sum, without_watched

if TYPE_CHECKING:
    from tqdm import tqdm

    from bench.tracking.store import Point

Log = Callable[[list["Point"]], None]
"""Takes losses that a checkpoint holds. After a kill it may get the same ones again."""
AfterStep = Callable[[int], None]
"""Called with the number of steps done so far; what it raises ends the training there."""


def prepare(setup: Setup) -> Training:
    """Return a training that is ready to run, from its last checkpoint if there is one.

    Raises:
        ParamsError: the network or an augmentation refuses an option; `train.weights` names an unknown loss.
        UserError: the checkpoint is damaged, or the processes loaded different ones.
    """
    state = initial_state(setup)
    resumed = checkpoint.load(setup, state)
    checkpoint.check_same_step(setup.accelerator, setup.folder, state.progress.total)
    if not resumed:
        check_recipe(setup, state)
    return Training(setup, state)


class Training:
    """One run from the step of its state to its last step.

    Args:
        setup: what it starts from.
        state: changed in place by `run`.
    """

    def __init__(self, setup: Setup, state: TrainingState):
        self.setup = setup
        self.state = state

    def run(self, log: Log = lambda points: None, after_step: AfterStep = lambda total: None) -> TrainingState:
        """Train to the end and return the final state.

        Args:
            log: gets the kept losses, after each checkpoint.
            after_step: called after each step.

        Raises:
            UserError: the checkpoint cannot be written.
            Diverged: a loss is not finite, or far above its first value for many updates.
            Stopped: a signal arrived; the checkpoint holds every step until then.
        """
        progress = self.state.progress
        with stop_signals.deferred(), self._progress_bar() as bar:
            for phase in range(progress.phase, len(self.setup.method.phases)):
                if phase > progress.phase:
                    begin_phase(self.setup, self.state, phase)
                self._run_phase(bar, log, after_step)
            # Killed after this, the training is resumed behind its last step, and its losses keep their times.
            self._save(log)
        stop_signals.raise_pending()
        return self.state

    def _progress_bar(self) -> tqdm:
        from tqdm import tqdm

        # None: quiet where the output is not a terminal. Only the first process shows it.
        disable = None if self.setup.accelerator.is_main_process else True
        total, done = self.setup.total_steps, self.state.progress.total
        return tqdm(total=total, initial=done, desc=self.setup.recipe.name, disable=disable)

    def _run_phase(self, bar: tqdm, log: Log, after_step: AfterStep) -> None:
        """Run the remaining steps of the current phase."""
        setup, progress = self.setup, self.state.progress
        name, batch_size = self._phase_name(), setup.recipe.train.batch_size
        steps = range(progress.total, progress.total + setup.phase_steps[name] - progress.step)
        batches = setup.crops.batches(steps, batch_size, share_of_batch(setup.accelerator, batch_size))
        earlier_seconds = progress.seconds
        began = last_save = time.monotonic()
        for step, batch in zip(steps, batches, strict=True):
            losses = self._step(batch)
            progress.step, progress.total = progress.step + 1, progress.total + 1
            progress.seconds = earlier_seconds + time.monotonic() - began
            if is_kept(step, setup.total_steps):
                self.state.losses.add(step, name, losses, progress.seconds)
            bar.update()
            if time.monotonic() - last_save > setup.checkpoint_seconds and not self.state.watch.suspicious:
                self._save(log)
                last_save = time.monotonic()
                bar.set_postfix({loss: f"{value:.4f}" for (_, loss), value in losses.items()}, refresh=False)
            after_step(progress.total)
            if stop_signals.pending() and setup.accelerator.is_main_process:
                self._stop(log)

    def _phase_name(self) -> str:
        return list(self.setup.method.phases)[self.state.progress.phase]

    def _step(self, batch: Mapping[str, Tensor]) -> dict[tuple[str, str], float]:
        """Run one step: restore the batch once, then let every player take its updates.

        Returns:
            by (player, loss): each loss, unweighted, and the weighted sum of each player's losses as "total".
        """
        setup, progress, train = self.setup, self.state.progress, self.setup.recipe.train
        name = self._phase_name()
        phase, steps = setup.method.phases[name], setup.phase_steps[name]
        torch.manual_seed(step_seed(setup.recipe.seed, progress.total, setup.accelerator.process_index))
        factor = rate_factor(train.schedule, progress.step, steps, setup.steps_per_epoch)
        for player_name, optimizer in self.state.optimizers.items():
            set_learning_rate(optimizer, train.lr_of(player_name) * factor)
        moved = to_device(batch, progress.step / steps, setup.accelerator.device)
        with setup.accelerator.autocast():
            outputs = phase.forward(self.state.networks, moved)
        losses: dict[tuple[str, str], float] = {}
        for player_name, player in phase.players.items():
            for _ in range(train.updates_of(player_name, player.updates)):
                values = self._update(player_name, player, moved, outputs, keep_graph=len(phase.players) > 1)
                losses |= {(player_name, loss): value for loss, value in values.items()}
        return losses

    def _update(
        self, name: str, player: Player, batch: Batch, outputs: Outputs, *, keep_graph: bool
    ) -> dict[str, float]:
        """Let a player take one update on a batch.

        Args:
            name: the player's name.
            player: whose losses are minimised.
            batch: on the device.
            outputs: of the phase for this batch.
            keep_graph: whether the graph of the outputs is needed again.

        Returns:
            the player's losses before the update, unweighted, and their weighted sum as "total".
        """
        accelerator, train, optimizer = self.setup.accelerator, self.setup.recipe.train, self.state.optimizers[name]
        parameters = self.state.parameters_of(player)
        optimizer.zero_grad()
        # Networks of other players need no gradients here; that saves a third of a critic's time.
        with _without_gradients(self.state.parameters_of_others(player)):
            with accelerator.autocast():
                losses = player.losses(self.state.networks, batch, outputs)
            total = weighted_sum(without_watched(losses, self.setup.method.watched), train.weights, name)
            values = {loss: float(value.detach()) for loss, value in {**losses, "total": total}.items()}
            self._stop_if_diverged(name, values)
            accelerator.backward(total, retain_graph=keep_graph)
        average_gradients(accelerator, parameters)
        if train.clip_grad_norm is not None:
            # Under float16 gradients are scaled up until here.
            accelerator.unscale_gradients(optimizer)
            nn.utils.clip_grad_norm_(parameters, train.clip_grad_norm)
        optimizer.step()
        return values

    def _stop_if_diverged(self, player: str, values: Mapping[str, float]) -> None:
        problem = self.state.watch.problem(player, values)
        if not problem:
            return
        path = self.setup.folder / checkpoint.FILE
        last = f"the last good checkpoint is {path}" if path.is_file() else "no checkpoint yet"
        listed = ", ".join(f"{name} = {value:g}" for name, value in values.items())
        raise Diverged(
            f"{self.setup.recipe.name}: a loss of {player} is {problem} at step {self.state.progress.total} "
            f"(phase {self._phase_name()}): {listed}; {last}. Lower the learning rate, clip gradients or train in "
            "float32"
        )

    def _stop(self, log: Log) -> None:
        """Write the checkpoint and end the training after a signal.

        Of several processes the first one does so. The others wait for it in their next step, and end with it.
        """
        if not self.state.watch.suspicious:
            self._save(log)
        stop_signals.raise_pending()

    def _save(self, log: Log) -> None:
        """Write the checkpoint, then log the losses that it holds: a kill between the two loses nothing."""
        if self.setup.accelerator.is_main_process:
            checkpoint.save(self.setup, self.state)
            self.state.losses.send(log)
        self.state.losses.unsent = []


def step_seed(seed: int, step: int, process: int) -> int:
    """Return torch's seed for one step of one process; neighbouring steps and processes have seeds far apart."""
    return (seed * 1_000_003 + step * 7_919 + process * 104_729) % (2**63)


@contextmanager
def _without_gradients(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Let no gradients be computed for some parameters."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
