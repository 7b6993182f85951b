import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { OpcuaServer } from "../../simulators/machines/opcua-server.ts";
import { capability } from "../support/capabilities.ts";
import { runCliHere } from "../support/cli-process.ts";

const stack = capability("opcua-server");
const START_MS_MAX = 120_000;

let server: OpcuaServer;
beforeAll(async () => {
  if (stack.present) server = await new OpcuaServer().start();
}, START_MS_MAX);
afterAll(() => server?.stop());

function folder(config?: string): string {
  const cwd = mkdtempSync(join(tmpdir(), "holdfast-browse-"));
  onTestFinished(() => rmSync(cwd, { recursive: true, force: true }));
  if (config !== undefined) writeFileSync(join(cwd, "holdfast.yaml"), config);
  return cwd;
}

const device = (cwd: string, ...args: readonly string[]) => runCliHere(["device", ...args], { cwd });

describe.skipIf(!stack.present)("holdfast device browse", () => {
  it("shows what a server has, with ids, types, values, and what may be written", async () => {
    const { stdout, code } = await device(folder(), "browse", server.endpoint, "--mode", "None");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Tank +ns=1;s=Tank +object$/m);
    expect(stdout).toMatch(/^ {2}Setpoint +ns=1;s=Tank\.Setpoint +float64 +w +600$/m);
    expect(stdout).toMatch(/^ {2}Speed +ns=1;s=Motor\.Speed +int16 +0$/m);
    expect(stdout).toMatch(/^Server +i=2253 +object$/m);
    expect(stdout).not.toContain("ServerStatus");
  });

  it("goes as deep as it is told, from where it is told, and tells programs too", async () => {
    const at = ["browse", server.endpoint, "--mode", "None", "--json"];
    const from = await device(folder(), ...at, "--from", "ns=1;s=Tank", "--depth", "1");
    const { nodes, left } = JSON.parse(from.stdout) as {
      nodes: { name: string; depth: number }[];
      left: boolean;
    };
    expect(nodes.map(({ name, depth }) => [name, depth])).toEqual([
      ["Level", 0],
      ["Temperature", 0],
      ["Setpoint", 0],
      ["LevelHigh", 0],
    ]);
    expect(left).toBe(false);
    const { stdout } = await device(folder(), ...at, "--depth", "1");
    expect(stdout).not.toContain("Temperature");
  });

  it("shows what security is offered before anybody is trusted, and trusts whom it is told to", async () => {
    const cwd = folder();
    const fingerprint = server.fingerprint.toUpperCase().match(/../g)!.join(":");
    const offered = await device(cwd, "browse", server.endpoint, "--endpoints");
    expect(offered.stdout).toContain(`SignAndEncrypt with Aes256_Sha256_RsaPss`);
    expect(offered.stdout).toContain(fingerprint);
    const refused = await device(cwd, "browse", server.endpoint);
    expect(refused).toMatchObject({
      code: 69,
      stderr: expect.stringContaining("does not let us in: server-not-trusted"),
    });
    const trusted = await device(cwd, "browse", server.endpoint, "--trust", fingerprint, "--depth", "1");
    expect(trusted).toMatchObject({ code: 0, stdout: expect.stringContaining("Motor") });
  });

  it("says what is wrong with its arguments, and that nobody answers", async () => {
    expect(await device(folder(), "browse", "opc.tcp://127.0.0.1:1", "--mode", "None")).toMatchObject({
      code: 69,
      stderr: expect.stringContaining("does not answer: unreachable: ECONNREFUSED"),
    });
    expect(await device(folder(), "browse", server.endpoint, "--mode", "Some")).toMatchObject({
      code: 64,
      stderr: expect.stringContaining("security.mode"),
    });
    expect((await device(folder(), "browse", server.endpoint, "--depth", "many")).code).toBe(64);
    expect((await device(folder("gateway: {}"), "browse", "line-4")).stderr).toContain("it has: none");
  });
});

/** As a person starts it. */
async function plantByHand(): Promise<{ readonly endpoint: string }> {
  const child = spawn(process.execPath, ["simulators/machines/opcua-main.ts", "--port", "0"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(async () => {
    if (child.exitCode !== null) return;
    child.kill("SIGTERM");
    await once(child, "exit");
  });
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  return JSON.parse(line);
}

describe.skipIf(!stack.present)("holdfast device probe, of an OPC UA device", () => {
  it(
    "reads each of its nodes once, and says of each that is not there why",
    async () => {
      const { endpoint } = await plantByHand();
      const cwd = folder(`
devices:
  plant:
    type: opcua
    endpoint: ${endpoint}
    security: { mode: None }
    groups:
      all:
        nodes:
          level: { node: "ns=1;s=Tank.Level", unit: l }
          gone: { node: "ns=1;s=Gone" }
`);
      const { stdout, code } = await device(cwd, "probe", "plant");
      expect(stdout).toMatch(/^level +ns=1;s=Tank\.Level +float64 +[\d.]+ l$/m);
      expect(stdout).toMatch(/^gone +ns=1;s=Gone +BadNodeIdUnknown: /m);
      expect(code).toBe(1);
    },
    START_MS_MAX,
  );
});
