// The live page: one snapshot, then the stream; the snapshot again now and then, for ETAs between events.

import { fetchJson, listen } from "./api.js";
import { makeMap } from "./map.js";
import { TYPES, clock, clockWithSeconds, duration, lateness, mood, sentence } from "./words.js";

const EVENTS_SHOWN = 120;
const SNAPSHOT_EVERY_MS = 8000;
const RETRY_MS = 3000;
const URGENCY = { late: 0, at_risk: 1, silent: 2, on_time: 3, early: 3, none: 4 };
const vehicles = new Map();
const plans = new Map();
let chosen = null;
const fixesEachSecond = [0];
const $ = (id) => document.getElementById(id);
const map = makeMap($("map"), choose);

function moodOf(v) {
  if (v.state === "silent") return "silent";
  return v.punctuality ?? "none";
}

function take(found) {
  const gone = new Set(vehicles.keys());
  for (const v of found.vehicles) {
    const before = vehicles.get(v.vehicle_id);
    if (before?.position && v.position && before.position.time > v.position.time) v.position = before.position;
    v.mood = moodOf(v);
    vehicles.set(v.vehicle_id, v);
    gone.delete(v.vehicle_id);
    map.place(v, v.vehicle_id === chosen);
  }
  for (const id of gone) vehicles.delete(id);
  draw();
}

function choose(id) {
  chosen = chosen === id ? null : id;
  const v = vehicles.get(chosen);
  map.showPlan(plans.get(v?.plan_id), v);
  for (const each of vehicles.values()) map.place(each, each.vehicle_id === chosen);
  if (v?.position) map.pan(v.position);
  draw();
}

function nextStop(v) {
  return v.stops?.[0];
}

function describe(v) {
  const next = nextStop(v);
  if (v.state === "silent") return `silent for ${duration(v.age_s)}`;
  if (v.state === "at_stop") return `at stop ${v.at_stop}`;
  if (!next) return v.plan_id ? "tour completed" : "no plan";
  if (!next.eta_p50) return `to stop ${next.stop_id} · no ETA`;
  const spread = clock(next.eta_p10) === clock(next.eta_p90) ? "" : ` (${clock(next.eta_p10)} – ${clock(next.eta_p90)})`;
  return `to stop ${next.stop_id} · ${clock(next.eta_p50)}${spread}`;
}

function chip(v) {
  const next = nextStop(v);
  if (v.mood === "silent") return "silent";
  if (v.mood === "at_risk") return "at risk";
  if (!next) return v.plan_id ? "done" : "";
  if (next.lateness_s == null) return v.mood === "on_time" ? "on time" : "";
  return lateness(next.lateness_s);
}

function row(v) {
  const li = document.createElement("li");
  li.className = `${v.mood} ${v.vehicle_id === chosen ? "chosen" : ""}`;
  const button = document.createElement("button");
  button.append(part("span", "dot", ""), part("b", "", v.vehicle_id));
  const told = chip(v);
  button.append(told ? part("span", "chip", told) : part("span", "", ""));
  button.append(part("small", "", describe(v)));
  button.onclick = () => choose(v.vehicle_id);
  li.append(button);
  return li;
}

function part(tag, name, words) {
  const node = document.createElement(tag);
  node.className = name;
  node.textContent = words;
  return node;
}

function draw() {
  const wanted = $("find").value.trim().toLowerCase();
  const all = [...vehicles.values()];
  const shown = all.filter((v) => !wanted || `${v.vehicle_id} ${v.plan_id ?? ""}`.toLowerCase().includes(wanted));
  shown.sort((a, b) => URGENCY[a.mood] - URGENCY[b.mood] || a.vehicle_id.localeCompare(b.vehicle_id));
  const list = $("vehicle-list");
  if (shown.length) list.replaceChildren(...shown.slice(0, 500).map(row));
  else list.replaceChildren(part("li", "empty", all.length ? "No vehicle matches." : "No vehicle has reported yet."));
  const count = (test) => all.filter(test).length;
  $("count-vehicles").textContent = all.length;
  $("count-moving").textContent = count((v) => v.state === "moving");
  $("count-at-stop").textContent = count((v) => v.state === "at_stop");
  $("count-at-risk").textContent = count((v) => v.mood === "at_risk");
  $("count-late").textContent = count((v) => v.mood === "late");
  $("count-silent").textContent = count((v) => v.mood === "silent");
}

