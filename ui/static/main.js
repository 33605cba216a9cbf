// The page: what is asked for, what comes, and when it is drawn.
import { Graph } from "./graph.js";
import { isAnswer, isDropped, isVerdict, plain, several } from "./names.js";
import { ServiceMap } from "./map.js";
import { show } from "./panel.js";
import { ask, follow } from "./stream.js";
import { FlowTable } from "./table.js";

const drawn = 200; // milliseconds between two drawings of the table
const mapped = 1000; // and of the map,
const mappedFirst = 250; // or, for its first seconds, sooner
const asked = 10_000; // and between two looks at nodes

const at = (id) => document.getElementById(id);
const verdict = () => at("verdict").querySelector("input:checked");
const fields = {
  text: { get: () => at("text").value.trim(), set: (v) => (at("text").value = v) },
  namespace: { get: () => at("namespace").value, set: (v) => { offer([v]); at("namespace").value = v; } },
  verdict: { get: () => verdict().value, set: (v) => { ([...at("verdict").querySelectorAll("input")].find((i) => i.value === v) ?? at("verdict").querySelector("input")).checked = true; } },
};
const state = { paused: false, reasons: {}, end: () => {}, said: "connecting", flows: 0, lost: 0, skew: 0, opener: null, cut: 0, began: 0 };

const graph = new Graph();
const map = new ServiceMap(at("map"), { pick: (place) => choose(fields.text.get() === place.find ? "" : place.find), explain });
const table = new FlowTable(at("list"), at("rows"), reason, { explain, isOpen: () => !at("panel").hidden });

// reason is the last column: of a drop why, of an answer of DNS what it says, else where it went.
function reason(flow) {
  if (isDropped(flow)) {
    const text = state.reasons[flow.drop_reason]?.name ?? plain(flow.drop_reason_desc);
    return isVerdict(flow) ? `Policy verdict: ${text || "denied"}` : text;
  }
  if (isAnswer(flow)) {
    return flow.Summary ?? "";
  }
  return isVerdict(flow) ? "Policy verdict" : plain(flow.trace_observation_point);
}

function explain(flow) {
  if (!at("panel").contains(document.activeElement)) {
    state.opener = document.activeElement;
  }
  table.mark(null);
  show(at("panel"), flow, isDropped(flow) ? state.reasons[flow.drop_reason] : null, table.judged(flow), close);
}

function close() {
  at("panel").hidden = true;
  table.mark(null);
  (state.opener?.isConnected ? state.opener : at("text")).focus();
}

// told takes a reply of the relay.
function told(message) {
  if (message.flow) {
    graph.add(message.flow, Date.now(), Date.parse(message.flow.time) + state.skew);
    table.add(message.flow);
    state.flows++;
  } else if (message.lost_events) {
    const n = Number(message.lost_events.num_events_lost ?? 0);
    state.lost += n;
    table.add(`${several(n, "flow")} of ${message.node_name || "a node"} ${n === 1 ? "is" : "are"} missing here: more came than could be told`);
  } else if (message.node_status) {
    const s = message.node_status;
    state.skew = Date.now() - Date.parse(message.time); // of this clock and the cluster's
    table.add(`${(s.node_names ?? []).join(", ")}: ${plain((s.state_change ?? "").replace("NODE_", ""))}${s.message ? `: ${s.message}` : ""}`);
    lookSoon();
  }
}

function said(word, text) {
  const before = state.said;
  state.said = word;
  if (word === "lost" && before === "live") {
    state.cut = Date.now();
  } else if (word === "live" && state.cut) {
    table.add(`The relay was away for ${several(Math.round((Date.now() - state.cut) / 1000), "second")}: flows of that time are not here`);
    state.cut = 0;
    lookSoon();
  }
  if (word === "live" || text) {
    at("problem").hidden = !text;
    at("problem").textContent = text ? `${text}.${word === "lost" ? " It is asked again every two seconds." : ""}` : "";
  }
  tell();
}

const words = { connecting: "Connecting", live: "Live", lost: "Not connected", refused: "Not connected", paused: "Paused" };
const blank = {
  connecting: ["Connecting", "The relay is asked for flows."],
  live: ["No flows yet", "They show here as soon as something speaks."],
  lost: ["Not connected", "Flows show here as soon as the relay answers."],
  refused: ["Not what the relay takes", "Change the filter, or clear it."],
};

function put(id, text) {
  if (at(id).textContent !== text) {
    at(id).textContent = text;
  }
}

