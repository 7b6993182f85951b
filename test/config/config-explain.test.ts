// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is tested

import { describe, expect, it } from "vitest";
import { z } from "zod";
import { checkAgainst } from "../../src/core/config-explain.ts";
import { pathText, readConfigText } from "../../src/core/config-text.ts";
import { duration, secret, size } from "../../src/core/units.ts";

const schema = z.strictObject({
  level: z.enum(["debug", "info", "warn"]).default("info"),
  port: z.int().min(0).max(65535).optional(),
  ratio: z.number().gt(0).lt(1).optional(),
  wait: duration({ min: 10, max: 1000 }).prefault("1s"),
  store: size({ min: 1024 }).optional(),
  on: z.boolean().optional(),
  title: z.string().min(1).optional(),
  password: secret().optional(),
  address: z.string().startsWith("mqtt", "expected an address such as mqtt://host").optional(),
  login: z.strictObject({ user: z.string(), token: secret() }).optional(),
  broker: z
    .strictObject({ listeners: z.array(z.strictObject({ name: z.string() })).default([]) })
    .prefault({}),
  limits: z
    .strictObject({ low: z.int().default(1), high: z.int().default(2) })
    .refine((limits) => limits.low < limits.high, { message: "low must be below high", path: ["low"] })
    .optional(),
  from: z.union([z.string(), z.array(z.string()).min(1)]).optional(),
  targets: z
    .record(
      z.string().regex(/^[a-z]+$/, "expected small letters"),
      z.discriminatedUnion("type", [
        z.strictObject({ type: z.literal("http"), url: z.string(), batch: z.int().optional() }),
        z.strictObject({ type: z.literal("file"), folder: z.string().default("out") }),
      ]),
    )
    .default({}),
});

function check(yaml: string, env: Record<string, string> = {}) {
  const text = readConfigText(yaml, { env, folder: "/nowhere" });
  expect(text.problems).toEqual([]);
  const { data, problems } = checkAgainst(schema, text);
  const lines = problems.map((each) => `${each.line}:${each.column} ${pathText(each.path)}: ${each.message}`);
  return { data, lines };
}

const linesOf = (yaml: string, env: Record<string, string> = {}) => check(yaml, env).lines;

describe("a config that fits its schema", () => {
  it("comes back with its defaults", () => {
    expect(check("").data).toEqual({ level: "info", wait: 1000, broker: { listeners: [] }, targets: {} });
  });

  it("takes a number or a truth value from a variable where the schema wants one, and text where it wants text", () => {
    const env = { PORT: "1883", ON: "true", WAIT: "500", TITLE: "42" };
    const { data, lines } = check(
      "port: ${PORT}\non: ${ON}\nwait: ${WAIT}\ntitle: ${TITLE}\npassword: ${TITLE}",
      env,
    );
    expect(lines).toEqual([]);
    expect(data).toMatchObject({ port: 1883, on: true, wait: 500, title: "42", password: "42" });
  });
});

