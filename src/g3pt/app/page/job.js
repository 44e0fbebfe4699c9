// The job that is shown: what it says of itself, its scales as they come, and its shapes.

import { ENDED, ask, askJson, follow } from "./api.js";
import { $, number } from "./elements.js";
import { drawHistory, forget, history, remember } from "./history.js";
import { Viewer, readGlb } from "./viewer.js";

export const viewer = new Viewer($("canvas"), $("labels"));

/** The job that is shown; null before the first. */
export let job = null;
/** Called when another job is shown, or the one that is shown has ended. */
export const listeners = [];

const told = () => listeners.forEach((listener) => listener(job));

/** Submit a job and show it. @param label what the history calls it. */
export async function submit(address, request, label) {
  const made = await askJson(`/v1/3d/${address}`, { method: "POST", ...request });
  remember(made.id, { label, scales: job?.numScales ?? null });
  await open(made.id);
}

/** Show a job of this server, whether it waits, runs or has ended. */
export async function open(id) {
  job?.stop();
  const mine = {
    id, state: null, scales: new Map(), numScales: null, outputs: [], meshes: new Map(), ended: false,
    sample: 0, at: null, stop: () => {}, turn: Promise.resolve(), shown: 0,
  };
  job = mine;
  location.replace(`#job=${id}`);
  say("");
  fail("");
  viewer.show([]);
  $("canvas").dataset.shown = "";
  $("canvas").setAttribute("aria-label", "No shape yet");
  for (const name of ["samples", "next"]) $(name).hidden = true;
  $("lod").value = "";
  try {
    mine.state = await askJson(`/v1/jobs/${id}`);
  } catch (error) {
    if (mine !== job) return;
    if (error.status === 404 || error.status === 422) lost(mine, error);
    else setTimeout(() => { if (mine === job) open(id); }, 1500);
    return;
  }
  if (mine !== job) return;
  if (mine.state.kind === "tokenization" || mine.state.kind === "score") {
    fail("This job has no shape to show.");
    return;
  }
  if (!history.some((one) => one.id === id)) remember(id, { label: labelOf(mine.state) });
  mine.numScales = mine.state.scales ?? history.find((one) => one.id === id).scales ?? null;
  mine.replayed = ENDED.includes(mine.state.status);
  busy(!mine.replayed);
  if (!mine.replayed) say("Sent.");
  drawScales();
  drawHistory(id);
  told();
  mine.stop = follow(id, (name, data) => { if (mine === job) hear(name, data); }, (error) => lost(mine, error));
}

function lost(mine, error) {
  if (mine !== job) return;
  busy(false);
  fail(error.status === 404 ? "The server does not know this job any more." : error.message);
  forget(mine.id);
  drawHistory(null);
}

/** A name of a job for the history. */
export function labelOf({ kind, request }) {
  const text = [request.text].flat().filter(Boolean)[0];
  const what = kind === "generation" ? text ?? (request.points?.length ? "points" : "picture") : kind;
  return `${what}, seed ${request.seed}`;
}

export async function cancel() {
  if (!job || job.ended) return;
  $("cancel").disabled = true;
  try {
    await ask(`/v1/jobs/${job.id}`, { method: "DELETE" });
  } catch (error) {
    fail(error.message);
  } finally {
    $("cancel").disabled = false;
  }
}

function say(text) {
  $("said").textContent = text;
}

function fail(text) {
  $("failed").textContent = text;
  $("failed").hidden = !text;
}

function busy(is) {
  document.body.dataset.busy = is;
  $("progress").hidden = !is;
  if (is) bar(0, "waiting");
  $("empty").hidden = is || Boolean(job);
}

function bar(percent, text) {
  $("bar").value = percent;
  $("bar").setAttribute("aria-valuetext", text);
}

// --- events -----------------------------------------------------------------------------------

function hear(name, data) {
  switch (name) {
    case "queue":
      say(data.place ? `Waiting: ${data.place} before this one.` : "Waiting for a free worker.");
      break;
    case "running":
      say("Reading what was sent.");
      bar(2, "reading");
      break;
    case "condition":
      bar(5, "read");
      break;
    case "scale":
      heardScale(data);
      break;
    case "mesh":
      bar(50 + data.percent / 2, `mesh ${data.percent} %`);
      if (!$("said").textContent.startsWith("Making")) say("Making the mesh.");
      break;
    case "color":
      say("Colouring.");
      break;
    default:
      heardEnd(name, data);
  }
}

function heardScale(data) {
  if (data.first) return; // later samples are drawn as the first was
  job.numScales = data.scales;
  job.scales.set(data.scale, { tokens: data.tokens, preview: data.preview });
  bar(5 + (45 * data.scale) / data.scales, `scale ${data.scale} of ${data.scales}`);
  if (!job.replayed) say(`Scale ${data.scale} of ${data.scales}: ${tokens(data.tokens)}.`);
  remember(job.id, { scales: data.scales });
  drawScales();
  if (!job.replayed && job.at === null) inTurn(() => (job.ended ? null : showScale(data.scale)));
}

/** Do things one after the other, so that scales are seen in their order. */
function inTurn(action) {
  const mine = job;
  mine.turn = mine.turn.then(() => (mine === job ? action() : null)).catch((error) => {
    if (mine === job) fail(error.message);
  });
  return mine.turn;
}

