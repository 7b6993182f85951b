/**
 * What others say to Holdfast, in every wrong way: a backend's results and Retry-After, a capture's lines, a
 * gateway's answers to the command line, and the file that says where a gateway is. Each is read by its rules or
 * refused with a code; nothing throws what nobody catches, and every delivery has exactly one outcome.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Captured, formatCaptured, parseCaptured } from "../../simulators/capture.ts";
import { GATEWAY_FILE, GatewayClient, openAnswers } from "../../src/cli/api-client.ts";
import { GatewayHttp } from "../../src/cli/gateway-http.ts";
import { systemClock } from "../../src/core/clock.ts";
import { isHoldfastError } from "../../src/core/errors.ts";
import { REASON_CHARS_MAX } from "../../src/core/limits.ts";
import type { Outcome } from "../../src/core/outcome.ts";
import { topicNameProblem } from "../../src/core/topic.ts";
import { RETRY_AFTER_MS_MAX, retryAfterMs } from "../../src/targets/http-outcome.ts";
import { itemOutcomes, sayingOf } from "../../src/targets/http-results.ts";
import type { TargetDelivery } from "../../src/targets/target.ts";
import { capability } from "../support/capabilities.ts";
import { Fuzz } from "../support/fuzz.ts";

const ROUNDS = capability("long").present ? 100_000 : 2_000;

const deliveries = ["a", "b", "__proto__"].map((id) => ({ message: { id } })) as unknown as TargetDelivery[];

type Read = typeof itemOutcomes;
type Answer = Parameters<Read>[0];

function answer(fuzz: Fuzz): Answer {
  const result = () => ({
    id: fuzz.oneIn(12) ? fuzz.json() : fuzz.pick(["a", "b", "c", "__proto__"]),
    status: fuzz.oneIn(12)
      ? fuzz.json()
      : fuzz.pick([200, 201, 422, 503, 599, 429, "delivered", "retry", "rejected", "duplicate"]),
    ...(fuzz.oneIn(3) ? { retryAfter: fuzz.oneIn(8) ? fuzz.json() : Math.abs(fuzz.number()) } : {}),
    ...(fuzz.oneIn(3) ? { reason: fuzz.oneIn(2) ? fuzz.text().repeat(50) : fuzz.json() } : {}),
  });
  const results = Array.from({ length: fuzz.random.below(5) }, () =>
    fuzz.oneIn(8) ? fuzz.json() : result(),
  );
  const text = fuzz.oneIn(4) ? fuzz.jsonText() : JSON.stringify(fuzz.oneIn(8) ? results : { results });
  const body = Buffer.from(fuzz.oneIn(4) ? fuzz.damaged(text) : text);
  return {
    kind: "answer",
    status: fuzz.pick([200, 201, 202, 204, 207, 301, 400, 404, 409, 422, 429, 500, 503]),
    headers: { "content-type": fuzz.oneIn(5) ? fuzz.text() : "application/json" },
    body: fuzz.oneIn(8) ? fuzz.damagedBytes(body) : body,
    whole: !fuzz.oneIn(8),
  } as Answer;
}

/** What is wrong with how an answer was read, or null. */
function answerFinding(fuzz: Fuzz, read: Read): string | null {
  const given = answer(fuzz);
  const facts = {
    urlFromMessage: fuzz.oneIn(2),
    amidSuccesses: fuzz.oneIn(2),
    conflict: fuzz.pick(["retry", "delivered", "reject"] as const),
  };
  let outcomes: Outcome[] | null;
  try {
    outcomes = read(given, deliveries, facts);
  } catch (error) {
    return `it threw ${error}`;
  }
  const said = sayingOf(given);
  if (said !== undefined && (said.length > 200 || /[\r\n]/.test(said)))
    return `a reason of ${said.length} characters`;
  if (outcomes === null) return null;
  if (outcomes.length !== deliveries.length)
    return `${outcomes.length} outcomes for ${deliveries.length} deliveries`;
  for (const [at, outcome] of outcomes.entries()) {
    const finding = outcomeFinding(outcome, given, deliveries[at]!.message.id);
    if (finding !== null) return finding;
  }
  return null;
}

function outcomeFinding(outcome: Outcome, given: Answer, id: string): string | null {
  const waitMs = "retryAfterMs" in outcome ? outcome.retryAfterMs : undefined;
  if (waitMs !== undefined && !(waitMs >= 0 && waitMs <= RETRY_AFTER_MS_MAX)) return `a wait of ${waitMs} ms`;
  if ("reason" in outcome && (outcome.reason ?? "").length > REASON_CHARS_MAX)
    return "a reason without an end";
  // Believed to be there only where the backend said so of this very id.
  if (outcome.kind === "delivered" && !given.body.includes(JSON.stringify(id)))
    return `${id} is called delivered, and the answer does not name it`;
  return null;
}

