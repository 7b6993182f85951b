/**
 * A wall clock that is wrong, for a process of its own: libfaketime answers the process's questions for the time,
 * and its file says how far the time is off. A running process jumps with the file; its steady time does not.
 *
 * What a kernel would do and this cannot: file times are the true ones.
 */
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { means } from "./torture/means.ts";

export class FalseClock {
  readonly #file: string;
  #offsetMs = 0;

  /** `file`: where it may write. Needs the means `faketime`. */
  constructor(file: string, offsetMs: number) {
    this.#file = file;
    this.jump(offsetMs);
  }

  /** How far the time is off. */
  get offsetMs(): number {
    return this.#offsetMs;
  }

  /** For the process. */
  get env(): Record<string, string> {
    return {
      LD_PRELOAD: means("faketime").path,
      FAKETIME_TIMESTAMP_FILE: this.#file,
      // Asked each time: it is to jump at once.
      FAKETIME_NO_CACHE: "1",
      // Two names for the same, old and new: timers and durations go on as on a real machine.
      DONT_FAKE_MONOTONIC: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      NO_FAKE_STAT: "1",
    };
  }

  jump(offsetMs: number): void {
    this.#offsetMs = offsetMs;
    // Renamed into place, so that nobody reads half of it.
    writeFileSync(
      `${this.#file}.new`,
      `${offsetMs < 0 ? "-" : "+"}${Math.round(Math.abs(offsetMs) / 1000)}\n`,
    );
    renameSync(`${this.#file}.new`, this.#file);
  }

  /** The library leaves files of a process that was killed, over which a later one with its number would stumble. */
  static forget(pid: number | undefined): void {
    for (const file of [`faketime_shm_${pid}`, `sem.faketime_sem_${pid}`]) {
      rmSync(`/dev/shm/${file}`, { force: true });
    }
  }
}
