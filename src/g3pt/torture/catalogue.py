"""All doors by name, and how many trials each gets in a profile."""

from typing import Literal

from g3pt.torture.adapters import Adapters
from g3pt.torture.caches import Caches
from g3pt.torture.checkpoints import Checkpoints
from g3pt.torture.clouds import Clouds
from g3pt.torture.doors import Door
from g3pt.torture.http_bodies import HttpBodies
from g3pt.torture.manifests import Manifests
from g3pt.torture.mesh_stocks import MeshStocks
from g3pt.torture.meshes import Meshes
from g3pt.torture.packs import Packs
from g3pt.torture.pictures import Pictures
from g3pt.torture.results import ResultFolders
from g3pt.torture.run_configs import RunConfigs
from g3pt.torture.shards import Shards
from g3pt.torture.sources import Sources
from g3pt.torture.token_files import TokenFiles
from g3pt.torture.weights_folders import WeightsFolders
from g3pt.torture.yardstick_files import Yardsticks

Profile = Literal["ci", "night"]

DOORS: dict[str, Door] = {
    door.name: door
    for door in (
        Pictures(),
        TokenFiles(),
        WeightsFolders(),
        Adapters(),
        RunConfigs(),
        Manifests(),
        Sources(),
        Caches(),
        Checkpoints(),
        Meshes(),
        Clouds(),
        Shards(),
        Packs(),
        MeshStocks(),
        Yardsticks(),
        HttpBodies(),
        ResultFolders(),
    )
}
TRIALS: dict[Profile, int] = {"ci": 145, "night": 720}
"""Trials a door: a little over 2 000 and 10 000 in all."""
