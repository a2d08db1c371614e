// The last 24 hours' occurrences, of whatever they come from: the day's file, the stream.

export const DAY_SECONDS = 86400;
const AT_MOST = 5000;

export class Day {
  #byId = new Map();

  // Take starts and ends in any order, an end in its start's place; tells whether there was news.
  merge(events) {
    let news = false;
    for (const event of events) {
      const known = this.#byId.get(event.id);
      if (known && (known.phase === "end" || event.phase === "start")) continue;
      this.#byId.set(event.id, event);
      news = true;
    }
    return news;
  }

  // Forget what ended more than a day before `now`, and the oldest beyond the limit; return the rest.
  newestFirst(now) {
    for (const [id, event] of this.#byId) {
      if ((event.ended_at ?? now) < now - DAY_SECONDS) this.#byId.delete(id);
    }
    const sorted = [...this.#byId.values()].sort((a, b) => b.started_at - a.started_at);
    for (const { id } of sorted.splice(AT_MOST)) this.#byId.delete(id);
    return sorted;
  }
}
