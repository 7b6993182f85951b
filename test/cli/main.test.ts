import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { capability } from "../support/capabilities.ts";
import { finished, startCli } from "../support/cli-process.ts";

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), "holdfast-main-"));
  writeFileSync(join(cwd, "free-ports.yaml"), config(0));
});
afterAll(() => rmSync(cwd, { recursive: true }));

const config = (port: number) =>
  `gateway: {name: line-3}\nbroker: {listeners: [{type: tcp, port: ${port}}]}\nweb: {port: 0}\n`;

let folders = 0;
/** A data folder of its own for each gateway. */
const fresh = () => join(cwd, `data-${++folders}`);

interface Started {
  readonly event: string;
  readonly addresses: { name: string; kind: string; host: string; port: number }[];
  readonly data: string;
  readonly config: string;
}

/** Starts a gateway as a process; resolves when it says that it is ready. */
async function startGateway(args: readonly string[], env: Record<string, string> = {}) {
  const child = startCli(["run", "--json", ...args], { cwd, env });
  onTestFinished(() => void child.kill("SIGKILL"));
  const lines = createInterface(child.stdout);
  const stderr: string[] = [];
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => stderr.push(chunk));
  const ended = once(child, "exit").then(([code]) => code as number | null);
  const first = await Promise.race([once(lines, "line"), ended]);
  if (!Array.isArray(first)) throw new Error(`it ended with ${first}: ${stderr.join("")}`);
  const started = JSON.parse(first[0] as string) as Started;
  return { child, started, ended, stderr: () => stderr.join("") };
}

async function accepts({ host, port }: { host: string; port: number }): Promise<boolean> {
  const socket = connect({ host, port });
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

describe("a gateway that was started as a process", () => {
  it.skipIf(!capability("wide").present)(
    "takes config and data from the environment, which the flags win over; goes on when nobody reads what it says",
    async () => {
      writeFileSync(join(cwd, "other.yaml"), config(0).replace("line-3", "other"));
      const env = { HOLDFAST_CONFIG: "free-ports.yaml", HOLDFAST_DATA: fresh() };
      const one = await startGateway([], env);
      expect(one.started).toMatchObject({ config: join(cwd, "free-ports.yaml"), data: env.HOLDFAST_DATA });
      const data = fresh();
      const two = await startGateway(["--config", "other.yaml", "--data", data], env);
      expect(two.started).toMatchObject({ config: join(cwd, "other.yaml"), data });
      two.child.kill("SIGINT");
      expect(await two.ended).toBe(0);

      // It goes on when nobody reads what it says any more.
      one.child.stdout.destroy();
      one.child.stderr.destroy();
      expect(await accepts(one.started.addresses[0]!)).toBe(true);
      one.child.kill("SIGTERM"); // It says so, into a pipe without a reader.
      expect(await one.ended).toBe(0);
    },
  );

  it.skipIf(!capability("wide").present)(
    "refuses a port that is taken, with a sentence that names it, and exits with 69",
    async () => {
      const squatter = createServer().listen(0, "127.0.0.1");
      onTestFinished(() => void squatter.close());
      await once(squatter, "listening");
      const { port } = squatter.address() as { port: number };
      writeFileSync(join(cwd, "taken.yaml"), config(port));
      const { code, stderr } = await finished(startCli(["run", "-c", "taken.yaml", "-d", fresh()], { cwd }));
      expect(code).toBe(69);
      expect(stderr).toMatch(new RegExp(`^holdfast: .*\\b${port}\\b`, "m"));
      expect(stderr).toContain("what to do: Stop the program that holds the port");
    },
  );

  it("says its real ports when they listen, owns its data folder alone (75), and exits with 0 after SIGTERM", async () => {
    const data = fresh();
    const first = await startGateway(["-c", "free-ports.yaml", "-d", data]);
    const door = first.started.addresses.find(({ kind }) => kind === "tcp")!;
    expect(door.port).toBeGreaterThan(0);
    expect(await accepts(door)).toBe(true);
    const { code, stderr } = await finished(startCli(["run", "-c", "free-ports.yaml", "-d", data], { cwd }));
    expect(code).toBe(75);
    expect(stderr).toContain(String(first.child.pid));
    first.child.kill("SIGTERM");
    expect(await first.ended).toBe(0);
    expect(await accepts(door)).toBe(false);
  });

  it.skipIf(!capability("wide").present)(
    "refuses a config with problems before it touches anything, and exits with 78",
    async () => {
      writeFileSync(join(cwd, "bad.yaml"), "gateway: {nme: x}\n");
      const { code, stdout, stderr } = await finished(
        startCli(["run", "-c", "bad.yaml", "-d", fresh()], { cwd }),
      );
      expect({ code, stdout }).toEqual({ code: 78, stdout: "" });
      expect(stderr).toContain("bad.yaml:1:11: gateway.nme: unknown key `nme`; did you mean `name`?");
    },
  );
});

describe("an error that nobody caught", () => {
  /** Preloads code that goes wrong once the gateway is up. */
  const with_ = (code: string) => ({
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(`process.once("SIGUSR2", () => { ${code} });`)}`,
  });

  it.each([
    ["thrown", "throw new Error('boom')"],
    ...(capability("wide").present ? [["a promise's", "Promise.reject(new Error('boom'))"]] : []),
  ])("is logged, told, and ends the process with 70: %s", async (_, code) => {
    const { child, ended, stderr } = await startGateway(
      ["-c", "free-ports.yaml", "-d", fresh()],
      with_(code),
    );
    const answer = once(createInterface(child.stdout), "line");
    child.kill("SIGUSR2");
    const [line] = (await answer) as [string];
    expect(JSON.parse(line).error).toMatchObject({ code: "HF_INTERNAL", message: "boom" });
    expect(await ended).toBe(70);
    const fatal = stderr()
      .split("\n")
      .find((each) => each.includes('"level":"fatal"'));
    expect(JSON.parse(fatal!)).toMatchObject({ err: { message: "boom" } });
  });
});
