"""Plots: curves with bands in panels, and means with their intervals."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image

from g3pt.files import write_whole

PANEL_SIZE = (5.2, 4.0)
"""Inches."""
LEGEND_WIDTH = 3.4
"""Inches, of a legend beside the panels whose labels have at most 50 letters."""
LETTER_WIDTH = 0.07
"""Inches, of each further letter of the longest label."""
MOST_LABELS, MOST_LETTERS = 9, 300
"""Of a legend inside a panel; more would cover the curves."""
DOTS_PER_INCH = 110
NUM_COLORS = 128
"""Of a plot as it is saved."""
LOG_LABELS = ((10.0, (1.0, 2.0, 3.0, 5.0, 7.0)), (300.0, (1.0, 2.0, 5.0)))
"""What powers of ten are multiplied by for labels of logarithmic axes whose ends have a ratio below
the first number; longer axes are labelled at the powers alone.
"""
COLORS = ("#0b6e99", "#c0562b", "#4d7c2a", "#7b4fa3", "#8a6d1d", "#5b6472")
"""By turns, for curves that name none."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a panel."""

    x: Sequence[float]
    y: Sequence[float]
    label: str = ""
    """In the legend; empty stays out of it."""
    low: Sequence[float] = ()
    """Lower edge of the band around it, with `high`; none without."""
    high: Sequence[float] = ()
    color: str = ""
    """As matplotlib names it; by turns if empty."""
    line: str = "-"
    """`-`, `--`, `:`; empty for markers alone."""
    marker: str = ""
    """`o`, `s`, `^`; empty for none."""
    faint: bool = False
    """Drawn small and pale, as background of the other curves."""

    def __post_init__(self) -> None:
        lengths = {len(values) for values in (self.x, self.y, *self._edges)}
        if len(lengths) != 1 or bool(self.low) != bool(self.high):
            raise ValueError(
                f"curve {self.label!r}: x, y and both edges of its band must be equally long, got "
                f"{len(self.x)}, {len(self.y)}, {len(self.low)} and {len(self.high)}"
            )

    @property
    def _edges(self) -> tuple[Sequence[float], ...]:
        return (self.low, self.high) if self.low or self.high else ()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes."""

    curves: Sequence[Curve]
    x_label: str
    y_label: str
    title: str = ""
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One labelled line of a dot plot: a mean, its interval, and what it is the mean of."""

    label: str
    mean: float
    low: float
    high: float
    points: Sequence[float] = ()


def require_matplotlib() -> None:
    """Check that plots can be drawn, before work is done for them.

    Raises:
        ImportError: naming the extra, if matplotlib is not installed.
    """
    _matplotlib("figure")


def _matplotlib(module: str) -> Any:
    try:
        return import_module(f"matplotlib.{module}")
    except ImportError:
        raise ImportError("plots need matplotlib: pip install g3pt[eval]") from None


def plot_curves(path: Path, panels: Sequence[Panel], *, title: str = "") -> None:
    """Draw panels from left to right as a PNG, which appears whole or not at all.

    The legend stands in the first panel; if it is long, to the right of the last.

    Raises:
        ImportError: naming the extra, if matplotlib is not installed.
        ValueError: if there is no panel.
    """
    if not panels:
        raise ValueError("a plot needs at least one panel")
    labels = [len(curve.label) for curve in panels[0].curves if curve.label]
    beside = 0.0
    if len(labels) > MOST_LABELS or sum(labels) > MOST_LETTERS:
        beside = LEGEND_WIDTH + LETTER_WIDTH * max(max(labels) - 50, 0)
    width, height = PANEL_SIZE[0] * len(panels) + beside, PANEL_SIZE[1] + (0.3 if title else 0.0)
    figure = _figure(width, height)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        _draw(axes, panel)
    if beside:
        entries = all_axes[0].get_legend_handles_labels()
        figure.legend(*entries, loc="outside right center", fontsize=8)
    elif labels:
        all_axes[0].legend(fontsize=8, framealpha=0.9)
    if title:
        figure.suptitle(title, fontsize=11)
    _save(figure, path)


def plot_dots(path: Path, dots: Sequence[Dot], *, x_label: str, title: str = "") -> None:
    """Draw a mean and its interval for every label, from top to bottom, as a PNG.

    Raises:
        ImportError: naming the extra, if matplotlib is not installed.
        ValueError: if there is nothing to draw.
    """
    if not dots:
        raise ValueError("a plot needs at least one dot")
    figure = _figure(1.5 * PANEL_SIZE[0], 1.0 + 0.32 * len(dots))
    axes = figure.subplots()
    for place, dot in enumerate(dots):
        axes.plot([dot.low, dot.high], [place, place], color=COLORS[0], linewidth=1.8, alpha=0.5)
        axes.plot([dot.mean], [place], color=COLORS[0], marker="o", markersize=6.0)
        axes.plot(
            dot.points,
            [place] * len(dot.points),
            color=COLORS[1],
            linestyle="none",
            marker="|",
            markersize=9.0,
        )
    axes.axvline(dots[0].mean, color="0.8", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(dots)), [dot.label for dot in dots], fontsize=8)
    axes.set_ylim(len(dots) - 0.5, -0.5)
    axes.set_xlabel(x_label)
    axes.set_title(title, fontsize=11)
    axes.grid(True, axis="x", color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _figure(width: float, height: float) -> Any:
    figure = _matplotlib("figure").Figure(
        figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained"
    )
    _matplotlib("backends.backend_agg").FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    drawn, content = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    # Lines and bands of few colours: a palette takes a third of the bytes.
    palette = Image.open(drawn).convert("RGB").quantize(NUM_COLORS, dither=Image.Dither.NONE)
    palette.save(content, format="png", optimize=True)
    write_whole(path, content.getvalue())


def _draw(axes: Any, panel: Panel) -> None:
    for number, curve in enumerate(panel.curves):
        color = curve.color or COLORS[number % len(COLORS)]
        axes.plot(
            curve.x,
            curve.y,
            color=color,
            label=curve.label or None,
            linestyle=curve.line or "none",
            marker=curve.marker or None,
            linewidth=1.0 if curve.faint else 1.8,
            markersize=3.0 if curve.faint else 5.0,
            alpha=0.35 if curve.faint else 1.0,
        )
        if curve.low:
            axes.fill_between(curve.x, curve.low, curve.high, color=color, alpha=0.15, linewidth=0)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.set_title(panel.title, fontsize=10)
    ticker = _matplotlib("ticker")
    if panel.log_x:
        axes.set_xscale("log")
        _log_ticks(axes.xaxis, ticker.EngFormatter(sep=""))
    if panel.log_y:
        axes.set_yscale("log")
        _log_ticks(axes.yaxis, ticker.StrMethodFormatter("{x:g}"))
    axes.grid(True, color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _log_ticks(axis: Any, formatter: Any) -> None:
    """Labels that do not overlap, unlike those of matplotlib at all multiples on short axes."""
    ticker = _matplotlib("ticker")
    low, high = axis.get_view_interval()
    subs = next((subs for most, subs in LOG_LABELS if high < most * low), (1.0,))
    axis.set_major_locator(ticker.LogLocator(subs=subs))
    axis.set_major_formatter(formatter)
    axis.set_minor_formatter(ticker.NullFormatter())
