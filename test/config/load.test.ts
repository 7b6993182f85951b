// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is tested

import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  CONFIG_BYTES_MAX,
  loadConfig,
  PROBLEMS_MAX,
  printable,
  redacted,
  SHIPPED_CONFIG,
  searchPlaces,
} from "../../src/config.ts";
import { ConfigFolder, failure, PASSWORD_HASH } from "../support/config-folder.ts";

const here = ConfigFolder.forEachTest();
const load = (yaml: string, env: Record<string, string> = {}) => here.load(yaml, env);
const problems = (yaml: string) => here.problems(yaml);

describe("a config that is loaded", () => {
  it("is complete: an empty file and one of comments mean every default", async () => {
    const { config, file } = await load("# nothing yet\n");
    expect(file).toBe(join(here.path, "holdfast.yaml"));
    expect(config.broker.listeners.map(({ type, host, port }) => `${type} ${host}:${port}`)).toEqual([
      "tcp 127.0.0.1:1883",
      "ws 127.0.0.1:9001",
    ]);
    expect(config.web).toMatchObject({ host: "127.0.0.1", port: 8080 });
    expect(config.flows.outbox).toMatchObject({ from: "#", to: "outbox", orderBy: "device" });
    expect(config.targets.outbox).toMatchObject({ type: "file", folder: "outbox" });
    expect((await load("")).config).toEqual(config);
  });

  it("has its units as numbers of ms and bytes", async () => {
    const { config } = await load("queue: {bytesMax: 1GiB}\nhealth: {interval: 2s}");
    expect(config.queue.bytesMax).toBe(2 ** 30);
    expect(config.health.interval).toBe(2000);
  });

  it("names files from its own folder, wherever Holdfast was started", async () => {
    mkdirSync(join(here.path, "elsewhere"));
    const yaml = "broker: {listeners: [{type: tls, cert: certs/a.pem, key: /etc/k.pem}]}";
    writeFileSync(join(here.path, "holdfast.yaml"), yaml);
    const { config } = await loadConfig({
      path: "../holdfast.yaml",
      env: {},
      cwd: join(here.path, "elsewhere"),
    });
    expect(config.broker.listeners[0]).toMatchObject({
      cert: join(here.path, "certs/a.pem"),
      key: "/etc/k.pem",
    });
  });

  it("leaves PEM text alone where a file or its text may stand", async () => {
    writeFileSync(
      join(here.path, "ca.pem"),
      "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
    );
    const tls = "{ca: '${file:ca.pem}', cert: our.pem, key: our-key.pem}";
    const { config } = await load(
      `targets: {a: {type: mqtt, url: 'mqtts://h', tls: ${tls}}}\nflows: {a: {from: x, to: a}}`,
    );
    expect(config.targets.a).toMatchObject({
      tls: {
        ca: expect.stringMatching(/^-----BEGIN/),
        cert: join(here.path, "our.pem"),
        key: join(here.path, "our-key.pem"),
      },
    });
    expect(redacted(config)).toMatchObject({ targets: { a: { tls: { key: "(redacted)" } } } });
  });

  it("takes values from the environment and from files beside it", async () => {
    writeFileSync(join(here.path, "token"), "from-a-file\n");
    const yaml = [
      "web: {port: 0}",
      "broker:",
      "  listeners: [{type: tcp, port: '0'}]",
      "targets:",
      "  a: {type: http, url: '${BASE}/x', auth: {type: bearer, token: '${file:token}'}}",
      "flows: {a: {from: '#', to: a}}",
    ].join("\n");
    const { config } = await load(yaml.replace("'0'", "0"), { BASE: "http://127.0.0.1:9" });
    expect(config.targets.a).toMatchObject({ url: "http://127.0.0.1:9/x", auth: { token: "from-a-file" } });
  });
});

