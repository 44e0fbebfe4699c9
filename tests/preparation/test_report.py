import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from g3pt.preparation.build import ShardsConfig, build_shards
from g3pt.preparation.report import NUM_BINS, _histogram, typical, worst, write_report
from g3pt.preparation.report_page import make_page
from g3pt.preparation.sources import FolderSourceConfig, ProceduralSourceConfig
from g3pt.shapes.shape_set import QualityLimits
from g3pt.shapes.stored import PrepareConfig, ViewsConfig

HOSTILE = "<script>alert('x')</script>&\"<img src=x onerror=y>"
VOID = {"meta", "img"}
PREPARE = PrepareConfig(
    num_points=256, num_volume_queries=512, num_near_queries=384, solid_resolution=48
)
VIEWS = ViewsConfig(num_views=0, size=48, supersample=1)


class PageReader(HTMLParser):
    """Text and tags of a page; fails where they are not well nested."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.tags, self.links, self.texts = [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for name, v in attrs if name in ("src", "href", "xlink:href", "data")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def mesh_set(mesh_folder, tmp_path_factory):
    """Three good boxes twice, a sheet and a broken file, built as a run would."""
    out = tmp_path_factory.mktemp("sets") / "boxes"
    source = FolderSourceConfig(path=str(mesh_folder))
    config = ShardsConfig(source=source, prepare=PREPARE, views=VIEWS, samples_per_shard=3)
    build_shards(config, out)
    return out


@pytest.fixture(scope="module")
def report(mesh_set):
    return write_report(mesh_set, run={"command": HOSTILE, "workers": 2, "seconds": 1234.5})


def page_of(path) -> PageReader:
    return PageReader((path / "report.html").read_text(encoding="utf-8"))


def test_every_object_is_counted_once(report, mesh_set):
    counts = report["counts"]
    index = json.loads((mesh_set / "index.json").read_text())

    assert (counts["prepared"], counts["refused"]) == (index["num_shapes"], index["num_refused"])
    assert counts["objects"] == counts["prepared"] + counts["refused"]
    assert sum(counts["refusals"].values()) == len(report["refused"]) == counts["refused"]
    for name in ("splits", "licences", "families"):
        assert sum(counts[name].values()) == counts["prepared"]
    assert counts["splits"] == {"train": 4, "val": 1}
    for histogram in report["histograms"].values():
        assert sum(histogram["counts"]) == counts["prepared"]
        assert len(histogram["edges"]) == len(histogram["counts"]) + 1


def test_the_same_mesh_in_both_splits_is_named_as_a_leak(report):
    (twin,) = report["leakage"]["twins"]

    assert report["leakage"]["validation"] == 1
    assert twin["val_id"] == "kept-for-validation"
    assert twin["train_id"] in ("cube", "named-author")


def test_speed_is_that_of_the_times_beside_the_shards(report, mesh_set):
    times = [json.loads(file.read_text()) for file in sorted((mesh_set / "times").iterdir())]
    seconds = [s for shard in times for s in shard.values() if s]
    total = sum(sum(s.values()) for s in seconds)

    speed = report["throughput"]
    assert speed["core_hours"] == pytest.approx(total / 3600)
    assert speed["objects_per_core_hour"] == pytest.approx(len(seconds) * 3600 / total)
    faster = speed["objects_per_core_hour_without_rendering"]
    assert faster > speed["objects_per_core_hour"]
    assert sum(stage["share"] for stage in speed["stages"].values()) == pytest.approx(1.0)


def test_the_set_itself_does_not_change(mesh_set, deliverables):
    before = deliverables(mesh_set)
    first = write_report(mesh_set, run={})

    assert write_report(mesh_set, run={}) == first
    assert deliverables(mesh_set) == before
    assert json.loads((mesh_set / "report.json").read_text()) == first


def test_the_page_is_well_formed_and_loads_nothing(report, mesh_set):
    page = page_of(mesh_set)

    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert len(page.links) == 2
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    text = (mesh_set / "report.html").read_text()
    assert not re.search(r"https?://|url\(|@import", text)


def test_foreign_text_is_shown_as_it_is_and_never_obeyed(report, mesh_set):
    hostile = json.loads(json.dumps(report))
    hostile["refused"] = [dict.fromkeys(("id", "path", "stage", "code", "message"), HOSTILE)]
    hostile["leakage"]["twins"] = [{"val_id": HOSTILE, "train_id": HOSTILE, "distance": 1.0}]
    for entry in hostile["sheets"]["worst"]:
        entry["id"] = entry["family"] = HOSTILE
    for name in ("families", "licences", "splits", "flags", "refusals"):
        hostile["counts"][name] = {HOSTILE: 1}
    hostile["histograms"] = {HOSTILE: next(iter(report["histograms"].values()))}
    hostile["run"] = {HOSTILE: HOSTILE}

    page = PageReader(make_page(hostile, mesh_set / "report"))

    assert "script" not in page.tags
    assert page.tags.count("img") == 2
    assert page.texts.count(HOSTILE) >= 5 + 2 + 5 + 3


def test_the_sheets_in_the_page_are_those_beside_it(report, mesh_set):
    images = [base64.b64decode(link.split(",")[1]) for link in page_of(mesh_set).links]

    for name, data in zip(("worst", "typical"), images, strict=True):
        assert data == (mesh_set / "report" / f"{name}.png").read_bytes()
        picture = np.asarray(Image.open(io.BytesIO(data)))
        assert picture.min() < 100  # something is drawn
        assert len(report["sheets"][name]) == 5


def test_the_worst_exceed_a_limit_most_and_the_typical_lie_in_the_middle():
    limits = QualityLimits(label_error=0.1, disagreement=0.2, solid_to_source=0.1)

    def row(share, *quality):
        names = ("label_error", "disagreement", "solid_to_source")
        measured = dict(zip(names, quality, strict=True)) if quality else {}
        return {"volume_share": share, "size": 1000, "quality": measured}

    rows = [
        row(0.1, 0.01, 0.1, 0.01),  # half a limit
        row(0.2, 0.02, 0.1, 0.3),  # three limits
        row(0.3, 0.2, 0.1, 0.01),  # two limits, by the label error
        row(0.4, 0.01, 0.4, 0.01),  # two limits, by the disagreement
        row(0.3),  # exact
    ]

    assert worst(rows, limits) == [1, 2, 3, 0]
    assert typical([row(share) for share in (0.9, 0.5, 0.1, 0.6, 0.2)])[0] == 1


def test_exact_shapes_have_no_worst_ones(tmp_path):
    source = ProceduralSourceConfig(num=3)
    build_shards(ShardsConfig(source=source, prepare=PREPARE, views=VIEWS), tmp_path / "set")

    report = write_report(tmp_path / "set", run={})

    assert report["sheets"]["worst"] == []
    assert not (tmp_path / "set" / "report" / "worst.png").exists()
    assert "all labels are exact" in " ".join(page_of(tmp_path / "set").texts)


@pytest.mark.parametrize("by_factors", [False, True])
@pytest.mark.parametrize(
    "values",
    [[0.0], [5.0, 5.0], [1.0, 2.0, 2.0, 7.0], np.linspace(0, 1, 500), [1.0] * 99 + [1e9]],
    ids=["zero", "equal", "counts", "even", "one far out"],
)
def test_a_histogram_has_a_bin_for_every_value(values, by_factors):
    histogram = _histogram(np.asarray(values, dtype=float), by_factors)

    assert sum(histogram["counts"]) == len(values)
    assert len(histogram["counts"]) <= NUM_BINS
    assert np.all(np.diff(histogram["edges"]) > 0)
    assert histogram["most"] == max(values)


def test_a_folder_without_a_complete_set_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a complete set of prepared shapes"):
        write_report(tmp_path, run={})
