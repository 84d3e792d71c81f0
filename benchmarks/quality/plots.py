"""Plots of quality, as SVG that is the same for the same figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams |= {"svg.hashsalt": "nagindex", "svg.fonttype": "none", "font.size": 9}

import matplotlib.pyplot as plt  # noqa: E402 - after the choice of the renderer

METRIC = "average precision"
COLORS = {"absolute": "#8a8f98", "relative": "#1f6fb2", "other": "#c8752c"}


def save_plot(figure: Any, path: Path) -> None:
    """Write a plot as SVG, without the time of day."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


def color_of(name: str) -> str:
    """Return the color of an arm: NAGs of absolute and of relative impact, and all others."""
    return COLORS.get(name.split(",")[0], COLORS["other"])


def plot_arms(results: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    """Draw the mean average precision of the arms that have intervals, best on top, with a dot for each target."""
    named = [(name, own) for name, own in results.items() if "low" in own["mean"][METRIC]]
    named.sort(key=lambda pair: pair[1]["mean"][METRIC]["value"])
    figure, axes = plt.subplots(figsize=(7, 0.24 * len(named) + 0.8))
    for place, (name, own) in enumerate(named):
        mean = own["mean"][METRIC]
        dots = [figures[METRIC]["value"] for target, figures in own.items() if not target.startswith("mean")]
        axes.plot(dots, [place] * len(dots), "|", color="#b9bec6", markersize=7)
        half = mean["high"] - mean["value"]
        axes.errorbar(mean["value"], place, xerr=half, fmt="o", color=color_of(name), markersize=4, capsize=2)
    for label, color in {
        "NAG, relative impact": "relative",
        "NAG, absolute impact (the paper's)": "absolute",
        "others": "other",
    }.items():
        axes.plot([], [], "o", color=COLORS[color], markersize=4, label=label)
    axes.legend(frameon=False, loc="lower right")
    axes.set_yticks(range(len(named)), [name for name, _ in named])
    axes.set_xlim(0, 1)
    axes.set_xlabel("average precision: mean over targets with its 95 % interval; ticks: single targets")
    axes.grid(axis="x", color="#e6e8eb")
    axes.set_axisbelow(True)
    save_plot(figure, path)


def plot_front(points: Sequence[Any], path: Path) -> None:
    """Draw average precision against documents a second, with the front as a line.

    Args:
        points: `benchmarks.pareto.Point`s, fastest first.
        path: the file to write.
    """
    figure, axes = plt.subplots(figsize=(7, 4))
    for name, own in {
        "relative": [p for p in points if p.kind == "relative"],
        "absolute": [p for p in points if p.kind == "absolute"],
    }.items():
        label = f"{name} impact" if name == "relative" else "absolute impact (the paper's)"
        axes.scatter([p.rate for p in own], [p.precision for p in own], s=9, color=COLORS[name], alpha=0.6, label=label)
    front = [p for p in points if p.front]
    axes.plot([p.rate for p in front], [p.precision for p in front], color=COLORS["other"], label="front")
    axes.set_xscale("log")
    axes.set_xlabel("documents a second")
    axes.set_ylabel("mean average precision")
    axes.grid(color="#e6e8eb")
    axes.set_axisbelow(True)
    axes.legend(frameon=False)
    save_plot(figure, path)