function fuzzAnswers(read: Read, seed: number, count: number): string[] {
  const findings: string[] = [];
  for (let n = seed; n < seed + count && findings.length < 5; n++) {
    const finding = answerFinding(new Fuzz(n), read);
    if (finding !== null) findings.push(`seed ${n}: ${finding}`);
  }
  return findings;
}

describe("a backend's answer to a batch, whatever it says", () => {
  test("gives each message one outcome by its own result, a bounded reason and a bounded wait", () => {
    expect(fuzzAnswers(itemOutcomes, 1, ROUNDS)).toEqual([]);
  });

  test("makes a wait of Retry-After that is never negative, endless or no number", () => {
    for (let seed = 1; seed <= ROUNDS; seed++) {
      const fuzz = new Fuzz(seed);
      const header = fuzz.pick([
        fuzz.text(),
        String(fuzz.number()),
        "9".repeat(fuzz.random.below(400)),
        fuzz.damaged("Wed, 21 Oct 2026 07:28:00 GMT"),
        fuzz.damaged("Wednesday, 21-Oct-26 07:28:00 GMT"),
      ]);
      const date = fuzz.pick([undefined, "Wed, 21 Oct 2026 07:28:00 GMT", fuzz.text()]);
      const waitMs = retryAfterMs(header, { date, wallMs: fuzz.pick([0, 1.79e12]) });
      if (waitMs !== undefined) {
        expect(waitMs, `seed ${seed}: ${header}`).toBeGreaterThanOrEqual(0);
        expect(waitMs, `seed ${seed}: ${header}`).toBeLessThanOrEqual(RETRY_AFTER_MS_MAX);
      }
    }
  });

  test("that says no to one and something unreadable of another is no yes to both", () => {
    const results = [
      { id: "a", status: 422, reason: "no such part" },
      { id: "b", status: "fine" },
      { id: "__proto__", status: 200 },
    ];
    const given = { status: 200, headers: { "content-type": "application/json" }, whole: true };
    const body = (value: unknown) => Buffer.from(JSON.stringify(value));
    const facts = { urlFromMessage: false, amidSuccesses: true, conflict: "retry" } as const;
    const read = (value: unknown) =>
      itemOutcomes({ kind: "answer", ...given, body: body(value) }, deliveries, facts)?.map(
        ({ kind }) => kind,
      );
    expect(read({ results })).toEqual(["reject", "unknown", "delivered"]);
    // Results of another kind are the backend's own business.
    expect(read({ results: [1, "b", { id: 7 }] })).toBeUndefined();
  });

  test.each<[string, Read, RegExp]>([
    [
      "believes the order of results rather than their ids",
      (given, all, facts) =>
        itemOutcomes(given, all, facts)?.map(() => ({ kind: "delivered", detail: "" }) as Outcome) ?? null,
      /does not name it/,
    ],
    [
      "answers for some",
      (given, all, facts) => itemOutcomes(given, all, facts)?.slice(1) ?? null,
      /2 outcomes for 3/,
    ],
    [
      "throws for what is no JSON",
      (given, all, facts) => {
        JSON.parse(given.body.toString());
        return itemOutcomes(given, all, facts);
      },
      /it threw SyntaxError/,
    ],
  ])("is found out where the reader %s", (_, read, finding) => {
    expect(fuzzAnswers(read, 1, ROUNDS).join("\n")).toMatch(finding);
  });
});

