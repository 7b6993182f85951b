/** The command-line clients of mosquitto, as a person runs them. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { onTestFinished } from "vitest";
import { eventually } from "./journey.ts";

/** How long a client may take for its work. */
const CLIENT_MS_MAX = 30_000;
/** Tells what a subscriber received from what it says about itself. */
const RECEIVED = "received: ";

export interface PubOptions {
  readonly port: number;
  readonly topic: string;
  readonly client: string;
  readonly qos: 0 | 1 | 2;
  readonly retain?: boolean;
}

/** `mosquitto_pub`: each line a message, one after the other; resolves when all are acknowledged. */
export async function mosquittoPub(options: PubOptions, lines: readonly string[]): Promise<void> {
  const { port, topic, client, qos, retain } = options;
  const args = ["-p", String(port), "-t", topic, "-i", client, "-q", String(qos), "-l"];
  const child = spawn("mosquitto_pub", retain ? [...args, "-r"] : args, {
    stdio: ["pipe", "ignore", "pipe"],
  });
  const late = setTimeout(() => child.kill("SIGKILL"), CLIENT_MS_MAX);
  let said = "";
  child.stderr.on("data", (text) => {
    said += text;
  });
  child.stdin.end(`${lines.join("\n")}\n`);
  const [code] = await once(child, "close");
  clearTimeout(late);
  if (code !== 0 || said !== "") throw new Error(`mosquitto_pub ended with ${code}: ${said}`);
}

export interface SubOptions {
  readonly port: number;
  readonly filter: string;
  readonly client: string;
  readonly qos: 0 | 1 | 2;
  /** Its session outlives it: `-c`. */
  readonly persistent?: boolean;
}

/** `mosquitto_sub`, which reconnects by itself until it is stopped. */
export class MosquittoSub {
  /** `<topic> <payload>`, in order. */
  readonly received: string[] = [];
  readonly #child: ChildProcess;
  #subscribed = false;

  private constructor({ port, filter, client, qos, persistent }: SubOptions) {
    const args = ["-p", String(port), "-t", filter, "-i", client, "-q", String(qos), "-d"];
    if (persistent) args.push("-c");
    // Into a pipe it would say things when it has said enough of them.
    this.#child = spawn("stdbuf", ["-oL", "mosquitto_sub", ...args, "-F", `${RECEIVED}%t %p`], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    createInterface({ input: this.#child.stdout! }).on("line", (line) => {
      if (line.startsWith(RECEIVED)) this.received.push(line.slice(RECEIVED.length));
      else if (line.includes("SUBACK")) this.#subscribed = true;
    });
    onTestFinished(() => this.stop("SIGKILL"));
  }

  /** Resolves when the broker has taken its subscription. */
  static async start(options: SubOptions): Promise<MosquittoSub> {
    const sub = new MosquittoSub(options);
    await eventually("mosquitto_sub has subscribed", () => sub.#subscribed);
    return sub;
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, "close");
    this.#child.kill(signal);
    await gone;
  }
}