describe("where a config is found", () => {
  it("is the file named, else the first that exists of holdfast.yaml, /etc and the shipped one", async () => {
    expect(searchPlaces(here.path)).toEqual([
      join(here.path, "holdfast.yaml"),
      "/etc/holdfast/holdfast.yaml",
      SHIPPED_CONFIG,
    ]);
    const search = [join(here.path, "holdfast.yaml"), SHIPPED_CONFIG];
    expect((await loadConfig({ env: {}, cwd: here.path, search })).file).toBe(SHIPPED_CONFIG);
    writeFileSync(join(here.path, "holdfast.yaml"), "gateway: {name: mine}");
    expect((await loadConfig({ env: {}, cwd: here.path, search })).config.gateway.name).toBe("mine");
  });

  it("is not passed over because it is wrong", async () => {
    writeFileSync(join(here.path, "holdfast.yaml"), "gatway: {}");
    const error = await failure(loadConfig({ env: {}, cwd: here.path }));
    expect(error.message).toContain("unknown key `gatway`; did you mean `gateway`?");
  });

  it("is said where there is none", async () => {
    const error = await failure(
      loadConfig({ env: {}, cwd: here.path, search: [join(here.path, "none.yaml")] }),
    );
    expect(error.code).toBe("HF_CONFIG");
    expect(error.message).toBe(`no config to read: there is none of ${join(here.path, "none.yaml")}`);
  });
});

describe("a config that cannot be read", () => {
  const reading = async (name: string) =>
    (await failure(loadConfig({ path: name, env: {}, cwd: here.path }))).message;

  it("is told as a sentence: missing, a folder, behind a file, in a circle", async () => {
    expect(await reading("none.yaml")).toBe(
      `no config to read: there is no file ${join(here.path, "none.yaml")}`,
    );
    expect(await reading(".")).toBe(`no config to read: ${here.path} is a folder, not a file`);
    writeFileSync(join(here.path, "file"), "");
    expect(await reading("file/x.yaml")).toContain("a part of its path is not a folder");
    symlinkSync("circle", join(here.path, "circle"));
    expect(await reading("circle")).toContain("is a circle of symbolic links");
  });

  it("is told as a sentence: not text, too large", async () => {
    writeFileSync(join(here.path, "latin.yaml"), Buffer.from("name: W\xe4rme", "latin1"));
    expect(await reading("latin.yaml")).toContain("is not UTF-8 text");
    writeFileSync(join(here.path, "large.yaml"), "#".repeat(CONFIG_BYTES_MAX + 1));
    expect(await reading("large.yaml")).toContain(`is larger than ${CONFIG_BYTES_MAX} bytes`);
  });

  it("is told as a sentence: not permitted", async () => {
    const file = join(here.path, "private.yaml");
    writeFileSync(file, "gateway: {}");
    chmodSync(file, 0o000);
    const isRoot = process.geteuid!() === 0;
    // Root may read everything, so the test becomes somebody else for a moment.
    if (isRoot) process.seteuid!(65_534);
    try {
      expect(await reading("private.yaml")).toBe(`no config to read: ${file} may not be read by this user`);
    } finally {
      if (isRoot) process.seteuid!(0);
    }
  });
});

