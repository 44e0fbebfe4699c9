// The page: what is asked for, and what the controls of the shape do.

import { askJson, readiness, server, watch } from "./api.js";
import { CutoutEditor } from "./cutout.js";
import { $, clearErrors, sentence, showError, told } from "./elements.js";
import { startFurther } from "./further.js";
import { startHistory } from "./history.js";
import { cancel, chooseScale, job, open, refresh, submit, viewer } from "./job.js";

const IDEAS = ["a small round table with three legs", "a tall vase", "a chair with four legs"];
const FOUND = {
  alpha: "The transparent part is left out.",
  mask: "Your cut-out.",
  border: "The plain background is left out.",
  network: "The object was found in the photograph.",
  whole: "The whole picture is taken.",
};

// --- the picture ------------------------------------------------------------------------------

let picture = null; // the file that was given
let turn = 0; // number of the newest look for an object

const editor = new CutoutEditor($("cut"), {
  size: $("brush-size"),
  mode: () => document.querySelector("[name=brush]:checked").value,
  onchange: () => {
    $("cut-undo").disabled = !editor.undos.length;
    $("cut-reset").disabled = !editor.edited;
    if (editor.edited) $("cut-said").textContent = FOUND.mask;
  },
});

/** Take a picture, and look for its object. */
async function take(file) {
  if (!file) return;
  picture = file;
  $("whole").checked = false;
  await look();
}

async function look() {
  const mine = (turn += 1), whole = $("whole").checked;
  $("error-image").hidden = true;
  $("drop").hidden = true;
  $("cutout").hidden = false;
  $("cut-said").textContent = "Looking for the object …";
  const form = new FormData();
  form.append("image", picture, picture.name || "picture");
  if (whole) form.append("whole_picture", "true");
  let found = null, refusal = null;
  try {
    found = await askJson("/v1/cutouts", { method: "POST", form });
  } catch (error) {
    refusal = error;
  }
  const own = await createImageBitmap(picture).catch(() => null);
  if (mine !== turn) return;
  if (!found && (!own || refusal.status !== 422)) {
    forget();
    $("drop").hidden = false;
    say(refusal);
    $("file").focus();
    return;
  }
  const cut = found ? await pixelsOf(found.image) : new OffscreenCanvas(own.width, own.height);
  if (mine !== turn) return;
  editor.show(own ?? cut, cut);
  if (refusal) {
    $("cut-said").textContent = "No object was found: paint it with the brush, or take the whole picture.";
    say(refusal);
    return;
  }
  $("cut-said").textContent = [FOUND[found.method], ...found.warnings.map(sentence)].join(" ");
}

function say(error) {
  $("error-image").textContent = error.message;
  $("error-image").hidden = false;
}

const pixelsOf = async (url) => createImageBitmap(await (await fetch(url)).blob());

function forget() {
  picture = null;
  turn += 1;
  $("file").value = "";
  $("cutout").hidden = true;
  $("drop").hidden = false;
  $("error-image").hidden = true;
}

function startPicture() {
  $("file").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return; // which would send the form
    event.preventDefault();
    $("file").click();
  });
  $("file").addEventListener("change", () => take($("file").files[0]));
  $("forget").addEventListener("click", () => { forget(); $("file").focus(); });
  $("whole").addEventListener("change", look);
  $("cut-undo").addEventListener("click", () => editor.undo());
  $("cut-reset").addEventListener("click", () => look());
  $("brush-size").addEventListener("input", () => editor.draw());
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file?.type.startsWith("image/")) take(file);
  });
  let over = 0;
  const hover = (change) => { over = Math.max(0, change ? over + change : 0); $("drop").classList.toggle("over", over > 0); };
  document.addEventListener("dragenter", (event) => { event.preventDefault(); hover(1); });
  document.addEventListener("dragleave", () => hover(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    hover(0);
    take(event.dataTransfer.files[0]);
  });
}

// --- asking -----------------------------------------------------------------------------------

