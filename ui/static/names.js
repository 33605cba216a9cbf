// Names of what a flow says. Nothing here touches the document.

const outside = "outside of the cluster's pods";

// special is what a reserved identity stands for: "world", "host"; or undefined.
function special(end) {
  const label = (end?.labels ?? []).find((l) => l.startsWith("reserved:"));
  return label?.slice("reserved:".length);
}

// place is where an end stands on the map: {id, group, name, find}; find is the text that
// filters by it.
export function place(end, service, address) {
  const space = end?.namespace;
  if (space) {
    const name = end.workloads?.[0]?.name ?? end.pod_name ?? "?";
    return { id: `${space}/${name}`, group: space, name, find: `${space}/${name}` };
  }
  if (service?.name) {
    return { id: `service ${service.namespace}/${service.name}`, group: service.namespace, name: `service ${service.name}`, find: `${service.namespace}/${service.name}` };
  }
  const reserved = special(end);
  if (reserved) {
    const name = reserved.startsWith("world") ? "world" : reserved;
    return { id: `reserved ${name}`, group: outside, name, find: `reserved:${name}` };
  }
  return { id: `address ${address}`, group: outside, name: address || "?", find: address ?? "" };
}

// ends are both places of a flow.
export function ends(flow) {
  return [place(flow.source, flow.source_service, flow.IP?.source), place(flow.destination, flow.destination_service, flow.IP?.destination)];
}

// who is an end for people.
export function who(end, service, address) {
  if (end?.pod_name) {
    return `${end.namespace}/${end.pod_name}`;
  }
  if (service?.name) {
    return `${service.namespace}/${service.name}`;
  }
  const reserved = special(end);
  return reserved ? `${reserved} ${address ?? ""}` : address ?? "?";
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
