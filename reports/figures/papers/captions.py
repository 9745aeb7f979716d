"""Captions of the papers' figures: what the paper shows, what is shown here, and what cannot be compared."""

from __future__ import annotations

from collections import Counter

from reports.figures.papers.sources import Drawn, Entry, Sources
from reports.scores.reading import ORIGINALS, Evaluation, lacks_commit


def sentence(text: str) -> str:
    """A text in one line that ends in a full stop.

    >>> sentence("a text of\\n two lines")
    'a text of two lines.'
    """
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."


def caveats(drawn: Drawn) -> list[str]:
    """Why the picture cannot be compared with the paper's: stand-in or partial data, no commit, other settings."""
    sentences = []
    origins = dict.fromkeys([*(run.record.origin for run in drawn.used), *drawn.origins])
    if stand_in := [origin for origin in origins if origin != ORIGINALS]:
        sentences.append(f"The data are stand-ins ({', '.join(stand_in)}), not the official images.")
    if any(run.record.partial for run in drawn.used):
        sentences.append("The official set was used in part.")
    if any(lacks_commit(run.record) for run in drawn.used):
        sentences.append("The commit of the code is not known.")
    profiles = dict.fromkeys(run.record.profile for run in drawn.used if run.record.kind == "trained")
    if others := [profile for profile in profiles if profile != "paper"]:
        sentences.append(
            f"Settings are not the papers' (profile {', '.join(others)}): smaller networks, shorter trainings."
        )
    if without_losses := [run.record.title for run in drawn.used if run.record.missing_losses]:
        sentences.append(f"Trained with losses left out: {', '.join(without_losses)}.")
    return sentences


def apart_from_seed(evaluation: Evaluation) -> tuple[str, ...]:
    """What the evaluations of one run under several seeds share."""
    return tuple(str(getattr(evaluation.record, name)) for name in ("kind", "task", "dataset", "origin", "title"))


def caption_of(entry: Entry, drawn: Drawn, sources: Sources) -> str:
    """Write the caption: the paper's figure in our words, ours, published values, missing runs, and doubts."""
    parts = [f"In the paper: {sentence(entry.shows)}", f"Here: {sentence(drawn.text)}"]
    if entry.printed:
        parts.append(f"Published, not measured: {sentence(entry.printed)}")
    parts += caveats(drawn)
    if drawn.used:
        seeds = Counter(apart_from_seed(run) for run in sources.evaluations)
        several = any(seeds[apart_from_seed(run)] > 1 for run in drawn.used)
        parts.append(f"Runs: {', '.join(run.name for run in drawn.used)}{', the lowest seed of each' * several}.")
    if drawn.absent:
        parts.append(f"Not run: {'; '.join(drawn.absent)}.")
    if entry.remarks:
        parts.append(f"Of the paper's figure: {sentence(entry.remarks)}")
    return " ".join(parts)
