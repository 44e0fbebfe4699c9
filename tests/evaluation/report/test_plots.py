from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from g3pt.evaluation.report import plots
from g3pt.evaluation.report.plots import Curve, Panel, plot_curves

LINE = Curve(x=[1, 10, 100], y=[1.0, 0.1, 0.01], low=[0.9, 0.09, 0.009], high=[2, 0.2, 0.02])
pytest.importorskip("matplotlib")


def panel(*curves: Curve) -> Panel:
    return Panel(curves=curves, x_label="bits", y_label="distance", log_x=True, log_y=True)


def colours(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as picture:
        return set(map(tuple, np.asarray(picture.convert("RGB")).reshape(-1, 3).tolist()))


def test_panels_stand_side_by_side(tmp_path: Path):
    plot_curves(tmp_path / "one.png", [panel(LINE)])
    plot_curves(tmp_path / "two.png", [panel(LINE), panel(LINE)])
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert one.format == "PNG"
        assert (two.width, two.height) == (2 * one.width, one.height)


def test_a_curve_is_drawn_in_its_own_colour(tmp_path: Path):
    pure = (255, 0, 0)
    plot_curves(tmp_path / "plain.png", [panel(LINE)])
    plot_curves(tmp_path / "red.png", [panel(Curve(x=LINE.x, y=LINE.y, color="#ff0000"))])
    assert pure not in colours(tmp_path / "plain.png")
    assert pure in colours(tmp_path / "red.png")


def test_a_long_legend_stands_beside_the_panels_and_covers_no_curve(tmp_path: Path):
    curves = [Curve(x=LINE.x, y=LINE.y, label=f"row {number}") for number in range(10)]
    plot_curves(tmp_path / "few.png", [panel(*curves[:9])])
    plot_curves(tmp_path / "many.png", [panel(*curves)])
    with Image.open(tmp_path / "few.png") as few, Image.open(tmp_path / "many.png") as many:
        assert many.width > 1.5 * few.width
        assert many.height == few.height


def test_labels_of_many_letters_stand_beside_the_panels_and_widen_them(tmp_path: Path):
    widths: list[int] = []
    for letters in (75, 76, 96):
        labels = [(f"row {number} " * 20)[:letters] for number in range(4)]
        curves = [Curve(x=LINE.x, y=LINE.y, label=label) for label in labels]
        plot_curves(tmp_path / "a.png", [panel(*curves)])
        with Image.open(tmp_path / "a.png") as picture:
            widths.append(picture.width)
    plot_curves(tmp_path / "one.png", [panel(LINE)])
    with Image.open(tmp_path / "one.png") as one:
        assert one.width == widths[0] < widths[1] < widths[2]


@pytest.mark.parametrize("ends", [(3e5, 2e6), (2e12, 5e13), (10, 5440), (100, 3e6)])
def test_labels_of_a_logarithmic_axis_are_few_and_do_not_overlap(ends, monkeypatch, tmp_path: Path):
    figures: list[Any] = []
    monkeypatch.setattr(plots, "_save", lambda figure, _path: figures.append(figure))
    plot_curves(tmp_path / "plot.png", [panel(Curve(x=ends, y=[0.02, 0.3]))] * 2)
    (figure,) = figures
    figure.canvas.draw()
    for axes in figure.axes:
        shown = [
            label.get_window_extent()
            for label in axes.get_xticklabels() + axes.get_xticklabels(minor=True)
            if label.get_text() and ends[0] <= label.get_position()[0] <= ends[1]
        ]
        assert 3 <= len(shown) <= 7
        edges = sorted((box.x0, box.x1) for box in shown)
        assert all(one[1] < other[0] for one, other in pairwise(edges))


def test_equal_curves_give_equal_files_and_nothing_else(tmp_path: Path):
    for name in ("a.png", "b.png"):
        plot_curves(tmp_path / name, [panel(LINE)], title="again")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_a_failed_plot_leaves_the_old_one(tmp_path: Path):
    file = tmp_path / "plot.png"
    plot_curves(file, [panel(LINE)])
    before = file.read_bytes()
    with pytest.raises(ValueError, match="at least one panel"):
        plot_curves(file, [])
    with pytest.raises(ValueError, match="not a valid value for color"):
        plot_curves(file, [panel(Curve(x=[1], y=[1], color="no colour", marker="o"))])
    assert file.read_bytes() == before


@pytest.mark.parametrize("wrong", [{"y": [1.0]}, {"low": [1, 2, 3]}, {"low": [1], "high": [1]}])
def test_uneven_lengths_are_refused_by_the_name_of_the_curve(wrong: dict):
    values: dict[str, Any] = {"x": [1, 2, 3], "y": [1, 2, 3], **wrong}
    with pytest.raises(ValueError, match=r"curve 'ours'.*equally long"):
        Curve(label="ours", **values)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str):
        raise ImportError(name)

    monkeypatch.setattr(plots, "import_module", missing)
    with pytest.raises(ImportError, match=r"g3pt\[eval\]"):
        plots.require_matplotlib()
