"""Object families: each draws parameters, places primitives and states facts for captions."""

from __future__ import annotations

from collections.abc import Callable

from g3pt.procedural.builder import Builder, Draw
from g3pt.procedural.captions import Facts
from g3pt.procedural.families import (
    animals,
    buildings,
    craft,
    furniture,
    gadgets,
    leisure,
    plants,
    road,
    seating,
    tools,
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
        *(road.car, road.truck, road.train),
        *(craft.airplane, craft.helicopter, craft.rocket, craft.sailboat, craft.ship),
        *(buildings.house, buildings.tower, buildings.castle, buildings.bridge),
        buildings.windmill,
        *(plants.tree, plants.cactus, plants.mushroom, plants.flower),
        *(animals.animal, animals.bird, animals.fish),
        *(leisure.guitar, leisure.drum),
        *(gadgets.camera, gadgets.clock, gadgets.television),
        *(leisure.umbrella, leisure.dumbbell, leisure.snowman),
    )
}
"""Every family by its name, in a fixed order."""
