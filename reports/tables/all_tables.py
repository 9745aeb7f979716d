"""Every table of a report."""

from __future__ import annotations

from collections.abc import Sequence

from reports.published.printed import Published
from reports.scores.reading import Evaluation
from reports.tables.custom import CustomTable, custom_table
from reports.tables.model import Table
from reports.tables.overviews import overviews
from reports.tables.papers import published_table
from reports.tables.runs import join_seeds


def all_tables(evaluations: Sequence[Evaluation], published: Published, custom: Sequence[CustomTable]) -> list[Table]:
    """Return the overviews, the published tables, and those custom tables that have a run.

    Raises:
        UserError: a measured cell that does not lead back to what made it.
        DataError: a custom table that names a run of another task or dataset.
    """
    runs = join_seeds(evaluations)
    tables = overviews(runs)
    tables += [published_table(table, runs, published) for table in published.tables.values()]
    return tables + [table for entry in custom if (table := custom_table(entry, runs))]
