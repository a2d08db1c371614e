// A ring of columns, painted: column n of the daemon's clock stands at x = n modulo its length.

import { COLORMAPS } from "./colormap.js";

export const RING = 2048; // more than any screen is wide

export class Waterfall {
  #bands;
  #levels;
  #picture;
  #colours;

  constructor(bands, dark) {
    this.#bands = bands;
    this.#levels = new Uint8Array(RING * bands);
    this.#picture = new OffscreenCanvas(RING, bands).getContext("2d");
    this.recolour(dark);
  }

  get bands() {
    return this.#bands;
  }

  recolour(dark) {
    this.#colours = COLORMAPS[dark ? "dark" : "light"];
    for (let place = 0; place < RING; place += 1) this.#paint(place);
  }

  // `levels` of one column, lowest band first; null where nothing is known.
  put(column, levels) {
    const place = column % RING;
    if (levels) this.#levels.set(levels, place * this.#bands);
    else this.#levels.fill(0, place * this.#bands, (place + 1) * this.#bands);
    this.#paint(place);
  }

  clear() {
    this.#levels.fill(0);
    for (let place = 0; place < RING; place += 1) this.#paint(place);
  }

  // Draw columns `from` to `to`, a pixel each, from the context's left edge.
  draw(context, from, to, height) {
    for (let begin = Math.floor(from); begin < to; ) {
      const place = begin % RING;
      const count = Math.min(RING - place, Math.ceil(to) - begin);
      context.drawImage(this.#picture.canvas, place, 0, count, this.#bands, begin - from, 0, count, height);
      begin += count;
    }
  }

  #paint(place) {
    const image = new ImageData(1, this.#bands);
    const words = new Uint32Array(image.data.buffer);
    for (let band = 0; band < this.#bands; band += 1) {
      words[this.#bands - 1 - band] = this.#colours[this.#levels[place * this.#bands + band]];
    }
    this.#picture.putImageData(image, place, 0);
  }
}
