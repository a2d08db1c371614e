// The daemon's stream: followed for ever, opened again with growing pauses when it is lost.

const SILENCE_MS = 6000; // the daemon sends twice a second, less often with very many sources
const PAUSES_MS = [500, 1000, 2000, 4000, 8000, 15000, 30000];
const SETTLE_MS = 400; // scrolling past many sources opens one stream, not many

export class Stream {
  #kinds;
  #lost;
  #source = null;
  #watched = "";
  #failures = 0;
  #silence = 0;
  #again = 0;
  #settling = 0;

  // `kinds`: what to do with each kind of message; `lost`: called with why at every failure.
  constructor(kinds, lost) {
    this.#kinds = Object.entries(kinds);
    this.#lost = lost;
  }

  // Ask for the spectrograms of these sources and no others, shortly.
  watch(names) {
    const wanted = new URLSearchParams([...names].sort().map((name) => ["spectrum", name])).toString();
    clearTimeout(this.#settling);
    if (wanted === this.#watched) return;
    this.#settling = setTimeout(() => {
      this.#watched = wanted;
      if (this.#source) this.open();
    }, SETTLE_MS);
  }

  open() {
    this.#close();
    clearTimeout(this.#again);
    const source = new EventSource(this.#watched ? `events?${this.#watched}` : "events");
    this.#source = source;
    for (const [kind, take] of this.#kinds) {
      source.addEventListener(kind, (message) => {
        if (source !== this.#source) return;
        this.#failures = 0;
        this.#listen();
        take(JSON.parse(message.data));
      });
    }
    source.addEventListener("error", () => this.#fail());
    this.#listen();
  }

  #listen() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#fail(), SILENCE_MS);
  }

  #close() {
    clearTimeout(this.#silence);
    this.#source?.close();
    this.#source = null;
  }

  #fail() {
    if (!this.#source) return;
    this.#close();
    const pause = PAUSES_MS[Math.min(this.#failures, PAUSES_MS.length - 1)];
    this.#failures += 1;
    this.#again = setTimeout(() => this.open(), pause * (0.75 + Math.random() / 2));
    this.#lost();
  }
}
