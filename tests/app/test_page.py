"""The page in a real Chromium without a window."""

import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from served import Running, running, tiny_settings

playwright = pytest.importorskip("playwright.sync_api", reason="needs the group `dev`")
expect = playwright.expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

ARGUMENTS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
ARGUMENTS += ["--no-sandbox", "--disable-background-networking"]
SLOWLY = 60_000
"""Milliseconds that something may take on a busy machine."""
WATCH = """
window.shown = [];
addEventListener("DOMContentLoaded", () => {
  const canvas = document.getElementById("canvas");
  new MutationObserver(() => window.shown.push(canvas.dataset.shown))
    .observe(canvas, {attributeFilter: ["data-shown"]});
});
"""
"""Writes down what the canvas shows."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_server(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tiny_settings(tiny_weights, tmp_path_factory.mktemp("page"))) as found:
        yield found


@pytest.fixture(scope="module")
def picture_file(picture: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "mug.png"
    path.write_bytes(picture)
    return path


Visit = Callable[..., Any]


def visitor(browser: Any, server: Running, problems: list[str], **more: Any) -> tuple[Any, Visit]:
    """A browser of its own, and what opens a tab in it; `problems` collects what went wrong."""
    context = browser.new_context(viewport={"width": 800, "height": 450}, **more)
    context.set_default_timeout(SLOWLY)
    context.add_init_script(WATCH)
    home = f"http://127.0.0.1:{server.port}/"

    def asked(request: Any) -> None:
        if not request.url.startswith((home, "blob:", "data:")):
            problems.append(f"asked {request.url}")

    def visit(path: str = "") -> Any:
        page = context.new_page()
        page.on("request", asked)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(home + path)
        page.locator("body[data-started]").wait_for()
        return page

    return context, visit


@pytest.fixture
def visit(browser: Any, page_server: Running) -> Iterator[Visit]:
    """Opens tabs of one browser; afterwards nothing may have failed or left this server."""
    problems: list[str] = []
    context, visit = visitor(browser, page_server, problems)
    yield visit
    context.close()
    assert problems == []


@pytest.fixture(scope="module")
def made(browser: Any, page_server: Running, picture_file: Path) -> Iterator[Any]:
    """A tab that made a mesh of a picture; tests leave it showing the mesh."""
    problems: list[str] = []
    context, visit = visitor(browser, page_server, problems)
    page = visit()
    page.set_input_files("#file", picture_file)
    expect(page.locator("#cut-said")).to_contain_text("background is left out", timeout=SLOWLY)
    coarsely(page)
    page.get_by_role("button", name="Make the shape").click()
    shows(page, "mesh")
    yield page
    context.close()
    assert problems == []


def coarsely(page: Any) -> None:
    """Choose the coarsest mesh, which is made quickly."""
    page.locator("#ask [name=resolution]").evaluate("element => element.value = '32'")


def shows(page: Any, what: str) -> None:
    """Wait until the canvas shows something."""
    expect(page.locator("#canvas")).to_have_attribute("data-shown", what, timeout=SLOWLY)
    expect(page.locator("#failed")).to_be_hidden()


def ask(page: Any, text: str, **settings: object) -> None:
    page.locator("#text").fill(text)
    page.locator("#ask details").evaluate("element => element.open = true")
    for name, value in settings.items():
        field = page.locator(f"#ask [name={name}]")
        field.select_option(str(value)) if name == "resolution" else field.fill(str(value))
    page.get_by_role("button", name="Make the shape").click()


def job_of(page: Any) -> str:
    return page.url.partition("#job=")[2]


def look(page: Any) -> bytes:
    """The canvas as it is seen, once it has been drawn."""
    page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    return page.locator("#canvas").screenshot()


def test_scales_appear_in_their_order_before_the_mesh(made: Any) -> None:
    shown = [name for name in made.evaluate("window.shown") if name]

    assert shown[-1] == "mesh"
    scales = [name for name in shown if name.startswith("scale-")]
    assert scales == sorted(scales) and len(scales) >= 1
    assert made.locator("#stops").inner_text().split() == ["1", "5", "21", "mesh"]
    expect(made.get_by_role("status").filter(has_text="Done")).to_contain_text("faces")


def test_pointer_and_keys_turn_the_shape_and_the_controls_change_it(made: Any) -> None:
    seen = [look(made)]

    def changed() -> None:
        now = look(made)
        assert now != seen[-1]
        seen.append(now)

    made.locator("#canvas").scroll_into_view_if_needed()
    box = made.locator("#canvas").bounding_box()
    made.mouse.move(box["x"] + 100, box["y"] + 100)
    made.mouse.down()
    made.mouse.move(box["x"] + 200, box["y"] + 120, steps=4)
    made.mouse.up()
    changed()
    made.locator("#canvas").press("ArrowLeft")
    changed()
    made.locator("#canvas").press("+")
    changed()
    made.get_by_label("Wireframe").check()
    changed()
    made.get_by_label("Wireframe").uncheck()
    made.get_by_label("Direction of the light").fill("-90")
    changed()
    made.get_by_label("Section").select_option("x")
    changed()
    made.get_by_label("Other half").check()
    changed()
    made.get_by_label("Section").select_option("")
    made.locator("#canvas").press("Home")
    assert len(set(seen)) == len(seen)


def test_the_slider_goes_back_to_a_scale_and_the_list_to_fewer_faces(made: Any) -> None:
    slider = made.locator("#scale")
    slider.press("Home")
    shows(made, "scale-1")
    assert slider.get_attribute("aria-valuetext") == "scale 1 of 3, 1 token"
    slider.press("End")
    shows(made, "mesh")
    made.locator("#lod").select_option("400")
    expect(made.locator("#canvas")).to_have_attribute("aria-label", "Finished shape, 400 faces")
    made.locator("#lod").select_option("")
    expect(made.locator("#canvas")).not_to_have_attribute("aria-label", "Finished shape, 400 faces")


def test_a_download_is_a_mesh_of_the_size_that_was_asked_for(made: Any, tmp_path: Path) -> None:
    import trimesh

    form = made.locator("#save")
    form.get_by_label("Size").fill("50")
    with made.expect_download() as caught:
        form.get_by_role("button", name="Download").click()
    caught.value.save_as(tmp_path / "mug.glb")
    mesh = trimesh.load_scene(tmp_path / "mug.glb").to_mesh()
    assert max(mesh.extents) == pytest.approx(0.05, rel=1e-3)
    form.get_by_label("Up").select_option("z")
    form.get_by_role("button", name="Download").click()
    expect(form.get_by_role("alert")).to_contain_text("up")
    form.get_by_label("Up").select_option("")


def test_a_download_has_a_texture_beside_it(made: Any, tmp_path: Path) -> None:
    pytest.importorskip("xatlas", reason="needs the extra `export`")
    form = made.locator("#save")
    form.get_by_label("Format").select_option("zip")
    form.get_by_label("Colours").select_option("1024")
    with made.expect_download() as caught:
        form.get_by_role("button", name="Download").click()
    caught.value.save_as(tmp_path / "mug.zip")
    with zipfile.ZipFile(tmp_path / "mug.zip") as archive:
        kinds = sorted(Path(name).suffix for name in archive.namelist())
    assert kinds == [".mtl", ".obj", ".png"]
    form.get_by_label("Colours").select_option("")
    form.get_by_label("Format").select_option("glb")


def test_variations_stand_side_by_side_and_mix(visit: Visit, page_server: Running) -> None:
    page = visit()
    ask(page, "a mug", resolution=32)
    shows(page, "mesh")
    first = job_of(page)
    page.get_by_text("Vary", exact=True).first.click()
    page.locator("#vary [name=num]").fill("2")
    page.locator("#vary button[type=submit]").click()
    shows(page, "meshes")
    second = job_of(page)
    assert page.locator("#samples button").count() == 2
    assert page.locator("#labels span").all_inner_texts() == ["seed 1", "seed 2"]
    page.locator("#samples button").nth(1).click()
    shows(page, "mesh")
    page.get_by_text("Mix", exact=True).first.click()
    page.get_by_label("How").select_option("tokens")
    page.locator("#mix button[type=submit]").click()
    expect(page.locator("#history li")).to_have_count(3, timeout=SLOWLY)
    shows(page, "mesh")
    told = page_server.state(second)["request"]
    assert (told["num"], told["text"]) == (2, "a mug")
    assert page_server.state(job_of(page))["kind"] == "mix"
    page.locator("#history button").last.click()
    expect(page).to_have_url(f"http://127.0.0.1:{page_server.port}/#job={first}")
    shows(page, "mesh")


def test_a_part_that_is_rubbed_out_is_completed(visit: Visit, page_server: Running) -> None:
    page = visit()
    ask(page, "a mug", resolution=32)
    shows(page, "mesh")
    page.get_by_text("Draw away and complete").click()
    form = page.locator("#complete")
    form.get_by_role("button", name="Complete").click()
    expect(page.locator("#rub-said")).to_contain_text("Nothing is gone yet")
    page.locator("#rub-size").fill("60")
    form.get_by_label("Rub out").check()
    page.locator("#canvas").scroll_into_view_if_needed()
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("#rub-said")).to_contain_text("of the faces are gone")
    form.get_by_role("button", name="Complete").click()
    expect(page.locator("#history li")).to_have_count(2, timeout=SLOWLY)
    shows(page, "mesh")
    assert page_server.state(job_of(page))["kind"] == "completion"
    assert page.locator("#stops").inner_text().split() == ["1", "5", "21", "mesh"]


def test_the_cut_out_is_repaired_with_the_brush(
    visit: Visit, page_server: Running, picture_file: Path
) -> None:
    page = visit()
    coarsely(page)
    page.set_input_files("#file", picture_file)
    cut = page.locator("#cut")
    expect(page.locator("#cut-said")).to_contain_text("background is left out", timeout=SLOWLY)
    page.get_by_label("Remove", exact=True).check()
    before = cut.screenshot()
    box = cut.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.8, steps=3)
    page.mouse.up()
    expect(page.locator("#cut-said")).to_have_text("Your cut-out.")
    assert cut.screenshot() != before
    page.get_by_role("button", name="Make the shape").click()
    shows(page, "mesh")
    found = page_server.state(job_of(page))["inputs"][0]["cutout"]
    assert found["method"] == "mask"


def test_keys_alone_lead_from_a_picture_to_a_mesh(visit: Visit, picture_file: Path) -> None:
    page = visit()
    coarsely(page)

    def tab_to(name: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == name:
                return
        raise AssertionError(f"{name} cannot be reached")

    tab_to("file")
    with page.expect_file_chooser() as caught:
        page.keyboard.press(" ")
    caught.value.set_files(picture_file)
    expect(page.locator("#cut-said")).to_contain_text("background is left out", timeout=SLOWLY)
    page.evaluate("document.activeElement.blur()")
    tab_to("cut")
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    expect(page.locator("#cut-said")).to_have_text("Your cut-out.")
    tab_to("make")
    page.keyboard.press("Enter")
    shows(page, "mesh")
    tab_to("canvas")
    before = look(page)
    page.keyboard.press("ArrowRight")
    assert look(page) != before


def test_every_control_has_a_name_and_the_phone_shows_the_whole_width(made: Any) -> None:
    nameless = made.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, canvas")]
        .filter(one => !one.hidden && !one.labels?.length && !one.ariaLabel
                && !one.textContent.trim())
        .map(one => one.outerHTML)"""
    )
    made.set_viewport_size({"width": 390, "height": 844})
    width = made.evaluate("document.documentElement.scrollWidth")
    made.set_viewport_size({"width": 800, "height": 450})

    assert (nameless, width) == ([], 390)


