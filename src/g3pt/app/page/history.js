// Jobs that this tab made. They outlive a reload and are not shared with other tabs.

import { $ } from "./elements.js";

const KEY = "g3pt.jobs";
const MOST = 40;

/** `{id, label, thumb, scales, sample}` of every job, newest first. */
export const history = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");

let opening = () => {};

/** @param open called with the id of a job that was chosen. */
export function startHistory(open) {
  opening = open;
  drawHistory(null);
}

/** Add a job, or what is new of one. */
export function remember(id, more) {
  const known = history.find((one) => one.id === id);
  if (known) Object.assign(known, more);
  else history.unshift({ id, ...more });
  history.length = Math.min(history.length, MOST);
  save();
}

export function forget(id) {
  const place = history.findIndex((one) => one.id === id);
  if (place >= 0) history.splice(place, 1);
  save();
}

function save() {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(history));
  } catch {
    // The store is full or closed to us: the list lives as long as the page then.
  }
}

/** Draw the list. @param current id of the job that is shown. */
export function drawHistory(current) {
  $("past").hidden = history.length === 0;
  $("history").replaceChildren(...history.map((one) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    if (one.id === current) button.setAttribute("aria-current", "true");
    if (one.thumb) {
      const image = document.createElement("img");
      Object.assign(image, { src: one.thumb, alt: "" });
      button.append(image);
    }
    button.append(one.label);
    button.addEventListener("click", () => opening(one.id));
    item.append(button);
    return item;
  }));
}
