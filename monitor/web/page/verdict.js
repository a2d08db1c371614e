// The page in a word: its headline, its title in the tab, and what a screen reader is told.

import { byId, element, setAttribute, setText } from "./dom.js";
import { count, title } from "./format.js";

const ANNOUNCED = 20;
const LONGEST = 28; // letters of the headline
const LONGEST_ON_A_PHONE = 16;

const phone = matchMedia("(max-width: 36rem)");

let told = null;

export function showVerdict(status) {
  const active = status.activities.filter((each) => each.active);
  const troubled = status.sources.filter((each) => each.enabled && each.state !== "online");
  if (!status.encoder) tell("waiting", "Loading the model…");
  else if (active.length) {
    const names = [...new Set(active.map((each) => title(each.event)))];
    const all = names.join(" and ");
    const fits = names.length === 2 && all.length <= (phone.matches ? LONGEST_ON_A_PHONE : LONGEST);
    const heard = names.length === 1 || fits ? all : `${count(names.length)} sounds`;
    tell("active", heard, `● ${heard} · Sound Monitor`);
  } else if (troubled.length) {
    tell("problem", troubled.length === 1 ? `${title(troubled[0].name)} needs a look` : `${count(troubled.length)} sources need a look`);
  } else if (!status.sources.some((each) => each.enabled)) tell("waiting", "Switched off");
  else tell("ok", "Listening");
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

// Each new start and end once; what was there when the page was opened is no news.
export function announce(recent) {
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
