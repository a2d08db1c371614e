// What of the status goes where on the page.

import { KeyedList, byId, element, fromTemplate, setAttribute, setText } from "./dom.js";
import { age, clock, count, duration, iso, plural, reason, score, sentence, title } from "./format.js";

const QUIETEST_DBFS = -80;
const STATES = { online: "Online", offline: "Offline", problem: "Problem" };

function eventView() {
  const { node, parts } = fromTemplate("event-template");
  return {
    node,
    update(activity, rules, now) {
      const rule = rules.get(activity.event);
      const name = title(activity.event);
      setAttribute(node, "data-active", activity.active);
      setText(parts.name, name);
      setText(parts.score, score(activity.smooth));
      setText(parts.since, activity.active && activity.since !== null ? `for ${duration(now - activity.since)}` : "");
      const { style } = parts.meter;
      style.setProperty("--raw", activity.raw ?? 0);
      style.setProperty("--smooth", activity.smooth ?? 0);
      if (rule) {
        style.setProperty("--on", rule.on_threshold);
        style.setProperty("--off", rule.off_threshold);
      }
      setAttribute(parts.meter, "aria-label", `${name}, score`);
      setAttribute(parts.meter, "aria-valuenow", activity.smooth ?? 0);
      const marks = rule ? `, begins at ${score(rule.on_threshold)}, ends below ${score(rule.off_threshold)}` : "";
      setAttribute(parts.meter, "aria-valuetext", `${score(activity.smooth)}${activity.active ? ", active" : ""}${marks}`);
    },
  };
}

function sourceView() {
  const { node, parts } = fromTemplate("source-template");
  const events = new KeyedList(parts.events, eventView);
  return {
    node,
    update(source, bySource, rules, now) {
      const state = source.enabled ? source.state : "offline";
      setAttribute(node, "data-state", state);
      setText(parts.name, title(source.name));
      setAttribute(parts.state, "data-state", state);
      setText(parts.state, source.enabled ? STATES[source.state] : "Switched off");
      parts.problem.hidden = source.problem === null;
      setText(parts.problem, source.problem ?? "");
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

const sources = new KeyedList(byId("source-list"), sourceView);

export function showSources(status) {
  const rules = new Map(status.events.map((each) => [each.name, each]));
  const bySource = new Map(status.sources.map((each) => [each.name, []]));
  for (const activity of status.activities) bySource.get(activity.source)?.push(activity);
  sources.update(status.sources, (each) => each.name, bySource, rules, status.at);
}

// Starts and ends, newest first, become one row per occurrence: its end tells all that its start did.
function occurrences(recent) {
  const byOccurrence = new Map();
  for (const event of recent) if (!byOccurrence.has(event.id)) byOccurrence.set(event.id, event);
  return [...byOccurrence.values()].sort((a, b) => b.started_at - a.started_at);
}

function recentRow() {
  const cell = (column, kind = "") => element("td", { "data-column": column, class: kind });
  const time = element("time");
  const cells = {
    began: cell("began"),
    sound: cell("sound"),
    source: cell("source"),
    lasted: cell("lasted", "number"),
    peak: cell("peak", "number"),
    ended: cell("ended"),
  };
  cells.began.append(time);
  return {
    node: element("tr", {}, ...Object.values(cells)),
    update(event) {
      const lasting = event.phase === "start";
      setAttribute(this.node, "data-active", lasting);
      setAttribute(time, "datetime", iso(event.started_at));
      setText(time, clock(event.started_at));
      setText(cells.sound, title(event.name));
      setText(cells.source, title(event.source));
      setText(cells.lasted, lasting ? "" : duration(event.ended_at - event.started_at));
      setText(cells.peak, score(event.peak_score));
      setText(cells.ended, lasting ? "still on" : reason(event.reason));
      setAttribute(cells.ended, "class", lasting ? "lasting" : "quiet");
    },
  };
}

const rows = new KeyedList(byId("recent"), recentRow);

export function showRecent(recent) {
  rows.update(occurrences(recent), (each) => each.id);
  byId("recent-empty").hidden = recent.length > 0;
}

function ruleView() {
  const name = element("dt");
  const node = element("div", {}, name);
  return {
    node,
    update(rule) {
      setText(name, rule.names.map(title).join(" · "));
      while (node.childElementCount < 1 + rule.meaning.length) node.append(element("dd"));
      while (node.childElementCount > 1 + rule.meaning.length) node.lastElementChild.remove();
      rule.meaning.forEach((line, index) => setText(node.children[index + 1], sentence(line)));
    },
  };
}

const rulesList = new KeyedList(byId("rules"), ruleView);

function factView() {
  const name = element("dt");
  const value = element("dd", { class: "state" });
  return {
    node: element("div", {}, name, value),
    update(fact) {
      setText(name, fact.name);
      setText(value, fact.text);
      if (fact.state) setAttribute(value, "data-state", fact.state);
      else value.removeAttribute("data-state");
    },
  };
}

const facts = new KeyedList(byId("facts"), factView);

// Events with the same rule share one entry.
function distinctRules(events) {
  const byMeaning = new Map();
  for (const { name, meaning } of events) {
    const key = meaning.join("\n");
    if (!byMeaning.has(key)) byMeaning.set(key, { names: [], meaning });
    byMeaning.get(key).names.push(name);
  }
  return [...byMeaning.values()];
}

export function showSettings(status) {
  setText(byId("windows"), sentence(status.windows));
  rulesList.update(distinctRules(status.events), (each) => each.names[0]);
}

export function showSystem({ at, encoder, mqtt_connected: mqtt, outbox, reload, started_at: started, version }) {
  const waiting = outbox.pending ? `${plural(outbox.pending, "event")}, oldest ${age(at - outbox.oldest_at)}` : "nothing";
  facts.update(
    [
      { name: "Model", text: encoder ? `${encoder.identity}, ${encoder.dtype} on ${encoder.device}` : "loading…" },
      {
        name: "MQTT",
        text: mqtt === null ? "turned off" : mqtt ? "connected" : "not connected, trying again",
        state: mqtt === null ? "" : mqtt ? "ok" : "problem",
      },
      { name: "To be sent", text: waiting, state: outbox.pending && !mqtt ? "problem" : "" },
      {
        name: "Settings",
        text: reload.ok ? `read ${clock(reload.at)}` : `refused ${clock(reload.at)}, the old ones hold: ${reload.problem ?? ""}`,
        state: reload.ok ? "" : "problem",
      },
      { name: "Running for", text: duration(at - started) },
      { name: "Version", text: version },
    ],
    (each) => each.name,
  );
}

export function showVerdict(status) {
  const active = status.activities.filter((each) => each.active);
  const troubled = status.sources.filter((each) => each.enabled && each.state !== "online");
  if (!status.encoder) tell("waiting", "Loading the model…");
  else if (active.length) {
    const heard = active.length === 1 ? title(active[0].event) : `${count(active.length)} sounds`;
    tell("active", heard, `● ${heard} · Sound Monitor`);
  } else if (troubled.length) {
    tell("problem", troubled.length === 1 ? `${title(troubled[0].name)} needs a look` : `${count(troubled.length)} sources need a look`);
  } else tell("ok", "Listening");
}

export function showNoVerdict(why) {
  tell("waiting", why);
}

function tell(state, text, heading = "Sound Monitor") {
  const verdict = byId("verdict");
  setAttribute(verdict, "data-state", state);
  setText(verdict, text);
  if (document.title !== heading) document.title = heading;
}
