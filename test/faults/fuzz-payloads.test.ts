/**
 * Messages whose payloads no program should write, through intake into the real store: JSON that is deep, wide,
 * damaged, repeated, or no text; identities and times at pointers of every kind. Each message is stored or refused
 * with a reason; what is stored is there byte by byte; the same message under the same declared id is a duplicate,
 * however often it comes, and nothing else is one.
 */
import { describe, expect, test } from "vitest";
import { parseJson, pointerValue } from "../../src/core/json-pointer.ts";
import { MESSAGE_ID_BYTES_MAX } from "../../src/core/limits.ts";
import type { Draft, Receipt } from "../../src/intake/draft.ts";
import { capability } from "../support/capabilities.ts";
import { Fuzz } from "../support/fuzz.ts";
import { intakeRig } from "../support/intake-rig.ts";

const MESSAGES = capability("long").present ? 50_000 : 450;
const AT_ONCE = 30;

const rig = intakeRig();

/** RFC 6901, section 4, written down a second time. */
function valueAt(json: unknown, pointer: string): unknown {
  let value = json;
  for (const token of pointer.split("/").slice(1)) {
    const key = token.replace(/~[01]/g, (written) => (written === "~1" ? "/" : "~"));
    const holder = value as Record<string, unknown> | null;
    const has = typeof holder === "object" && holder !== null && Object.keys(holder).includes(key);
    value = has ? holder[key] : undefined;
  }
  return value;
}

const POINTERS = [
  "/id",
  "/a/id",
  "/0",
  "/~0",
  "/~1",
  "/~01",
  "/",
  "//",
  "/__proto__/id",
  "/constructor/name",
  "/length",
  "/toString",
  "/-",
  "/00",
  "/n",
];

function payload(fuzz: Fuzz): Buffer {
  switch (fuzz.random.below(6)) {
    case 0:
      return fuzz.bytes(300);
    case 1:
      return fuzz.damagedBytes(Buffer.from(fuzz.jsonText()));
    case 2:
    case 3: {
      const key = fuzz.pick(["id", "~", "/", "", "__proto__", "constructor", "0", "n", "length"]);
      const inner = fuzz.oneIn(3) ? `{"id":${fuzz.jsonText()}}` : fuzz.jsonText();
      return Buffer.from(`{${JSON.stringify(key)}:${inner},"at":${JSON.stringify(fuzz.json())}}`);
    }
    default:
      return Buffer.from(fuzz.jsonText());
  }
}

describe("a JSON pointer", () => {
  test("finds what RFC 6901 says, whatever it points into", () => {
    for (let seed = 1; seed <= MESSAGES; seed++) {
      const fuzz = new Fuzz(seed);
      const json = parseJson(payload(fuzz));
      const pointer = fuzz.oneIn(2) ? fuzz.pick(POINTERS) : `/${fuzz.text()}`;
      expect(pointerValue(json, pointer), `seed ${seed}`).toBe(valueAt(json, pointer));
    }
  });

  test("does not find what JavaScript adds of its own", () => {
    for (const json of [{}, [], "text", 7, null, true, parseJson(Buffer.from('{"__proto__":{}}'))]) {
      for (const pointer of [
        "/constructor",
        "/toString",
        "/length",
        "/hasOwnProperty",
        "/__proto__/toString",
      ]) {
        expect(pointerValue(json, pointer)).toBeUndefined();
      }
    }
    expect(pointerValue(parseJson(Buffer.from('{"__proto__":{"id":"x"}}')), "/__proto__/id")).toBe("x");
    expect(({} as Record<string, unknown>).id).toBeUndefined();
  });
});

interface Setting {
  readonly pointer: string;
  readonly scope: "device" | "global";
  readonly unit: "iso" | "s" | "ms";
}

type Accept = (draft: Partial<Draft>) => Promise<Receipt>;

/** Sends each message twice, as two publishes; what is wrong with what came of them, or null. */
async function findingOf(
  fuzz: Fuzz,
  accept: Accept,
  setting: Setting,
  stored: (seq: number) => Buffer | undefined,
) {
  const draft = {
    device: fuzz.oneIn(3) ? `d:${fuzz.random.below(3)}` : `d${fuzz.random.below(3)}`,
    payload: payload(fuzz),
    qos: 0,
  } as const;
  const declared = declaredId(draft.payload, setting.pointer);
  const [first, second] = [await accept(draft), await accept(draft)];
  if (first.kind === "refused") {
    if (second.kind !== "refused") return `refused first, then ${second.kind}`;
    return declared === null ? `refused without an id to refuse it for: ${first.reason}` : null;
  }
  if (first.kind === "dropped" || second.kind === "dropped") return "dropped";
  if (second.kind === "refused") return `${first.kind}, then refused`;
  const bytes = first.kind === "stored" ? stored(first.seq) : draft.payload;
  if (!bytes?.equals(draft.payload)) return "it is not stored as it came";
  if (declared === null)
    return first.kind === "stored" && second.kind === "stored" ? null : "taken for a duplicate without an id";
  const id = setting.scope === "global" ? declared : `${draft.device.replaceAll(":", "%3A")}:${declared}`;
  if (first.id !== id || second.id !== id)
    return `its id is ${JSON.stringify(first.id)}, not ${JSON.stringify(id)}`;
  return second.kind === "duplicate" && second.seq === first.seq
    ? null
    : `the same id again was ${second.kind}`;
}

