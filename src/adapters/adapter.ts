/**
 * The contract of an adapter: how machines that are not MQTT clients become devices.
 *
 * An adapter owns what it talks through (sockets, serial ports), reads with care for the machine, and hands
 * what it read to `intake` by way of holding.ts. It is a Service: start() resolves at once, also where no
 * machine answers, since a machine that is off must not keep the gateway from starting; stop() resolves when
 * no request is under way and everything is closed.
 *
 * A device's state is by evidence: a connection that is open is none, an answer is.
 *   starting  nothing has been asked yet; or it speaks by itself, and has not yet
 *   online    it answers what it is asked, or what it said last made sense
 *   failing   it answers, but to some or all of it with an exception, or with what makes no sense
 *   offline   it does not answer, or cannot be reached
 *
 * Each protocol has a folder: schema.ts (its part of the config), <protocol>.ts (the adapter), and what the
 * protocol needs, with all that can be pure in files that do no I/O.
 */
import type { Clock } from "../core/clock.ts";
import type { Commanded } from "../core/command.ts";
import type { Logger } from "../core/logger.ts";
import type { Random } from "../core/random.ts";
import type { Service } from "../core/service.ts";
import type { Accepting } from "../intake/draft.ts";

export interface AdapterContext {
  readonly intake: Accepting;
  /** One per start of the gateway. */
  readonly boot: string;
  /** Absolute; for what an adapter keeps over starts. */
  readonly dataDir: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export type DeviceState = "starting" | "online" | "failing" | "offline";

/** What is known of a device in this run. Times are epoch ms, or null for never. */
export interface DeviceReport {
  readonly device: string;
  readonly type: string;
  /** Where it is, for people: `10.0.0.5:502 unit 1`. */
  readonly where: string;
  readonly state: DeviceState;
  /** When the state began. */
  readonly sinceMs: number;
  readonly lastAnswerAtMs: number | null;
  /** The last thing that went wrong: a name, a colon, a sentence. */
  readonly lastError: string | null;
  readonly lastErrorAtMs: number | null;
  readonly lastStoredAtMs: number | null;
  /** Requests sent to it, and how many of them failed. */
  readonly requests: number;
  readonly failures: number;
  /** Polls that were due while the one before was still under way. */
  readonly skippedPolls: number;
  /** Where frames are told apart here: whole ones, others, whole ones that nobody knows; bytes between frames. */
  readonly frames?: number;
  readonly badFrames?: number;
  readonly unknownFrames?: number;
  readonly noiseBytes?: number;
  /** Messages: made, stored, waiting for the store, given up, refused by intake. */
  readonly made: number;
  readonly stored: number;
  readonly held: number;
  readonly missed: number;
  readonly refused: number;
  readonly duplicates: number;
  /** The cursor: everything up to this number is committed. */
  readonly storedSequence: number;
}

export interface Adapter extends Service {
  /** What takes long and needs no machine, before any door is open. */
  prepare?(): Promise<unknown>;
  /** All its devices, in the config's order. */
  devices(): readonly DeviceReport[];
  /** For those of them that take commands. */
  readonly commanded?: Commanded;
}
