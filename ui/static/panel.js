// One flow, explained. All text is set as text.
import { command, isAnswer, isDropped, isVerdict, plain, port, sides, time } from "./names.js";

function element(kind, className, ...children) {
  const e = document.createElement(kind);
  e.className = className;
  e.append(...children.filter((c) => c !== undefined && c !== null));
  return e;
}

function button(className, text, label, act) {
  const e = element("button", className, text);
  e.type = "button";
  e.setAttribute("aria-label", label);
  e.addEventListener("click", act);
  return e;
}

const section = (className, title, ...children) => element("section", className, element("h3", "", title), ...children);

// prose is a sentence in which `words` are to be typed.
function prose(text = "") {
  text = text.charAt(0).toUpperCase() + text.slice(1);
  return element("p", "", ...text.split("`").map((part, i) => (i % 2 ? element("code", "", part) : part)));
}

const decisions = [
  ["egress_denied_by", "Denied on the way out by"], ["ingress_denied_by", "Denied on the way in by"],
  ["egress_allowed_by", "Allowed on the way out by"], ["ingress_allowed_by", "Allowed on the way in by"],
];
const noRule = 133; // of all policies of the end, none allows it

// policies are the objects behind a flow, with what they did.
function policies(flow) {
  return decisions.filter(([field]) => flow[field]?.length).map(([field, title]) => section("policies",
    flow.drop_reason === noRule ? title.replace("Denied", "Isolated") : title,
    element("ul", "", ...flow[field].map((p) => element("li", "", element("span", "kind", p.kind ?? "policy"), element("span", "", `${p.namespace ? `${p.namespace}/` : ""}${p.name ?? ""}`))))));
}

// where is the place at which the packet was looked at.
function where(flow) {
  const way = { EGRESS: "on the way out of the source", INGRESS: "on the way in to the destination" }[flow.traffic_direction];
  const device = flow.interface?.name || (flow.interface?.index ? `number ${flow.interface.index}` : "");
  return [flow.node_name ? `Node ${flow.node_name}` : "", device ? `device ${device}` : "", way].filter(Boolean).join(", ");
}

function end(title, e, side, address, number, service, names) {
  const facts = [["Address", address], ["Names", (names ?? []).join(", ")], ["Port", number], ["Service", service?.name ? `${service.namespace}/${service.name}` : ""], ["Workload", (e?.workloads ?? []).map((w) => `${w.kind} ${w.name}`).join(", ")], ["Identity", e?.identity]];
  const list = facts.filter(([, v]) => v).flatMap(([name, v]) => [element("dt", "", name), element("dd", "", String(v))]);
  const labels = (e?.labels ?? []).map((l) => element("li", "", l));
  return section("end", title, element("p", "name", side.space + side.name), element("dl", "", ...list), labels.length ? element("ul", "labels", ...labels) : null);
}

function typed(flow) {
  const text = command(flow);
  const code = element("code", "command", text);
  const copy = button("copy", "Copy", "Copy the command", async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // to be copied by hand
    }
  });
  return section("ask", `To know more, on ${flow.node_name ? `node ${flow.node_name}` : "the node that told this"}`, element("div", "typed", code, copy));
}

// route is who spoke to whom, in short.
function route(flow, p) {
  const [from, to] = sides(flow);
  const name = (s) => element("span", "name", element("span", "space", s.space), s.name, s.address ? element("span", "space", ` ${s.address}`) : null);
  return element("p", "route", name(from), element("span", "arrow", isDropped(flow) ? "✕" : "→"), name(to), element("span", "port", [p.destination, p.protocol].filter(Boolean).join("/")));
}

// show fills the panel. explained is what is known of the reason; judged is the policy's
// verdict on the same connection, if the flow has none itself.
export function show(panel, flow, explained, judged, close) {
  const p = port(flow), dropped = isDropped(flow), kind = dropped ? "bad" : "good";
  const title = dropped ? explained?.name ?? plain(flow.drop_reason_desc) : plain(flow.verdict);
  const told = isAnswer(flow) ? "Answer of DNS" : isVerdict(flow) ? "Allowed by policy" : plain(flow.trace_observation_point);
  const parts = [
    element("div", "head", element("span", `badge ${kind}`, dropped ? "Dropped" : "Forwarded"), element("time", "", time(flow.time)), button("close", "×", "Close", close)),
    element("h2", kind, dropped ? title || "Dropped" : told || title), isVerdict(flow) ? element("p", "dim verdict-of", "The policy's verdict on the connection; what became of the packet is a flow of its own.") : null, route(flow, p),
  ];
  if (explained) {
    parts.push(section("means", "What it means", prose(explained.means)), section("do", "What to do", prose(explained.do)));
  }
  const own = policies(flow);
  parts.push(...(own.length || !judged ? own : policies(judged)));
  parts.push(section("where", "Where", element("p", "", where(flow) || "Not told"), flow.Summary ? element("p", "dim", flow.Summary) : null));
  if (dropped) {
    parts.push(typed(flow));
  }
  const [from, to] = sides(flow);
  parts.push(end("Source", flow.source, from, flow.IP?.source, p.source, flow.source_service, flow.source_names), end("Destination", flow.destination, to, flow.IP?.destination, p.destination, flow.destination_service, flow.destination_names));
  panel.replaceChildren(...parts.filter(Boolean));
  panel.scrollTop = 0;
  panel.hidden = false;
}
