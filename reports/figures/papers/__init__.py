"""The papers' figures, rebuilt from our runs: `render_figures` writes every one that has data."""

from reports.figures.papers.render import PaperFigure, render_figures

__all__ = ["PaperFigure", "render_figures"]
