"""The report of a set of shards as one HTML file without scripts or external resources.

Ids, captions and messages come from foreign files, so all text is escaped. Table cells are text;
only functions of this module make HTML, as `Markup`.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

BAR_WIDTH, BAR_HEIGHT = 320, 90
MAX_TWINS = 100
FEWEST_BINS = 6
"""Bars are at most as wide as with this many bins."""

STYLE = """
:root { color-scheme: light dark; --line: #d0d0d0; --soft: #666; --bar: #3b6ea8; }
@media (prefers-color-scheme: dark) {
  :root { --line: #444; --soft: #aaa; --bar: #7aa7dc; }
}
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
p, figcaption { color: var(--soft); } figcaption { font-size: .85rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0;
  border-bottom: 1px solid var(--line); }
td { overflow-wrap: anywhere; min-width: 6rem; } th { white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; min-width: 0; }
thead { display: table-header-group; } tr { break-inside: avoid; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1.2rem; }
.big { display: flex; flex-wrap: wrap; gap: 2.2rem; } .big b { display: block; font-size: 1.7rem; }
figure { margin: 0; break-inside: avoid; } svg { width: 100%; height: auto; }
svg rect { fill: var(--bar); } svg line { stroke: var(--line); }
svg text { fill: var(--soft); font-size: 11px; }
img { width: 100%; max-width: 1100px; background: white; border: 1px solid var(--line); }
details { margin: .6rem 0; }
@media print {
  :root { --line: #ccc; --soft: #444; --bar: #3b6ea8; color-scheme: light; }
  body { max-width: none; margin: 0; font-size: 10pt; } h2 { break-after: avoid; }
}
"""


class Markup(str):
    """HTML made by this module, which is not escaped again."""

    __slots__ = ()


def make_page(report: Mapping[str, Any], pictures: Path) -> str:
    """Lay out a report.

    Args:
        report: the content of `report.json`, from `write_report`.
        pictures: folder of the contact sheets `worst.png` and `typical.png`.
    """
    counts = report["counts"]
    body = [
        Markup("<h1>Prepared shapes</h1>"),
        _headline(counts, report),
        _section("Run", _facts(report["run"])),
        _section("Refusals and flags", _refusals(counts)),
        _section("Leakage between splits", _leakage(report["leakage"])),
        _section("Worst objects", _sheet(report, pictures, "worst")),
        _section("Typical objects", _sheet(report, pictures, "typical")),
        _section("Distributions", _distributions(report)),
        _section("Contents", _contents(counts)),
        _section("Speed", _speed(report["throughput"])),
        _section("Refused objects", _refused(report["refused"], counts["refused"])),
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Prepared shapes</title><style>{STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + (
        "\n".join(body) + "\n</body></html>\n"
    )


# --- sections ------------------------------------------------------------------------------


def _headline(counts: Mapping[str, Any], report: Mapping[str, Any]) -> Markup:
    twins = report["leakage"]["twins"]
    size = f"{counts['bytes'] / max(counts['prepared'], 1) / 1000:,.0f} kB"
    facts = {
        "prepared": f"{counts['prepared']:,}",
        "of them flagged": f"{counts['flagged']:,}",
        "refused": f"{counts['refused']:,}",
        "in validation, with a twin in training": f"{len(twins):,}",
        "a sample": size,
        "objects a core hour": f"{report['throughput']['objects_per_core_hour']:,.0f}",
    }
    items = (f"<div><b>{escape(value)}</b>{escape(name)}</div>" for name, value in facts.items())
    return Markup(f'<div class="big">{"".join(items)}</div>')


def _facts(run: Mapping[str, Any]) -> Markup:
    return _table((), [(name, _shown(value)) for name, value in run.items()])


def _refusals(counts: Mapping[str, Any]) -> Markup:
    return _grid(
        _figure("Refused, by stage and reason", _count_table(counts["refusals"])),
        _figure("Flagged, by number beyond its limit", _count_table(counts["flags"])),
    )


def _contents(counts: Mapping[str, Any]) -> Markup:
    families = f"Families: the {len(counts['families'])} largest of {counts['num_families']}"
    return _grid(
        _figure("Splits", _count_table(counts["splits"])),
        _figure("Licences", _count_table(counts["licences"])),
        _figure(families, _count_table(counts["families"])),
    )


def _leakage(leakage: Mapping[str, Any]) -> Markup:
    twins, total = leakage["twins"], leakage["validation"]
    said = (
        f"{len(twins)} of {total} validation objects have a near twin in training, as it is, "
        "turned about the vertical or mirrored. Distance 1 is what two samplings of one shape "
        "differ by."
    )
    rows = [(twin["val_id"], twin["train_id"], twin["distance"]) for twin in twins[:MAX_TWINS]]
    table = _table(("validation", "training", "distance"), rows) if rows else Markup("")
    more = _paragraph(f"{len(twins) - MAX_TWINS} more in report.json.")
    return _joined([_paragraph(said), table, *([more] if len(twins) > MAX_TWINS else [])])


def _sheet(report: Mapping[str, Any], pictures: Path, name: str) -> Markup:
    entries = report["sheets"][name]
    if not entries:
        return _paragraph("No object has measured quality: all labels are exact.")
    limits = ", ".join(f"{name} {limit:g}" for name, limit in report["limits"].items())
    said = {
        "worst": f"By the number that exceeds its limit most ({limits}): so many times, below.",
        "typical": "Nearest the median of quality, volume, size and number of faces together.",
    }[name]
    data = base64.b64encode((pictures / f"{name}.png").read_bytes()).decode()
    image = f'<img alt="{len(entries)} {name} objects" src="data:image/png;base64,{data}">'
    names = dict.fromkeys(key for entry in entries for key in entry)
    rows = [(i, *(entry.get(key, "") for key in names)) for i, entry in enumerate(entries, 1)]
    listed = f"<details><summary>Names and numbers</summary>{_table(('', *names), rows)}</details>"
    return _joined([_paragraph(said), Markup(image), Markup(listed)])


def _distributions(report: Mapping[str, Any]) -> Markup:
    figures = [
        _figure(name, _bars(histogram), _summary(histogram))
        for name, histogram in report["histograms"].items()
    ]
    return _grid(*figures)


def _summary(histogram: Mapping[str, Any]) -> str:
    names = ("least", "median", "mean", "most")
    return ", ".join(f"{name} {_shown(histogram[name])}" for name in names)


def _speed(throughput: Mapping[str, Any]) -> Markup:
    rows = [
        (name, s["objects"], s["mean"], s["median"], s["p95"], f"{s['share']:.0%}")
        for name, s in throughput["stages"].items()
    ]
    head = ("stage", "objects", "mean s", "median s", "95 % s", "share")
    said = (
        f"{throughput['core_hours']:.3g} core hours for {throughput['objects']:,} objects: "
        f"{throughput['objects_per_core_hour']:,.0f} objects a core hour, "
        f"{throughput['objects_per_core_hour_without_rendering']:,.0f} without rendering."
    )
    return _joined([_paragraph(said), _table(head, rows)])


def _refused(refused: Sequence[Mapping[str, Any]], total: int) -> Markup:
    if not refused:
        return _paragraph("None.")
    rows = [tuple(row[n] for n in ("id", "path", "stage", "code", "message")) for row in refused]
    table = _table(("id", "path", "stage", "code", "message"), rows)
    return _joined([_paragraph(f"{len(refused)} of {total:,}."), table])


# --- pieces --------------------------------------------------------------------------------


def _section(title: str, body: Markup) -> Markup:
    return Markup(f"<h2>{escape(title)}</h2>\n{body}")


def _paragraph(text: str) -> Markup:
    return Markup(f"<p>{escape(text)}</p>")


def _joined(parts: Iterable[Markup]) -> Markup:
    return Markup("\n".join(parts))


def _grid(*figures: Markup) -> Markup:
    return Markup(f'<div class="grid">{"".join(figures)}</div>')


def _figure(title: str, body: Markup, caption: str = "") -> Markup:
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return Markup(f"<figure><h3>{escape(title)}</h3>{body}{below}</figure>")


def _count_table(counts: Mapping[str, int]) -> Markup:
    if not counts:
        return _paragraph("None.")
    return _table((), [(name or "(none)", count) for name, count in counts.items()])


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """A table of texts and numbers; a column is right-aligned if its first cell is a number."""
    listed = list(rows)
    kinds = ["number" if isinstance(x, int | float) else "" for x in (listed[0] if listed else ())]
    kinds += [""] * (len(head) - len(kinds))
    top = "".join(_cell("th", text, kind) for text, kind in zip(head, kinds, strict=False))
    lines = (
        "<tr>" + "".join(_cell("td", x, k) for x, k in zip(row, kinds, strict=True)) + "</tr>"
        for row in listed
    )
    above = f"<thead><tr>{top}</tr></thead>" if head else ""
    return Markup(f"<table>{above}<tbody>{''.join(lines)}</tbody></table>")


def _cell(tag: str, value: Any, kind: str) -> str:
    return f"<{tag}{f' class={kind}' if kind else ''}>{escape(_shown(value))}</{tag}>"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _bars(histogram: Mapping[str, Any]) -> Markup:
    """A histogram as a drawing, with the ends of its axis and its highest count."""
    counts, edges = histogram["counts"], histogram["edges"]
    highest, step = max(counts), BAR_WIDTH / max(len(counts), FEWEST_BINS)
    end = step * len(counts)
    bars = []
    for number, count in enumerate(counts):
        height = max(BAR_HEIGHT * count / highest, 1.0 if count else 0.0)
        middle = (edges[number] + edges[number + 1]) / 2
        bars.append(
            f'<rect x="{number * step:.1f}" y="{BAR_HEIGHT + 14 - height:.1f}" '
            f'width="{step - 1:.1f}" height="{height:.1f}">'
            f"<title>{escape(_shown(middle))}: {count:,}</title></rect>"
        )
    ground = BAR_HEIGHT + 14
    texts = (
        f'<text x="0" y="10">{highest:,}</text>'
        f'<text x="0" y="{ground + 13}">{escape(_shown(edges[0]))}</text>'
        f'<text x="{end:.1f}" y="{ground + 13}" text-anchor="end">'
        f"{escape(_shown(edges[-1]))}</text>"
    )
    line = f'<line x1="0" y1="{ground}" x2="{BAR_WIDTH}" y2="{ground}"/>'
    box = f'viewBox="0 0 {BAR_WIDTH} {ground + 18}" role="img" aria-label="histogram"'
    return Markup(f"<svg {box}>{''.join(bars)}{line}{texts}</svg>")
