"""Records to matplotlib figures, one function per figure.

Drawn once with a neutral ink that the page replaces by its own text colour, so that one SVG
serves a light and a dark page.
"""

from hyperfitting.report.figures.training import save_run_figure

__all__ = ["save_run_figure"]
