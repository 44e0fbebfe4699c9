"""g3pt in Blender: a panel that sends pictures, sentences and meshes to a server (`g3pt serve`).

The server is asked in a thread (`jobs.py`). A timer takes what has arrived and puts it into the
scene, so nothing here waits.
"""

import base64
import ipaddress
from urllib.parse import urlsplit

import bpy

from . import meshes
from .client import Client
from .jobs import Arrived, Ended, Follower, Message, Progress, picture

PAUSE = 0.1
"""Seconds between two looks at what has arrived."""


class Session:
    """The job that runs, and what of it is in the scene. One at a time."""

    def __init__(self) -> None:
        self.follower: Follower | None = None
        self.name = ""
        self.place: tuple[float, float, float] | None = None
        """Where results go; None leaves them where they are."""
        self.size = 1.0
        self.text = ""
        self.share = 0.0
        self.error = ""
        self.passing: list[str] = []
        """Names of the objects that the next mesh replaces."""
        self.waiting: Message | None = None
        """A mesh that came while another mode than that of objects was on."""

    @property
    def running(self) -> bool:
        return self.follower is not None


session = Session()


class Preferences(bpy.types.AddonPreferences):
    """Where the server is."""

    bl_idname = __package__

    server: bpy.props.StringProperty(
        name="Server",
        description="Address of a server that `g3pt serve` started",
        default="http://127.0.0.1:8000",
    )
    token: bpy.props.StringProperty(
        name="Token", description="Secret of the server, if it has one", subtype="PASSWORD"
    )

    def draw(self, context: bpy.types.Context) -> None:
        self.layout.prop(self, "server")
        self.layout.prop(self, "token")


class Settings(bpy.types.PropertyGroup):
    """What is to be made."""

    source: bpy.props.EnumProperty(
        name="From",
        items=[
            ("TEXT", "Sentence", "Describe the shape in words"),
            ("IMAGE", "Picture", "The shape should resemble a picture"),
        ],
    )
    text: bpy.props.StringProperty(name="Sentence", default="a small round table")
    image: bpy.props.StringProperty(name="Picture", subtype="FILE_PATH")
    seed: bpy.props.IntProperty(name="Seed", min=0, soft_max=1000)
    num: bpy.props.IntProperty(name="Shapes", default=1, min=1, max=4)
    resolution: bpy.props.IntProperty(
        name="Resolution", description="Cells per axis", default=128, min=16, max=256
    )
    size: bpy.props.FloatProperty(
        name="Size",
        description="Longest side of new shapes",
        default=1.0,
        min=0.001,
        soft_max=100.0,
        unit="LENGTH",
    )
    every_scale: bpy.props.BoolProperty(
        name="Every scale", description="Also keep the shapes of the coarser scales"
    )
    keep: bpy.props.IntProperty(
        name="Keep", description="Coarse scales that a variation keeps", default=2, min=1, max=16
    )


