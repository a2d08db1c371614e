// Switches that tell the daemon to listen, or no longer, and wait for it to say so.

import { byId, setAttribute, setText } from "./dom.js";

const TOLD_MS = 8000;

const subjects = new WeakMap();
let fading = 0;

// The button's position is always the daemon's; a click only asks for the other one.
export function showSwitch(button, label, on, { source, event }) {
  if (!subjects.has(button)) button.addEventListener("click", () => turn(button));
  subjects.set(button, { source, event });
  setAttribute(button, "aria-label", label);
  if (button.getAttribute("aria-checked") !== String(on)) setAttribute(button, "aria-busy", false);
  setAttribute(button, "aria-checked", on);
}

async function turn(button) {
  if (button.getAttribute("aria-busy") === "true") return;
  setAttribute(button, "aria-busy", true);
  const on = button.getAttribute("aria-checked") !== "true";
  try {
    const answer = await fetch("switch", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...subjects.get(button), on }),
    });
    if (!answer.ok) throw new Error((await answer.text()).trim());
  } catch (error) {
    tell(`Not switched: ${error.message}`);
    setAttribute(button, "aria-busy", false);
  }
}

function tell(text) {
  setText(byId("toast"), text);
  clearTimeout(fading);
  fading = setTimeout(() => setText(byId("toast"), ""), TOLD_MS);
}
