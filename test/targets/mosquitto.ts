/** A real mosquitto for tests, where it is installed. */
import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { userInfo } from "node:os";
import { join } from "node:path";
import { capability } from "../support/capabilities.ts";

const program = capability("mosquitto");

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export class Mosquitto {
  readonly port: number;
  readonly #configPath: string;
  #process: ChildProcess | null = null;

  /** `lines`: config besides the listener. */
  constructor(folder: string, port: number, lines: readonly string[] = []) {
    this.port = port;
    this.#configPath = join(folder, "mosquitto.conf");
    // As root it would become another user, who cannot read the certificates in our folder.
    const config = [
      `user ${userInfo().username}`,
      `listener ${port} 127.0.0.1`,
      "allow_anonymous true",
      "persistence false",
      ...lines,
      "",
    ];
    writeFileSync(this.#configPath, config.join("\n"));
  }

  /** Resolves when it takes connections. */
  async start(): Promise<void> {
    const child = spawn(program.path, ["-c", this.#configPath], { stdio: "ignore" });
    this.#process = child;
    const ended = new Promise<never>((_, reject) => {
      child.once("exit", (code) => reject(new Error(`mosquitto ended with ${code}`)));
      child.once("error", reject);
    });
    await Promise.race([ended, this.#reachable()]);
    ended.catch(() => {});
  }

  async #reachable(): Promise<void> {
    for (let tries = 0; tries < 200; tries++) {
      const answered = await new Promise<boolean>((resolve) => {
        const socket = connect(this.port, "127.0.0.1", () => resolve(true)).on("error", () => resolve(false));
        socket.once("connect", () => socket.destroy());
      });
      if (answered) return;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    throw new Error("mosquitto does not listen");
  }

  /** Ends it at once, by its own process id. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#process;
    this.#process = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await gone;
  }
}
