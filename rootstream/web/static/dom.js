/**
 * Elements and words: the only place that puts text into the page, always as text.
 */

/** The element of the page with that id. */
export const byId = (id) => document.getElementById(id);

/** A new element with properties of its own, and children: elements or text. */
export function element(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

/** Change an element's text, but only when it differs: screen readers hear changes. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** A number with a unit, or a dash for what is not known. */
export function amount(value, digits, unit) {
  return isNumber(value) ? `${value.toFixed(digits)}\u00a0${unit}` : "–";
}

/** A share from 0 to 1 in per cent. */
export const percent = (share) => amount(isNumber(share) ? share * 100 : null, 1, "%");

/** The time of day, by this machine's clock and in 24 hours. */
export function timeOfDay(date) {
  const at = date instanceof Date ? date : new Date(date);
  return Number.isNaN(at.getTime()) ? "" : at.toLocaleTimeString("en-GB");
}

/** How long, in words: "12 s", "3 min", "2 h 5 min". */
export function duration(seconds) {
  if (!isNumber(seconds)) return "–";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
