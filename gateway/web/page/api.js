// Talks to the gateway: JSON, and the live stream with its cursor.

const token = new URLSearchParams(location.search).get("token");

function withToken(path) {
  if (!token) return path;
  return `${path}${path.includes("?") ? "&" : "?"}token=${encodeURIComponent(token)}`;
}

export async function fetchJson(path) {
  const answer = await fetch(withToken(path), { cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${answer.statusText}`);
  return answer.json();
}

// Calls `told(type, event)` for every event after the cursor, positions included, and `line(true | false)` as the
// connection comes and goes. The browser reconnects by itself and says where it was; when the gateway refuses that (its
// memory does not go back so far, or it has no place), `refused` is called, and the page starts anew.
export function listen(cursor, types, told, line, refused) {
  const source = new EventSource(withToken(`/v1/stream?positions=true&cursor=${cursor}`));
  source.onopen = () => line(true);
  source.onerror = () => {
    line(false);
    if (source.readyState === EventSource.CLOSED) refused();
  };
  for (const type of types) source.addEventListener(type, (message) => told(type, JSON.parse(message.data)));
  return source;
}