describe("a line of a capture, whatever it holds", () => {
  /** What is wrong with how a line was read, or null. */
  function lineFinding(text: string, read: (text: string, where: string) => Captured): string | null {
    try {
      const captured = read(text, "c.jsonl:7");
      if (!Number.isFinite(captured.atMs)) return `a time of ${captured.atMs}`;
      if (captured.device === "" || topicNameProblem(captured.topic) !== null)
        return "a topic that cannot be published";
      const again = parseCaptured(formatCaptured(captured), "again");
      return again.payload.equals(captured.payload)
        ? null
        : "its payload does not survive being written again";
    } catch (error) {
      if (!isHoldfastError(error, "HF_CAPTURE")) return `it threw ${error}`;
      return error.message.startsWith("c.jsonl:7: ") ? null : `no place: ${error.message}`;
    }
  }

  function fuzzLines(read: (text: string, where: string) => Captured): string[] {
    const findings: string[] = [];
    for (let seed = 1; seed <= ROUNDS && findings.length < 5; seed++) {
      const fuzz = new Fuzz(seed);
      const line = JSON.stringify({
        at: fuzz.oneIn(2) ? 1_767_225_600_000 : fuzz.oneIn(2) ? "2026-01-01T00:00:00Z" : fuzz.json(),
        device: fuzz.oneIn(3) ? fuzz.json() : "press-01",
        topic: fuzz.oneIn(3) ? fuzz.text() : "plant/press-01",
        ...(fuzz.oneIn(3)
          ? { payloadBase64: fuzz.oneIn(2) ? "AAEC" : fuzz.text() }
          : { payload: fuzz.text() }),
        ...(fuzz.oneIn(3) ? { qos: fuzz.json() } : { qos: 1 }),
      });
      const finding = lineFinding(fuzz.oneIn(3) ? fuzz.damaged(line) : line, read);
      if (finding !== null) findings.push(`seed ${seed}: ${finding}`);
    }
    return findings;
  }

  test("is read or refused with its place, and survives being written again", () => {
    expect(fuzzLines(parseCaptured)).toEqual([]);
  });

  test("is told by its place where it has a length that nothing can be compared with", () => {
    const odd = JSON.stringify({
      at: 1,
      device: { length: { valueOf: 1, toString: 1 } },
      topic: "a",
      payload: "",
    });
    expect(lineFinding(odd, parseCaptured)).toBeNull();
    expect(() => parseCaptured(odd, "c.jsonl:7")).toThrow(/^c\.jsonl:7: device: /);
  });

  test("is found out where the reader does not look", () => {
    expect(
      fuzzLines((text) => ({ ...parseCaptured(text, "c.jsonl:7"), atMs: Number.NaN })).join("\n"),
    ).toMatch(/a time of NaN/);
    const naive = (text: string): Captured => {
      JSON.parse(text);
      return parseCaptured(text, "c.jsonl:7");
    };
    expect(fuzzLines(naive).join("\n")).toMatch(/it threw SyntaxError/);
  });
});

describe("what answers in a gateway's place, whatever it says", () => {
  const BOOT = "boot-1";
  let server: Server;
  let base: string;
  let dir: string;
  let said: { status: number; body: Buffer; boot: string };

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "holdfast-fuzz-answers-"));
    server = createServer((_, response) => {
      response.writeHead(said.status, { "holdfast-boot": said.boot, "content-type": "application/json" });
      response.end(said.body);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    server.close();
    server.closeAllConnections();
    rmSync(dir, { recursive: true, force: true });
  });

  test("is an answer or an error that the command line can tell", async () => {
    const client = new GatewayClient(new GatewayHttp({ http: base, boot: BOOT }, "key", systemClock));
    const asks = [
      () => client.status(),
      () => client.ready(),
      () => client.message("a/b %"),
      () => client.dead({ flow: "x", limit: 1 }),
      () => client.ask("POST", "/v1/dead/retry", { all: true }),
    ];
    for (let seed = 1; seed <= ROUNDS / 10; seed++) {
      const fuzz = new Fuzz(seed);
      const text = fuzz.oneIn(3)
        ? JSON.stringify({
            code: fuzz.pick(["HF_NOT_FOUND", "HF_NEW", "__proto__", 7]),
            detail: fuzz.json(),
            details: fuzz.json(),
          })
        : fuzz.jsonText();
      said = {
        status: fuzz.pick([200, 200, 400, 404, 500, 503]),
        body: Buffer.from(fuzz.oneIn(3) ? fuzz.damaged(text) : text),
        boot: fuzz.oneIn(5) ? "another" : BOOT,
      };
      const outcome = await fuzz
        .pick(asks)()
        .then(
          () => null,
          (error: unknown) => error,
        );
      if (outcome === null) expect(said.boot, `seed ${seed}`).toBe(BOOT);
      else expect(outcome, `seed ${seed}`).toBeInstanceOf(Error);
      if (isHoldfastError(outcome)) {
        expect(outcome.hint, `seed ${seed}: ${outcome.code}`).toBeTypeOf("string");
        expect(outcome.exitCode, `seed ${seed}`).toBeTypeOf("number");
      }
    }
  });

  test("is looked for where gateway.json says, and nowhere where that file says nothing", async () => {
    said = { status: 200, body: Buffer.from("{}"), boot: "another" };
    const good = JSON.stringify({ pid: 2 ** 22 + 1, http: base, boot: BOOT, startedAt: "x" });
    for (let seed = 1; seed <= ROUNDS / 10; seed++) {
      const fuzz = new Fuzz(seed);
      const text = fuzz.oneIn(2) ? fuzz.damaged(good) : fuzz.jsonText();
      writeFileSync(join(dir, GATEWAY_FILE), fuzz.damagedBytes(Buffer.from(text)));
      // There is no store here either, which is what must be said.
      await expect(openAnswers(dir, {}), `seed ${seed}`).rejects.toMatchObject({
        code: "HF_GATEWAY_DOWN",
      });
    }
  });
});
