// Follows the daemon's stream and keeps the page true to it, or says that it can't.

import { byId, element } from "./dom.js";
import { clock, title } from "./format.js";
import { showNoVerdict, showRecent, showSettings, showSources, showSystem, showVerdict } from "./views.js";

const SILENCE_MS = 6000; // the daemon sends twice a second, less often with very many sources
const ANNOUNCED = 20;

let source = null;
let silence = 0;
let lastHeard = null;
let told = null;
let settings = {};

function connect() {
  source?.close();
  source = new EventSource("events");
  source.addEventListener("settings", (message) => {
    settings = JSON.parse(message.data);
  });
  source.addEventListener("status", (message) => {
    heard();
    const status = { ...JSON.parse(message.data), ...settings };
    showSources(status);
    showSettings(status);
    showSystem(status);
    showVerdict(status);
  });
  source.addEventListener("recent", (message) => {
    heard();
    const recent = JSON.parse(message.data);
    showRecent(recent);
    announce(recent);
  });
  source.addEventListener("error", lost); // the browser tries again by itself, or else the watch does
  watch();
}

function watch() {
  clearTimeout(silence);
  silence = setTimeout(() => {
    lost();
    connect();
  }, SILENCE_MS);
}

function heard() {
  lastHeard = Date.now() / 1000;
  document.body.dataset.stream = "live";
  byId("banner").hidden = true;
  watch();
}

function lost() {
  if (document.body.dataset.stream === "lost") return;
  document.body.dataset.stream = "lost";
  const since = lastHeard === null ? "" : ` What is shown is from ${clock(lastHeard)}.`;
  byId("banner").textContent = `No connection to the monitor; trying again.${since}`;
  byId("banner").hidden = false;
  showNoVerdict("Not connected");
}

function announce(recent) {
  const keys = new Set(recent.map((event) => `${event.id} ${event.phase}`));
  if (told !== null) {
    const log = byId("announcer");
    for (const event of recent.filter((each) => !told.has(`${each.id} ${each.phase}`)).reverse()) {
      const what = event.phase === "start" ? "began" : "ended";
      log.append(element("p", { text: `${title(event.name)} ${what}, ${title(event.source)}` }));
    }
    while (log.childElementCount > ANNOUNCED) log.firstElementChild.remove();
  }
  told = keys;
}

connect();
