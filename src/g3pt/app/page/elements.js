// Elements of the page by their id, and how errors are shown beside their fields.

import { Gone, Refused } from "./api.js";

export const $ = (id) => document.getElementById(id);

const NUMBERS = new Intl.NumberFormat("en", { useGrouping: true });
export const number = (value) => NUMBERS.format(value).replaceAll(",", "\u202f");

export const sentence = (text) => text.replace(/^./, (first) => first.toUpperCase()).replace(/[^.]$/, "$&.");

/** Take errors away from a form. */
export function clearErrors(form) {
  for (const one of form.querySelectorAll(".error")) one.hidden = true;
  for (const one of form.querySelectorAll("[aria-invalid]")) one.removeAttribute("aria-invalid");
}

/** Show an error in a form: beside its field if it is about one, else at the end. */
export function showError(form, error) {
  if (!(error instanceof Gone || error instanceof Refused)) throw error;
  const own = [...form.querySelectorAll(":scope > .error")].pop();
  const rest = [];
  let first = null;
  const errors = error.errors?.length ? error.errors : [{ field: "", detail: error.message }];
  for (const { field, detail } of errors) {
    const name = field.split(".")[0] === "mask" ? "image" : field.split(".")[0];
    const input = form.elements.namedItem(name);
    input?.setAttribute?.("aria-invalid", "true");
    first ??= input?.focus ? input : null;
    const place = form.id === "ask" && $(`error-${name}`);
    if (place) {
      place.textContent = `${name}: ${detail}`;
      place.hidden = false;
      place.closest("details")?.setAttribute("open", "");
    } else rest.push(field ? `${field}: ${detail}` : detail);
  }
  if (rest.length) {
    own.textContent = rest.join("; ");
    own.hidden = false;
  }
  first?.focus();
}

/** What a form was told, without what was left empty. */
export function told(form) {
  const found = {};
  for (const [name, value] of new FormData(form)) {
    if (value !== "" && name !== "brush") found[name] = value;
  }
  return found;
}
