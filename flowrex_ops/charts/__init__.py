"""Charts for tired eyes: one idea each, labelled axes with units, readable in colour-blind and dark mode."""

from __future__ import annotations

from flowrex_ops.charts.certificates import plot_validity
from flowrex_ops.charts.database import plot_blocking_tree, plot_connections, plot_pools, plot_session_ages
from flowrex_ops.charts.style import new_figure

__all__ = ["new_figure", "plot_blocking_tree", "plot_connections", "plot_pools", "plot_session_ages", "plot_validity"]
