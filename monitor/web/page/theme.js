// Dark or light: the system's choice, or the one made here, which this browser remembers.

import { byId, setAttribute } from "./dom.js";

const NEXT = { auto: "light", light: "dark", dark: "auto" };
const NAMES = { auto: "as the system has it", light: "light", dark: "dark" };
const KEY = "sound-monitor-theme";

let choice = "auto";

function remembered() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage is turned off: the choice lasts as long as the page
  }
}

function remember() {
  try {
    localStorage.setItem(KEY, choice);
  } catch {
    // see above
  }
}

function apply(changed) {
  if (choice === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
  const button = byId("theme");
  setAttribute(button, "data-theme-choice", choice);
  setAttribute(button, "aria-label", `Colours: ${NAMES[choice]}. Change to ${NAMES[NEXT[choice]]}`);
  setAttribute(button, "title", `Colours: ${NAMES[choice]}`);
  changed();
}

export const isDark = () => getComputedStyle(document.documentElement).colorScheme === "dark"
  || (choice === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);

// A custom property of a node as a colour that a canvas understands.
export function resolved(node, property) {
  const probe = document.createElement("span");
  probe.style.color = `var(${property})`;
  node.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

// Calls `changed` at first and whenever the colours change, for what is painted by hand.
export function followTheme(changed) {
  const kept = remembered();
  if (kept in NEXT) choice = kept;
  apply(changed);
  byId("theme").addEventListener("click", () => {
    choice = NEXT[choice];
    remember();
    apply(changed);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}
