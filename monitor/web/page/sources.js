// The cards: each source's state, spectrogram, level and scores against their thresholds.

import { KeyedList, byId, fromTemplate, setAttribute, setText } from "./dom.js";
import { age, count, duration, plural, reading, title } from "./format.js";
import { Spectrogram } from "./spectrogram.js";
import { showSwitch } from "./switches.js";

const QUIETEST_DBFS = -80;
const MARKED_SECONDS = 120;
const STILL_FRAMES = 180;
const STATES = { online: "Online", offline: "Offline", problem: "Problem", off: "Switched off" };

function eventView() {
  const { node, parts } = fromTemplate("event-template");
  return {
    node,
    update(activity, rules, now) {
      const rule = rules.get(activity.event);
      const name = title(activity.event);
      setAttribute(node, "data-active", activity.active);
      setAttribute(node, "data-on", activity.enabled);
      setText(parts.name, name);
      setText(parts.score, activity.enabled ? reading(activity.smooth, rule) : "off");
      setText(parts.since, activity.active && activity.since !== null ? duration(now - activity.since) : "");
      showSwitch(parts.switch, `Listen for ${name} on ${title(activity.source)}`, activity.enabled, activity);
      const { style } = parts.meter;
      style.setProperty("--raw", activity.raw ?? 0);
      style.setProperty("--smooth", activity.smooth ?? 0);
      if (rule) {
        style.setProperty("--on", rule.on_threshold);
        style.setProperty("--off", rule.off_threshold);
      }
      setAttribute(parts.meter, "aria-label", `${name}, score`);
      setAttribute(parts.meter, "aria-valuenow", activity.smooth ?? 0);
      const marks = rule ? `, begins at ${reading(rule.on_threshold, rule)}, ends below ${reading(rule.off_threshold, rule)}` : "";
      setAttribute(parts.meter, "aria-valuetext", `${reading(activity.smooth, rule)}${activity.active ? ", active" : ""}${marks}`);
    },
  };
}

function sourceView(slug) {
  const { node, parts } = fromTemplate("source-template");
  const events = new KeyedList(parts.events, eventView);
  const spectrogram = new Spectrogram(parts.canvas);
  node.dataset.source = slug;
  return {
    node,
    spectrogram,
    update(source, bySource, rules, now) {
      const state = source.enabled ? source.state : "off";
      const name = title(source.name);
      setAttribute(node, "data-state", state);
      setText(parts.name, name);
      setAttribute(parts.state, "data-state", state);
      setText(parts.state, STATES[state]);
      showSwitch(parts.switch, `Listen on ${name}`, source.enabled, { source: source.name, event: null });
      parts.problem.hidden = source.problem === null;
      setText(parts.problem, source.problem ?? "");
      setAttribute(parts.canvas, "aria-label", `Spectrogram of ${name}`);
      setText(parts.note, spectrogram.filled ? "" : source.state === "offline" ? "No sound" : "Waiting for sound…");
      showLevel(parts, source.level_dbfs);
      events.update(bySource.get(source.name), (each) => each.event, rules, now);
      setText(parts.counts, counts(source, now));
    },
  };
}

function showLevel(parts, dbfs) {
  const shown = Math.max(QUIETEST_DBFS, Math.min(0, dbfs ?? QUIETEST_DBFS));
  const text = dbfs === null ? "no sound" : dbfs <= -120 ? "silence" : `${dbfs.toFixed(0)} dBFS`;
  parts.level.style.setProperty("--fill", 1 - shown / QUIETEST_DBFS);
  setText(parts["level-figure"], text.replace("-", "−"));
  setAttribute(parts.level, "aria-label", "Level");
  setAttribute(parts.level, "aria-valuenow", shown);
  setAttribute(parts.level, "aria-valuetext", text);
}

function counts(source, now) {
  const dropped = Object.values(source.windows_dropped).reduce((sum, each) => sum + each, 0);
  const facts = [
    source.last_audio_at === null ? "no sound yet" : `sound ${age(now - source.last_audio_at)}`,
    source.last_score_at === null ? "not scored yet" : `scored ${age(now - source.last_score_at)}`,
    `${plural(source.windows_scored, "window")}`,
  ];
  if (dropped) facts.push(`${count(dropped)} dropped`);
  if (source.overflows) facts.push(plural(source.overflows, "overflow"));
  if (source.restarts) facts.push(`reopened ${source.restarts === 1 ? "once" : `${count(source.restarts)} times`}`);
  return facts.join(" · ");
}

// Keeps the cards true, and tells `sightChanged` which sources' cards are on the screen.
export class Sources {
  #cards;
  #observer;
  #inSight = new Map();
  #playing = false;

  constructor(sightChanged) {
    this.#observer = new IntersectionObserver((changes) => {
      for (const { target, isIntersecting } of changes) {
        if (isIntersecting) this.#inSight.set(target, target.dataset.source);
        else this.#inSight.delete(target);
      }
      sightChanged([...this.#inSight.values()]);
    });
    this.#cards = new KeyedList(
      byId("source-list"),
      ({ name }) => {
        const view = sourceView(name);
        this.#observer.observe(view.node);
        return view;
      },
      ({ node }) => this.#observer.unobserve(node),
    );
  }

  update(status, rules) {
    const bySource = new Map(status.sources.map((each) => [each.name, []]));
    for (const activity of status.activities) bySource.get(activity.source)?.push(activity);
    this.#cards.update(status.sources, (each) => each.name, bySource, rules, status.at);
    byId("sources-empty").hidden = status.sources.length > 0;
  }

  addColumns(columns) {
    this.#cards.get(columns.source)?.spectrogram.add(columns);
    if (!this.#playing) this.#play();
  }

  mark(newestFirst, now) {
    const recent = newestFirst.filter((each) => (each.ended_at ?? now) > now - MARKED_SECONDS);
    for (const [name, { spectrogram }] of this.#cards.entries()) {
      spectrogram.mark(recent.filter((each) => each.source === name).reverse());
    }
  }

  recolour() {
    for (const [, { spectrogram }] of this.#cards.entries()) spectrogram.recolour();
  }

  // Runs while anything moves, which ends soon after the columns do.
  #play() {
    this.#playing = true;
    let still = 0;
    const step = (nowMs) => {
      let moved = false;
      for (const name of this.#inSight.values()) moved = this.#cards.get(name)?.spectrogram.play(nowMs) || moved;
      still = moved ? 0 : still + 1;
      this.#playing = still < STILL_FRAMES;
      if (this.#playing) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }
}
