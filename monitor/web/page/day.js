// The last 24 hours' occurrences, of whatever they come from: the day's file, the stream.

export const DAY_SECONDS = 86400;
const AT_MOST = 5000;

export class Day {
  #byId = new Map();
  #changed;

  constructor(changed) {
    this.#changed = changed;
  }

  // Starts and ends in any order; an end takes its start's place.
  merge(events) {
    let news = false;
    for (const event of events) {
      const known = this.#byId.get(event.id);
      if (known && (known.phase === "end" || event.phase === "start")) continue;
      this.#byId.set(event.id, event);
      news = true;
    }
    if (news) this.#changed();
  }

  // Forget what ended more than a day before `now`, and the oldest beyond the limit.
  expire(now) {
    const before = this.#byId.size;
    for (const [id, event] of this.#byId) {
      if ((event.ended_at ?? now) < now - DAY_SECONDS) this.#byId.delete(id);
    }
    if (this.#byId.size > AT_MOST) {
      for (const { id } of this.newestFirst().slice(AT_MOST)) this.#byId.delete(id);
    }
    if (this.#byId.size !== before) this.#changed();
  }

  get size() {
    return this.#byId.size;
  }

  newestFirst() {
    return [...this.#byId.values()].sort((a, b) => b.started_at - a.started_at);
  }
}
