// The events one by one, newest first: all of the day's, or those of one lane.

import { KeyedList, byId, element, setAttribute, setText } from "./dom.js";
import { clock, duration, iso, reading, reason, title } from "./format.js";

const PAGE_ROWS = 12;
const ROWS_AT_MOST = 240;

// A player takes the button's place when it is pressed: nothing is loaded before.
function clipPlayer(cell) {
  let shown = null;
  return (event, served) => {
    const clip = served && event.clip ? event.clip : null;
    if (clip === shown) return;
    shown = clip;
    cell.querySelector("button, audio")?.remove();
    if (!clip) return;
    const what = `${title(event.name)} at ${clock(event.started_at)}`;
    const button = element("button", { type: "button", class: "button", text: "Play", "aria-label": `Play ${what}` });
    button.addEventListener("click", () => {
      const source = `clips/${clip.split("/").map(encodeURIComponent).join("/")}`;
      const player = element("audio", { controls: "", src: source, "aria-label": what });
      button.replaceWith(player);
      player.play().catch(() => player.focus());
    });
    cell.append(button);
  };
}

function row() {
  const cell = (column, kind = "") => element("td", { role: "cell", "data-column": column, class: kind });
  const time = element("time");
  const ending = element("span");
  const cells = {
    began: cell("began"),
    sound: cell("sound"),
    source: cell("source"),
    lasted: cell("lasted", "number"),
    peak: cell("peak", "number"),
    ended: cell("ended"),
  };
  cells.began.append(time);
  cells.ended.append(ending);
  const showClip = clipPlayer(cells.ended);
  const node = element("tr", { role: "row", tabindex: "-1" }, ...Object.values(cells));
  return {
    node,
    update(event, clipsServed, chosen, rules) {
      const lasting = event.phase === "start";
      setAttribute(node, "data-active", lasting);
      setAttribute(node, "data-chosen", event.id === chosen);
      setAttribute(time, "datetime", iso(event.started_at));
      setText(time, clock(event.started_at));
      setText(cells.sound, title(event.name));
      setText(cells.source, title(event.source));
      setText(cells.lasted, lasting ? "" : duration(event.ended_at - event.started_at));
      setText(cells.peak, reading(event.peak_score, rules.get(event.name)));
      setText(ending, lasting ? "still on" : reason(event.reason));
      setAttribute(cells.ended, "class", lasting ? "lasting" : "quiet");
      showClip(event, clipsServed);
    },
  };
}

export class Events {
  #rows = new KeyedList(byId("events"), row);
  #shown = PAGE_ROWS;
  #chosen = null;
  #of = [];
  #clipsServed = false;
  #rules = new Map();

  // `unfiltered()`: all lanes are wanted again.
  constructor(unfiltered) {
    byId("more").addEventListener("click", () => {
      this.#shown = Math.min(ROWS_AT_MOST, this.#shown + 2 * PAGE_ROWS);
      this.#show();
    });
    byId("filter").addEventListener("click", unfiltered);
  }

  // `only` says in words what the occurrences are restricted to; null while they are all of the day's.
  update(occurrences, only, clipsServed, rules) {
    this.#of = occurrences;
    this.#rules = rules;
    this.#clipsServed = clipsServed;
    byId("filter").hidden = only === null;
    if (only) setText(byId("filter"), `${only} only: show all`);
    this.#show();
  }

  // Bring one event's row into sight.
  choose(event) {
    const place = this.#of.findIndex((each) => each.id === event.id);
    if (place < 0) return;
    this.#chosen = event.id;
    this.#shown = Math.min(ROWS_AT_MOST, Math.max(this.#shown, place + 1));
    this.#show();
    this.#rows.get(event.id)?.node.focus({ preventScroll: true });
    this.#rows.get(event.id)?.node.scrollIntoView({ block: "nearest" });
  }

  #show() {
    this.#rows.update(this.#of.slice(0, this.#shown), (each) => each.id, this.#clipsServed, this.#chosen, this.#rules);
    byId("events-empty").hidden = this.#of.length > 0;
    byId("more").hidden = this.#of.length <= this.#shown || this.#shown >= ROWS_AT_MOST;
  }
}
