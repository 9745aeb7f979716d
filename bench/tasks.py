"""The tasks that methods solve. What a task means is written here and nowhere else.

Everything that depends on the task of a run asks its `Task`: which tensors a network gets, which images a dataset must
have, under which inputs the results are scored. The four tasks are in `TASKS`, in the order of the report.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Task:
    """What a method is given and what it has to make of it.

    Args:
        name: as in `params.yaml`, in records and in file names.
        title: heading of its section in the report.
        inputs: the tensors that a network is called with, in order: `x`, or `left` and `right`; `mask`.
        fields: the images of a built set that the task needs.
        scored_on: the inputs under which it is scored, the one that it trains on first: "blurred" or "sharp" (the
            stored image that gets the hole, where there is one), or "dual-pixel".
        floor: the method that does nothing: a trained method below its PSNR has learned nothing.
        about: one sentence for people who see the task for the first time.
    """

    name: str
    title: str
    inputs: tuple[str, ...]
    fields: tuple[str, ...]
    scored_on: tuple[str, ...]
    floor: str
    about: str

    @property
    def has_hole(self) -> bool:
        """Whether a mask marks a hole that the method fills."""
        return "mask" in self.inputs

    @property
    def has_views(self) -> bool:
        """Whether the input is the two views of a dual-pixel sensor, in which blur depends on depth."""
        return "left" in self.inputs

    @property
    def has_several_inputs(self) -> bool:
        """Whether its scores are told apart by input; no mean mixes them."""
        return len(self.scored_on) > 1

    @property
    def keeps_known_pixels(self) -> bool:
        """Whether pixels outside the hole are copied from the input; not where they are to be deblurred as well."""
        return self.has_hole and "blurred" not in self.fields

    def holed_field(self, source: str = "") -> str:
        """Return the stored image that gets the hole, "blurred" or "target"; "" for a task without holes.

        Args:
            source: "blurred" or "sharp"; default: the first of `scored_on`.
        """
        if not self.has_hole:
            return ""
        return "blurred" if (source or self.scored_on[0]) == "blurred" else "target"

    def fields_for(self, source: str = "") -> tuple[str, ...]:
        """Return the stored images that are needed with this input, see `holed_field`.

        >>> TASKS["inpaint"].fields_for("sharp"), TASKS["inpaint"].fields_for("blurred")
        (('target', 'mask'), ('blurred', 'target', 'mask'))
        """
        if self.holed_field(source) != "blurred" or "blurred" in self.fields:
            return self.fields
        return ("blurred", *self.fields)

    def inputs_on(self, columns: Collection[str]) -> tuple[str, ...]:
        """Return the inputs of `scored_on` that a built set can serve, the first in any case.

        Args:
            columns: of the set's manifest; "file_blurred" is there where blurred images are.
        """
        first, *others = self.scored_on
        return (
            first,
            *(given for given in others if all(f"file_{name}" in columns for name in self.fields_for(given))),
        )


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task(
                name="deblur",
                title="Deblurring",
                inputs=("x",),
                fields=("blurred", "target"),
                scored_on=("blurred",),
                floor="input",
                about="A blurred photograph is restored to the sharp one.",
            ),
            # DFFNet, Sections 4.3.2 and 4.4, has both kinds of tables: a hole in the sharp image ("deblurred" there, in
            # our reading) and a hole in the blurred one. The truth is the sharp image in both.
            Task(
                name="inpaint",
                title="Inpainting",
                inputs=("x", "mask"),
                fields=("target", "mask"),
                scored_on=("sharp", "blurred"),
                floor="telea",
                about="A photograph with holes is completed; scores are separate for sharp and blurred photographs.",
            ),
            Task(
                name="sharp-inpaint",
                title="Sharper inpainting",
                inputs=("x", "mask"),
                fields=("blurred", "mask", "target"),
                scored_on=("blurred", "sharp"),
                floor="telea",
                about="A blurred photograph with holes is completed and made sharp; scores are separate for blurred "
                "and sharp photographs.",
            ),
            Task(
                name="dual-pixel",
                title="Dual-pixel deblurring",
                inputs=("left", "right"),
                fields=("left", "right", "target"),
                scored_on=("dual-pixel",),
                floor="input",
                about="The left and the right view of one exposure are restored to an all-in-focus photograph.",
            ),
        )
    }
)
"""The tasks by name, in the order of the report."""


def find_task(name: str) -> Task:
    """Return a task by name.

    Raises:
        ValueError: an unknown name; the message has all names.
    """
    if name not in TASKS:
        raise ValueError(f"no task {name!r}; expected one of {', '.join(TASKS)}")
    return TASKS[name]


def chain_task(first: str, second: str) -> str | None:
    """Return the task that two runs in a row solve, by the tasks of each; None where they do not fit together.

    The first makes a blurred photograph with a hole sharp, the second fills the hole (DFFNet, Section 4.3.3).

    >>> chain_task("deblur", "inpaint")
    'sharp-inpaint'
    """
    return "sharp-inpaint" if first == "deblur" and TASKS[second].has_hole else None
