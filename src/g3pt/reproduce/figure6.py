"""Figure 6: generators of growing size on the same tokens, and the power law of their loss."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from g3pt.evaluation.report.plots import Curve, Panel, plot_curves
from g3pt.evaluation.scaling import MIN_SIZES, ScalingFit
from g3pt.reproduce.car_sizes import car_size, rung
from g3pt.reproduce.experiments import Claim, Experiment, Scale
from g3pt.reproduce.tabulate import Reproduction, TableRow

PAPER_STATEMENT = (
    'The paper: "a clear trend where the test loss decreases as the number of model parameters '
    'increases, with a power-law relationship" (Sec. 4.4); it prints no exponent.'
)


def figure6(scale: Scale) -> Experiment:
    """Cross-entropy of held-out tokens over parameters (Fig. 6)."""
    of = car_size(scale)
    variants = [rung(of, depth) for depth in of.depths]
    claims = [
        Claim(
            text=f"cross-entropy falls from {smaller.label} to {larger.label}",
            better=larger.name,
            worse=smaller.name,
            metric="ce",
            higher_is_better=False,
        )
        for smaller, larger in pairwise(variants)
    ]
    claims.append(
        Claim(
            text=f"IoU of generated meshes rises from {variants[0].label} to {variants[-1].label}",
            better=variants[-1].name,
            worse=variants[0].name,
            of_paper=False,
        )
    )
    return Experiment(
        name="figure6",
        title="Figure 6: cross-entropy over parameters",
        scale=scale,
        variants=tuple(variants),
        claims=tuple(claims),
        evaluation=of.sets,
        before=(of.stage1,),
        axis="parameters",
    )


# --- the power law -----------------------------------------------------------------------------


def scaling_lines(table: Reproduction) -> list[str]:
    """Both laws as a table, and what the paper says."""
    if not table.scaling:
        return [f"Fewer than {MIN_SIZES} sizes are finished; there is nothing to fit yet."]
    lines = [
        "Cross-entropy L of N parameters, least squares in log L (with an offset, in relative L); "
        "the interval of the exponent draws seeds and objects again.",
        "",
        "| law | exponent a [95 % interval] | N_c | L_inf | R² |",
        "|---|---|---|---|---|",
    ]
    for fit in table.scaling:
        law = fit.law
        offset = f"{law.offset:.4g}" if law.offset else "0"
        lines.append(
            f"| {_formula(fit)} | {law.exponent:.4g} [{fit.low:.4g}, {fit.high:.4g}] | "
            f"10^{law.log_scale / np.log(10):.3g} | {offset} | {law.r_squared:.4f} |"
        )
    return [*lines, "", PAPER_STATEMENT]


def scaling_text(fit: ScalingFit) -> str:
    """One line on a law."""
    return (
        f"{_formula(fit)}: exponent {fit.law.exponent:.4g} [{fit.low:.4g}, {fit.high:.4g}], "
        f"R² {fit.law.r_squared:.4f}"
    )


def _formula(fit: ScalingFit) -> str:
    return "L_inf + (N_c / N)^a" if fit.with_offset else "(N_c / N)^a"


def plot_scaling(path: Path, table: Reproduction) -> None:
    """Loss over parameters with both laws, and scale by scale, as a PNG."""
    rows = [row for row in table.rows if row.set == table.experiment.evaluation[0].name]
    rows = sorted(rows, key=lambda row: row.parameters)
    first, *others = rows[0].scores
    scales = [metric for metric in others if metric.startswith(f"{first}_")]
    panels = [
        Panel(
            curves=[_measured(rows, first, "measured"), *_laws(rows, table.scaling)],
            x_label="parameters",
            y_label="cross-entropy, nats a token",
            title=f"{table.experiment.title} ({table.experiment.scale})",
            log_x=True,
            log_y=True,
        ),
        Panel(
            curves=[_measured(rows, scale, scale.replace("ce_", "scale ")) for scale in scales],
            x_label="parameters",
            y_label="cross-entropy, nats a token",
            title="scale by scale",
            log_x=True,
            log_y=True,
        ),
    ]
    plot_curves(path, panels)


def _measured(rows: list[TableRow], metric: str, label: str) -> Curve:
    scores = [row.scores[metric] for row in rows]
    return Curve(
        x=[row.parameters for row in rows],
        y=[score["mean"] for score in scores],
        low=[score["low"] for score in scores],
        high=[score["high"] for score in scores],
        label=label,
        marker="o",
    )


def _laws(rows: list[TableRow], fits: tuple[ScalingFit, ...]) -> list[Curve]:
    sizes = np.geomspace(rows[0].parameters, rows[-1].parameters, 100)
    return [
        Curve(
            x=sizes.tolist(),
            y=fit.law(sizes).tolist(),
            label=f"{_formula(fit)}, a = {fit.law.exponent:.3g}",
            line="--" if fit.with_offset else ":",
        )
        for fit in fits
    ]
