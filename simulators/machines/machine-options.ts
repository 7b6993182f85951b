/** What a simulated machine is given, and what it tells of itself on the wire. */
import type { Clock } from "../../src/core/clock.ts";
import type { Behaviour } from "./behaviour.ts";
import type { Ledger, Sent } from "./ledger.ts";

/** What a machine does on the wire and what it is answered, for a capture. */
export type WireEvent =
  | { readonly do: "connect"; readonly clean: boolean; readonly username?: string }
  | {
      readonly do: "publish";
      readonly sent: Sent;
      readonly payload: Buffer;
      readonly dup: boolean;
      /** 0 under QoS 0. */
      readonly packetId: number;
    }
  | { readonly do: "release"; readonly packetId: number }
  | { readonly do: "answer"; readonly cmd: Answer; readonly packetId: number }
  | { readonly do: "close"; readonly how: "cut" | "lost" | "disconnect" };
export type Answer = "puback" | "pubrec" | "pubcomp";

export interface MachineOptions {
  readonly device: string;
  readonly behaviour: Behaviour;
  readonly ledger: Ledger;
  readonly seed: number;
  readonly run: string;
  readonly clock: Clock;
  /** How far the run has come, in ms: the ledger's times. */
  readonly elapsedMs: () => number;
  /** Where the gateway listens; asked at each connect, since a restarted one may listen elsewhere. */
  readonly address: () => { readonly host: string; readonly port: number };
  /** Its HTTP door, where it has one; asked at each request. */
  readonly http?: () => string | null;
  /** Each message as it goes on the wire, for recording. */
  readonly onWire?: (sent: Sent, payload: Buffer) => void;
  /** Everything that it does on the wire, in its order. */
  readonly onTrace?: (device: string, event: WireEvent) => void;
  /** It can send again this many of the readings that were answered last; default: none. */
  readonly keeps?: number;
}
