"""Draw docs/images/growth.png: how the cost of a reading grows with its platform, as ``make bench`` measured it.

Run: make bench FLAGS=--benchmark-json=bench.json && .venv/bin/python docs/generate_growth.py bench.json
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure

from flowrex_ops.chart_style import LINES, new_figure

IMAGE = Path(__file__).parent / "images" / "growth.png"


def read(file: Path) -> dict[str, list[tuple[int, float]]]:
    """Sizes and medians in seconds, by what grows."""
    worlds: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for one in json.loads(file.read_text(encoding="utf-8"))["benchmarks"]:
        if world := one["extra_info"].get("world"):
            worlds[world].append((one["extra_info"]["size"], one["stats"]["median"]))
    return {world: sorted(points) for world, points in worlds.items()}


def draw(worlds: dict[str, list[tuple[int, float]]]) -> Figure:
    """A line each, over how many times larger than the smallest the platform is."""
    figure, axes = new_figure(4)
    for (world, points), (colour, dashes) in zip(worlds.items(), LINES, strict=False):
        times, seconds = [size / points[0][0] for size, _ in points], [median for _, median in points]
        axes.plot(times, seconds, dashes, marker="o", color=colour)
        end, label = (times[-1], seconds[-1]), f"{points[-1][0]:,} {world}: {seconds[-1]:.2g} s"
        axes.annotate(label, end, (8, 0), textcoords="offset points", va="center", color=colour)
    axes.set(xscale="log", yscale="log", xlabel="how many times the smallest", ylabel="time")
    axes.set_title("What a reading takes, the larger the platform", loc="left")
    axes.set_xlim(right=900)
    axes.set_ylim(top=1.5)
    axes.set_yticks([0.01, 0.1, 1], ["10 ms", "100 ms", "1 s"])
    axes.set_xticks([1, 10, 100], ["1", "10", "100"])
    return figure


if __name__ == "__main__":
    draw(read(Path(sys.argv[1]))).savefig(IMAGE)
