"""Whatever a file is, reading it ends soon, in a mesh or in a `MeshError`."""

import json
import subprocess
import sys

import pytest

from g3pt.torture.mesh_files import make_hostile_tree, zip_bomb

READER = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from g3pt.preparation.inputs import FolderSourceConfig, list_meshes
from g3pt.geometry.mesh import MeshError

outcomes = {}
for ref in list_meshes(FolderSourceConfig(path=sys.argv[1])):
    start = time.process_time()
    try:
        ref.read()
        outcome = "read"
    except MeshError as error:
        outcome = error.code
    except BaseException as error:
        outcome = f"crash: {error!r}"
    outcomes[ref.id] = [outcome, time.process_time() - start]
# Not ru_maxrss: that begins with what the process was forked from.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
memory = int(status["VmHWM"].split()[0]) // 1024
print(json.dumps({"outcomes": outcomes, "megabytes": memory}))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_hostile_tree(tmp_path_factory.mktemp("hostile"), seed=11)


@pytest.fixture(scope="module")
def report(tree):
    """What one process made of the tree."""
    command = [sys.executable, "-W", "error", "-c", READER, str(tree.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def outcomes(report):
    return {name: outcome for name, (outcome, _) in report["outcomes"].items()}


def test_the_tree_is_small_and_its_parts_are_known(tree):
    assert len(tree.good) >= 100 and len(tree.good + tree.bad + tree.either) >= 1000
    size = sum(path.lstat().st_size for path in tree.folder.rglob("*"))
    assert size < 20e6


def test_the_same_seed_gives_the_same_tree(tmp_path):
    first = make_hostile_tree(tmp_path / "a", seed=3, num=200)
    second = make_hostile_tree(tmp_path / "b", seed=3, num=200)
    assert (first.good, first.bad, first.either) == (second.good, second.bad, second.either)
    for name in (*first.good, *first.either):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_everything_in_the_folder_is_listed_but_links_out_of_it(tree, outcomes):
    assert sorted(outcomes) == sorted(tree.good + tree.bad + tree.either)
    assert not set(tree.unlisted) & set(outcomes)


def test_good_files_are_read(tree, outcomes):
    assert {name: outcomes[name] for name in tree.good if outcomes[name] != "read"} == {}


def test_bad_files_are_refused_and_nothing_crashes(tree, outcomes):
    assert [name for name in tree.bad if outcomes[name] == "read"] == []
    assert {name: text for name, text in outcomes.items() if text.startswith("crash")} == {}


def test_no_file_takes_long_or_much_memory(report):
    # Some .1 s on an idle machine; what this is against takes minutes or for ever.
    slow = {name: seconds for name, (_, seconds) in report["outcomes"].items() if seconds > 20}
    assert slow == {} and report["megabytes"] < 600


def test_a_bomb_in_an_archive_is_not_unpacked(tmp_path):
    from g3pt.geometry.mesh import MeshError
    from g3pt.preparation.inputs import ArchiveSourceConfig, list_meshes

    (tmp_path / "a.zip").write_bytes(zip_bomb())
    (ref,) = list_meshes(ArchiveSourceConfig(path=str(tmp_path / "a.zip")))
    with pytest.raises(MeshError) as caught:
        ref.read()
    assert caught.value.code == "too_large"
