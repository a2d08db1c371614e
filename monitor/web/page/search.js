// Asks the history for a sound in words; what is found looks like occurrences of an event of that name.

import { byId, setAttribute, setText } from "./dom.js";
import { plural } from "./format.js";

export class Search {
  found = null; // best first; null while nothing is sought
  words = "";
  #changed;

  // `changed()`: there is something else to show.
  constructor(changed) {
    this.#changed = changed;
    byId("search").addEventListener("submit", (submitted) => {
      submitted.preventDefault();
      this.#ask(byId("words").value.trim());
    });
  }

  offer(searchable) {
    byId("search").hidden = !searchable;
  }

  clear() {
    this.found = null;
    setText(byId("search-note"), "");
    this.#changed();
  }

  async #ask(words) {
    if (!words || byId("search").getAttribute("aria-busy") === "true") return;
    setAttribute(byId("search"), "aria-busy", true);
    setText(byId("search-note"), "Searching…");
    try {
      const answer = await fetch(`search.json?${new URLSearchParams({ words })}`);
      if (!answer.ok) throw new Error((await answer.text()).trim());
      this.#take(words, await answer.json());
    } catch (error) {
      setText(byId("search-note"), `Not searched: ${error.message}`);
    } finally {
      setAttribute(byId("search"), "aria-busy", false);
    }
  }

  #take(words, { moments, hours, foreign }) {
    this.words = words;
    this.found = moments.map((moment) => ({
      id: `found ${moment.source} ${moment.start_time}`,
      source: moment.source,
      name: `“${words}”`,
      phase: "end",
      started_at: moment.start_time,
      ended_at: moment.end_time,
      peak_score: moment.score,
      reason: "found",
      clip: moment.clip,
    }));
    const left = Object.values(foreign).reduce((sum, each) => sum + each, 0);
    const out = left ? `; ${left.toFixed(1)} h by another encoder are left out` : "";
    setText(byId("search-note"), `${plural(moments.length, "moment")} in ${hours.toFixed(1)} h of sound, best first${out}.`);
    this.#changed();
  }
}
