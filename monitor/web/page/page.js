// Follows the daemon's stream and keeps the page true to it, or says that it can't.

import { DAY_SECONDS, Day } from "./day.js";
import { byId, setAttribute, setText } from "./dom.js";
import { Events } from "./events.js";
import { showSettings, showSystem } from "./facts.js";
import { clock, title } from "./format.js";
import { Search } from "./search.js";
import { Sources } from "./sources.js";
import { Stream } from "./stream.js";
import { followTheme } from "./theme.js";
import { Timeline } from "./timeline.js";
import { announce, showNoVerdict, showVerdict } from "./verdict.js";

const TIMELINE_MS = 30000; // a pixel of it is a minute and more
const HIDDEN_MS = 5000;

let settings = { events: [], stored: [], windows: "" };
let rules = new Map();
let now = 0; // the daemon's clock, Unix seconds
let clipsServed = false;
let lastHeard = null;
let lane = null;
let dayStale = true; // of what was told while nobody listened
let dayShown = false;
let paused = false;
let inSight = [];
let hiding = 0;

const search = new Search(() => choose(null));
const events = new Events(() => (lane ? choose(null) : search.clear()));
const timeline = new Timeline((pressed) => choose(lane?.key === pressed.key ? null : pressed), (event) => events.choose(event));
const day = new Day();
const sources = new Sources((names) => {
  inSight = names;
  watch();
});
const stream = new Stream(
  {
    settings(message) {
      settings = message;
      rules = new Map(settings.events.map((each) => [each.name, each]));
      showSettings(settings);
      dayShown = false;
    },
    recent(message) {
      if (day.merge(message)) dayShown = false;
      announce(message);
    },
    status(status) {
      now = status.at;
      clipsServed = status.clips_served;
      search.offer(status.searchable);
      heard();
      sources.update(status, rules);
      showSystem(status);
      showVerdict(status);
      if (!dayShown) showDay();
    },
    columns: (columns) => sources.addColumns(columns),
  },
  lost,
);

function heard() {
  lastHeard = Date.now() / 1000;
  document.body.dataset.stream = "live";
  byId("banner").hidden = true;
  if (dayStale) fetchDay();
}

async function fetchDay() {
  dayStale = false;
  try {
    const answer = await fetch("day.json");
    if (answer.ok && day.merge(await answer.json())) showDay();
    dayStale = !answer.ok;
  } catch {
    dayStale = true; // the connection went again: at the next one
  }
}

async function lost() {
  dayStale = true;
  if (document.body.dataset.stream === "lost") return;
  document.body.dataset.stream = "lost";
  const since = lastHeard === null ? "" : ` What is shown is from ${clock(lastHeard)}.`;
  setText(byId("banner-text"), `No connection to the monitor; trying again.${since}`);
  byId("banner").hidden = false;
  showNoVerdict("Not connected");
  const why = await refusal();
  if (why && document.body.dataset.stream === "lost") setText(byId("banner-text"), why);
}

// Why a monitor that answers gives no stream; null where it doesn't answer either.
async function refusal() {
  try {
    const answer = await fetch("status.json", { method: "HEAD" });
    if (answer.status === 401) return "The monitor asks for its token: open its address with ?token=… once more.";
    return answer.ok ? "The monitor has too many pages open; close one. Trying again." : null;
  } catch {
    return null;
  }
}

function showDay() {
  dayShown = true;
  const newestFirst = day.newestFirst(now);
  const found = (search.found ?? []).filter((each) => each.ended_at > now - DAY_SECONDS);
  const newest = found.toSorted((a, b) => b.started_at - a.started_at);
  timeline.update([...newest, ...newestFirst], now, lane?.key ?? null);
  if (lane) {
    const ofLane = [...newest, ...newestFirst].filter((each) => each.source === lane.source && each.name === lane.name);
    events.update(ofLane, `${title(lane.name)}, ${title(lane.source)}`, clipsServed, rules);
  } else events.update(search.found ? found : newestFirst, search.found && `“${search.words}”`, clipsServed, rules);
  sources.mark(newestFirst, now);
}

function choose(wanted) {
  lane = wanted;
  showDay();
}

function watch() {
  stream.watch(paused || document.hidden ? [] : inSight);
}

byId("retry").addEventListener("click", () => stream.open());
window.addEventListener("online", () => stream.open());
byId("pause").addEventListener("click", () => {
  paused = !paused;
  setAttribute(byId("pause"), "aria-pressed", paused);
  watch();
});
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  hiding = setTimeout(watch, document.hidden ? HIDDEN_MS : 0);
});
setInterval(() => (dayShown = false), TIMELINE_MS);
followTheme(() => {
  sources.recolour();
  timeline.redraw();
});
stream.open();
