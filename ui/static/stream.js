// What the relay tells, line by line, for as long as the page wants it.

const again = 2000; // milliseconds until the relay is asked once more

// follow asks for flows and hands each reply to told. said(text, isProblem) is told how that
// goes. It returns a function that ends it.
export function follow(query, told, said) {
  const ender = new AbortController();
  (async () => {
    for (let first = true; !ender.signal.aborted; first = false) {
      try {
        said("connecting", false);
        // What was told before is not asked for again.
        await once({ ...query, ...(first ? {} : { last: "0" }) }, told, said, ender.signal);
        said("the relay has ended the stream; asking again", true);
      } catch (problem) {
        if (ender.signal.aborted) {
          return;
        }
        said(problem.message, true);
        if (problem.final) {
          return;
        }
      }
      await new Promise((done) => setTimeout(done, again));
    }
  })();
  return () => ender.abort();
}

async function once(query, told, said, signal) {
  const reply = await fetch(`api/flows?${new URLSearchParams({ follow: "1", ...query })}`, { signal });
  if (!reply.ok) {
    const problem = new Error((await reply.text()).trim());
    problem.final = reply.status === 400;
    throw problem;
  }
  said("live", false);
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
