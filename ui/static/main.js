// The page: what is asked for, what comes, and when it is drawn.
import { Graph } from "./graph.js";
import { isDropped, isVerdict, plain } from "./names.js";
import { ServiceMap } from "./map.js";
import { show } from "./panel.js";
import { ask, follow } from "./stream.js";
import { FlowTable } from "./table.js";

const drawn = 200; // milliseconds between two drawings of the table
const mapped = 1000; // and of the map
const asked = 10_000; // and between two looks at nodes

const at = (id) => document.getElementById(id);
const fields = ["text", "namespace", "verdict"];
const state = { paused: false, reasons: {}, end: () => {}, said: "connecting", waits: 0, lost: 0, skew: 0, opener: null };

const graph = new Graph();
const map = new ServiceMap(at("map"), { pick: (place) => choose(place.find), explain });
const table = new FlowTable(at("rows"), reason, explain);

// reason is the last column: of a drop why, else where it went.
function reason(flow) {
  if (isDropped(flow)) {
    const text = state.reasons[flow.drop_reason]?.name ?? plain(flow.drop_reason_desc);
    return isVerdict(flow) ? `Policy verdict: ${text || "denied"}` : text;
  }
  return isVerdict(flow) ? "Policy verdict" : plain(flow.trace_observation_point);
}

function explain(flow) {
  state.opener = document.activeElement;
  show(at("panel"), flow, isDropped(flow) ? state.reasons[flow.drop_reason] : null, table.judged(flow), close);
}

function close() {
  at("panel").hidden = true;
  (state.opener?.isConnected ? state.opener : at("text")).focus();
}

// told takes a reply of the relay.
function told(message) {
  if (message.flow) {
    graph.add(message.flow, Date.now(), Date.parse(message.flow.time) + state.skew);
    table.add(message.flow);
    state.waits += state.paused ? 1 : 0;
  } else if (message.lost_events) {
    const n = Number(message.lost_events.num_events_lost ?? 0);
    state.lost += n;
    table.add(`${n} flows of ${message.node_name || "a node"} are missing here: more came than this page takes`);
  } else if (message.node_status) {
    const s = message.node_status;
    state.skew = Date.now() - Date.parse(message.time); // of this clock and the cluster's
    table.add(`${(s.node_names ?? []).join(", ")}: ${plain((s.state_change ?? "").replace("NODE_", ""))}${s.message ? `: ${s.message}` : ""}`);
    lookAtNodes();
  }
}

function said(text, isProblem) {
  state.said = isProblem ? "not connected" : text;
  at("problem").hidden = !isProblem;
  at("problem").textContent = isProblem ? text : "";
  tellState();
}

function tellState() {
  const text = [state.paused ? `paused, ${state.waits} new` : state.said, state.lost ? `${state.lost} flows lost` : "", graph.left ? `${graph.left} flows beyond the map` : ""].filter(Boolean).join(", ");
  if (at("state").textContent !== text) {
    at("state").textContent = text;
  }
}

// restart asks for what the filter says.
function restart() {
  state.end();
  table.clear();
  graph.clear();
  state.waits = state.lost = 0;
  const query = Object.fromEntries(fields.map((f) => [f, at(f).value.trim()]).filter(([, v]) => v));
  history.replaceState(null, "", `#${new URLSearchParams(query)}`);
  state.end = follow({ last: "500", ...query }, told, said);
}

let typed = 0;
function soon() {
  clearTimeout(typed);
  typed = setTimeout(restart, 300);
}

function choose(text) {
  at("text").value = text;
  restart();
}

function pause() {
  state.paused = !state.paused;
  state.waits = 0;
  at("pause").setAttribute("aria-pressed", state.paused);
  tellState();
}

let drew = 0, mappedAt = 0;
function frame(now) {
  if (!state.paused && now - drew >= drawn) {
    drew = now;
    table.draw();
    tellState();
  }
  if (!state.paused && now - mappedAt >= mapped) {
    mappedAt = now;
    graph.expire(Date.now());
    map.draw(graph, Date.now());
    at("empty").hidden = graph.places.size > 0;
  }
  requestAnimationFrame(frame);
}

async function lookAtNodes() {
  const [nodes, spaces] = [await ask("api/nodes"), await ask("api/namespaces")];
  const all = nodes?.nodes ?? [];
  const away = all.filter((n) => n.state !== "NODE_CONNECTED").map((n) => n.name);
  at("nodes").textContent = nodes ? `${all.length} nodes${away.length ? `, away: ${away.join(", ")}` : ""}` : "nodes not known";
  at("nodes").className = away.length || !nodes ? "bad" : "";
  offer((spaces?.namespaces ?? []).map((n) => n.namespace).filter(Boolean));
}

// offer adds namespaces to choose from. None goes while it is looked at.
function offer(names) {
  const select = at("namespace");
  const have = new Set([...select.options].map((o) => o.value));
  for (const name of names.filter((n) => !have.has(n))) {
    select.add(new Option(name, name));
  }
}

function key(e) {
  const typing = e.target.matches("input, select");
  if (e.key === "Escape" && !at("panel").hidden) {
    close();
  } else if (!typing && !e.ctrlKey && !e.metaKey && !e.altKey && e.key === "/") {
    e.preventDefault();
    at("text").focus();
  } else if (!typing && !e.ctrlKey && !e.metaKey && !e.altKey && e.key === "p") {
    pause();
  }
}

async function start() {
  const given = new URLSearchParams(location.hash.slice(1));
  offer([given.get("namespace")].filter(Boolean));
  for (const f of fields) {
    at(f).value = given.get(f) ?? "";
  }
  at("text").addEventListener("input", soon);
  at("namespace").addEventListener("change", restart);
  at("verdict").addEventListener("change", restart);
  at("filter").addEventListener("submit", (e) => { e.preventDefault(); restart(); });
  at("pause").addEventListener("click", pause);
  document.addEventListener("keydown", key);
  state.reasons = (await ask("reasons.json")) ?? {};
  restart();
  lookAtNodes();
  setInterval(lookAtNodes, asked);
  requestAnimationFrame(frame);
}

start();