function moved(data) {
  fixesEachSecond[0] += 1;
  const v = vehicles.get(data.vehicle.id);
  if (!v || (data.measures?.standing ?? "live") !== "live") return;
  v.position = data.position;
  if (v.state === "silent") v.state = "moving";
  v.mood = moodOf(v);
  map.place(v, v.vehicle_id === chosen);
}

function tell(type, event, fresh) {
  const { data } = event;
  const li = document.createElement("li");
  li.className = `${mood(type, data)} ${fresh ? "fresh" : ""}`;
  const what = document.createElement("span");
  what.className = data.status === "withdrawn" ? "withdrawn" : "";
  what.append(part("strong", "", data.vehicle.id), ` ${sentence(type, data)}`);
  li.append(part("time", "", clockWithSeconds(event.time)), what);
  const list = $("event-list");
  list.querySelector(".empty")?.remove();
  list.prepend(li);
  while (list.children.length > EVENTS_SHOWN) list.lastChild.remove();
}

function told(type, event) {
  if (type === "position.updated") moved(event.data);
  else if (type === "delivery.gap") refresh().catch((e) => console.warn(e));
  else tell(type, event, true);
}

async function refresh() {
  const [fleet, tours] = await Promise.all([fetchJson("/v1/snapshot"), fetchJson("/v1/plans")]);
  plans.clear();
  for (const plan of tours) plans.set(plan.plan_id, plan);
  take(fleet);
  if (chosen) map.showPlan(plans.get(vehicles.get(chosen)?.plan_id), vehicles.get(chosen));
  return fleet;
}

async function start() {
  const [ground, fences, settings] = await Promise.all([fetchJson("/v1/ground"), fetchJson("/v1/fences"), fetchJson("/v1/page")]);
  if (settings.tiles_url) map.addTiles(settings.tiles_url, settings.tiles_attribution);
  map.drawGround(ground);
  map.drawFences(fences);
  const fleet = await refresh();
  map.fit(fleet.vehicles, plans.values());
  const past = await fetchJson(`/v1/events?cursor=${fleet.recent_cursor}&type=${TYPES.join(",")}&limit=2000`);
  $("event-list").replaceChildren(part("li", "empty", "Nothing has happened yet."));
  for (const event of past.events.slice(-EVENTS_SHOWN)) tell(event.type.slice(6, -3), event, false);
  follow(fleet.cursor);
  document.body.dataset.ready = "yes";
}

function follow(cursor) {
  const line = (on) => {
    $("live").textContent = on ? "live" : "reconnecting";
    $("live").className = `live ${on ? "on" : "off"}`;
  };
  listen(cursor, ["position.updated", "delivery.gap", ...TYPES], told, line, () => setTimeout(again, RETRY_MS));
}

async function again() {
  try {
    follow((await refresh()).cursor);
  } catch {
    setTimeout(again, RETRY_MS);
  }
}

$("find").oninput = draw;
setInterval(() => refresh().catch((e) => console.warn(e)), SNAPSHOT_EVERY_MS);
setInterval(() => {
  $("clock").textContent = clockWithSeconds(Date.now());
  $("rate").textContent = (fixesEachSecond.reduce((a, b) => a + b) / fixesEachSecond.length).toFixed(1);
  fixesEachSecond.unshift(0);
  fixesEachSecond.splice(10);
}, 1000);
start().catch((e) => {
  $("live").textContent = "no answer";
  $("live").className = "live off";
  $("vehicle-list").replaceChildren(part("li", "empty", String(e)));
});