async function make(event) {
  event.preventDefault();
  const form = $("ask"), button = $("make");
  clearErrors(form);
  const asked = told(form);
  if (!picture && !asked.text?.trim()) {
    $("error").textContent = "Give a picture or words first.";
    $("error").hidden = false;
    $("text").focus();
    return;
  }
  button.disabled = true;
  try {
    const body = new FormData();
    for (const [name, value] of Object.entries(asked)) body.append(name, value);
    if (picture) {
      body.append("image", picture, picture.name || "picture");
      const mask = await editor.repaired();
      if ($("whole").checked) body.append("whole_picture", "true");
      else if (mask) body.append("mask", mask, "mask.png");
    }
    const what = asked.text?.trim() || picture.name?.replace(/\.\w+$/, "") || "picture";
    await submit("generations", { method: "POST", form: body }, `${what}, seed ${asked.seed ?? 0}`);
    if (innerWidth < 740) $("view").scrollIntoView();
  } catch (error) {
    showError(form, error);
  } finally {
    button.disabled = false;
  }
}

function startAsking() {
  $("ask").addEventListener("submit", make);
  $("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("ask").requestSubmit();
  });
  $("ideas").append(...IDEAS.map((idea) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: idea });
    button.addEventListener("click", () => { $("text").value = idea; $("text").focus(); });
    return button;
  }));
}

// --- looking ----------------------------------------------------------------------------------

function startLooking() {
  $("cancel").addEventListener("click", cancel);
  $("scale").addEventListener("input", chooseScale);
  $("light").addEventListener("input", () => viewer.lightFrom(Number($("light").value)));
  $("wire").addEventListener("change", () => viewer.look({ wire: $("wire").checked }));
  $("paint").addEventListener("change", () => viewer.look({ paint: $("paint").checked }));
  $("side").addEventListener("change", refresh);
  $("lod").addEventListener("change", refresh);
  const section = () => {
    const axis = $("cut-axis").value;
    $("place-field").hidden = $("flip-field").hidden = !axis;
    const plane = axis && { axis, place: Number($("cut-place").value) / 100, flip: $("cut-flip").checked };
    viewer.look({ plane: plane || null });
  };
  for (const id of ["cut-axis", "cut-place", "cut-flip"]) $(id).addEventListener("input", section);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    $("canvas").focus();
  });
}

function startTheme() {
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
  let theme = localStorage.getItem("g3pt.theme") ?? "";
  const show = () => {
    if (theme) root.dataset.theme = theme;
    const isDark = theme ? theme === "dark" : dark.matches;
    $("theme").textContent = isDark ? "Light" : "Dark";
    $("theme").setAttribute("aria-label", isDark ? "Light colours" : "Dark colours");
  };
  $("theme").addEventListener("click", () => {
    theme = $("theme").textContent.toLowerCase();
    localStorage.setItem("g3pt.theme", theme);
    show();
  });
  dark.addEventListener("change", show);
  show();
}

// --- the server -------------------------------------------------------------------------------

const HEALTH = {
  ok: (found) => `Ready: ${found.models.join(", ")}`,
  starting: () => "The models are loading; what you ask for waits until then.",
  broken: (found) => `The models cannot be loaded: ${found.detail}`,
  gone: () => "Not connected",
};

let models = []; // names of the weights, for the list in the settings

async function showReadiness() {
  const found = await readiness();
  $("ready").textContent = HEALTH[found.status]?.(found) ?? "";
  if (found.models && found.models.join() !== models.join()) {
    models = found.models;
    $("model-field").hidden = models.length < 2;
    $("model-field").querySelector("select").replaceChildren(...models.map((name, index) => new Option(name, index ? name : "")));
  }
  if (found.status !== "ok") setTimeout(showReadiness, 1000);
}

function startServer() {
  server.onchange = (gone) => {
    $("gone").hidden = !gone;
    $("gone").textContent = gone ? "The server does not answer. This page goes on when `g3pt serve` runs again.".replaceAll("`", "") : "";
    showReadiness();
  };
  watch();
  showReadiness();
}

/** The id of a job in the address of the page. */
const addressed = () => /^#job=([0-9a-f]{32})$/.exec(location.hash)?.[1];

startTheme();
startPicture();
startAsking();
startLooking();
startFurther();
startHistory(open);
startServer();
addEventListener("hashchange", () => { if (addressed() && addressed() !== job?.id) open(addressed()); });
if (addressed()) open(addressed());
document.body.dataset.started = "true";
