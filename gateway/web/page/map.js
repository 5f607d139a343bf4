// The map: ground, fences, plans, and the vehicles that move over them.

import { clock, lateness } from "./words.js";

const STREETS = {
  motorway: { color: "#e9a86a", weight: 5 },
  trunk: { color: "#f0be86", weight: 4.5 },
  primary: { color: "#f7d9a4", weight: 4 },
  secondary: { color: "#ffffff", weight: 3.2 },
  tertiary: { color: "#ffffff", weight: 2.6 },
  residential: { color: "#ffffff", weight: 1.8 },
};
const AREAS = {
  water: { color: "#a9cbe4", fillColor: "#b9d7ec", fillOpacity: 1, weight: 1 },
  park: { color: "#c4dcb4", fillColor: "#d2e6c4", fillOpacity: 1, weight: 0.5 },
  block: { fillColor: "#e4ded2", fillOpacity: 1, weight: 0 },
  district: { fillOpacity: 0, weight: 0 },
};
const BELOW = ["district", "block", "park", "water"];
const ARROW = '<svg width="26" height="26" viewBox="0 0 26 26"><g transform="rotate(COURSE 13 13)"><path class="body" d="M13 2.5 20 21.5 13 17.5 6 21.5z"/></g></svg>';
const ROUND = '<svg width="26" height="26" viewBox="0 0 26 26"><circle class="body" cx="13" cy="13" r="6.5"/></svg>';

export function makeMap(element, choose) {
  const map = L.map(element, { preferCanvas: true, zoomControl: false, attributionControl: false, zoomSnap: 0.25 });
  L.control.zoom({ position: "bottomright" }).addTo(map);
  L.control.scale({ imperial: false }).addTo(map);
  for (const [name, z] of [["ground", 210], ["names", 300], ["fences", 380], ["plans", 390]]) map.createPane(name).style.zIndex = z;
  const layers = { fences: L.layerGroup().addTo(map), plan: L.layerGroup().addTo(map) };
  const markers = new Map();
  map.setView([0, 0], 2);

  // GeoJSON with a `kind` (water, park, block, district, street), a `class` for streets and a `name`.
  function drawGround(collection) {
    const options = { renderer: L.canvas({ pane: "ground", padding: 0.4 }), pane: "ground", interactive: false };
    const draw = (features, style) => L.geoJSON({ type: "FeatureCollection", features }, { ...options, style }).addTo(map);
    const ofKind = (kind) => collection.features.filter((f) => f.properties.kind === kind);
    for (const kind of BELOW) draw(ofKind(kind), () => AREAS[kind]);
    const street = (f) => STREETS[f.properties.class] ?? STREETS.residential;
    const streets = ofKind("street").sort((a, b) => street(a).weight - street(b).weight);
    draw(streets, (f) => ({ color: "#cfc6b6", weight: street(f).weight + 1.4, opacity: 1 }));
    draw(streets, (f) => ({ ...street(f), opacity: 1 }));
    for (const f of ofKind("district").filter((f) => f.properties.name)) {
      L.tooltip({ permanent: true, direction: "center", className: "district", pane: "names" })
        .setLatLng(L.geoJSON(f).getBounds().getCenter()).setContent(text(f.properties.name)).addTo(map);
    }
  }

  function drawFences(collection) {
    layers.fences.clearLayers();
    const style = { color: "#7b5ea7", weight: 1.5, dashArray: "5 4", fillColor: "#7b5ea7", fillOpacity: 0.06 };
    for (const feature of collection.features) {
      const { type, coordinates } = feature.geometry;
      const named = (layer) => layer.bindTooltip(text(feature.properties.name ?? feature.id ?? "zone"), { sticky: true }).addTo(layers.fences);
      if (type === "Point") named(L.circle([coordinates[1], coordinates[0]], { ...style, pane: "fences", radius: feature.properties.radius_m }));
      else named(L.geoJSON(feature, { style, pane: "fences" }));
    }
  }

  function showPlan(plan, vehicle) {
    layers.plan.clearLayers();
    if (!plan) return;
    if (plan.path) L.geoJSON(plan.path, { pane: "plans", style: { color: "#2b66b1", weight: 4, opacity: 0.55 } }).addTo(layers.plan);
    const known = new Map((vehicle?.stops ?? []).map((s) => [s.stop_id, s]));
    plan.stops.forEach((stop, i) => {
      const now = known.get(stop.stop_id);
      const done = !now;
      const style = { radius: 8, color: "#fff", weight: 2, fillOpacity: 1, fillColor: done ? "#8b939e" : "#2b66b1" };
      const dot = L.circleMarker([stop.lat_deg, stop.lon_deg], style).addTo(layers.plan);
      const told = done ? "done" : now.eta_p50 ? `${clock(now.eta_p10)} – ${clock(now.eta_p90)}` : "no ETA";
      const due = stop.scheduled_arrival ? ` · due ${clock(stop.scheduled_arrival)}` : "";
      const how = now?.lateness_s != null ? ` · ${lateness(now.lateness_s)}` : "";
      dot.bindTooltip(text(`${i + 1}. ${stop.site_id ?? stop.stop_id}  ${told}${due}${how}`));
    });
  }

  function place(vehicle, chosen) {
    const p = vehicle.position;
    if (!p || p.lat_deg == null) return;
    let marker = markers.get(vehicle.vehicle_id);
    if (!marker) {
      marker = L.marker([p.lat_deg, p.lon_deg], { keyboard: true, title: vehicle.vehicle_id });
      marker.on("click", () => choose(vehicle.vehicle_id));
      marker.addTo(map);
      markers.set(vehicle.vehicle_id, marker);
    }
    const moving = (p.speed_mps ?? 0) > 0.8 && p.course_deg != null;
    const drawn = `${moving ? Math.round(p.course_deg / 3) * 3 : "o"}|${vehicle.mood}|${chosen}`;
    if (marker.drawn !== drawn) {
      const html = moving ? ARROW.replace("COURSE", Math.round(p.course_deg)) : ROUND;
      marker.setIcon(L.divIcon({ className: `marker ${vehicle.mood} ${chosen ? "chosen" : ""}`, html, iconSize: [26, 26] }));
      marker.setZIndexOffset(chosen ? 1000 : vehicle.mood === "late" ? 500 : 0);
      marker.drawn = drawn;
    }
    if (chosen && !marker.getTooltip()) marker.bindTooltip(text(vehicle.vehicle_id), { permanent: true, direction: "top", offset: [0, -10], className: "name" });
    if (!chosen && marker.getTooltip()) marker.unbindTooltip();
    marker.setLatLng([p.lat_deg, p.lon_deg]);
  }

  // Leaflet reads strings as markup; a node is what it says.
  function text(words) {
    const node = document.createElement("span");
    node.textContent = words;
    return node;
  }

  // Where the work is: the vehicles and their stops.
  function fit(vehicles, plans) {
    const places = vehicles.filter((v) => v.position).map((v) => [v.position.lat_deg, v.position.lon_deg]);
    for (const plan of plans) for (const stop of plan.stops) places.push([stop.lat_deg, stop.lon_deg]);
    if (places.length) map.fitBounds(L.latLngBounds(places), { padding: [40, 40] });
  }

  function addTiles(url, attribution) {
    L.tileLayer(url, { attribution }).addTo(map);
    L.control.attribution({ prefix: false }).addTo(map);
  }

  return { drawGround, drawFences, showPlan, place, fit, addTiles, pan: (p) => map.panTo([p.lat_deg, p.lon_deg]) };
}
