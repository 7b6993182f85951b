/**
 * The wall clock jumps: a gateway that starts in 1970 and learns the time later, jumps of ten years either way while
 * it runs, in the midst of traffic and of outages, and restarts with the clock set to another time.
 *
 * Beside the machines, whose messages the oracle judges, it has what depends on time looked at: messages with a
 * short life at a backend that is away, a backend that asks for pauses and measures them, marks of lateness and of
 * trust, a session whose client is away, and a message that comes again over the jump.
 */

import { AskingForPatience, type Gap } from "../../backends/asking-for-patience.ts";
import { HttpBackend } from "../../backends/http-backend.ts";
import { MqttBackend } from "../../backends/mqtt-backend.ts";
import { FalseClock } from "../../false-clock.ts";
import { RawMqttClient } from "../../machines/raw-mqtt-client.ts";
import { IN_1970_MS, type Jump, jumpOf } from "../clock-jumps.ts";
import { lookAtPauses, PAUSE_LONGER_MAX } from "../pauses.ts";
import { Site, type Way } from "../site.ts";
import type { Trial, TrialContext, TrialReport } from "../trial.ts";

/** From here on the gateway believes its clock; see core/clock.ts. */
const TRUSTED_FROM_MS = Date.UTC(2026, 0, 1);

/** What the backend asks for between two tries. */
const PAUSE_MS = 500;
const PATIENT_LANES = 6;
/** The life of a message in the flow whose backend is away, and how long after that it may still be there. */
const TTL_MS = 2_000;
const EXPIRED_AFTER_MS_MAX = 8_000;
const OLD_MS = 600_000;
/** Between the jump and what is looked at after it: traffic flows. */
const TRAFFIC_MS = 250;
/** Between what the gateway says it was and what it should have been. */
const WALL_APART_MS_MAX = 15_000;
const LOOK_MS = 40;

const MACHINES = [
  { name: "press", count: 2, rate: 15, qos: { 1: 2, 2: 1 }, topic: "plant/named/{device}", republish: 0.05 },
  {
    name: "oven",
    count: 2,
    rate: 15,
    qos: { 1: 2, 2: 1 },
    topic: "plant/nameless/{device}",
    dup: 0.05,
    loseAck: 0.03,
    withholdPubrel: 0.03,
  },
];

const producedAt = { pointer: "/producedAt" };
const IDENTITIES = [
  { topics: ["plant/named/#", "mark/named/#"], id: { pointer: "/id" }, scope: "global", producedAt },
  { topics: "#", producedAt },
];

export const clock: Trial = {
  name: "clock",
  about:
    "Starts the gateway in 1970 and lets its wall clock jump ten years either way, running and over restarts.",
  promise: `Nothing is lost, doubled, out of order or expired early; what is to expire does; pauses last what was asked for, and at most ${PAUSE_LONGER_MAX * 100} % longer; late is said by believable clocks only.`,
  needs: ["faketime"],
  async run(context) {
    const trial = await ClockTrial.start(context);
    try {
      return await trial.run();
    } finally {
      await trial.stop();
    }
  },
};

interface Brief {
  readonly sentMs: number;
  /** Time during which the gateway was down since. */
  downMs: number;
  expired: boolean;
}

class ClockTrial {
  readonly #context: TrialContext;
  readonly #site: Site;
  readonly #wall: FalseClock;
  readonly #patient: AskingForPatience;
  readonly #marked: HttpBackend;
  /** In the order in which they were sent. */
  readonly #briefs: Brief[] = [];
  readonly #jumpsMs: number[] = [];
  readonly #restarts: Gap[] = [];
  /** How long the gateway takes to acknowledge: with a commit in it, as a try has. */
  readonly #acksMs: number[] = [];
  readonly #ended = new AbortController();
  #watching: Promise<void> = Promise.resolve();
  #sessionKept = false;

  private constructor(
    context: TrialContext,
    site: Site,
    parts: { wall: FalseClock; patient: AskingForPatience; marked: HttpBackend },
  ) {
    this.#context = context;
    this.#site = site;
    this.#wall = parts.wall;
    this.#patient = parts.patient;
    this.#marked = parts.marked;
  }

