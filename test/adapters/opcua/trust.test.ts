import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OpcuaServer } from "../../../simulators/machines/opcua-server.ts";
import { opcuaDeviceSchema, POLICIES } from "../../../src/adapters/opcua/schema.ts";
import { capability } from "../../support/capabilities.ts";
import { eventually } from "../../support/journey.ts";
import { deviceAt, scratchFolder, Watching } from "./device.ts";

const stack = capability("opcua-server");
const START_MS_MAX = 120_000;

let open: OpcuaServer;
let closed: OpcuaServer;
beforeAll(async () => {
  if (!stack.present) return;
  open = await new OpcuaServer().start();
  closed = await new OpcuaServer({ users: { operator: "secret" } }).start();
}, START_MS_MAX);
afterAll(async () => {
  await open?.stop();
  await closed?.stop();
});

const secured = (more: object = {}) => ({ security: { mode: "SignAndEncrypt", ...more } });

describe.skipIf(!stack.present)("an OPC UA server's certificate", () => {
  it("that nobody has compared is refused, with its fingerprint and what to do, until a person moves it", async () => {
    const watching = await Watching.start(deviceAt(open.endpoint, secured()));
    await watching.until("failing");
    const fingerprint = open.fingerprint.toUpperCase().match(/../g)!.join(":");
    expect(watching.report.lastError).toMatch(/^server-not-trusted: .*security\.trusted/);
    expect(watching.report.lastError).toContain(fingerprint);
    expect(watching.of("level")).toMatchObject([{ value: null, quality: "bad" }]);
    expect(open.sessions).toBe(0);
    const folder = join(watching.dataDir, "opcua");
    const [file] = readdirSync(join(folder, "rejected"));
    copyFileSync(join(folder, "rejected", file!), join(folder, "trusted", file!));
    await watching.until("online");
  });

  it("is not that of another server, whatever lies in the folder", async () => {
    const dataDir = scratchFolder();
    mkdirSync(join(dataDir, "opcua/trusted"), { recursive: true });
    copyFileSync(join(import.meta.dirname, "trust.test.ts"), join(dataDir, "opcua/trusted/no-certificate"));
    const device = deviceAt(open.endpoint, secured({ trusted: [closed.fingerprint] }));
    const watching = await Watching.start(device, dataDir);
    await watching.until("failing");
    expect(watching.report.lastError).toMatch(/^server-not-trusted: /);
  });

  it.each(POLICIES.filter((policy) => policy !== "None"))(
    "secures with %s, signed or encrypted",
    async (policy) => {
      for (const mode of ["Sign", "SignAndEncrypt"]) {
        const security = { mode, policy, trusted: [open.fingerprint] };
        const watching = await Watching.start(deviceAt(open.endpoint, { security }));
        await eventually("values came", () => watching.values("level").length > 0);
        await watching.adapter.stop();
      }
    },
  );

  it("is answered with one of our own, made once, whose key nobody else can read", async () => {
    const device = deviceAt(open.endpoint, secured({ trusted: [open.fingerprint] }));
    const first = await Watching.start(device);
    await first.until("online");
    await first.adapter.stop();
    const own = join(first.dataDir, "opcua/own");
    expect(statSync(join(own, "key.pem")).mode & 0o777).toBe(0o600);
    const certificate = readFileSync(join(own, "certificate.pem"), "utf8");
    const second = await Watching.start(device, first.dataDir);
    await second.until("online");
    expect(readFileSync(join(own, "certificate.pem"), "utf8")).toBe(certificate);
    // The same, given in the config, for another gateway.
    const given = {
      trusted: [open.fingerprint],
      certificate,
      key: readFileSync(join(own, "key.pem"), "utf8"),
    };
    const third = await Watching.start(deviceAt(open.endpoint, secured(given)));
    await third.until("online");
    expect(existsSync(join(third.dataDir, "opcua/own"))).toBe(false);
  });
});

