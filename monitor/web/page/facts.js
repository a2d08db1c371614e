// What doesn't move much: the settings in seconds, the system's state, what is kept.

import { KeyedList, byId, element, setAttribute, setText } from "./dom.js";
import { age, clock, duration, plural, sentence, title } from "./format.js";

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

function lineView() {
  const node = element("li");
  return { node, update: (line) => setText(node, sentence(line)) };
}

const rules = new KeyedList(byId("rules"), ruleView);
const facts = new KeyedList(byId("facts"), factView);
const stored = new KeyedList(byId("stored"), lineView);

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

export function showSettings(settings) {
  setText(byId("windows"), sentence(settings.windows));
  rules.update(distinctRules(settings.events), (each) => each.names[0]);
  stored.update(settings.stored, (line) => line);
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
