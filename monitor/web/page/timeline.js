// The last 24 hours at a glance: a lane for each sound that was heard, painted on a strip.

import { DAY_SECONDS } from "./day.js";
import { KeyedList, byId, element, fromTemplate, setAttribute, setText } from "./dom.js";
import { clock, count, hour, plural, title } from "./format.js";
import { resolved } from "./theme.js";

const NARROW_PIXELS = 520;
const HIT_PIXELS = 12;
const THINNEST_PIXELS = 2.5;
const NOW_PIXELS = 64; // what "now" and half an hour's label take

const keyOf = ({ source, name }) => `${source} ${name}`;

function laneView(chosen, pointed) {
  const { node, parts } = fromTemplate("lane-template");
  const view = {
    node,
    lane: null,
    update(lane, now, filter, hours) {
      view.lane = lane;
      view.now = now;
      view.hours = hours;
      const last = lane.occurrences[0];
      setText(parts.event, title(last.name));
      setText(parts.source, title(last.source));
      setText(parts.count, count(lane.occurrences.length));
      setAttribute(parts.name, "aria-pressed", filter === lane.key);
      setAttribute(parts.strip, "aria-label", `${plural(lane.occurrences.length, "time")}, last at ${clock(last.started_at)}`);
      view.draw();
    },
    draw(hours = view.hours) {
      view.hours = hours;
      if (view.lane) paint(parts.strip, view.lane.occurrences, view.now, hours);
    },
  };
  parts.name.addEventListener("click", () => chosen(view.lane));
  parts.strip.addEventListener("click", ({ offsetX }) => {
    const scale = parts.strip.clientWidth / DAY_SECONDS;
    const far = (each) => {
      const [left, right] = [each.started_at, each.ended_at ?? view.now].map((at) => (at - view.now + DAY_SECONDS) * scale);
      return Math.max(left - offsetX, offsetX - right, 0);
    };
    const nearest = view.lane.occurrences.reduce((best, each) => (far(each) < far(best) ? each : best));
    if (far(nearest) <= HIT_PIXELS) pointed(nearest);
  });
  return view;
}

// `hours` are the parts of the day at which a full hour is named.
function paint(strip, occurrences, now, hours) {
  const { clientWidth: width, clientHeight: height } = strip;
  if (!width) return;
  const [wide, high] = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
  if (strip.width !== wide || strip.height !== high) Object.assign(strip, { width: wide, height: high });
  const context = strip.getContext("2d");
  context.setTransform(wide / width, 0, 0, high / height, 0, 0);
  context.clearRect(0, 0, width, height);
  const scale = width / DAY_SECONDS;
  const colour = resolved(strip, "--score");
  const lasting = resolved(strip, "--signal");
  context.fillStyle = resolved(strip, "--line");
  for (const part of hours) context.fillRect(Math.round(part * width), 0, 1, height);
  context.fillStyle = colour;
  context.globalAlpha = 0.25;
  context.fillRect(0, height / 2 - 0.5, width, 1);
  for (const { started_at: began, ended_at: ended, peak_score: peak } of occurrences.toReversed()) {
    const left = Math.min(Math.max(0, (began - now + DAY_SECONDS) * scale), width - THINNEST_PIXELS);
    const right = Math.max(left + THINNEST_PIXELS, ((ended ?? now) - now + DAY_SECONDS) * scale);
    const tall = height * (0.35 + 0.5 * peak);
    context.globalAlpha = ended === null ? 1 : 0.85;
    context.fillStyle = ended === null ? lasting : colour;
    context.beginPath();
    context.roundRect(left, (height - tall) / 2, right - left, tall, 1.25);
    context.fill();
  }
  context.globalAlpha = 1;
}

export class Timeline {
  #lanes;
  #now = 0;

  // `chosen(lane)`: a lane's name was pressed; `pointed(occurrence)`: a mark on its strip.
  constructor(chosen, pointed) {
    this.#lanes = new KeyedList(byId("lanes"), () => laneView(chosen, pointed));
    new ResizeObserver(() => this.redraw()).observe(byId("timeline"));
  }

  update(newestFirst, now, filter) {
    this.#now = now;
    const lanes = new Map();
    for (const each of newestFirst) {
      const key = keyOf(each);
      if (!lanes.has(key)) lanes.set(key, { key, source: each.source, name: each.name, occurrences: [] });
      lanes.get(key).occurrences.push(each);
    }
    const ordered = [...lanes.values()].sort((a, b) => a.source.localeCompare(b.source) || a.name.localeCompare(b.name));
    byId("timeline").hidden = ordered.length === 0;
    setText(byId("day-summary"), ordered.length ? `${plural(newestFirst.length, "event")}, ${plural(ordered.length, "sound")}` : "");
    this.#lanes.update(ordered, (lane) => lane.key, now, filter, this.#showHours());
  }

  redraw() {
    const hours = this.#showHours();
    for (const [, lane] of this.#lanes.entries()) lane.draw(hours);
  }

  // Name some full hours; return their parts of the day.
  #showHours() {
    const axis = byId("hours");
    const width = axis.clientWidth;
    const step = width < NARROW_PIXELS ? 6 : 3;
    const parts = [];
    const labels = [element("span", { class: "now", text: "now" })];
    const first = new Date((this.#now - DAY_SECONDS) * 1000);
    first.setMinutes(0, 0, 0);
    for (let at = first.getTime() / 1000; at <= this.#now; at += 3600) {
      const part = (at - this.#now + DAY_SECONDS) / DAY_SECONDS;
      if (new Date(at * 1000).getHours() % step) continue;
      parts.push(part);
      if (part < 0.02 || (1 - part) * width < NOW_PIXELS) continue;
      const label = element("span", { text: hour(at) });
      label.style.left = `${part * 100}%`;
      labels.push(label);
    }
    axis.replaceChildren(...labels);
    return parts.filter((part) => part > 0);
  }
}
