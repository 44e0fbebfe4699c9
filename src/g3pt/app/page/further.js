// What can be done with a shape that is there: download, vary, mix, complete.

import { ask, dataUrl } from "./api.js";
import { $, clearErrors, showError, told } from "./elements.js";
import { history } from "./history.js";
import { job, listeners, refresh, submit, viewer } from "./job.js";
import { toObj, withFaces } from "./viewer.js";

/** Faces that were rubbed out of the shape, stroke by stroke. */
let strokes = [];

export function startFurther() {
  for (const [id, act] of Object.entries({ save: download, vary, mix, complete })) {
    const form = $(id), button = form.querySelector("[type=submit]");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      clearErrors(form);
      button.disabled = true;
      try {
        await act(form);
      } catch (error) {
        showError(form, error);
      } finally {
        button.disabled = false;
      }
    });
  }
  listeners.push(offer);
  startRubber();
}

/** Fill the forms for the job that is shown. */
function offer() {
  strokes = [];
  $("rub").checked = false;
  rubberState();
  if (!job?.outputs.length) return;
  const scales = job.numScales ?? history.find((one) => one.scales)?.scales ?? 4;
  for (const id of ["vary", "mix"]) {
    const keep = $(id).elements.keep, before = Number(keep.value) || Math.ceil(scales / 2);
    keep.replaceChildren(...Array.from({ length: scales - 1 }, (_, index) => {
      const word = index ? "scales" : "scale";
      return new Option(`${index + 1} ${word}`, index + 1, false, index + 1 === Math.min(before, scales - 1));
    }));
  }
  for (const name of ["coarse", "fine"]) {
    const select = $("mix").elements[name];
    const before = name === "coarse" ? `${job.id}/${job.sample}` : select.value;
    const options = history.filter((one) => one.samples).flatMap((one) => one.samples.map((sample) => {
      const more = one.samples.length > 1 ? `, shape ${sample + 1}` : "";
      return new Option(`${one.label}${more}`, `${one.id}/${sample}`);
    }));
    select.replaceChildren(...options);
    const other = options.find((option) => !option.value.startsWith(job.id));
    select.value = options.some((option) => option.value === before) ? before : "";
    if (!select.value) select.value = (name === "fine" && other?.value) || options[0]?.value || "";
  }
}

// --- download ---------------------------------------------------------------------------------

