"""The training loop: one for every method, any number of players and phases, one process or several, any device.

All randomness is stateless: a batch is a function of (seed, step), and torch is seeded at each step. So a training that
was killed goes on from its last checkpoint to the very weights of an undisturbed one (on the CPU, bit by bit).
"""

from __future__ import annotations

import io
import math
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.contracts import Method, ParamsError, Player, UserError
from bench.data.batches import Crops
from bench.files import replacing
from bench.params.checks import named
from bench.params.schema import Recipe, Train
from bench.tracking.store import Point

if TYPE_CHECKING:
    from accelerate import Accelerator

    from bench.contracts import Outputs
from bench.training.placement import average_gradients, channels_last
from bench.training.rates import make_optimizer, phase_steps, rate
from bench.training.weighting import check_weights, left_out, lowered, weighted

DIVERGED, LATER = 1e6, 20
"""So many times its first value, or 1 where that is more, for so many updates, and a loss has diverged."""
POINTS = 5000
"""About how many steps' losses a run keeps: every step's of a short one, evenly spaced ones of millions."""


@dataclass
class Progress:
    """Where a training stands: all that a checkpoint holds beside the tensors.

    Args:
        phase: index of the phase; `step` counts within it, `total` over all phases.
        points: losses that the tracker has not been given for certain.
        history: the losses kept: step, phase, player, name, value, seconds.
        seconds: time spent training, over all attempts.
        first: each player's total at its first update in the phase.
    """

    phase: int = 0
    step: int = 0
    total: int = 0
    points: list[Point] = field(default_factory=list)
    history: list[tuple[int, str, str, str, float, float]] = field(default_factory=list)
    seconds: float = 0.0
    first: dict[str, float] = field(default_factory=dict)


class Diverged(UserError):
    """A loss that is not finite, or far above what it began with."""


