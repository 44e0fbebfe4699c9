"""The object families: each draws its own parameters, places primitives and states what it made."""

from __future__ import annotations

from collections.abc import Callable

from g3pt.data.procedural.builder import Builder, Draw
from g3pt.data.procedural.captions import Facts
from g3pt.data.procedural.families import (
    buildings,
    furniture,
    nature,
    objects,
    seating,
    tools,
    vehicles,
    vessels,
)

FAMILY_BUILDERS: dict[str, Callable[[Builder, Draw], Facts]] = {
    build.__name__: build
    for build in (
        *(seating.chair, seating.stool, seating.sofa, seating.bench, seating.bed),
        *(furniture.table, furniture.desk, furniture.shelf, furniture.cabinet, furniture.lamp),
        *(vessels.mug, vessels.bottle, vessels.vase, vessels.bowl, vessels.pot, vessels.teapot),
        *(vessels.barrel, vessels.crate),
        *(tools.hammer, tools.axe, tools.wrench, tools.screwdriver, tools.bolt, tools.nut),
        tools.gear,
        *(vehicles.car, vehicles.truck, vehicles.train, vehicles.airplane, vehicles.helicopter),
        *(vehicles.rocket, vehicles.sailboat, vehicles.ship),
        *(buildings.house, buildings.tower, buildings.castle, buildings.bridge, buildings.windmill),
        *(nature.tree, nature.cactus, nature.mushroom, nature.flower, nature.animal, nature.bird),
        nature.fish,
        *(objects.guitar, objects.drum, objects.camera, objects.clock, objects.television),
        *(objects.umbrella, objects.dumbbell, objects.snowman),
    )
}
"""Every family by its name, in a fixed order."""
