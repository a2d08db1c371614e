// How values are put in words. Times come from the daemon's clock, ages are differences on that clock.

export const sentence = (text) => (text.charAt(0).toUpperCase() + text.slice(1)).replace(/ -(?=\d)/g, " −");

export const title = (slug) => sentence(slug.replaceAll("_", " ").trim() || slug);

export const score = (value) => (value === null ? "–" : value.toFixed(2));

// A score as its event's rule has it: one of any loud sound stands for its level, a hundredth for a decibel.
export function reading(value, rule) {
  return value === null || !rule?.is_level ? score(value) : `${(100 * value - 100).toFixed(0).replace("-", "−")} dBFS`;
}

export const count = (value) => value.toLocaleString();

export const plural = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

export function duration(seconds) {
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days ${hours % 24} h`;
}

export function age(seconds) {
  return seconds < 2 ? "now" : `${duration(Math.floor(seconds))} ago`;
}

export function clock(unixSeconds) {
  const when = new Date(unixSeconds * 1000);
  const time = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  if (when.toDateString() === new Date().toDateString()) return time;
  return `${when.toLocaleDateString([], { day: "numeric", month: "short" })}, ${time}`;
}

export const hour = (unixSeconds) => new Date(unixSeconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

export const iso = (unixSeconds) => new Date(unixSeconds * 1000).toISOString();

const REASONS = {
  threshold: "fell silent",
  found: "found by search",
  max_duration: "longest duration",
  source_lost: "source lost",
  disabled: "switched off",
  schedule: "outside its hours",
  shutdown: "shutdown",
  reload: "settings changed",
  restart: "restarted",
};

export const reason = (name) => REASONS[name] ?? title(name);
