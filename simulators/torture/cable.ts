/**
 * A cable that can be pulled: a network namespace on its other end, so that the kernel's own retransmissions,
 * timeouts and buffers are in the play, which no proxy can imitate. Needs the means `netns`.
 *
 * What is done to it is done to one end's neighbour table or to the far end itself: iptables and netem, where a
 * kernel has them at all, could do no more.
 */
import { spawn } from "node:child_process";
import { runProgram } from "../disks/run-program.ts";
import { means } from "./means.ts";

/**
 * - unplugged: the far end has no carrier.
 * - requests-lost, answers-lost, all-lost: packets that way vanish without a word.
 */
export const CABLE_FAULTS = ["unplugged", "requests-lost", "answers-lost", "all-lost"] as const;
export type CableFault = (typeof CABLE_FAULTS)[number];

/** A card that nobody has: frames for it are thrown away at the other end. */
const NOBODYS_CARD = "02:00:00:00:00:01";

export class Cable {
  /** Of the far end: what listens there is behind the cable. */
  readonly farHost: string;
  readonly #nearHost: string;
  readonly #name: string;
  readonly #near: string;
  readonly #far: string;
  readonly #withUs = () => this.#remove();

  /** `number`: 0 to 65535, one of its own for each cable on this machine. */
  constructor(number: number) {
    const [high, low] = [number >> 8, number & 0xff];
    this.#nearHost = `10.231.${high}.${(low & ~3) | 1}`;
    this.farHost = `10.231.${high}.${(low & ~3) | 2}`;
    this.#name = `holdfast-${process.pid}-${number}`;
    this.#near = `hfn${number}`;
    this.#far = `hff${number}`;
  }

  /** What starts a program at the far end. */
  get prefix(): readonly string[] {
    return [ip(), "netns", "exec", this.#name];
  }

  lay(): void {
    process.once("exit", this.#withUs);
    const far = (...args: string[]) => runProgram(ip(), "-n", this.#name, ...args);
    runProgram(ip(), "netns", "add", this.#name);
    runProgram(ip(), "link", "add", this.#near, "type", "veth", "peer", "name", this.#far);
    runProgram(ip(), "link", "set", this.#far, "netns", this.#name);
    runProgram(ip(), "addr", "add", `${this.#nearHost}/30`, "dev", this.#near);
    runProgram(ip(), "link", "set", this.#near, "up");
    far("link", "set", "lo", "up");
    far("addr", "add", `${this.farHost}/30`, "dev", this.#far);
    far("link", "set", this.#far, "up");
  }

  /** Resolves when it is so. */
  async harm(fault: CableFault): Promise<void> {
    if (fault === "unplugged") return this.#farIp("link", "set", this.#far, "down");
    if (fault !== "answers-lost") await run(["neigh", "replace", this.farHost, ...this.#nowhere(this.#near)]);
    if (fault !== "requests-lost")
      await this.#farIp("neigh", "replace", this.#nearHost, ...this.#nowhere(this.#far));
  }

  /** Whatever was done to it. */
  async mend(): Promise<void> {
    await this.#farIp("link", "set", this.#far, "up");
    // What is not there need not be taken away.
    await run(["neigh", "del", this.farHost, "dev", this.#near]).catch(() => {});
    await this.#farIp("neigh", "del", this.#nearHost, "dev", this.#far).catch(() => {});
  }

  remove(): void {
    process.off("exit", this.#withUs);
    this.#remove();
  }

  #remove(): void {
    try {
      // The near end goes with the far one.
      runProgram(ip(), "netns", "del", this.#name);
    } catch {
      // It was never laid.
    }
  }

  #nowhere(device: string): string[] {
    return ["lladdr", NOBODYS_CARD, "dev", device, "nud", "permanent"];
  }

  #farIp(...args: string[]): Promise<void> {
    return run(["-n", this.#name, ...args]);
  }
}

const ip = () => means("netns").path;

/** Traffic goes on meanwhile, so nobody waits here with the whole process. */
function run(args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(ip(), args, { stdio: "ignore" });
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 0) resolve();
      else reject(new Error(`ip ${args.join(" ")} ended with ${code}`));
    });
  });
}
