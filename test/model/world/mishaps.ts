/** What befalls a simulated world: does the actions of a plan, and mends everything again. */
import type { Random } from "../../../src/core/random.ts";
import { type Action, BACKENDS, type BackendName, FAULTS_MS } from "./plan.ts";
import { CrashError } from "./sim-disk.ts";
import type { World } from "./world.ts";

/** Between a backend's commit and the gateway's record of it, about. */
const ANSWER_MS_MAX = 8;
const DOWN_MS = 500;

type Acts = { readonly [K in Action["do"]]: (action: Extract<Action, { do: K }>) => void };

export class Mishaps {
  readonly #world: World;
  readonly #random: Random;

  constructor(world: World, random: Random) {
    this.#world = world;
    this.#random = random;
  }

  act(action: Action): void {
    this.#world.trace(JSON.stringify(action));
    (this.#acts[action.do] as (action: Action) => void)(action);
  }

  /** Everything is well again; from here on it must come to its end by itself. */
  mend(): void {
    const { network, disk, lives, backends, plan } = this.#world;
    this.#world.trace("all is mended");
    network.mendAll();
    for (const name of BACKENDS) {
      backends[name].mode = "well";
      this.#disarm(name);
    }
    disk.roomBytes = Number.POSITIVE_INFINITY;
    disk.before = null;
    disk.mend();
    lives.mayFail = false;
    lives.commitMs = plan.commitMs;
    lives.dieAtCommit = null;
  }

  /** What was to strike a gateway that is dead now does not strike the next one. */
  disarmAll(): void {
    for (const name of BACKENDS) this.#disarm(name);
  }

  readonly #acts: Acts = {
    burst: ({ machine, size }) => this.#world.machines[machine]!.make(size),
    "hand in": ({ size }) => this.#world.program.make(size),
    machine: ({ machine }) => this.#world.machines[machine]!.cut(),
    reboot: ({ machine }) => this.#world.machines[machine]!.reboot(),
    subscriber: ({ subscriber }) => this.#world.subscribers[subscriber]?.cut(),
    backend: ({ backend, mode, forMs }) => {
      this.#world.backends[backend].mode = mode;
      this.#later(forMs, () => {
        this.#world.backends[backend].mode = "well";
      });
    },
    link: ({ to, link, forMs }) => {
      const { network } = this.#world;
      network.setLink("gateway", to, link);
      if (link === "closed") network.cut("gateway", to);
      this.#later(forMs, () => network.setLink("gateway", to, "up"));
    },
    cut: ({ to }) => this.#world.network.cut("gateway", to),
    forget: ({ to }) => this.#world.network.forget("gateway", to),
    "lose answers": ({ to }) => this.#world.network.loseAnswers(to, "gateway"),
    clock: ({ skewMs }) => this.#world.lives.setClock(skewMs),
    "disk full": ({ spareBytes, forMs }) => {
      const { disk, lives } = this.#world;
      disk.roomBytes = disk.usedBytes + spareBytes;
      lives.mayFail = true;
      this.#later(forMs, () => {
        disk.roomBytes = Number.POSITIVE_INFINITY;
      });
    },
    "disk fails": ({ kind, nth }) => {
      this.#world.lives.mayFail = true;
      this.#world.disk.fail(kind, nth);
    },
    "disk slow": ({ commitMs, forMs }) => {
      const { lives, plan } = this.#world;
      lives.commitMs = commitMs;
      this.#later(forMs, () => {
        lives.commitMs = plan.commitMs;
      });
    },
    crash: ({ power, downMs }) => this.#crash(power, downMs),
    "crash at disk": ({ kind, nth, power }) => {
      const { disk, lives } = this.#world;
      if (!lives.gateway) return;
      let left = nth;
      disk.before = (access) => {
        if (access.kind !== kind || --left > 0 || lives.isClockFresh) return;
        lives.dieByPower = power;
        throw new CrashError(`at a ${access.kind} of ${access.file}`);
      };
    },
    "crash at commit": ({ nth, power }) => {
      this.#world.lives.dieAtCommit = { left: nth, power };
    },
    "crash at backend": ({ backend, power }) => {
      const { book } = this.#world.backends[backend];
      book.onCommit = (id) => {
        this.#disarm(backend);
        book.onCommit(id);
        this.#world.time.after(this.#random.below(ANSWER_MS_MAX), () => this.#crash(power, DOWN_MS));
      };
    },
    operator: ({ does }) => void this.#world.operator.act(does),
    restart: ({ config, downMs }) => {
      const { lives } = this.#world;
      if (!lives.isUp) return;
      lives.config = config;
      lives.stop(downMs);
    },
  };

  #crash(power: boolean, downMs: number): void {
    const { lives } = this.#world;
    if (lives.gateway && !lives.isClockFresh) lives.die(lives.gateway, power, downMs);
  }

  #disarm(name: BackendName): void {
    this.#world.backends[name].book.onCommit = (id) => this.#world.trace(`${name} commits ${id}`);
  }

  /** Not after the end of all faults. */
  #later(forMs: number, undo: () => void): void {
    const { time } = this.#world;
    time.after(Math.min(forMs, FAULTS_MS - time.monoMs()), undo);
  }
}