describe("a config that does not fit its schema", () => {
  it.each([
    ["level: debgu", '1:8 level: found "debgu"; allowed is one of debug, info, warn; did you mean `debug`?'],
    ["level: loud", '1:8 level: found "loud"; allowed is one of debug, info, warn'],
    ["port: 70000", "1:7 port: found 70000; allowed is a whole number from 0 to 65535"],
    ["port: 1.5", "1:7 port: found 1.5; allowed is a whole number from 0 to 65535"],
    [
      'port: "1883"',
      '1:7 port: found "1883"; allowed is a whole number from 0 to 65535; leave the quotes out to make it a number',
    ],
    ["ratio: 1", "1:8 ratio: found 1; allowed is a number between 0 and 1"],
    ["wait: soon", '1:7 wait: found "soon": expected a duration such as 500ms, 15s, 10m or 24h'],
    ["wait: 2s", '1:7 wait: found "2s": expected a duration from 10ms to 1s'],
    ["store: 1KB", '1:8 store: found "1KB": expected a size such as 64KiB, 10MB or 4GiB'],
    ["on: yes", '1:5 on: found "yes"; allowed is true or false; did you mean `true`?'],
    ["on: Off", '1:5 on: found "Off"; allowed is true or false; did you mean `false`?'],
    ["title: 12", "1:8 title: found 12; allowed is text; put it in quotes to make it text"],
    ['title: ""', '1:8 title: found ""; allowed is text that is not empty'],
    ["title: [a]", "1:8 title: found a list; allowed is text"],
    ["address: http://x", '1:10 address: found "http://x": expected an address such as mqtt://host'],
    [
      "from: #",
      "1:7 from: found nothing; allowed is text, or a list (not empty) of texts; a # after a space begins a comment, so put the value in quotes",
    ],
    ["from: [1]", "1:8 from[0]: found 1; allowed is text; put it in quotes to make it text"],
    ["from: []", "1:7 from: found a list; allowed is text, or a list (not empty) of texts"],
    ["login: {user: x}", "1:1 login.token: `token` is missing; allowed is text"],
    ["limits: {low: 5}", "1:15 limits.low: found 5: low must be below high"],
    ["limits: {high: 0}", "1:1 limits.low: low must be below high"],
    ["prot: 5", "1:1 prot: unknown key `prot`; did you mean `port`?"],
    ["listeners: []", "1:1 listeners: unknown key `listeners`; did you mean `broker.listeners`?"],
    ["broker: {x: 1}", "1:10 broker.x: unknown key `x`; allowed here: listeners"],
    [
      "targets:\n  a: {type: http, url: x, bach: 5}",
      "2:27 targets.a.bach: unknown key `bach`; did you mean `batch`?",
    ],
    [
      "targets:\n  a: {type: file, url: x}",
      "2:19 targets.a.url: unknown key `url`; allowed here: type, folder",
    ],
    [
      "targets:\n  a: {type: htpp}",
      '2:13 targets.a.type: found "htpp"; allowed is http or file; did you mean `http`?',
    ],
    ["targets:\n  a: {url: x}", "2:3 targets.a.type: `type` is missing; allowed is http or file"],
    ["targets:\n  a:", "2:5 targets.a: found nothing; allowed is a map"],
    ["targets:\n  A1: {type: file}", "2:3 targets.A1: the name `A1`: expected small letters"],
    ["- a", "1:1 : found a list; allowed is a map"],
  ])("is told with place, path, what was found and what is allowed: %j", (yaml, line) => {
    expect(linesOf(yaml)).toEqual([line]);
  });

  it("is told all at once", () => {
    expect(linesOf("prot: 5\nlevel: x\ntargets:\n  a: {type: http, batch: x}\n")).toEqual([
      expect.stringContaining("2:8 level: "),
      expect.stringContaining("4:3 targets.a.url: `url` is missing"),
      expect.stringContaining("4:26 targets.a.batch: "),
      expect.stringContaining("1:1 prot: "),
    ]);
  });
});

describe("a secret", () => {
  const wrongSecret = "password: [hunter2]\nlogin: {token: 0xdeadbeef}";

  it("is not said when it is wrong", () => {
    const lines = linesOf(wrongSecret);
    expect(lines[0]).toBe("1:11 password: found a secret (not shown); allowed is text");
    expect(lines.join("\n")).not.toMatch(/hunter2|3735928559|dead/);
  });

  it("would be said where the schema did not mark it (negative control)", () => {
    const unmarked = z.strictObject({ password: z.boolean() });
    const text = readConfigText("password: hunter2", { env: {}, folder: "/" });
    expect(checkAgainst(unmarked, text).problems[0]!.message).toContain("hunter2");
  });

  it("is not said where ${…} brought it to a place that is none, unless it is a number from a variable", () => {
    const env = { PASSWORD: "hunter2", PIN: "99999" };
    expect(linesOf("level: ${PASSWORD}", env)).toEqual([
      "1:8 level: found what ${PASSWORD} stands for (not shown); allowed is one of debug, info, warn",
    ]);
    expect(linesOf("port: ${PASSWORD}", env)[0]).toContain("found what ${PASSWORD} stands for (not shown)");
    expect(linesOf("port: ${PIN}", env)[0]).toContain("found 99999 (from ${PIN})");
    expect(linesOf("address: https://${PASSWORD}", env)[0]).not.toContain("hunter2");
  });

  it("is not said where it is part of an address", () => {
    expect(linesOf("address: http://joe:hunter2@host")[0]).toContain('found "http://joe:(redacted)@host"');
  });
});
