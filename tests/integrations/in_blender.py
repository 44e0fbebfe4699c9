"""Runs in a Python that has `bpy`: installs the extension, and works with a real server.

    python in_blender.py EXTENSION.zip http://127.0.0.1:8000 picture.png

Every step that is not as it should be ends the program. There is no event loop here, so what the
timer of the extension calls is called by hand.
"""

# ruff: noqa: T201

import sys
import time

import bpy


def main() -> None:
    extension, server, picture = sys.argv[1:]
    bpy.ops.wm.read_factory_settings(use_empty=True)
    package = install(extension)
    preferences = bpy.context.preferences.addons[package].preferences
    assert preferences.server == "http://127.0.0.1:8000"
    preferences.server = server
    module = sys.modules[package]

    settings = bpy.context.scene.g3pt
    settings.text, settings.resolution, settings.size, settings.num = "a mug", 16, 0.5, 2
    bpy.context.scene.cursor.location = (1.0, 2.0, 3.0)
    texts = work(module, lambda: bpy.ops.g3pt.generate())
    assert not bpy.ops.g3pt.cancel.poll()
    shapes = names()
    assert shapes == ["a mug 1", "a mug 2"], shapes
    for name in shapes:
        check_place(bpy.data.objects[name], (1.0, 2.0, 3.0), 0.5)
    assert any("scale" in text for text in texts), texts
    print("generated", shapes, sorted(set(texts)))

    settings.every_scale, settings.num = True, 1
    settings.source, settings.image = "IMAGE", picture
    work(module, lambda: bpy.ops.g3pt.generate())
    scales = [name for name in names() if "scale" in name]
    assert len(scales) >= 2, names()
    for name in scales:
        check_place(bpy.data.objects[name], (1.0, 2.0, 3.0), 0.5)
    print("every scale", scales)

    bpy.ops.mesh.primitive_torus_add(location=(4, -5, 6), major_radius=1.0, minor_radius=0.4)
    torus = bpy.context.active_object
    for kind in ("reconstruction", "variation", "completion"):
        before = set(names())
        select(torus)
        settings.keep = 1
        work(module, lambda kind=kind: bpy.ops.g3pt.rework(kind=kind))
        (new,) = set(names()) - before
        middle = [sum(axis) / 8 for axis in zip(*corners(bpy.data.objects[new]), strict=True)]
        assert all(abs(a - b) < 1.5 for a, b in zip(middle, (4, -5, 6), strict=True)), middle
        print(kind, new, [round(value, 2) for value in middle])

    settings.every_scale = False
    select(torus)
    bpy.ops.object.mode_set(mode="EDIT")
    before = set(names())
    assert bpy.ops.g3pt.generate() == {"FINISHED"}
    until(lambda: module.session.waiting is not None, lambda: module.look())
    module.look()
    assert (bpy.context.mode, set(names())) == ("EDIT_MESH", before), "editing was disturbed"
    bpy.ops.object.mode_set(mode="OBJECT")
    until(lambda: not module.session.running, lambda: module.look())
    assert len(names()) == len(before) + 1
    print("waited for the end of editing")

    settings.source, settings.num, settings.resolution = "TEXT", 4, 256
    before = names()
    start = time.monotonic()
    assert bpy.ops.g3pt.generate() == {"FINISHED"}
    assert time.monotonic() - start < 1.0, "sending blocked"
    assert not bpy.ops.g3pt.generate.poll(), "two at once"
    follower = module.session.follower
    until(lambda: follower.job is not None, lambda: module.look())
    assert bpy.ops.g3pt.cancel() == {"FINISHED"}
    until(lambda: not module.session.running, lambda: module.look())
    assert module.session.text == "cancelled", module.session.text
    assert names() == before, names()
    print("cancelled", follower.job)

    preferences.server = "http://127.0.0.1:9"
    work(module, lambda: bpy.ops.g3pt.generate(), fails=True)
    assert "no answer" in module.session.error, module.session.error
    preferences.server = "http://203.0.113.7:8000"
    try:
        bpy.ops.g3pt.generate()
    except RuntimeError as error:
        assert "stay offline" in str(error), error
    else:
        raise AssertionError("the network was not refused")
    print("refused", module.session.error)

    bpy.ops.preferences.addon_disable(module=package)
    assert not hasattr(bpy.types.Scene, "g3pt")
    print("all well")


def install(extension: str) -> str:
    """Install the zip as a user does, and return the name of the package."""
    bpy.ops.preferences.addon_enable(module="bl_pkg")
    bpy.ops.extensions.package_install_files(
        filepath=extension, repo="user_default", enable_on_install=True, overwrite=True
    )
    package = "bl_ext.user_default.g3pt"
    assert package in bpy.context.preferences.addons, list(bpy.context.preferences.addons.keys())
    return package


def names() -> list[str]:
    """Objects of the extension's collection."""
    collection = bpy.data.collections.get("g3pt")
    return sorted(thing.name for thing in collection.objects) if collection else []


def select(thing: bpy.types.Object) -> None:
    for other in bpy.context.scene.objects:
        other.select_set(other == thing)
    bpy.context.view_layer.objects.active = thing


def work(module, begin, *, fails: bool = False) -> list[str]:
    """Begin a job and take what comes until it has ended; returns what was shown."""
    assert begin() == {"FINISHED"}
    texts: list[str] = []

    def look() -> None:
        module.look()
        texts.append(module.session.text)

    until(lambda: not module.session.running, look)
    assert bool(module.session.error) == fails, module.session.error
    return texts


def until(happened, look, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "nothing came"
        look()
        time.sleep(0.02)


def corners(thing) -> list:
    from mathutils import Vector

    return [thing.matrix_world @ Vector(corner) for corner in thing.bound_box]


def check_place(thing, place, size: float) -> None:
    """An object stands on a place, with a longest side."""
    bpy.context.view_layer.update()
    axes = list(zip(*corners(thing), strict=True))
    low, high = [min(axis) for axis in axes], [max(axis) for axis in axes]
    longest = max(b - a for a, b in zip(low, high, strict=True))
    assert abs(longest - size) < 1e-3 * size, (thing.name, longest)
    base = ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2])
    assert all(abs(a - b) < 1e-3 for a, b in zip(base, place, strict=True)), (thing.name, base)


if __name__ == "__main__":
    main()
