/**
 * Requests that no client should send, against the HTTP door of a real gateway: damaged request lines, headers,
 * paths, queries and bodies, pipelined, in pieces, cut off, and under names that are not ours. Whatever comes, it
 * gets an answer that says what is wrong (problem+json), or the connection is closed; it never gets a stack trace,
 * never hangs, and never harms the gateway or the next request.
 */
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { capability } from "../support/capabilities.ts";
import { Fuzz } from "../support/fuzz.ts";
import { Journey, shared } from "../support/journey.ts";

const REQUESTS = capability("long").present ? 10_000 : 400;
/** How long a damaged request may stay without an answer: it may be one that is not complete. */
const QUIET_MS = 400;
const AT_ONCE = 16;

interface Door {
  readonly host: string;
  readonly port: number;
}

/** What the door says to these bytes, and whether it closes by itself afterwards. */
function say(door: Door, pieces: readonly Buffer[]): Promise<{ answer: string; closed: boolean }> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const socket = connect(door);
    const end = (closed: boolean) => {
      clearTimeout(quiet);
      socket.destroy();
      resolve({ answer: Buffer.concat(chunks).toString("latin1"), closed });
    };
    let quiet = setTimeout(() => end(false), QUIET_MS * 4);
    const hush = () => {
      clearTimeout(quiet);
      quiet = setTimeout(() => end(false), QUIET_MS);
    };
    socket.on("error", () => {});
    socket.on("close", () => end(true));
    socket.on("data", (chunk) => {
      chunks.push(chunk);
      hush();
    });
    socket.on("connect", () => {
      const next = (at: number) => {
        const piece = pieces[at];
        if (piece === undefined || socket.destroyed) return;
        socket.write(piece, () => setImmediate(next, at + 1));
      };
      next(0);
    });
  });
}

const PATHS = [
  "/livez",
  "/readyz",
  "/metrics",
  "/v1/status",
  "/v1/messages/a",
  "/v1/dead",
  "/v1/dead/retry",
  "/",
];
const METHODS = [
  "GET",
  "POST",
  "PUT",
  "DELETE",
  "HEAD",
  "OPTIONS",
  "PATCH",
  "TRACE",
  "CONNECT",
  "PRI",
  "get",
  "GÉT",
];

function request(fuzz: Fuzz, door: Door): Buffer {
  let path = fuzz.pick(PATHS);
  if (fuzz.oneIn(2)) path = fuzz.damaged(path);
  if (fuzz.oneIn(3))
    path += `?${fuzz.pick(["limit", "flow", "after", "x", "limit[]", "__proto__"])}=${fuzz.text()}`;
  if (fuzz.oneIn(12)) path += "a".repeat(fuzz.pick([2_000, 20_000]));
  if (fuzz.oneIn(2)) path = encodeURI(path.toWellFormed());
  const method = fuzz.oneIn(4) ? fuzz.pick(METHODS) : fuzz.pick(["GET", "POST"]);
  const body = Buffer.from(
    fuzz.oneIn(30) ? "x".repeat(600_000) : fuzz.oneIn(4) ? fuzz.bytes(200) : fuzz.jsonText(),
  );
  const length = fuzz.oneIn(8)
    ? fuzz.pick(["-1", "1e3", "99999999999", "", "7, 7", "0x10"])
    : String(body.length);
  const headers = [
    `Host: ${fuzz.oneIn(8) ? fuzz.text() : `${door.host}:${door.port}`}`,
    `Content-Type: ${fuzz.oneIn(4) ? fuzz.text() : fuzz.pick(["application/json", "text/plain", "application/json; charset=utf-16"])}`,
    ...(fuzz.oneIn(6) ? [`Transfer-Encoding: ${fuzz.pick(["chunked", "gzip", "chunked, chunked"])}`] : []),
    `Content-Length: ${length}`,
    ...(fuzz.oneIn(4) ? [`${fuzz.text().replaceAll(":", "")}: ${fuzz.text()}`] : []),
    ...(fuzz.oneIn(20) ? [`X-Long: ${"y".repeat(20_000)}`] : []),
    ...(fuzz.oneIn(8) ? [`Origin: ${fuzz.text()}`] : []),
    ...(fuzz.oneIn(8) ? ["Expect: 100-continue"] : []),
    ...(fuzz.oneIn(2) ? ["Connection: close"] : []),
  ];
  const head = `${method} ${path} HTTP/${fuzz.oneIn(10) ? fuzz.pick(["1.0", "2.0", "0.9", "x"]) : "1.1"}\r\n${headers.join("\r\n")}\r\n\r\n`;
  const whole = Buffer.concat([Buffer.from(fuzz.oneIn(10) ? fuzz.damaged(head) : head), body]);
  return fuzz.oneIn(12) ? fuzz.damagedBytes(whole) : whole;
}