class G3ptOperator(bpy.types.Operator):
    """What operators that begin a job have in common."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return not session.running

    def begin(
        self,
        context: bpy.types.Context,
        kind: str,
        request: dict[str, object],
        name: str,
        *,
        place: tuple[float, float, float] | None,
    ) -> set[str]:
        """Send a request and let a timer wait for what comes."""
        settings = context.scene.g3pt
        try:
            client = _client(context)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        request |= {"seed": settings.seed, "resolution": settings.resolution}
        every = settings.every_scale and kind == "generation"
        global session
        session = Session()
        session.follower = Follower(client, kind, request, every_scale=every)
        session.name, session.place, session.size = name, place, settings.size
        session.follower.start()
        if not bpy.app.timers.is_registered(look):
            bpy.app.timers.register(look, first_interval=PAUSE)
        return {"FINISHED"}


class Generate(G3ptOperator):
    """Make shapes of a picture or a sentence at the 3D cursor"""

    bl_idname = "g3pt.generate"
    bl_label = "Generate"

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.g3pt
        request: dict[str, object] = {"num": settings.num}
        if settings.source == "TEXT":
            request["text"] = name = settings.text
        else:
            try:
                request["image"] = picture(bpy.path.abspath(settings.image))
            except (ValueError, OSError) as error:
                self.report({"ERROR"}, str(error))
                return {"CANCELLED"}
            name = bpy.path.display_name_from_filepath(settings.image)
        place = tuple(context.scene.cursor.location)
        return self.begin(context, "generation", request, name[:40], place=place)


class Rework(G3ptOperator):
    """Send the active mesh to the server; what comes back lies where it lies"""

    bl_idname = "g3pt.rework"
    bl_label = "Rework"
    bl_options = {"REGISTER"}  # noqa: RUF012 - Blender reads it

    kind: bpy.props.EnumProperty(
        name="Kind",
        items=[
            ("variation", "Vary", "Keep the coarse scales, sample the others anew"),
            ("completion", "Complete", "Take it as a part and make whole shapes"),
            ("reconstruction", "Reconstruct", "Through tokens and back: one closed mesh"),
        ],
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        thing = context.active_object
        return not session.running and thing is not None and thing.type == "MESH"

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings, thing = context.scene.g3pt, context.active_object
        try:
            ply = meshes.as_ply(thing)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        shape = {"data": _base64(ply), "format": "ply"}
        match self.kind:
            case "variation":
                request = {"source": shape, "keep": settings.keep, "num": settings.num}
            case "completion":
                request = {"part": shape, "num": settings.num}
            case _:
                request = {"mesh": shape}
        if self.kind != "reconstruction":
            request["previews"] = False  # those are not where the mesh is
        return self.begin(context, self.kind, request, f"{thing.name} {self.kind}", place=None)


class Cancel(bpy.types.Operator):
    """End the job that runs"""

    bl_idname = "g3pt.cancel"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return session.running

    def execute(self, context: bpy.types.Context) -> set[str]:
        assert session.follower is not None
        session.follower.cancel()
        session.text = "cancelling"
        return {"FINISHED"}


class Panel(bpy.types.Panel):
    """The panel in the sidebar of the 3D viewport."""

    bl_idname = "VIEW3D_PT_g3pt"
    bl_label = "g3pt"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "g3pt"

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.g3pt
        layout.use_property_split = True
        layout.row().prop(settings, "source", expand=True)
        layout.prop(settings, "text" if settings.source == "TEXT" else "image")
        for name in ("seed", "num", "resolution", "size", "every_scale"):
            layout.prop(settings, name)
        layout.operator(Generate.bl_idname)
        layout.separator()
        layout.label(text="Selected mesh")
        layout.prop(settings, "keep")
        row = layout.row(align=True)
        for kind, label in (
            ("variation", "Vary"),
            ("completion", "Complete"),
            ("reconstruction", "Reconstruct"),
        ):
            row.operator(Rework.bl_idname, text=label).kind = kind
        if session.running:
            layout.separator()
            layout.progress(text=session.text, factor=session.share)
            layout.operator(Cancel.bl_idname)
        elif session.error:
            layout.label(text=session.error, icon="ERROR")


def look() -> float | None:
    """Take what has arrived; a timer calls it until the job has ended."""
    follower = session.follower
    if follower is None:
        return None
    window = next(iter(bpy.context.window_manager.windows), None)
    with bpy.context.temp_override(**({"window": window} if window else {})):
        while session.follower is not None:
            if (message := session.waiting) is None:
                if follower.messages.empty():
                    break
                message = follower.messages.get()
            session.waiting = None
            if isinstance(message, Arrived) and bpy.context.mode != "OBJECT":
                if not message.passing:  # importing would end what is being edited
                    session.waiting, session.text = message, "go to Object Mode to import"
                    break
                continue
            _take(message)
        _show()
    return PAUSE if session.running else None


def _take(message: Message) -> None:
    match message:
        case Progress(text=text, share=share):
            session.text, session.share = text, max(session.share, share)
        case Arrived():
            meshes.remove(session.passing)
            name = f"{session.name} {message.label}".strip()
            things = meshes.add_glb(message.glb, name)
            if session.place is not None and things:
                meshes.stand(things, session.place, session.size)
            session.passing = [thing.name for thing in things] if message.passing else []
        case Ended(error=error, cancelled=cancelled):
            meshes.remove(session.passing)
            session.passing = []
            session.follower = None
            session.error = error or ""
            session.text = "cancelled" if cancelled else error or "done"


def _show() -> None:
    """Say in status bar and panel how far it is."""
    shown = f"g3pt: {session.text} ({session.share:.0%})" if session.running else None
    manager = bpy.context.window_manager
    for window in manager.windows:
        window.workspace.status_text_set(shown)
        for area in window.screen.areas:
            if area.type in ("VIEW_3D", "STATUSBAR"):
                area.tag_redraw()


def _client(context: bpy.types.Context) -> Client:
    """The server of the preferences.

    Raises:
        ValueError: if it is no address, or on the network while Blender is to stay offline.
    """
    told = context.preferences.addons[__package__].preferences
    client = Client(told.server, told.token or None)
    host = urlsplit(told.server if "//" in told.server else f"http://{told.server}").hostname
    if not bpy.app.online_access and not _on_this_machine(host or ""):
        raise ValueError(
            f"{told.server} is not on this machine, and Blender is to stay offline "
            "(Preferences > System > Network > Allow Online Access)"
        )
    return client


def _on_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


CLASSES = (Preferences, Settings, Generate, Rework, Cancel, Panel)


def register() -> None:
    """Blender calls this when the extension is switched on."""
    for one in CLASSES:
        bpy.utils.register_class(one)
    bpy.types.Scene.g3pt = bpy.props.PointerProperty(type=Settings)


def unregister() -> None:
    """Blender calls this when the extension is switched off."""
    if session.follower is not None:
        session.follower.cancel()
        session.follower = None
    if bpy.app.timers.is_registered(look):
        bpy.app.timers.unregister(look)
    del bpy.types.Scene.g3pt
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)
