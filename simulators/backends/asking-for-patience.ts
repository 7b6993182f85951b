/**
 * A web service that asks for a pause of the same length again and again, and writes down when each message came:
 * how long a gateway really waits. Takes batches, since only there a pause may be a part of a second.
 */
import type { Clock } from "../../src/core/clock.ts";
import { HttpBackend } from "./http-backend.ts";

export interface Gap {
  /** On the mono clock of this process. */
  readonly fromMs: number;
  readonly toMs: number;
}

export class AskingForPatience extends HttpBackend {
  /** False: takes what comes. */
  asking = true;
  /** Between two times that the same message came. */
  readonly gaps: Gap[] = [];
  readonly #cameMs = new Map<string, number>();

  constructor(clock: Clock, pauseMs: number) {
    super({ clock, itemResults: true });
    this.script = ({ body }, response) => {
      const items = JSON.parse(body.toString()) as { id: string }[];
      const toMs = clock.monoMs();
      for (const { id } of items) {
        const fromMs = this.#cameMs.get(id);
        if (fromMs !== undefined) this.gaps.push({ fromMs, toMs });
        this.#cameMs.set(id, toMs);
      }
      if (!this.asking) return false;
      const results = items.map(({ id }) => ({ id, status: "retry", retryAfter: pauseMs / 1000 }));
      response.writeHead(207, { "content-type": "application/json" }).end(JSON.stringify({ results }));
      return true;
    };
  }
}
