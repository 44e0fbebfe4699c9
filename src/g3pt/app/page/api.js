// Requests to the server, and the events of a job. docs/app.md describes the addresses.

const RETRY_MS = 1500;
const WATCH_MS = 5000;
export const ENDED = ["done", "failed", "cancelled", "expired"];
const EVENTS = ["queue", "running", "condition", "scale", "mesh", "color", ...ENDED];

/** What the server refused: `errors` has `field` and `detail` of every field that is wrong. */
export class Refused extends Error {
  constructor(status, detail, errors = []) {
    super(detail);
    Object.assign(this, { status, errors });
  }
}

/** The server did not answer. */
export class Gone extends Error {}

/** Whether the server answers; `onchange(gone)` hears when that changes. */
export const server = { gone: false, onchange: () => {} };

function seen(gone) {
  if (server.gone === gone) return;
  server.gone = gone;
  server.onchange(gone);
}

/**
 * One request.
 * @returns the response, if its status is a good one.
 */
export async function ask(path, { method = "GET", form, json, signal } = {}) {
  const told = { method, signal };
  if (form) told.body = form;
  if (json) Object.assign(told, { body: JSON.stringify(json), headers: { "Content-Type": "application/json" } });
  let response;
  try {
    response = await fetch(path, told);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    seen(true);
    throw new Gone("The server does not answer.");
  }
  seen(false);
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const wait = response.headers.get("Retry-After");
  const more = response.status === 429 && wait ? ` Try again in ${wait} s.` : "";
  throw new Refused(response.status, (problem.detail ?? response.statusText) + more, problem.errors);
}

export const askJson = async (path, told) => (await ask(path, told)).json();

/** Look from time to time whether the server is there, often while it is not. */
export function watch() {
  setTimeout(async () => {
    await ask("/healthz").catch(() => {});
    watch();
  }, server.gone ? RETRY_MS : WATCH_MS);
}

/** State of the models: "ok", "starting", or "broken" with its reason. */
export async function readiness() {
  const response = await fetch("/readyz").catch(() => null);
  return response ? response.json() : { status: "gone" };
}

/**
 * Follow a job from its first event. The browser continues by itself, with `Last-Event-ID`, when
 * the connection ends before the job.
 * @param hear called with name and data of every event.
 * @param lost called with a `Refused` if there is no such job any more.
 * @returns a function that stops it.
 */
export function follow(job, hear, lost) {
  let source, timer, last = 0, stopped = false;
  const stop = () => { stopped = true; source?.close(); clearTimeout(timer); };
  const open = () => {
    source = new EventSource(`/v1/jobs/${job}/events`);
    for (const name of EVENTS) {
      source.addEventListener(name, (event) => {
        const number = Number(event.lastEventId);
        if (event.lastEventId && name !== "queue" && name !== "expired") {
          if (number <= last) return; // told before the server was gone
          last = number;
        }
        if (ENDED.includes(name)) stop();
        hear(name, JSON.parse(event.data));
      });
    }
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) retry();
      else ask("/healthz").catch(() => {}); // the browser tries again; say it if nobody is there
    };
  };
  // A connection that was refused is not tried again by the browser.
  const retry = async () => {
    source.close();
    try {
      await ask(`/v1/jobs/${job}`);
    } catch (error) {
      if (error instanceof Refused) { stop(); lost(error); return; }
    }
    if (!stopped) timer = setTimeout(open, RETRY_MS);
  };
  open();
  return stop;
}

/** A picture or other bytes as a data URL. */
export function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