class Training:
    """One run from its first step, or its last checkpoint, to its last step.

    Args:
        recipe: the resolved run.
        method: its entry.
        crops: the training data.
        helpers: frozen networks of the losses, by name.
        accelerator: device, precision and processes.
        folder: where the checkpoint lies; outside the pipeline's outputs, which are deleted before a stage.
        log: takes points that stand in a checkpoint; called again with the same points after a kill.
        checkpoint_seconds: time between checkpoints.
    """

    def __init__(
        self,
        recipe: Recipe,
        method: Method,
        crops: Crops,
        helpers: Mapping[str, nn.Module],
        accelerator: Accelerator,
        folder: Path,
        log: Callable[[list[Point]], None],
        checkpoint_seconds: float,
    ):
        assert method.networks is not None
        self.recipe, self.method, self.crops, self.accelerator = recipe, method, crops, accelerator
        self.folder, self.log, self.checkpoint_seconds = folder, log, checkpoint_seconds
        torch.manual_seed(recipe.seed)
        # Weights are drawn on the CPU, so that a seed means the same ones on every device.
        with named(f"params.yaml: run {recipe.name}: network: "):
            own = {name: network.train() for name, network in method.networks(**recipe.network).items()}
        frozen = {name: helper.eval().requires_grad_(False) for name, helper in helpers.items()}
        self.own = tuple(own)
        self.networks = channels_last(nn.ModuleDict(own | frozen).to(accelerator.device))
        self.steps_per_epoch = math.ceil(len(crops) / recipe.train.batch_size)
        self.steps = phase_steps(recipe, method, self.steps_per_epoch)
        self.left_out = left_out(recipe, method, self.steps, self.own)
        self.total_steps = sum(self.steps.values())
        self.keep_every = max(1, self.total_steps // POINTS)
        self.progress = Progress()
        self.far: dict[str, int] = {}  # for how many updates in a row each player's total has been far too high
        self.optimizers: dict[str, Any] = {}
        self.waiting: Mapping[str, Any] | None = None  # the optimisers' states of the checkpoint, until they are made

    @property
    def checkpoint(self) -> Path:
        """The file that a killed training goes on from."""
        return self.folder / "state.pt"

    def run(self, after_step: Callable[[int], None] = lambda total: None) -> Progress:
        """Train to the end.

        Args:
            after_step: called with the steps done so far after each; what it raises ends the training there.

        Raises:
            UserError: as `prepare`; the checkpoint cannot be written.
            Diverged: a loss is not finite, or far above what it began with.
        """
        from tqdm import tqdm

        self.prepare()
        waiting, self.waiting = self.waiting or {}, {}  # not kept for as long as the training lasts
        # Quiet when not a terminal, and in every process but the first.
        quiet = None if self.accelerator.is_main_process else True
        with tqdm(total=self.total_steps, initial=self.progress.total, desc=self.recipe.name, disable=quiet) as bar:
            for index, (name, steps) in enumerate(self.steps.items()):
                if index < self.progress.phase:
                    continue
                if index > self.progress.phase:
                    self.progress.phase, self.progress.step = index, 0
                    self.progress.first, self.far = {}, {}
                if name not in self.left_out:
                    self._phase(name, steps, waiting, bar, after_step)
                waiting = {}
        # Killed from here on, it goes on from the last step, and its points keep their times.
        self._save()
        return self.progress

    def prepare(self) -> None:
        """Take up the checkpoint, or let bad parameters stop a training before it begins; once, `run` does it too.

        Raises:
            ParamsError: the weight of a loss that there is not; what the method says of the batch.
            UserError: the checkpoint is damaged, or the processes have not the same one.
        """
        if self.waiting is not None:
            return
        waiting = self._load()
        self._agree()
        if not self.progress.total:
            check_weights(self.method, self.recipe.train.weights, self.rehearse(), self.recipe.name, self.left_out)
        self.waiting = waiting

    def _agree(self) -> None:
        """Several machines must go on from the same step, or they would average gradients of different weights."""
        if self.accelerator.num_processes == 1:
            return
        here = torch.tensor([self.progress.total], device=self.accelerator.device)
        steps = self.accelerator.gather(here).tolist()
        if len(set(steps)) > 1:
            raise UserError(
                f"{self.folder}: the processes found checkpoints of the steps {', '.join(map(str, steps))}; all "
                "machines must see the same folder of checkpoints (paths.resume in params.yaml)"
            )

    def rehearse(self) -> set[str]:
        """Run every phase on the first batch without an update.

        Returns:
            the losses that the method gave, as "player.loss".
        """
        train = self.recipe.train
        with named(f"params.yaml: run {self.recipe.name}: train.augment: "):
            first = self.crops.batch(0, train.batch_size, self._part())
        batch = self._moved(first, 0.0)
        # Batch and spectral norm count what they see; this does not count.
        before = {name: buffer.clone() for name, buffer in self.networks.named_buffers()}
        seen: set[str] = set()
        for phase in (phase for name, phase in self.method.phases.items() if name not in self.left_out):
            with self.accelerator.autocast():
                outputs = phase.forward(self.networks, batch)
                for name, player in phase.players.items():
                    seen |= {f"{name}.{loss}" for loss in player.losses(self.networks, batch, outputs)}
                    if self._updates(name, player) > 1 and self._reaches(player, outputs):
                        raise ParamsError(
                            f"params.yaml: run {self.recipe.name}: train.players.{name}.updates: found "
                            f"{self._updates(name, player)}, expected 1: the batch was restored by what the first moves"
                        )
        with torch.no_grad():
            for name, buffer in self.networks.named_buffers():
                buffer.copy_(before[name])
        return seen

    def _moved(self, batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Bring a batch to the device, with the share of the phase's steps that are done, in [0, 1)."""
        batch = {**batch, "progress": torch.tensor(progress, dtype=torch.float32)}
        return {key: value.to(self.accelerator.device, non_blocking=True) for key, value in batch.items()}

    def _part(self) -> slice:
        """Return this process's share of each batch."""
        share = self.recipe.train.batch_size // self.accelerator.num_processes
        return slice(self.accelerator.process_index * share, (self.accelerator.process_index + 1) * share)

    def _updates(self, name: str, player: Player) -> int:
        return self.recipe.train.updates_of(name, player.updates)

    def _reaches(self, player: Player, outputs: Outputs) -> bool:
        """Tell whether a player's own networks made the outputs."""
        moving = [tensor.float().sum() for tensor in outputs.values() if tensor.requires_grad]
        if not moving:
            return False
        grads = torch.autograd.grad(
            torch.stack(moving).sum(), self._parameters(player), retain_graph=True, allow_unused=True
        )
        return any(grad is not None for grad in grads)

    def _parameters(self, player: Player) -> list[nn.Parameter]:
        mine = [self.networks[name] for name in player.networks if name in self.own]
        return [p for network in mine for p in network.parameters() if p.requires_grad]

    def _phase(
        self, name: str, steps: int, waiting: Mapping[str, Any], bar: Any, after_step: Callable[[int], None]
    ) -> None:
        phase, train, progress = self.method.phases[name], self.recipe.train, self.progress
        self.optimizers = {}
        for player_name, player in phase.players.items():
            optimizer = make_optimizer(train, player_name, self._parameters(player))
            if player_name in waiting:
                optimizer.load_state_dict(waiting[player_name])
            self.optimizers[player_name] = self.accelerator.prepare(optimizer)
        rates = {key: [g["initial_lr"] for g in _with_initial(o, train, key)] for key, o in self.optimizers.items()}
        last_save = began = time.monotonic()
        before = progress.seconds
        todo = range(progress.total, progress.total - progress.step + steps)
        for step, batch in zip(todo, self.crops.batches(todo, train.batch_size, self._part()), strict=True):
            torch.manual_seed(_mix(self.recipe.seed, step, self.accelerator.process_index))
            factor = rate(train.schedule, progress.step, steps, self.steps_per_epoch)
            for key, optimizer in self.optimizers.items():
                for group, lr in zip(optimizer.param_groups, rates[key], strict=True):
                    group["lr"] = lr * factor
            losses = self._step(name, self._moved(batch, progress.step / steps))
            progress.step, progress.total = progress.step + 1, progress.total + 1
            progress.seconds = before + time.monotonic() - began
            now = int(time.time() * 1000)
            kept = losses if step % self.keep_every == 0 or progress.total == self.total_steps else {}
            for (player_name, loss), value in kept.items():
                progress.history.append((step, name, player_name, loss, value, progress.seconds))
                progress.points.append((f"loss.{player_name}.{loss}", value, step, now))
            bar.update()
            if time.monotonic() - last_save > self.checkpoint_seconds and not any(self.far.values()):
                self._save()
                last_save = time.monotonic()
                bar.set_postfix({loss: f"{value:.4f}" for (_, loss), value in losses.items()}, refresh=False)
            after_step(progress.total)

    def _step(self, phase_name: str, batch: Mapping[str, Tensor]) -> dict[tuple[str, str], float]:
        """Let every player take its updates on one batch; return each named loss, unweighted, and each total."""
        phase, train, accelerator = self.method.phases[phase_name], self.recipe.train, self.accelerator
        with accelerator.autocast():
            outputs = phase.forward(self.networks, batch)
        result: dict[tuple[str, str], float] = {}
        for name, player in phase.players.items():
            others = [self.networks[other] for other in self.own if other not in player.networks]
            frozen = [p for network in others for p in network.parameters() if p.requires_grad]
            for _ in range(self._updates(name, player)):
                self.optimizers[name].zero_grad()
                # Another player's networks need no gradients of their own here; it saves a third of a critic's cost.
                _require(frozen, False)
                with accelerator.autocast():
                    losses = player.losses(self.networks, batch, outputs)
                total = weighted(lowered(losses, self.method.watched), train.weights, name)
                values = {key: float(value.detach()) for key, value in losses.items()}
                self._check(values | {"total": float(total.detach())}, name, phase_name)
                accelerator.backward(total, retain_graph=len(phase.players) > 1)
                _require(frozen, True)
                average_gradients(accelerator, self._parameters(player))
                if train.clip_grad_norm is not None:
                    # Under float16 gradients are scaled up until here.
                    accelerator.unscale_gradients(self.optimizers[name])
                    nn.utils.clip_grad_norm_(self._parameters(player), train.clip_grad_norm)
                self.optimizers[name].step()
            result |= {(name, key): value for key, value in values.items()}
            result[name, "total"] = float(total.detach())
        return result

    def _check(self, values: Mapping[str, float], player: str, phase: str) -> None:
        first = self.progress.first.setdefault(player, values["total"])
        far = abs(values["total"]) > DIVERGED * max(abs(first), 1)
        self.far[player] = self.far.get(player, 0) + 1 if far else 0
        if all(math.isfinite(value) for value in values.values()) and self.far[player] < LATER:
            return
        what = "far above what it began with" if self.far[player] == LATER else "not finite"
        listed = ", ".join(f"{name} = {value:g}" for name, value in values.items())
        last = f"the last good checkpoint is {self.checkpoint}" if self.checkpoint.is_file() else "no checkpoint yet"
        raise Diverged(
            f"{self.recipe.name}: a loss of {player} is {what} at step {self.progress.total} (phase {phase}): "
            f"{listed}; {last}. Lower the learning rate, clip gradients or train in float32"
        )

    def _save(self) -> None:
        """Write the checkpoint, then give the tracker what it holds: a kill between the two loses nothing."""
        if self.accelerator.is_main_process:
            state = {
                "networks": {name: self.networks[name].state_dict() for name in self.own},
                "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
                "progress": vars(self.progress),
                "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else {},
            }
            # Through memory: torch reports a full disk as an error of its own, without saying so.
            buffer = io.BytesIO()
            torch.save(state, buffer)
            with replacing(self.checkpoint) as temporary:
                temporary.write_bytes(buffer.getbuffer())
        self._flush()

    def _flush(self) -> None:
        if self.accelerator.is_main_process:
            self.log(self.progress.points)
        self.progress.points = []

    def _load(self) -> Mapping[str, Any]:
        """Go on from the checkpoint if there is one; return the states of the current phase's optimisers."""
        if not self.checkpoint.is_file():
            return {}
        try:
            state = torch.load(self.checkpoint, map_location=self.accelerator.device, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(
                f"{self.checkpoint}: damaged ({str(error).splitlines()[0]}); delete it, and the training begins anew"
            ) from None
        if state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        for name in self.own:
            self.networks[name].load_state_dict(state["networks"][name])
        saved = state["progress"]
        saved["points"] = [tuple(point) for point in saved["points"]]
        saved["history"] = [tuple(entry) for entry in saved["history"]]
        self.progress = Progress(**saved)
        return state["optimizers"]


def _mix(seed: int, step: int, process: int) -> int:
    """Return a seed for one step of one process, far from its neighbours'."""
    return (seed * 1_000_003 + step * 7_919 + process * 104_729) % (2**63)


def _require(parameters: list[nn.Parameter], wanted: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(wanted)


def _with_initial(optimizer: Any, train: Train, player: str) -> list[dict[str, Any]]:
    """Note the recipe's rate in each group: a loaded state holds the rate of its step."""
    for group in optimizer.param_groups:
        group["initial_lr"] = train.lr_of(player)
    return optimizer.param_groups
