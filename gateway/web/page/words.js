// How things are said to people.

const CLOCK = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hour12: false });
const CLOCK_S = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

export const clock = (time) => (time ? CLOCK.format(new Date(time)) : "–");
export const clockWithSeconds = (time) => (time ? CLOCK_S.format(new Date(time)) : "–");

export function duration(seconds) {
  const s = Math.round(Math.abs(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.round(s / 60)} min`;
  return `${Math.floor(s / 3600)} h ${String(Math.round((s % 3600) / 60)).padStart(2, "0")}`;
}

export function lateness(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (Math.abs(seconds) < 60) return "on time";
  return seconds > 0 ? `${duration(seconds)} late` : `${duration(seconds)} early`;
}

const SAID = {
  "stop.arrived": "arrived",
  "stop.departed": "departed",
  "stop.missed": "missed a stop",
  "stop.unknown": "may have been at a stop, unseen",
  "stop.out_of_sequence": "is out of sequence",
  "stop.approaching": "is near",
  "stop.dwell_exceeded": "stands longer than planned",
  "route.started": "started its tour",
  "route.completed": "completed its tour",
  "route.deviation_started": "left its route",
  "route.deviation_ended": "is back on its route",
  "eta.late": "will be late",
  "eta.at_risk": "may be late",
  "eta.recovered": "is on time again",
  "eta.unavailable": "has no ETA",
  "geofence.entered": "entered",
  "geofence.exited": "left",
  "geofence.passed_through": "passed through",
  "vehicle.silent": "is silent",
  "vehicle.reporting": "reports again",
};
export const TYPES = Object.keys(SAID);

const MOOD = { "eta.late": "late", "stop.missed": "late", "eta.at_risk": "at_risk", "eta.recovered": "on_time", "vehicle.silent": "silent" };

export function mood(type, data) {
  return MOOD[type] ?? (type === "stop.arrived" ? data.early_late ?? "on_time" : "");
}

// A sentence about an event, as text nodes only: names come from devices and are never markup.
export function sentence(type, data) {
  const where = data.stop ? `stop ${data.stop.id}` : data.fence ? data.fence.id : "";
  const how = type === "stop.arrived" ? lateness(data.lateness_s) : "";
  const wait = type === "eta.late" && data.measures?.delay_s ? duration(data.measures.delay_s) : "";
  return [SAID[type] ?? type, where, how || wait].filter(Boolean).join(" · ");
}
