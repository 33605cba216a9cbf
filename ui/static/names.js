// Names of what a flow says. Nothing here touches the document.

const outside = { asks: "From outside", asked: "To outside" }; // of the cluster's pods

// special is what a reserved identity stands for: "world", "host"; or undefined, as where
// nobody knows whose an address is.
function special(end) {
  const label = (end?.labels ?? []).find((l) => l.startsWith("reserved:") && l !== "reserved:unknown");
  return label?.slice("reserved:".length);
}

// isWorld: "world", and those of one family.
function isWorld(reserved) {
  return reserved?.startsWith("world");
}

// place is where an end stands on the map: {id, group, name, find, kind}; find is the text
// that filters by it. What is no pod stands there twice: where it asks, and where it is
// asked. role is "asks" or "asked".
function place(end, service, address, role) {
  const space = end?.namespace;
  if (space) {
    const name = end.workloads?.[0]?.name ?? end.pod_name ?? "?";
    return { id: `${space}/${name}`, group: space, name, find: `${space}/${name}`, kind: end.workloads?.[0]?.kind ?? "pod" };
  }
  const reserved = special(end); // before the service, which answers to sockets do not name
  if (reserved) {
    const name = isWorld(reserved) ? "world" : reserved;
    return { id: `${name} (${role})`, group: outside[role], name, find: `reserved:${name}`, kind: "outside" };
  }
  if (service?.name) {
    return { id: `service ${service.namespace}/${service.name}`, group: service.namespace, name: service.name, find: `${service.namespace}/${service.name}`, kind: "service" };
  }
  return { id: `${address} (${role})`, group: outside[role], name: address || "?", find: address ?? "", kind: "outside" };
}

// ends are both places of a flow: who has opened the connection, and who was asked.
export function ends(flow) {
  const [from, to] = flow.is_reply === true ? ["asked", "asks"] : ["asks", "asked"];
  const both = [place(flow.source, flow.source_service, flow.IP?.source, from), place(flow.destination, flow.destination_service, flow.IP?.destination, to)];
  return flow.is_reply === true ? both.reverse() : both;
}

// who is an end for people, in three parts: {space, name, address}. names are those by which
// the other end has asked DNS for it; who is known to the cluster needs none.
export function who(end, service, address, names) {
  if (end?.pod_name) {
    return { space: `${end.namespace}/`, name: end.pod_name, address: "" };
  }
  if (service?.name) {
    return { space: `${service.namespace}/`, name: service.name, address: "" };
  }
  const reserved = special(end);
  const known = reserved && !isWorld(reserved) ? reserved : (names?.[0] ?? reserved);
  return known ? { space: "", name: known, address: address ?? "" } : { space: "", name: address ?? "?", address: "" };
}

// sides are both ends of a flow for people.
export function sides(flow) {
  return [who(flow.source, flow.source_service, flow.IP?.source, flow.source_names), who(flow.destination, flow.destination_service, flow.IP?.destination, flow.destination_names)];
}

// port is {protocol, source, destination}; ports may be undefined.
export function port(flow) {
  for (const [protocol, l4] of Object.entries(flow.l4 ?? {})) {
    return { protocol, source: l4.source_port, destination: l4.destination_port };
  }
  return { protocol: "" };
}

export function isDropped(flow) {
  return flow.verdict === "DROPPED";
}

// isVerdict: what a policy said of a connection, beside what became of its packet.
export function isVerdict(flow) {
  return flow.event_type?.type === 5;
}

// isAnswer: what DNS has answered to a pod, beside the packet that carried it.
export function isAnswer(flow) {
  return flow.event_type?.type === 129;
}

// plain is the name of a reason of the API as words, until there is a better one.
export function plain(reason) {
  const text = (reason ?? "").replaceAll("_", " ").toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// time is the clock of where the page is looked at, with milliseconds.
export function time(text) {
  const at = new Date(text);
  const two = (n, digits = 2) => String(n).padStart(digits, "0");
  return Number.isNaN(at.getTime()) ? "" : `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${two(at.getMilliseconds(), 3)}`;
}

// amount is a rate for people: 0.4/s, 12/s, 3.4k/s; nothing: "".
export function amount(perSecond) {
  if (!perSecond) {
    return "";
  }
  return perSecond >= 999.5 ? `${(perSecond / 1000).toFixed(1)}k/s` : `${perSecond < 9.95 ? perSecond.toFixed(1) : Math.round(perSecond)}/s`;
}

// several is a number of things: "1 node", "2 nodes".
export function several(n, thing) {
  return `${n.toLocaleString("en")} ${thing}${n === 1 ? "" : "s"}`;
}

// peer is an end as `weir why` is told of it. Who opens the connection stands first.
function peer(end, address) {
  if (end?.pod_name) {
    return `${end.namespace}/${end.pod_name}`;
  }
  return special(end) === "host" ? "host" : address ?? "world";
}

// command is what to type to have a flow explained, on the node that has told of it.
export function command(flow) {
  const p = port(flow);
  let to = peer(flow.destination, flow.IP?.destination);
  if (p.destination) {
    to = `${to.includes(":") ? `[${to}]` : to}:${p.destination}${p.protocol === "TCP" ? "" : `/${p.protocol}`}`;
  }
  return `weir why ${quoted(peer(flow.source, flow.IP?.source))} ${quoted(to)}`;
}

// quoted keeps a shell from reading anything into a name.
function quoted(word) {
  return /^[\w./:@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