describe.skipIf(!stack.present)("a login at an OPC UA server", () => {
  it("may be by a certificate of the user's own", async () => {
    const made = await Watching.start(deviceAt(open.endpoint));
    await made.until("online");
    const pem = (name: string) => join(made.dataDir, "opcua/own", name);
    const login = { type: "certificate", certificate: pem("certificate.pem"), key: pem("key.pem") };
    const watching = await Watching.start(
      deviceAt(open.endpoint, { login, security: { mode: "Sign", trusted: [open.fingerprint] } }),
    );
    await watching.until("online");
  });

  const login = (password: string) => ({ type: "password", user: "operator", password });

  it("is let in with its password", async () => {
    for (const security of [{ mode: "None" }, { mode: "Sign", trusted: [closed.fingerprint] }]) {
      const watching = await Watching.start(deviceAt(closed.endpoint, { security, login: login("secret") }));
      await watching.until("online");
    }
  });

  it("is failing by name where the password is wrong, or where nobody may be anonymous", async () => {
    const wrong = await Watching.start(deviceAt(closed.endpoint, { login: login("wrong") }));
    await wrong.until("failing");
    expect(wrong.report.lastError).toMatch(/^Bad(UserAccessDenied|IdentityTokenRejected): /);
    const nobody = await Watching.start(deviceAt(closed.endpoint));
    await nobody.until("failing");
    expect(nobody.report.lastError).toMatch(/^no-such-login: .*it takes: UserName/);
  });
});

describe("an OPC UA device in the config", () => {
  /** What is said of it, without whether the library is here. */
  const said = (device: object) =>
    (opcuaDeviceSchema.safeParse({ type: "opcua", ...device }).error?.issues ?? [])
      .filter(({ path }) => path[0] !== "type")
      .map(({ path, message }) => `${path.join(".")}: ${message}`);
  const node = { node: "ns=2;s=A" };
  const groups = { all: { nodes: { a: node } } };
  const endpoint = "opc.tcp://10.0.0.7:4840";

  it("may be short", () => {
    expect(said({ endpoint, groups })).toEqual([]);
  });

  it.each([
    [{ endpoint: "http://10.0.0.7", groups }, /^endpoint: expected an address such as opc\.tcp/],
    [{ endpoint, groups: { all: { nodes: { a: { node: "Tank.Level" } } } } }, /node: expected a node id/],
    [
      { endpoint, groups, security: { mode: "None", policy: "Basic256Sha256" } },
      /^security\.policy: .*protects nothing/,
    ],
    [
      { endpoint, groups, security: { mode: "Sign", policy: "None" } },
      /^security\.policy: `Sign` needs a policy/,
    ],
    [{ endpoint, groups, security: { key: "key.pem" } }, /^security\.key: .*go together/],
    [{ endpoint, groups, security: { trusted: ["12:34"] } }, /^security\.trusted\.0: expected a SHA-256/],
    [{ endpoint, groups, lifetime: "1s" }, /^lifetime: it must be at least 3 times/],
    [{ endpoint, groups: { all: { nodes: { gap: node } } } }, /nodes\.gap: `gap` stands for gap records/],
    [{ endpoint, groups: { all: { nodes: { a: node, b: node } } } }, /nodes\.b\.node: `a` is the same node/],
    [
      { endpoint, groups: { x: { nodes: { a: node } }, y: { nodes: { a: { node: "i=1" } } } } },
      /two signals/,
    ],
    [{ endpoint, groups, topic: "{site}/{signal}" }, /^topic: \{site\} needs/],
    [{ endpoint, groups, message: "signal", topic: "all" }, /^topic: without \{signal\}/],
    [
      { endpoint, groups: { all: { nodes: { a: { ...node, write: { type: "int16" } } } } } },
      /write: a number needs its range/,
    ],
    [
      {
        endpoint,
        groups: { all: { nodes: { a: { ...node, write: { type: "int16", min: 0, max: 40_000 } } } } },
      },
      /write\.max: 40000 cannot be written: a int16 holds -32768 to 32767/,
    ],
    [
      { endpoint, groups: { all: { nodes: { a: { ...node, deadband: 1, deadbandPercent: 1 } } } } },
      /deadbandPercent: .*exclude each other/,
    ],
  ])("is told what is wrong with it: %#", (device, sentence) => {
    expect(said(device)).toEqual([expect.stringMatching(sentence)]);
  });
});
