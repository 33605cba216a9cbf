// One flow, explained. All text is set as text.
import { command, isDropped, isVerdict, plain, port, time, who } from "./names.js";

function element(kind, text, className) {
  const e = document.createElement(kind);
  e.textContent = text ?? "";
  if (className) {
    e.className = className;
  }
  return e;
}

function list(texts) {
  const ul = document.createElement("ul");
  ul.append(...texts.map((t) => element("li", t)));
  return ul;
}

const decisions = [
  ["egress_denied_by", "Denied on the way out by"], ["ingress_denied_by", "Denied on the way in by"],
  ["egress_allowed_by", "Allowed on the way out by"], ["ingress_allowed_by", "Allowed on the way in by"],
];

// policies are the objects behind a flow, with what they did.
function policies(flow) {
  return decisions.filter(([field]) => flow[field]?.length).flatMap(([field, title]) => [
    element("h3", title),
    list(flow[field].map((p) => `${p.kind ?? "policy"} ${p.namespace ? `${p.namespace}/` : ""}${p.name}`)),
  ]);
}

function end(title, e, service, address, number) {
  const out = [element("h3", title), element("p", `${who(e, service, address)}`), element("p", `${address ?? ""}${number ? ` port ${number}` : ""}, identity ${e?.identity ?? "not known"}`)];
  if (service?.name) {
    out.push(element("p", `service ${service.namespace}/${service.name}`));
  }
  return e?.labels?.length ? [...out, list(e.labels)] : out;
}

function copied(text, node) {
  const button = element("button", "Copy");
  button.type = "button";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(button.previousElementSibling); // to be copied by hand
    }
  });
  return [element("h3", `To know more, on node ${node ?? "that has told this"}`), element("code", text), button];
}

// show fills the panel. explained is what is known of the reason; judged is the policy's
// verdict on the same connection, if the flow has none itself.
export function show(panel, flow, explained, judged, close) {
  const p = port(flow);
  const button = element("button", "Close", "close");
  button.type = "button";
  button.addEventListener("click", close);
  const title = isDropped(flow) ? explained?.name ?? plain(flow.drop_reason_desc) : plain(flow.verdict);
  const told = isVerdict(flow) ? "a policy's verdict" : flow.trace_observation_point ? plain(flow.trace_observation_point) : "a drop";
  const parts = [button, element("h2", title || "Dropped", isDropped(flow) ? "dropped" : "")];
  parts.push(element("p", `${time(flow.time)}  ${[p.protocol, flow.Summary].filter(Boolean).join(", ")}  (${told}${flow.traffic_direction ? `, ${flow.traffic_direction.toLowerCase()}` : ""})`));
  if (explained) {
    parts.push(element("h3", "What it means"), element("p", explained.means));
    parts.push(element("h3", "What to do"), element("p", explained.do.replaceAll("`", "")));
  }
  const own = policies(flow);
  parts.push(...(own.length || !judged ? own : policies(judged)));
  if (isDropped(flow)) {
    parts.push(...copied(command(flow), flow.node_name));
  }
  parts.push(...end("Source", flow.source, flow.source_service, flow.IP?.source, p.source), ...end("Destination", flow.destination, flow.destination_service, flow.IP?.destination, p.destination));
  panel.replaceChildren(...parts);
  panel.scrollTop = 0;
  panel.hidden = false;
}
