// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is tested

import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  CONFIG_BYTES_MAX,
  loadConfig,
  PROBLEMS_MAX,
  printable,
  redacted,
  SHIPPED_CONFIG,
  searchPlaces,
} from "../../src/config.ts";
import { HoldfastError } from "../../src/core/errors.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-config-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const HASH = "$scrypt$ln=15,r=8,p=1$Dvwitu15VyPTn5d/HQb99g$G+aQUvH3o1XBSUlQd2gsTmqt7XhuHad7KHawmf+xg0";

function load(yaml: string, env: Record<string, string> = {}) {
  const path = join(folder, "holdfast.yaml");
  writeFileSync(path, yaml);
  return loadConfig({ path, env, cwd: folder });
}

async function failure(loading: Promise<unknown>): Promise<HoldfastError> {
  const error = await loading.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(HoldfastError);
  return error as HoldfastError;
}

/** The message's lines below its headline. */
async function problems(yaml: string, env: Record<string, string> = {}): Promise<string[]> {
  const { message } = await failure(load(yaml, env));
  return message
    .split("\n")
    .slice(1)
    .map((line) => line.trim());
}

describe("a config that is loaded", () => {
  it("is complete: an empty file and one of comments mean every default", async () => {
    const { config, file } = await load("# nothing yet\n");
    expect(file).toBe(join(folder, "holdfast.yaml"));
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
    mkdirSync(join(folder, "elsewhere"));
    const yaml = "broker: {listeners: [{type: tls, cert: certs/a.pem, key: /etc/k.pem}]}";
    writeFileSync(join(folder, "holdfast.yaml"), yaml);
    const { config } = await loadConfig({
      path: "../holdfast.yaml",
      env: {},
      cwd: join(folder, "elsewhere"),
    });
    expect(config.broker.listeners[0]).toMatchObject({
      cert: join(folder, "certs/a.pem"),
      key: "/etc/k.pem",
    });
  });

  it("takes values from the environment and from files beside it", async () => {
    writeFileSync(join(folder, "token"), "from-a-file\n");
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
    expect(searchPlaces(folder)).toEqual([
      join(folder, "holdfast.yaml"),
      "/etc/holdfast/holdfast.yaml",
      SHIPPED_CONFIG,
    ]);
    const search = [join(folder, "holdfast.yaml"), SHIPPED_CONFIG];
    expect((await loadConfig({ env: {}, cwd: folder, search })).file).toBe(SHIPPED_CONFIG);
    writeFileSync(join(folder, "holdfast.yaml"), "gateway: {name: mine}");
    expect((await loadConfig({ env: {}, cwd: folder, search })).config.gateway.name).toBe("mine");
  });

  it("is not passed over because it is wrong", async () => {
    writeFileSync(join(folder, "holdfast.yaml"), "gatway: {}");
    const error = await failure(loadConfig({ env: {}, cwd: folder }));
    expect(error.message).toContain("unknown key `gatway`; did you mean `gateway`?");
  });

  it("is said where there is none", async () => {
    const error = await failure(loadConfig({ env: {}, cwd: folder, search: [join(folder, "none.yaml")] }));
    expect(error.code).toBe("HF_CONFIG");
    expect(error.message).toBe(`no config to read: there is none of ${join(folder, "none.yaml")}`);
  });
});

