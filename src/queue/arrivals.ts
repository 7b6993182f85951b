/** Gathers which lanes got new deliveries, so that the relay is told once a commit. */
import type { OpenLane } from "./repair.ts";
import type { AppendRequest } from "./requests.ts";

/** New deliveries that wait in a lane. */
export interface Arrival extends Omit<OpenLane, "open"> {
  readonly count: number;
}

export class Arrivals {
  readonly #flowOfVersion = new Map<number, string>();
  readonly #byLane = new Map<number, Arrival & { count: number }>();

  learnVersion(version: number, flow: string): void {
    this.#flowOfVersion.set(version, flow);
  }

  /** `lanes`: of each route that begins as waiting, in the order of the routes. */
  note({ routes }: AppendRequest, lanes: readonly number[]): void {
    let at = 0;
    for (const { state, version, key } of routes) {
      if (state !== "waiting") continue;
      const lane = lanes[at++]!;
      const known = this.#byLane.get(lane);
      if (known) known.count += 1;
      else this.#byLane.set(lane, { lane, flow: this.#flowOfVersion.get(version)!, key, count: 1 });
    }
  }

  /** All since the last time it was asked. */
  take(): Arrival[] {
    if (this.#byLane.size === 0) return [];
    const arrivals = [...this.#byLane.values()];
    this.#byLane.clear();
    return arrivals;
  }
}