function heardEnd(name, data) {
  job.ended = true;
  busy(false);
  if (name === "done") {
    job.outputs = data.outputs.map((output, sample) => ({ ...output, sample })).filter((output) => output.path);
    job.sample = job.outputs[0].sample;
    $("side").checked = job.outputs.length > 1;
    job.at = null;
    drawScales();
    inTurn(async () => {
      await showMesh();
      say(doneText());
      $("next").hidden = false;
      told();
      await drawSamples();
    });
    return;
  }
  const words = {
    failed: data.error?.detail ?? "The job failed.",
    expired: "The files of this job have expired.",
  };
  if (name === "cancelled") say("Cancelled.");
  else { say(""); fail(words[name]); }
  told();
}

function doneText() {
  const output = job.outputs.find((one) => one.sample === job.sample);
  const parts = [`${number(output.faces)} faces`, output.closed ? "closed" : "not closed"];
  const seconds = job.state?.seconds ? ` in ${job.state.seconds.toFixed(1)} s` : "";
  const guess = output.guess ? " A first guess: the object is unlike those of the training." : "";
  return `Done${seconds}: ${parts.join(", ")}.${guess}`;
}

// --- scales -----------------------------------------------------------------------------------

const tokens = (num) => `${num} ${num === 1 ? "token" : "tokens"}`;

/** The slider: a stop for every scale, and one for the mesh. */
function drawScales() {
  const slider = $("scale"), num = job.numScales ?? 0, done = job.outputs.length > 0;
  $("lod").disabled = !done;
  $("side-field").hidden = job.outputs.length < 2;
  $("scales").hidden = !job.scales.size;
  slider.max = num + 1;
  slider.value = job.at ?? (done ? num + 1 : job.scales.size);
  const at = Number(slider.value), scale = job.scales.get(at);
  slider.setAttribute("aria-valuetext", scale ? `scale ${at} of ${num}, ${tokens(scale.tokens)}` : "mesh");
  $("stops").replaceChildren(...Array.from({ length: num + 1 }, (_, index) => {
    const stop = document.createElement("span"), there = index < num ? job.scales.has(index + 1) : done;
    stop.textContent = index < num ? job.scales.get(index + 1)?.tokens ?? "…" : "mesh";
    stop.className = index + 1 === at ? "on" : there ? "" : "later";
    return stop;
  }));
}

/** Show what the slider says, or the nearest that is there. */
export function chooseScale() {
  const last = job.outputs.length ? job.numScales + 1 : job.scales.size;
  const wanted = Math.min(Number($("scale").value), last);
  job.at = wanted === last ? null : wanted;
  drawScales();
  const isMesh = wanted > job.numScales;
  inTurn(() => (wanted === Number($("scale").value) ? (isMesh ? showMesh() : showScale(wanted)) : null));
}

async function showScale(scale) {
  const found = job.scales.get(scale);
  if (!found) return;
  const mine = job;
  if (!found.preview) {
    put([], `scale-${scale}`, `Scale ${scale}: nothing has an inside yet`);
    return;
  }
  found.geometry ??= await readGlb(await (await ask(found.preview)).arrayBuffer());
  if (mine !== job) return;
  put([{ geometry: found.geometry, label: "" }], `scale-${scale}`, `Shape after scale ${scale}, ${tokens(found.tokens)}`);
}

function put(shapes, name, label) {
  viewer.show(shapes);
  $("canvas").dataset.shown = name;
  $("canvas").setAttribute("aria-label", label);
}

// --- shapes -----------------------------------------------------------------------------------

/** The mesh of a sample at the level of detail that was chosen. */
export async function meshOf(sample) {
  const faces = $("lod").value;
  const key = `${sample}/${faces}`;
  if (!job.meshes.has(key)) {
    const query = new URLSearchParams({ sample, ...(faces ? { faces } : {}) });
    const mine = job;
    const response = await ask(`/v1/jobs/${mine.id}/result.glb?${query}`);
    mine.meshes.set(key, await readGlb(await response.arrayBuffer()));
    return mine.meshes.get(key);
  }
  return job.meshes.get(key);
}

/** Show the sample that is chosen, or all of them side by side. */
export async function showMesh() {
  const mine = job;
  const side = $("side").checked && mine.outputs.length > 1;
  const wanted = side ? mine.outputs : mine.outputs.filter((one) => one.sample === mine.sample);
  const shapes = [];
  for (const output of wanted) shapes.push({ geometry: await meshOf(output.sample), label: nameOf(output) });
  if (mine !== job) return;
  mine.state = await askJson(`/v1/jobs/${mine.id}`).catch(() => mine.state);
  if (mine !== job) return;
  const faces = shapes.map(({ geometry }) => number(geometry.index.count / 3));
  put(shapes, side ? "meshes" : "mesh", `Finished ${side ? "shapes" : "shape"}, ${faces.join(" and ")} faces`);
  $("canvas").dataset.sample = mine.sample;
  await new Promise(requestAnimationFrame);
  remember(mine.id, { thumb: viewer.thumbnail(), samples: mine.outputs.map((one) => one.sample) });
  drawHistory(mine.id);
}

const nameOf = (output) => (output.seed === undefined ? `shape ${output.sample + 1}` : `seed ${output.seed}`);

/** Buttons for the shapes of a job that made several. */
async function drawSamples() {
  $("samples").hidden = job.outputs.length < 2;
  $("samples").replaceChildren(...job.outputs.map((output) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = nameOf(output);
    button.setAttribute("aria-pressed", output.sample === job.sample);
    button.addEventListener("click", () => {
      job.sample = output.sample;
      job.at = null;
      $("side").checked = false;
      for (const one of $("samples").children) one.setAttribute("aria-pressed", one === button);
      drawScales();
      inTurn(async () => { await showMesh(); say(doneText()); told(); });
    });
    return button;
  }));
}

/** Show the mesh again after its looks were changed. */
export function refresh() {
  if (!job?.outputs.length) return;
  job.at = null;
  drawScales();
  inTurn(showMesh);
}