describe("a config that cannot be read", () => {
  const reading = async (name: string) =>
    (await failure(loadConfig({ path: name, env: {}, cwd: folder }))).message;

  it("is told as a sentence: missing, a folder, behind a file, in a circle", async () => {
    expect(await reading("none.yaml")).toBe(
      `no config to read: there is no file ${join(folder, "none.yaml")}`,
    );
    expect(await reading(".")).toBe(`no config to read: ${folder} is a folder, not a file`);
    writeFileSync(join(folder, "file"), "");
    expect(await reading("file/x.yaml")).toContain("a part of its path is not a folder");
    symlinkSync("circle", join(folder, "circle"));
    expect(await reading("circle")).toContain("is a circle of symbolic links");
  });

  it("is told as a sentence: not text, too large", async () => {
    writeFileSync(join(folder, "latin.yaml"), Buffer.from("name: W\xe4rme", "latin1"));
    expect(await reading("latin.yaml")).toContain("is not UTF-8 text");
    writeFileSync(join(folder, "large.yaml"), "#".repeat(CONFIG_BYTES_MAX + 1));
    expect(await reading("large.yaml")).toContain("is larger than 1048576 bytes");
  });

  it("is told as a sentence: not permitted", async () => {
    const file = join(folder, "private.yaml");
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
      file: join(folder, "holdfast.yaml"),
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
    const path = join(folder, "x.yaml");
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

describe("parts of a config that do not fit together", () => {
  const flow = (options: string) =>
    `flows:\n  a: {from: "#", to: outbox, ${options}}\n  b: {from: "#", to: outbox}`;

  it.each([
    [
      "a target that does not exist",
      "targets: {backend: {type: file}}\nflows: {a: {from: x, to: bakend}}",
      '2:26: flows.a.to: found "bakend", and there is no such target; did you mean `backend`?',
    ],
    [
      "a target that does not exist, with nothing near",
      "targets: {backend: {type: file}}\nflows: {a: {from: x, to: cloud}}",
      '2:26: flows.a.to: found "cloud", and there is no such target; there are: backend',
    ],
    [
      "targets without flows",
      "targets: {backend: {type: file}}",
      "1:10: targets: there are targets but no flows, so nothing would reach them; add `flows`, each with `from` and `to`",
    ],
    [
      "late messages with nowhere to go",
      flow("lateAfter: 1m, late: divert"),
      "2:51: flows.a.late: `late: divert` needs `divertTo`, the name of the flow that takes late messages",
    ],
    [
      "late messages that go to no flow",
      flow("lateAfter: 1m, late: divert, divertTo: c1"),
      '2:69: flows.a.divertTo: found "c1", and there is no such flow; there are: a, b',
    ],
    [
      "a way for late messages that none takes",
      flow("lateAfter: 1m, divertTo: b"),
      "2:55: flows.a.divertTo: never used, since `late` is not `divert`",
    ],
    [
      "lateness that is never reached",
      flow("late: drop"),
      "2:36: flows.a.late: never used, since without `lateAfter` no message is late",
    ],
    [
      "a flow that diverts to itself",
      flow("lateAfter: 1m, late: divert, divertTo: a"),
      "2:69: flows.a.divertTo: goes in a circle: a → a",
    ],
    [
      "a circle of three",
      [
        "flows:",
        ...["ab", "bc", "ca"].map(
          ([one, two]) => `  ${one}: {from: x, to: outbox, lateAfter: 1m, late: divert, divertTo: ${two}}`,
        ),
      ].join("\n"),
      "2:67: flows.a.divertTo: goes in a circle: a → b → c → a",
    ],
    [
      "two listeners on one port",
      "broker: {listeners: [{type: tcp}, {type: ws, port: 1883}]}",
      "1:52: broker.listeners[1].port: 127.0.0.1:1883 is already taken by broker.listeners[0]; give one of them another port",
    ],
    [
      "a listener on the HTTP door's port",
      "web: {port: 1883}",
      "1:13: web.port: 127.0.0.1:1883 is already taken by broker.listeners[0]; give one of them another port",
    ],
    [
      "two listeners of one name",
      "broker: {listeners: [{type: tcp, name: a}, {type: ws, name: a}]}",
      '1:61: broker.listeners[1].name: two listeners are called "a"',
    ],
    [
      "two targets in one folder",
      "targets: {a: {type: file}, b: {type: file, folder: ./outbox/}}\nflows: {}",
      '1:52: targets.b.folder: the target `a` writes into the folder "./outbox/" too; give each its own',
    ],
    [
      "a question that the target cannot answer",
      "targets: {a: {type: http, url: 'http://127.0.0.1', idempotent: false}}\nflows: {a: {from: x, to: a, onUnknown: probe}}",
      "2:40: flows.a.onUnknown: `probe` asks the backend whether it has a message, and the target `a` has no hasUrl; use retry or hold",
    ],
  ])("are told: %s", async (_, yaml, problem) => {
    expect(await problems(yaml)).toEqual([`holdfast.yaml:${problem}`]);
  });

  it("are told together with what is wrong elsewhere", async () => {
    const lines = await problems("log: {level: loud}\nflows: {a: {from: x, to: outbx}}");
    expect(lines).toHaveLength(2);
    expect(lines[1]).toContain("did you mean `outbox`?");
  });

  it("may share port 0, and another interface", async () => {
    await load("broker: {listeners: [{type: tcp, port: 0}, {type: ws, port: 0}]}\nweb: {port: 0}");
    await load("broker: {listeners: [{type: tcp}, {type: tcp, host: '::1'}]}");
  });
});

describe("a listener that other machines reach", () => {
  const open = "broker:\n  listeners:\n    - {type: tcp, host: 0.0.0.0}\n";

  it("is refused without users, by a code of its own", async () => {
    const error = await failure(load(open));
    expect(error).toMatchObject({ code: "HF_OPEN_DOOR", exitCode: 78 });
    expect(error.message).toContain(
      'holdfast.yaml:3:25: broker.listeners[0].host: found "0.0.0.0", which is open to the network, and there are no users; add access.users, or listen on 127.0.0.1',
    );
  });

  it("is fine with users", async () => {
    await load(`${open}access: {users: {joe: {password: "${HASH}"}}}`);
  });

  it("is one problem among others where there are others", async () => {
    expect(
      (await failure(load(`${open}web: {port: 1883}\naccess: {}\nflows: {a: {from: x, to: y}}`))).code,
    ).toBe("HF_CONFIG");
  });
});

describe("a loaded config that is printed", () => {
  const yaml = [
    `access: {users: {joe: {password: "${HASH}"}}}`,
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
    writeFileSync(join(folder, "key"), "s3cret-file");
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
