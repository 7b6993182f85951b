/**
 * An operator's console without its browser, which would take a core of this machine: asks what the page asks, as often,
 * with a search through all payloads always under way, and follows the stream. Argument: the HTTP door's port. Prints
 * `{"asked":N,"failed":N}` for each line on standard input.
 */
const base = `http://127.0.0.1:${process.argv[2]}`;
let asked = 0;
let failed = 0;

/** As the screens do, all of them open at the same time. */
const SCREENS: readonly { readonly path: string; readonly everyMs: number }[] = [
  { path: "/v1/status", everyMs: 1000 },
  { path: "/v1/history?span=hour", everyMs: 10_000 },
  { path: "/v1/history?span=day", everyMs: 10_000 },
  { path: "/v1/messages?limit=50", everyMs: 2000 },
  { path: "/v1/messages?device=bench-1&limit=50", everyMs: 2000 },
  { path: "/v1/messages?text=nothing-has-this&limit=50", everyMs: 0 },
  { path: "/v1/dead?limit=100", everyMs: 2000 },
  { path: "/v1/devices", everyMs: 2000 },
  { path: "/v1/commands?limit=200", everyMs: 2000 },
  { path: "/v1/events", everyMs: 2000 },
  { path: "/v1/acts?limit=100", everyMs: 2000 },
  { path: "/v1/jobs", everyMs: 1000 },
];

async function keepAsking({ path, everyMs }: { readonly path: string; readonly everyMs: number }) {
  for (;;) {
    const response = await fetch(base + path).catch(() => null);
    await response?.arrayBuffer().catch(() => {});
    asked += 1;
    if (!response?.ok) failed += 1;
    await new Promise((resolve) => setTimeout(resolve, Math.max(everyMs, 10)));
  }
}

async function follow() {
  const { body } = await fetch(`${base}/v1/stream`);
  for await (const _ of body!);
}

for (const screen of SCREENS) void keepAsking(screen);
void follow();
process.stdin.on("data", () => process.stdout.write(`${JSON.stringify({ asked, failed })}\n`));
process.stdin.on("end", () => process.exit(0));
