// What the relay tells, line by line, for as long as the page wants it.

const again = 2000; // milliseconds until the relay is asked once more

// follow asks for flows and hands each reply to told. said(state, text) is told how that
// goes: "connecting", "live", "lost" (it is asked again) or "refused" (it is not). It
// returns a function that ends it.
export function follow(query, told, said) {
  const ender = new AbortController();
  (async () => {
    said("connecting", "");
    for (let had = false; !ender.signal.aborted;) {
      try {
        // What was told before is not asked for again.
        await once({ ...query, ...(had ? { last: "0" } : {}) }, told, ender.signal, () => {
          had = true;
          said("live", "");
        });
        said("lost", "The relay has ended the stream");
      } catch (problem) {
        if (ender.signal.aborted) {
          return;
        }
        said(problem.final ? "refused" : "lost", problem instanceof TypeError ? "The relay cannot be reached" : problem.message);
        if (problem.final) {
          return;
        }
      }
      await new Promise((done) => setTimeout(done, again));
    }
  })();
  return () => ender.abort();
}

async function once(query, told, signal, began) {
  const reply = await fetch(`api/flows?${new URLSearchParams({ follow: "1", ...query })}`, { signal });
  if (!reply.ok) {
    const problem = new Error((await reply.text()).trim() || `The relay answers with status ${reply.status}`);
    problem.final = reply.status === 400;
    throw problem;
  }
  began();
  const from = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { done, value } = await from.read();
    if (done || signal.aborted) {
      return;
    }
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const message = JSON.parse(line);
      if (message.error) {
        throw new Error(message.error);
      }
      told(message);
    }
  }
}

// ask gets one reply, or null.
export async function ask(path) {
  try {
    const reply = await fetch(path);
    return reply.ok ? await reply.json() : null;
  } catch {
    return null;
  }
}