describe("a config with problems", () => {
  it("is refused with all of them, each as file:line:column: path: what", async () => {
    const yaml = [
      "gatway: {name: a}",
      "log: {level: loud}",
      "queue:",
      "  bytesMax: 4GiB",
      "  bytesMax: 5GiB",
    ].join("\n");
    const error = await failure(load(yaml));
    expect(error).toMatchObject({ code: "HF_CONFIG", exitCode: 78 });
    expect(error.message.split("\n")).toEqual([
      "holdfast.yaml has 3 problems:",
      "  holdfast.yaml:1:1: gatway: unknown key `gatway`; did you mean `gateway`?",
      '  holdfast.yaml:2:14: log.level: found "loud"; allowed is one of fatal, error, warn, info, debug, trace, silent',
      "  holdfast.yaml:5:3: queue.bytesMax: given twice: it already stands at line 4",
    ]);
    expect(error.details).toEqual({
      file: join(here.path, "holdfast.yaml"),
      more: 0,
      problems: [
        expect.objectContaining({ file: "holdfast.yaml", line: 1, column: 1, path: "gatway" }),
        expect.objectContaining({ line: 2, column: 14, path: "log.level" }),
        expect.objectContaining({ line: 5, column: 3, path: "queue.bytesMax" }),
      ],
    });
  });

  it("is refused with a bounded list", async () => {
    const lines = Array.from({ length: PROBLEMS_MAX + 7 }, (_, n) => `unknown${n}: 1`);
    const error = await failure(load(lines.join("\n")));
    expect(error.message.split("\n")).toHaveLength(1 + PROBLEMS_MAX + 1);
    expect(error.message).toMatch(/ {2}… and 7 more$/);
    expect(error.details).toMatchObject({ more: 7 });
    expect(error.details.problems).toHaveLength(PROBLEMS_MAX);
  });

  it("is told with its full path when it lies elsewhere", async () => {
    const path = join(here.path, "x.yaml");
    writeFileSync(path, "x: 1");
    expect((await failure(loadConfig({ path, env: {}, cwd: "/" }))).message).toContain(
      "x.yaml:1:1: x: unknown key",
    );
  });

  it("has no value to be checked further where YAML itself is broken", async () => {
    expect(await problems("log: {level: loud}\nqueue: 'x")).toEqual([
      "holdfast.yaml:2:10: a closing quote is missing",
    ]);
  });

  it("is told about what does not fit a room's own rules", async () => {
    expect(await problems("flows: {a: {from: 'x/#/y', to: outbox}}")).toEqual([
      'holdfast.yaml:1:19: flows.a.from: found "x/#/y": not a topic filter: # must stand alone in the last level',
    ]);
    expect(await problems("targets: {k: {type: kafka}}\nflows: {}")).toEqual([
      expect.stringMatching(
        /^holdfast\.yaml:1:21: targets\.k\.type: found "kafka": .*not built into this version/,
      ),
    ]);
    expect(await problems("access: {users: {joe: {password: hunter2}}}")).toEqual([
      "holdfast.yaml:1:34: access.users.joe.password: found a secret (not shown): expected a line made by `holdfast user hash`",
    ]);
  });
});

describe("a loaded config that is printed", () => {
  const yaml = [
    `access: {users: {joe: {password: "${PASSWORD_HASH}"}}}`,
    "targets:",
    "  a:",
    "    type: http",
    "    url: http://127.0.0.1:1/x",
    "    auth: {type: basic, username: joe, password: '${SECRET}'}",
    "    headers: {X-Plain: visible, X-Key: '${file:key}'}",
    "  b: {type: mqtt, url: 'mqtt://127.0.0.1', password: s3cret-b}",
    "flows: {a: {from: '#', to: a}}",
  ].join("\n");

  it("has no secret in it, neither by the schema nor by where it came from", async () => {
    writeFileSync(join(here.path, "key"), "s3cret-file");
    const { config } = await load(yaml, { SECRET: "s3cret-env" });
    for (const shown of [redacted(config), printable(config)]) {
      const text = JSON.stringify(shown);
      expect(text).not.toMatch(/s3cret|scrypt/);
      expect(text).toContain("visible");
      expect(shown).toMatchObject({
        access: { users: { joe: { password: "(redacted)" } } },
        targets: {
          a: { auth: { username: "joe", password: "(redacted)" }, headers: { "X-Key": "(redacted)" } },
          b: { password: "(redacted)" },
        },
      });
    }
    // Negative control: the secrets are there, and would be seen.
    for (const secret of ["s3cret-env", "s3cret-file", "s3cret-b", "$scrypt$"]) {
      expect(JSON.stringify(config)).toContain(secret);
    }
  });

  it("has units and choices as somebody would write them, and reads as the same config again", async () => {
    const { config } = await load(
      "targets: {b: {type: mqtt, url: 'mqtt://h', protocol: 5, keepAlive: 90s}}\nflows: {a: {from: a, to: b}}",
    );
    const shown = printable(config) as { targets: { b: Record<string, unknown> }; queue: unknown };
    expect(shown.targets.b).toMatchObject({ protocol: 5, keepAlive: "90s", batchBytesMax: "8MiB" });
    expect(shown.queue).toMatchObject({ bytesMax: "4GiB", retention: { age: "7d" } });
    expect((await load(JSON.stringify(shown))).config).toEqual(config);
  });
});