  static async start(context: TrialContext): Promise<ClockTrial> {
    const { clock, dir } = context;
    const wall = new FalseClock(`${dir}/faketime`, IN_1970_MS - clock.wallMs());
    const patient = new AskingForPatience(clock, PAUSE_MS);
    const marked = new HttpBackend({ clock });
    const away = new HttpBackend({ clock });
    const http = { type: "http", requestTimeout: "1s", connectTimeout: "1s" };
    const soon = { delayMin: "20ms", delayMax: "100ms" };
    // Where lateness were decided by a clock that is wrong, messages would be dropped for it.
    const lasting = { ttl: "1h", lateAfter: "1m" };
    const ways: Way[] = [
      {
        name: "http",
        backend: new HttpBackend({ clock }),
        target: http,
        flow: { ...lasting, retry: soon, late: "drop" },
      },
      {
        name: "mqtt",
        backend: new MqttBackend({ clock }),
        target: { type: "mqtt", protocol: 5, idempotent: true, ackTimeout: "1s", connectTimeout: "1s" },
        flow: { ...lasting, retry: soon },
      },
      {
        name: "patient",
        backend: patient,
        target: { ...http, batch: "json" },
        flow: {
          from: "patient/#",
          orderBy: "topic",
          retry: { delayMin: "10ms", delayMax: "10ms", attemptsMax: 1000 },
        },
        judged: false,
      },
      {
        name: "marked",
        backend: marked,
        target: http,
        flow: { ...lasting, from: "mark/#", orderBy: "none", retry: soon },
        judged: false,
      },
      { name: "brief", backend: away, target: http, flow: { from: "brief/#", ttl: TTL_MS }, judged: false },
    ];
    const site = await Site.start(context, {
      ways: ways.map((way) => ({ linked: false, ...way })),
      machines: MACHINES,
      config: {
        intake: { identities: IDENTITIES },
        broker: { listeners: [{ type: "tcp", port: 0 }], sessions: { expireAfter: "1h" } },
      },
      env: wall.env,
    });
    await away.goAway();
    return new ClockTrial(context, site, { wall, patient, marked });
  }