async function download(form) {
  const { format, ...finishing } = told(form);
  const meshed = !["g3t", "png"].includes(format);
  const query = new URLSearchParams({ sample: job.sample, ...(meshed ? finishing : {}) });
  if ($("lod").value && meshed) query.set("faces", $("lod").value);
  const response = await ask(`/v1/jobs/${job.id}/result.${format}?${query}`);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = `${job.state.request.seed}-${job.sample}-g3pt.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// --- more shapes ------------------------------------------------------------------------------

/** What the job was asked for, so that finer scales follow the same prompt. */
async function prompt() {
  const { request, inputs } = job.state, found = { resolution: request.resolution };
  if (request.model) found.model = request.model;
  const text = [request.text].flat().filter(Boolean)[0];
  if (text) found.text = text;
  if (inputs.length) {
    const picture = await ask(inputs[0].cutout.image).catch(() => null);
    if (picture) found.image = await dataUrl(await picture.blob());
  }
  return found;
}

const nameOf = (id) => history.find((one) => one.id === id)?.label ?? "shape";

/** A shape of a finished job, from the value of a list. */
function shapeOf(value) {
  const [id, sample] = value.split("/");
  return { job: id, sample: Number(sample) };
}

async function vary(form) {
  const { keep, num, seed } = told(form);
  const json = { ...(await prompt()), source: { job: job.id, sample: job.sample }, keep: Number(keep) };
  if (num !== undefined) json.num = Number(num);
  if (seed !== undefined) json.seed = Number(seed);
  await submit("variations", { method: "POST", json }, `variations of ${nameOf(job.id)}`);
}

async function mix(form) {
  const { coarse, fine, keep, method } = told(form);
  const json = { coarse: shapeOf(coarse), fine: shapeOf(fine), keep: Number(keep), method };
  json.resolution = job.state.request.resolution;
  const label = `${nameOf(json.coarse.job)} + ${nameOf(json.fine.job)}`;
  await submit("mixes", { method: "POST", json }, label);
}

async function complete(form) {
  const { num } = told(form);
  const [{ geometry }] = viewer.shown;
  const part = left();
  const faces = part.index.count / 3;
  if (faces === fullGeometry(geometry).index.count / 3) {
    $("rub-said").textContent = "Nothing is gone yet: rub a part out, or choose a section plane above.";
    return;
  }
  if (!faces) {
    $("rub-said").textContent = "Nothing is left to start from.";
    return;
  }
  const box = fullGeometry(geometry).boundingBox;
  const data = await dataUrl(new Blob([toObj(part)]));
  const json = {
    ...(await prompt()),
    part: { data, format: "obj" },
    whole: [...box.min.toArray(), ...box.max.toArray()],
    num: Number(num ?? 1),
  };
  await submit("completions", { method: "POST", json }, `completion of ${nameOf(job.id)}`);
}

// --- rubber -----------------------------------------------------------------------------------

const fullGeometry = (geometry) => geometry.userData.full ?? geometry;

/** The shape without what was rubbed out and what the section plane hides. */
function left() {
  const full = fullGeometry(viewer.shown[0].geometry), gone = new Set(strokes.flat());
  viewer.show([{ geometry: full, label: "" }]);
  const seen = viewer.seenFaces();
  const part = withFaces(full, (face) => !gone.has(face) && seen(face));
  part.userData = { ...full.userData, full };
  return part;
}

function drawRubbed(full) {
  const gone = new Set(strokes.flat());
  const geometry = withFaces(full, (face) => !gone.has(face));
  geometry.userData = { ...full.userData, full };
  viewer.show([{ geometry, label: "" }]);
  const total = full.index.count / 3;
  $("rub-said").textContent = gone.size ? `${Math.round((100 * gone.size) / total)} % of the faces are gone.` : "";
  $("rub-undo").disabled = !strokes.length;
}

function rubberState() {
  const on = $("rub").checked;
  viewer.controls.enabled = !on;
  $("canvas").dataset.tool = on ? "rub" : "";
  $("rub-undo").disabled = !strokes.length;
  $("rub-said").textContent = "";
}

function startRubber() {
  let rubbing = false;
  $("rub").addEventListener("change", () => {
    if ($("rub").checked && ($("side").checked || $("lod").value || job.at)) {
      $("side").checked = false;
      $("lod").value = "";
      refresh();
    }
    if ($("rub").checked) $("canvas").scrollIntoView({ block: "nearest" });
    rubberState();
  });
  $("rub-undo").addEventListener("click", () => {
    strokes.pop();
    drawRubbed(fullGeometry(viewer.shown[0].geometry));
  });
  const rubAt = (event) => {
    const full = fullGeometry(viewer.shown[0].geometry), box = $("canvas").getBoundingClientRect();
    const under = viewer.facesUnder(full, event.clientX - box.left, event.clientY - box.top, Number($("rub-size").value));
    strokes[strokes.length - 1] = strokes[strokes.length - 1].concat(under);
    drawRubbed(full);
  };
  $("canvas").addEventListener("pointerdown", (event) => {
    if (!$("rub").checked || event.button || viewer.shown.length !== 1 || !job?.outputs.length) return;
    $("canvas").setPointerCapture(event.pointerId);
    rubbing = true;
    strokes.push([]);
    rubAt(event);
  });
  $("canvas").addEventListener("pointermove", (event) => { if (rubbing) rubAt(event); });
  for (const name of ["pointerup", "pointercancel"]) $("canvas").addEventListener(name, () => { rubbing = false; });
}