/** What stands first in an answer of several: status, headers, and all that follows. */
function problemsOf({ answer }: { answer: string }): string[] {
  const problems: string[] = [];
  if (/\bat (async )?[\w.<>]+ \(|node:internal|node_modules|\.ts:\d+/.test(answer))
    problems.push("it shows a stack trace");
  for (const part of answer.split(/(?=HTTP\/1\.1 \d{3} )/)) {
    if (/^HTTP\/1\.1 100 Continue\r\n\r\n$/.test(part)) continue;
    const match = /^HTTP\/1\.1 (\d{3}) [^\r\n]*\r\n([\s\S]*?)\r\n\r\n([\s\S]*)$/.exec(part);
    if (!match) {
      if (part !== "") problems.push(`it is no HTTP: ${JSON.stringify(part.slice(0, 80))}`);
      continue;
    }
    const [, status = "", headers = "", body = ""] = match;
    if (Number(status) >= 500 && status !== "503") problems.push(`status ${status}: ${body.slice(0, 200)}`);
    // Node itself closes without a word where there is no Host.
    if (Number(status) < 400 || body === "" || body === "0\r\n\r\n") continue;
    if (!/^content-type: application\/problem\+json/im.test(headers) && status !== "503") {
      problems.push(`status ${status} without problem+json: ${body.slice(0, 120)}`);
    }
    try {
      JSON.parse(Buffer.from(body, "latin1").toString("utf8"));
    } catch {
      problems.push(`status ${status} with a body that is no JSON: ${body.slice(0, 120)}`);
    }
  }
  return problems;
}

/** Sends so many; each finding says the seed of its request. */
async function fuzzDoor(door: Door, seed: number, count: number): Promise<string[]> {
  const findings: string[] = [];
  let next = 0;
  const worker = async () => {
    while (next < count && findings.length < 5) {
      const own = seed + next++;
      const fuzz = new Fuzz(own);
      let bytes = request(fuzz, door);
      if (fuzz.oneIn(6)) bytes = Buffer.concat([bytes, request(fuzz, door)]);
      const cut = fuzz.random.below(bytes.length);
      const pieces = fuzz.oneIn(4) ? [bytes.subarray(0, cut), bytes.subarray(cut)] : [bytes];
      const said = await say(door, pieces);
      for (const problem of problemsOf(said)) findings.push(`seed ${own}: ${problem}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return findings;
}

describe("a gateway whose HTTP door gets what no client should send", () => {
  const gateway = shared(() =>
    Journey.start({ config: { targets: { backend: { type: "file" } }, log: { level: "fatal" } } }),
  );
  const door = (): Door => gateway().process.address("http")!;

  test("answers or closes, says what is wrong, and goes on as if nothing had been", async () => {
    const pid = gateway().process.pid;
    const seed = 1;
    expect(await fuzzDoor(door(), seed, REQUESTS)).toEqual([]);
    expect(gateway().process.pid).toBe(pid);
    const { code } = await gateway().ready();
    expect(code).toBe(200);
    const status = await gateway().status();
    expect(status.health.state).toBe("running");
    expect(Object.hasOwn(Object.prototype, "limit")).toBe(false);
  });

  test.each([
    ["a path that cannot be decoded", "GET /v1/messages/%E0%A4%A HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400],
    ["a request line that is none", "HELLO\r\n\r\n", 400],
    [
      "a header that is too long",
      `GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ${"y".repeat(40_000)}\r\n\r\n`,
      431,
    ],
    [
      "two lengths",
      "POST /v1/dead/retry HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
      400,
    ],
    [
      "a length and chunks",
      "POST /v1/dead/retry HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
    ],
    [
      "a body that is too large",
      `POST /v1/dead/retry HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 600000\r\n\r\n${"x".repeat(600_000)}`,
      413,
    ],
    [
      "a body that is no JSON",
      "POST /v1/dead/retry HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{",
      400,
    ],
    [
      "JSON that reaches for the prototype",
      'POST /v1/dead/retry HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n{"__proto__":{"a":1}}',
      400,
    ],
    [
      "JSON with a length that nothing can be compared with",
      'POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 47\r\n\r\n{"topic":{"length":{"valueOf":1,"toString":1}}}',
      400,
    ],
    ["a method that nothing takes", "TRACE /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404],
    [
      "a parameter that is too long",
      `GET /v1/messages/${"a".repeat(5_000)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`,
      414,
    ],
  ])("says problem+json to %s", async (_, bytes, status) => {
    const said = await say(door(), [Buffer.from(bytes)]);
    expect(said.answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(problemsOf(said)).toEqual([]);
    expect(said.answer).toMatch(/content-type: application\/problem\+json/i);
  });
});

describe.skipIf(!capability("long").present)("a sender that dawdles", () => {
  test("is sent away after ten seconds, however steadily it goes on", { timeout: 60_000 }, async () => {
    const { process: gateway } = await Journey.start({ config: { targets: { backend: { type: "file" } } } });
    const socket = connect(gateway.address("http")! as Door);
    socket.on("error", () => {});
    let answer = "";
    socket.on("data", (chunk) => {
      answer += chunk;
    });
    const fromMs = performance.now();
    socket.write(
      "POST /v1/dead/retry HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
    );
    const drip = setInterval(() => socket.write("x"), 500);
    await new Promise((resolve) => socket.once("close", resolve));
    clearInterval(drip);
    expect(performance.now() - fromMs).toBeLessThan(25_000);
    expect(answer).toMatch(/^HTTP\/1\.1 408 [\s\S]*application\/problem\+json/);
  });
});

describe("the fuzzer of the HTTP door", () => {
  async function doorThat(answer: (server: Server) => void): Promise<Door> {
    const server = createServer();
    answer(server);
    server.on("clientError", (_error, socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    return { host: "127.0.0.1", port: (server.address() as AddressInfo).port };
  }

  test.each([
    ["shows a stack trace", (error: Error) => error.stack!, "it shows a stack trace"],
    ["says 500", () => "{}", "status 500"],
  ])("finds a door that %s for a body it does not understand", async (_, body, finding) => {
    const door = await doorThat((server) => {
      server.on("request", async (incoming, response) => {
        let text = "";
        for await (const chunk of incoming) text += chunk;
        try {
          JSON.parse(text);
          response.end("{}");
        } catch (error) {
          response.writeHead(500, { "content-type": "application/problem+json" });
          response.end(body(error as Error));
        }
      });
    });
    expect((await fuzzDoor(door, 1, 120)).join("\n")).toContain(finding);
  });
});