  async run(): Promise<TrialReport> {
    const { another, signal, say } = this.#context;
    const site = this.#site;
    await this.#publishAll(
      Array.from({ length: PATIENT_LANES }, (_, lane) => ({
        topic: `patient/${lane}`,
        payload: `{"id":"patient-${lane}"}`,
      })),
    );
    this.#watching = this.#watchBriefs();
    let cycles = 0;
    while (another(cycles) && !signal.aborted) {
      await this.#cycle(cycles);
      cycles++;
    }
    say("waiting until everything has arrived or expired");
    await site.until(() => this.#briefs.every(({ expired }) => expired), TTL_MS + EXPIRED_AFTER_MS_MAX);
    this.#ended.abort();
    await this.#watching;
    this.#patient.asking = false;
    const figures = await site.judge();
    if (signal.aborted) return { cycles, figures, findings: site.findings };
    const pauses = lookAtPauses({
      pauseMs: PAUSE_MS,
      gaps: this.#patient.gaps,
      jumpsMs: this.#jumpsMs,
      down: this.#restarts,
      acksMs: this.#acksMs,
    });
    site.findings.push(...pauses.findings);
    await this.#lookAtFlows();
    this.#lookForDoubled();
    return {
      cycles,
      figures: { ...figures, ...pauses.figures, expired: this.#briefs.length },
      findings: site.findings,
    };
  }

  async stop(): Promise<void> {
    this.#ended.abort();
    await this.#watching;
    const { pid } = this.#site.gateway;
    await this.#site.stop();
    FalseClock.forget(pid);
  }

  async #cycle(cycle: number): Promise<void> {
    const { random } = this.#context;
    const jump = jumpOf(cycle, this.#wall.offsetMs, random);
    const again = {
      topic: "mark/nameless/again",
      payload: `{"id":"again-${cycle}"}`,
      qos: 1 as const,
      messageId: 7,
    };
    const client = await this.#client("visitor");
    await client.publish(again);
    // Before it is sent: its life begins when it is accepted.
    this.#briefs.push({ sentMs: this.#context.clock.monoMs(), downMs: 0, expired: false });
    await client.publish({ topic: "brief/one", payload: `{"id":"brief-${cycle}"}`, qos: 1 });
    await client.disconnect();
    await this.#visit(`before the jump to ${jump.to}`);
    await this.#site.pause(random.below(TRAFFIC_MS));
    await this.#jump(jump);
    await this.#site.pause(TRAFFIC_MS);
    const back = await this.#client("visitor");
    back.sendPublish({ ...again, dup: true });
    await back.take("puback");
    await back.disconnect();
    await this.#visit(`after the jump to ${jump.to} (${jump.how})`);
    await this.#mark(cycle, jump);
  }

  async #jump({ how, offsetMs }: Jump): Promise<void> {
    const { clock, random } = this.#context;
    const site = this.#site;
    const offset = offsetMs(clock.wallMs());
    const backends = site.ways.filter(({ judged = true }) => judged).map(({ backend }) => backend);
    const from = clock.monoMs();
    if (how === "outage") {
      for (const backend of backends) await backend.goAway();
      await site.pause(100 + random.below(100));
    } else if (how === "restart") {
      const { pid } = site.gateway;
      if (random.below(2) === 0) await site.gateway.kill();
      else await site.gateway.stop();
      FalseClock.forget(pid);
    }
    this.#jumpsMs.push(clock.monoMs());
    this.#wall.jump(offset);
    if (how === "outage") {
      await site.pause(100 + random.below(300));
      for (const backend of backends) await backend.comeBack();
    } else if (how === "restart") {
      await site.startGateway();
      const downMs = clock.monoMs() - from;
      for (const brief of this.#briefs) if (!brief.expired) brief.downMs += downMs;
      this.#restarts.push({ fromMs: from, toMs: clock.monoMs() });
    }
  }

  /** Two readings whose device has the right time, one made just now and one old: what the gateway says of them. */
  async #mark(cycle: number, { to }: Jump): Promise<void> {
    const { clock } = this.#context;
    const site = this.#site;
    const nowMs = clock.wallMs();
    const readings = { fresh: nowMs, old: nowMs - OLD_MS };
    await this.#publishAll(
      Object.entries(readings).map(([age, atMs]) => ({
        topic: `mark/named/${age}`,
        payload: JSON.stringify({ id: `${age}-${cycle}`, producedAt: new Date(atMs).toISOString() }),
      })),
    );
    const shouldBeMs = nowMs + this.#wall.offsetMs;
    const trusted = shouldBeMs >= TRUSTED_FROM_MS;
    for (const age of Object.keys(readings)) {
      const id = `${age}-${cycle}`;
      const find = (what: string) =>
        site.findings.push(`${what}: the ${age} reading after the jump to ${to} (${id})`);
      const delivered = async () => (await site.story(id))?.deliveries[0]?.state === "delivered";
      if (!(await site.until(delivered))) {
        find("not delivered");
        continue;
      }
      const { message, deliveries } = (await site.story(id))!;
      if (Math.abs(message.acceptedAtMs - shouldBeMs) > WALL_APART_MS_MAX)
        find("accepted at a time that is not its clock's");
      if (message.clockTrusted !== trusted) find(`clockTrusted is ${message.clockTrusted}`);
      // By a clock that is right it is known to be late, by one that is years off nothing is known.
      const late = age === "old" && this.#wall.offsetMs === 0;
      if (deliveries[0]!.late !== late) find(late ? "not marked as late" : "marked as late");
      const request = this.#marked.requests.find(({ body }) => body.includes(`"${id}"`));
      const told = {
        trusted: request?.headers["holdfast-clock-trusted"] !== "false",
        late: request?.headers["holdfast-late"] === "true",
      };
      if (told.trusted !== trusted || told.late !== late)
        find("the backend was told otherwise than what is shown");
    }
  }

  /** A client with a session comes for a moment; it must find it again. */
  async #visit(when: string): Promise<void> {
    const client = await this.#client("guest");
    if (this.#sessionKept && !client.connack!.sessionPresent)
      this.#site.findings.push(`expired: a session, ${when}`);
    if (!this.#sessionKept) await client.subscribe("mark/#", 1);
    this.#sessionKept = true;
    await client.disconnect();
  }

  #client(clientId: string): Promise<RawMqttClient> {
    const { clock } = this.#context;
    return RawMqttClient.connect(
      { ...this.#site.door, clientId, clean: false, answer: "received", clock },
      15_000,
    );
  }

  async #publishAll(messages: readonly { topic: string; payload: string }[]): Promise<void> {
    const client = await this.#client("visitor");
    const { clock } = this.#context;
    for (const message of messages) {
      const fromMs = clock.monoMs();
      await client.publish({ ...message, qos: 1 }, 15_000);
      this.#acksMs.push(clock.monoMs() - fromMs);
    }
    await client.disconnect();
  }

  /** Sees each message with a short life expire: not before its time, and not long after. */
  async #watchBriefs(): Promise<void> {
    const { clock, signal } = this.#context;
    const site = this.#site;
    while (!this.#ended.signal.aborted && !signal.aborted) {
      const flow = await site.flow("brief");
      const nowMs = clock.monoMs();
      for (const [at, brief] of this.#briefs.entries()) {
        if (brief.expired || !flow) continue;
        const ageMs = Math.round(nowMs - brief.sentMs);
        if (at < flow.expired) {
          brief.expired = true;
          if (ageMs < TTL_MS)
            site.findings.push(
              `expired early: message ${at + 1} with a life of ${TTL_MS} ms, after ${ageMs} ms`,
            );
        } else if (ageMs > TTL_MS + EXPIRED_AFTER_MS_MAX + brief.downMs) {
          brief.expired = true;
          site.findings.push(
            `not expired: message ${at + 1} with a life of ${TTL_MS} ms is there after ${ageMs} ms`,
          );
        }
      }
      await site.pause(LOOK_MS);
    }
  }

  async #lookAtFlows(): Promise<void> {
    for (const name of ["http", "mqtt", "patient", "marked"]) {
      const flow = await this.#site.flow(name);
      if (flow?.expired !== 0)
        this.#site.findings.push(
          `expired early: ${flow?.expired} messages with a life of an hour on ${name}`,
        );
      if (name !== "marked" && flow?.late !== 0)
        this.#site.findings.push(`late: ${flow?.late} messages on ${name}, and none was`);
    }
  }

  /** What came again under its packet id over a jump was known. */
  #lookForDoubled(): void {
    const times = new Map<string, number>();
    for (const { payload, effect } of this.#marked.arrivals()) {
      const { id } = JSON.parse(payload.toString()) as { id: string };
      if (effect) times.set(id, (times.get(id) ?? 0) + 1);
    }
    for (const [id, count] of times)
      if (count > 1) this.#site.findings.push(`doubled on marked: ${id} took effect ${count} times`);
  }
}