/** What docs say of an id: text that is not empty, or a number that JSON carries without loss. */
function declaredId(bytes: Buffer, pointer: string): string | null {
  const value = valueAt(parseJson(bytes) ?? null, pointer);
  if (typeof value === "string") return value === "" ? null : value;
  if (typeof value !== "number" || !Number.isFinite(value)) return null;
  return Number.isInteger(value) && !Number.isSafeInteger(value) ? null : String(value);
}

async function fuzzMessages(
  seed: number,
  count: number,
  made: (accept: Accept) => Accept = (accept) => accept,
) {
  const findings: string[] = [];
  for (const [at, pointer] of POINTERS.entries()) {
    const setting: Setting = {
      pointer,
      scope: at % 2 === 0 ? "global" : "device",
      unit: (["iso", "s", "ms"] as const)[at % 3]!,
    };
    const intake = await rig.makeIntake({
      identities: [
        {
          topics: "#",
          id: { pointer },
          scope: setting.scope,
          producedAt: { pointer: "/at", unit: setting.unit },
        },
      ],
      flows: { all: { from: "#", lateAfter: "1s" } },
    });
    const stored = (seq: number) =>
      intake.store.value<Buffer | undefined>("SELECT payload FROM messages WHERE seq = ?", seq);
    const accept = made(intake.accept);
    let next = 0;
    const sender = async () => {
      while (next < count / POINTERS.length && findings.length < 5) {
        const own = seed + at * 100_000 + next++;
        const finding = await findingOf(new Fuzz(own), accept, setting, stored);
        if (finding !== null) findings.push(`seed ${own}, ${pointer}: ${finding}`);
      }
    };
    // Together they share commits.
    await Promise.all(Array.from({ length: AT_ONCE }, sender));
  }
  return findings;
}

describe("a message, whatever its payload holds", () => {
  test("is stored as it came or refused with a reason, under an id that stays", {
    timeout: 600_000,
  }, async () => {
    expect(await fuzzMessages(1, MESSAGES)).toEqual([]);
  });

  test.each([
    ["deeper than any stack", Buffer.from(`{"id":${"[".repeat(200_000)}${"]".repeat(200_000)}}`), "stored"],
    [
      "with an id as long as allowed",
      Buffer.from(JSON.stringify({ id: "x".repeat(MESSAGE_ID_BYTES_MAX) })),
      "stored",
    ],
    [
      "with an id one byte longer",
      Buffer.from(JSON.stringify({ id: "x".repeat(MESSAGE_ID_BYTES_MAX + 1) })),
      "refused",
    ],
    ["with an id that ends a line", Buffer.from('{"id":"a\\nb"}'), "refused"],
    ["with half a character for an id", Buffer.from('{"id":"\\ud800"}'), "refused"],
    ["with a number that lost its last digits", Buffer.from('{"id":9007199254740993}'), "stored"],
    [
      "that is not UTF-8",
      Buffer.from([0x7b, 0x22, 0x69, 0x64, 0x22, 0x3a, 0x22, 0xff, 0x22, 0x7d]),
      "stored",
    ],
    ["of nothing", Buffer.alloc(0), "stored"],
  ])("%s", async (_, bytes, kind) => {
    const { accept } = await rig.makeIntake({
      identities: [{ topics: "#", id: { pointer: "/id" }, scope: "global" }],
    });
    expect((await accept({ payload: bytes })).kind).toBe(kind);
  });

  test("keeps apart what JSON tells apart: repeated keys count as the last of them", async () => {
    const { accept } = await rig.makeIntake({
      identities: [{ topics: "#", id: { pointer: "/id" }, scope: "global" }],
    });
    const last = await accept({ payload: Buffer.from('{"id":"fz-one","id":"fz-two"}') });
    expect(last).toMatchObject({ kind: "stored", id: "fz-two" });
    expect(await accept({ payload: Buffer.from('{"id":"fz-two"}') })).toMatchObject({ kind: "duplicate" });
    expect(await accept({ payload: Buffer.from('{"id":"fz-one"}') })).toMatchObject({ kind: "stored" });
  });
});

describe("the fuzzer of payloads", () => {
  test.each<[string, (receipt: Receipt, n: number) => Receipt, RegExp]>([
    [
      "gives a repeated message a new id",
      (r, n) => (r.kind === "duplicate" ? { ...r, id: `${r.id}-${n}` } : r),
      /its id is/,
    ],
    [
      "takes different messages for one",
      (r) => (r.kind === "stored" ? { kind: "duplicate", id: r.id, seq: r.seq } : r),
      /duplicate without an id/,
    ],
    [
      "refuses what it should take",
      () => ({ kind: "refused", code: "HF_MESSAGE_INVALID", reason: "no" }),
      /refused without an id/,
    ],
  ])("finds an intake that %s", async (_, falsify, finding) => {
    let n = 0;
    const findings = await fuzzMessages(
      1,
      200,
      (accept) => async (draft) => falsify(await accept(draft), n++),
    );
    expect(findings.join("\n")).toMatch(finding);
  });
});
