// A scrolling spectrogram: columns come in bursts and are played out evenly, a little later.

import { title } from "./format.js";
import { isDark, resolved } from "./theme.js";
import { RING, Waterfall } from "./waterfall.js";

const LAG_COLUMNS = 8;
const SNAP_COLUMNS = 40; // further off than this, jump
const RESENT_COLUMNS = 200; // a stream that is opened anew begins some seconds ago
const CATCH_UP_PER_SECOND = 0.8;
const REDUCED_STEP_MS = 1000;
const LABEL_ROWS = 3;
const LABEL_GAP = 4;
const LEFTMOST_LABEL = 52; // beside the frequencies

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

// A label stands at its occurrence's beginning, but whole in the picture, and stays while the occurrence does.
function labelLeft(left, right, wide, width) {
  const staying = Math.max(left + LABEL_GAP, Math.min(LEFTMOST_LABEL, right - wide - LABEL_GAP));
  return Math.min(staying, width - wide - LABEL_GAP);
}

export class Spectrogram {
  #canvas;
  #waterfall = null;
  #seconds = 1;
  #newest = -1;
  #edge = 0; // the column at the canvas's right edge, with its fraction
  #playedAt = 0;
  #marks = [];
  #labels = new Map(); // by occurrence: none changes its row while it scrolls
  #ink = null;

  constructor(canvas) {
    this.#canvas = canvas;
  }

  get filled() {
    return this.#newest >= 0;
  }

  add({ first, bands, seconds, data }) {
    const bytes = bytesOf(data);
    const last = first + bytes.length / bands - 1;
    if (this.#waterfall?.bands !== bands) {
      this.#waterfall = new Waterfall(bands, isDark());
      this.#newest = -1;
    } else if (last < this.#newest - RESENT_COLUMNS || first > this.#newest + RING) {
      this.#waterfall.clear(); // a clock that was set, or a long pause
      this.#newest = -1;
    }
    this.#seconds = seconds;
    for (let missing = this.#newest + 1; this.filled && missing < first; missing += 1) this.#waterfall.put(missing, null);
    for (let column = first; column <= last; column += 1) {
      this.#waterfall.put(column, bytes.subarray((column - first) * bands, (column - first + 1) * bands));
    }
    this.#newest = Math.max(this.#newest, last);
  }

  // Occurrences to be marked, oldest first; the lasting ones have no end.
  mark(occurrences) {
    this.#marks = occurrences;
    const ids = new Set(occurrences.map(({ id }) => id));
    for (const id of this.#labels.keys()) if (!ids.has(id)) this.#labels.delete(id);
  }

  recolour() {
    this.#ink = null;
    this.#waterfall?.recolour(isDark());
    this.draw();
  }

  // Go on to the time `nowMs`; tells whether the picture has moved.
  play(nowMs) {
    if (!this.filled) return false;
    const elapsed = (nowMs - this.#playedAt) / 1000;
    if (reducedMotion.matches && elapsed * 1000 < REDUCED_STEP_MS) return false;
    const wanted = this.#newest + 1 - LAG_COLUMNS;
    const late = wanted - this.#edge - elapsed / this.#seconds;
    const jump = reducedMotion.matches || Math.abs(late) > SNAP_COLUMNS;
    const edge = jump ? wanted : wanted - late * (1 - Math.min(1, elapsed * CATCH_UP_PER_SECOND));
    this.#playedAt = nowMs;
    const moved = Math.min(edge, this.#newest + 1) !== this.#edge;
    this.#edge = Math.min(edge, this.#newest + 1);
    if (moved) this.draw();
    return moved;
  }

  draw() {
    const canvas = this.#canvas;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width || !this.filled) return;
    const [wide, high] = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
    if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
    const context = canvas.getContext("2d", { alpha: false });
    context.setTransform(wide / width, 0, 0, high / height, 0, 0);
    this.#waterfall.draw(context, this.#edge - width, this.#edge, height);
    this.#drawMarks(context, this.#edge - width, width, height);
  }

  #drawMarks(context, from, width, height) {
    this.#ink ??= {
      paper: resolved(this.#canvas.parentElement, "--card"),
      signal: resolved(this.#canvas.parentElement, "--signal"),
      font: `600 12px ${getComputedStyle(this.#canvas).fontFamily}`,
    };
    context.font = this.#ink.font;
    context.textBaseline = "middle";
    for (const { id, name, started_at: began, ended_at: ended } of this.#marks) {
      const left = began / this.#seconds - from;
      const right = Math.min(width, ended === null ? width : ended / this.#seconds - from);
      const text = title(name);
      const wide = context.measureText(text).width + 10;
      if (!this.#labels.has(id)) this.#labels.set(id, this.#placed(left + from, wide));
      if (right < 0 || left > width) continue;
      context.fillStyle = this.#ink.signal;
      context.fillRect(left, height - 4, Math.max(2, right - left), 4);
      context.fillRect(left, 0, 1.5, height);
      const x = labelLeft(left, right, wide, width);
      const y = 5 + 20 * this.#labels.get(id).row;
      context.save();
      context.beginPath();
      context.rect(LEFTMOST_LABEL, 0, width, height);
      context.clip();
      context.fillStyle = this.#ink.paper;
      context.beginPath();
      context.roundRect(x, y, wide, 18, 5);
      context.fill();
      context.fillStyle = this.#ink.signal;
      context.fillText(text, x + 5, y + 9.5);
      context.restore();
    }
  }

  // A label's place among those that are there: the first row in which it meets none, now and as it scrolls on.
  #placed(at, wide) {
    const meets = (other) => at - wide < other.at + other.wide + LABEL_GAP && other.at - other.wide < at + wide + LABEL_GAP;
    const taken = new Set([...this.#labels.values()].filter(meets).map((other) => other.row));
    let row = 0;
    while (taken.has(row) && row < LABEL_ROWS - 1) row += 1;
    return { at, wide, row };
  }
}