def test_dark_and_light_follow_the_system_and_the_button(visit: Visit) -> None:
    page = visit()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Light colours").click()

    assert dark != light and page.evaluate(ground) == light
    page.reload()
    assert page.evaluate(ground) == light


def test_two_tabs_do_not_mix(visit: Visit, page_server: Running) -> None:
    tabs = {text: visit() for text in ("a mug", "a table")}
    for text, page in tabs.items():
        ask(page, text, resolution=32)
    for text, page in tabs.items():
        shows(page, "mesh")
        assert page_server.state(job_of(page))["request"]["text"] == [text]
        assert page.locator("#history li").all_inner_texts() == [f"{text}, seed 0"]


def test_a_reload_finds_the_job_that_runs_and_cancel_ends_it(
    visit: Visit, page_server: Running
) -> None:
    page = visit()
    ask(page, "a mug", resolution=256, num=16)
    shows(page, "scale-3")
    job = job_of(page)
    page.reload()
    shows(page, "scale-3")
    assert job_of(page) == job
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#said")).to_have_text("Cancelled.", timeout=SLOWLY)
    expect(page.locator("#progress")).to_be_hidden()
    assert page_server.state(job)["status"] == "cancelled"


def test_an_error_is_said_beside_its_field(visit: Visit) -> None:
    page = visit()
    page.get_by_role("button", name="Make the shape").click()
    expect(page.locator("#error")).to_have_text("Give a picture or words first.")
    ask(page, "a mug", num=99)
    expect(page.locator("#error-num")).to_contain_text("less than or equal to 16")
    expect(page.locator("#ask [name=num]")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#ask [name=num]")).to_be_focused()


def test_a_server_that_is_gone_is_said_and_found_again(
    browser: Any, tiny_weights: Path, tmp_path: Path
) -> None:
    settings = tiny_settings(tiny_weights, tmp_path)
    problems: list[str] = []
    with running(settings) as found:
        context, visit = visitor(browser, found, problems)
        page = visit()
        ask(page, "a mug", resolution=32)
        shows(page, "mesh")
    page.get_by_role("button", name="Make the shape").click()
    expect(page.locator("#gone")).to_contain_text("does not answer", timeout=SLOWLY)
    expect(page.locator("#error")).to_contain_text("does not answer")
    with running(settings, port=found.port):
        expect(page.locator("#gone")).to_be_hidden(timeout=SLOWLY)
        page.get_by_role("button", name="Make the shape").click()
        expect(page.locator("#history li")).to_have_count(2, timeout=SLOWLY)
        shows(page, "mesh")
    context.close()
    assert problems == []


def test_answers_tell_the_browser_to_stay_on_this_server(page_server: Running) -> None:
    for path in ("/", "/static/main.js", "/static/three/index.js", "/v1/jobs"):
        answer = page_server.ask("GET", path)
        assert answer.status == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    for path in ("/static/", "/static/../server.py", "/static/%2e%2e/server.py", "/static/three/x"):
        assert page_server.ask("GET", path).status == 404