// tell says how things are.
function tell() {
  const now = state.paused && state.said === "live" ? "paused" : state.said;
  put("state", words[now]);
  at("state").className = `pill ${now}`;
  put("counts", [several(state.flows, "flow"), state.lost ? `${state.lost.toLocaleString("en")} lost` : "", graph.left ? `${graph.left.toLocaleString("en")} beyond the map` : ""].filter(Boolean).join(" · "));
  const waits = table.waiting, held = state.paused || table.held;
  at("fresh").hidden = !(held && waits > 0);
  put("fresh", `↑ ${waits >= 500 ? "500 or more" : waits} new`);
  at("empty").hidden = !table.empty;
  at("quiet").hidden = graph.places.size > 0 || map.size > 0;
  const isFiltered = Object.values(fields).some((f) => f.get());
  at("clear").hidden = !isFiltered;
  const [title, text] = state.said === "live" && isFiltered ? ["No flow matches", "Nothing that came so far fits the filter. What comes is looked at, too."] : blank[state.said];
  put("empty-title", title);
  put("empty-text", text);
}

// restart asks for what the filter says.
function restart() {
  state.end();
  table.clear();
  graph.clear();
  state.flows = state.lost = state.cut = 0;
  state.began = performance.now();
  mappedAt = -mapped;
  resume();
  const query = Object.fromEntries(Object.entries(fields).map(([name, f]) => [name, f.get()]).filter(([, v]) => v));
  history.replaceState(null, "", `#${new URLSearchParams(query)}`);
  at("problem").hidden = true;
  state.end = follow({ last: "500", ...query }, told, said);
}

// fill sets the filter to what the address of the page says.
function fill() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const [name, f] of Object.entries(fields)) {
    f.set(given.get(name) ?? "");
  }
}

let typed = 0;
function soon() {
  clearTimeout(typed);
  typed = setTimeout(restart, 300);
}

function choose(text) {
  fields.text.set(text);
  restart();
}

function clear() {
  Object.values(fields).forEach((f) => f.set(""));
  restart();
  at("text").focus();
}

function pause() {
  state.paused = !state.paused;
  at("pause").classList.toggle("paused", state.paused);
  put("pause", state.paused ? "Resume" : "Pause");
  tell();
}

function resume() {
  if (state.paused) {
    pause();
  }
}

// catchUp shows what waits, whatever holds it.
function catchUp() {
  resume();
  table.release();
  table.draw();
  tell();
}

let drew = 0, mappedAt = -mapped;
function frame(now) {
  requestAnimationFrame(frame); // first, so that one that goes wrong is not the last
  if (now - drew >= drawn) {
    drew = now;
    if (!state.paused && !table.held) {
      table.draw();
    }
    tell();
  }
  if (!state.paused && now - mappedAt >= (now - state.began < 3 * mapped ? mappedFirst : mapped)) {
    mappedAt = now;
    graph.expire(Date.now());
    map.draw(graph, Date.now(), fields.text.get());
  }
}

let looks = 0;
function lookSoon() {
  clearTimeout(looks);
  looks = setTimeout(lookAtNodes, 300);
}

async function lookAtNodes() {
  const [nodes, spaces] = await Promise.all([ask("api/nodes"), ask("api/namespaces")]);
  const all = nodes?.nodes ?? [];
  const away = all.filter((n) => n.state !== "NODE_CONNECTED").map((n) => n.name);
  at("nodes").hidden = false;
  at("nodes").title = away.length ? `Away: ${away.join(", ")}` : "";
  put("nodes", nodes ? `${several(all.length, "node")}${away.length ? `, away: ${away.length > 2 ? away.length : away.join(", ")}` : ""}` : "Nodes not known");
  at("nodes").className = `pill ${away.length || !nodes ? "away" : ""}`;
  offer((spaces?.namespaces ?? []).map((n) => n.namespace));
}

// offer adds namespaces to choose from. None goes while it is looked at.
function offer(names) {
  const select = at("namespace");
  const have = new Set([...select.options].map((o) => o.value));
  for (const name of names.filter((n) => n && !have.has(n))) {
    const after = [...select.options].slice(1).find((o) => o.value > name);
    select.add(new Option(name, name), after ?? null);
  }
}

function key(e) {
  const typing = e.target.matches("input:not([type=radio]), select");
  if (e.key === "Escape" && !at("panel").hidden) {
    close();
  } else if (e.key === "Escape" && table.held && !typing) {
    catchUp();
  } else if (!typing && !e.ctrlKey && !e.metaKey && !e.altKey && e.key === "/") {
    e.preventDefault();
    at("text").focus();
    at("text").select();
  } else if (!typing && !e.ctrlKey && !e.metaKey && !e.altKey && e.key === "p") {
    pause();
  }
}

async function start() {
  fill();
  at("text").addEventListener("input", soon);
  at("namespace").addEventListener("change", restart);
  at("verdict").addEventListener("change", restart);
  at("filter").addEventListener("submit", (e) => { e.preventDefault(); restart(); });
  at("clear").addEventListener("click", clear);
  at("pause").addEventListener("click", pause);
  at("fresh").addEventListener("click", catchUp);
  document.addEventListener("keydown", key);
  addEventListener("hashchange", () => { fill(); restart(); });
  new ResizeObserver(() => (mappedAt = -mapped)).observe(at("services"));
  requestAnimationFrame(frame);
  state.reasons = (await ask("reasons.json")) ?? {};
  restart();
  lookAtNodes();
  setInterval(lookAtNodes, asked);
}

start();
