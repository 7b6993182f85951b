/** The line before the store thread: urgent ones pass, held ones keep their order, nobody is forgotten. */
import { expect, it } from "vitest";
import { COMMIT_BYTES_MAX, COMMIT_REQUESTS_MAX } from "../../src/core/limits.ts";
import { type Pending, WaitingLine } from "../../src/queue/waiting-line.ts";
import { Encoder } from "../../src/queue/wire.ts";

interface Named extends Pending {
  readonly name: string;
  readonly rejected: unknown[];
}

function pending(name: string, held: boolean, rest: Partial<Pending> = {}): Named {
  const rejected: unknown[] = [];
  return {
    name,
    held,
    rejected,
    encode: (out) => out.u8(0),
    decode: () => {},
    reject: (error) => rejected.push(error),
    ...rest,
  };
}

const held = (name: string, rest?: Partial<Pending>) => pending(name, true, rest);
const urgent = (name: string) => pending(name, false);

function lineOf(...waiting: Named[]): WaitingLine {
  const line = new WaitingLine();
  for (const each of waiting) line.push(each);
  return line;
}

const take = (line: WaitingLine) => line.take(new Encoder(), COMMIT_BYTES_MAX);
const names = (batch: readonly Pending[]) => batch.map((each) => (each as Named).name);

it("gives urgent ones first, and each kind in its order", () => {
  const line = lineOf(held("h1"), urgent("u1"), held("h2"), urgent("u2"));
  expect(names(take(line))).toEqual(["u1", "u2", "h1", "h2"]);
  expect(line.ready).toBe(false);
});

it("is stuck once a held one found no room, for held ones alone", () => {
  const line = lineOf(held("h1"), held("h2"));
  const batch = take(line);
  line.push(held("h3"));
  line.putBack(batch.slice(1));
  expect(line.stuck).toBe(true);
  expect(line.ready).toBe(false);
  line.push(urgent("u1"));
  line.push(held("h4"));
  expect(names(take(line))).toEqual(["u1"]);
  line.offerAgain();
  expect(names(take(line))).toEqual(["h2", "h3", "h4"]);
});

it("puts urgent ones back before those that came meanwhile", () => {
  const line = lineOf(urgent("u1"));
  const batch = take(line);
  line.push(urgent("u2"));
  line.putBack(batch);
  expect(line.stuck).toBe(false);
  expect(names(take(line))).toEqual(["u1", "u2"]);
});

it("takes no more than one commit has room for", () => {
  const line = lineOf(...Array.from({ length: COMMIT_REQUESTS_MAX + 5 }, (_, at) => held(`h${at}`)));
  expect(take(line)).toHaveLength(COMMIT_REQUESTS_MAX);
  expect(names(take(line))[0]).toBe(`h${COMMIT_REQUESTS_MAX}`);
});

it("rejects one that was given up, with the reason, when it would be its turn", () => {
  const sender = new AbortController();
  const gone = held("gone", { signal: sender.signal });
  const line = lineOf(held("h1"), gone, held("h2"));
  sender.abort("left");
  expect(names(take(line))).toEqual(["h1", "h2"]);
  expect(gone.rejected).toEqual(["left"]);
});

it("takes what fits in so many bytes, and one that does not fit in them alone", () => {
  const large = (name: string) => held(name, { encode: (out) => out.bytes(Buffer.alloc(1000)) });
  const line = lineOf(large("h1"), large("h2"), large("h3"));
  expect(names(line.take(new Encoder(), 1500))).toEqual(["h1", "h2"]);
  expect(names(line.take(new Encoder(), 10))).toEqual(["h3"]);
});

it("rejects one that cannot be written, and leaves no trace of it", () => {
  const broken = held("broken", {
    encode: (out) => {
      out.text("half of it");
      throw new Error("and no more");
    },
  });
  const line = lineOf(held("h1"), broken, held("h2"));
  const out = new Encoder();
  expect(names(line.take(out, COMMIT_BYTES_MAX))).toEqual(["h1", "h2"]);
  expect(out.length).toBe(2);
  expect(broken.rejected).toEqual([new Error("and no more")]);
});

it("rejects all at the end", () => {
  const all = [held("h1"), urgent("u1")];
  const line = lineOf(...all);
  line.rejectAll(new Error("over"));
  expect(all.map(({ rejected }) => rejected)).toEqual([[new Error("over")], [new Error("over")]]);
  expect(line.ready).toBe(false);
});
