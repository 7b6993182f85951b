/** All trials, in the order in which the torture command takes them: what happens most often first. */
import type { Trial } from "./trial.ts";
import { cablePulled } from "./trials/cable-pulled.ts";
import { clock } from "./trials/clock.ts";
import { crowd } from "./trials/crowd.ts";
import { diskFull } from "./trials/disk-full.ts";
import { fuzzMqtt } from "./trials/fuzz-mqtt.ts";
import { kill } from "./trials/kill.ts";
import { network } from "./trials/network.ts";
import { powerCut } from "./trials/power-cut.ts";
import { restart } from "./trials/restart.ts";
import { storm } from "./trials/storm.ts";
import { syscallKill } from "./trials/syscall-kill.ts";

export const TRIALS: readonly Trial[] = [
  restart,
  storm,
  kill,
  network,
  cablePulled,
  powerCut,
  diskFull,
  syscallKill,
  clock,
  crowd,
  fuzzMqtt,
];
