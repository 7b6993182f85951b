/**
 * A scenario: machines, a backend, a gateway, what befalls them and when, and what must be true at the end.
 * Its schema; scenario-library.ts reads files, compose.ts puts several together.
 */
import { z } from "zod";
import { duration } from "../src/core/units.ts";
import { BACKEND_MODES } from "./backends/backend.ts";
import { LINK_MODES } from "./backends/tcp-proxy.ts";
import { expectSchema } from "./expectations.ts";
import { type MachineGroup, machineGroupSchema } from "./machines/fleet.ts";
import { INSTRUMENT_FAULTS } from "./machines/instrument.ts";
import type { WiredGroups } from "./machines/wired-fleet.ts";
import { instrumentGroupSchema } from "./machines/wired-instrument.ts";
import { OPCUA_FAULTS, opcuaGroupSchema } from "./machines/wired-opcua.ts";
import { plcGroupSchema } from "./machines/wired-plc.ts";

/** What stands in the gateway's config for the backend's address; the gateway's own config reader fills it in. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: it is the config's syntax, not a template
export const BACKEND_URL_VARIABLE = "${BACKEND_URL}";

/** The questions that the library answers, in the order in which a listing shows them. */
export const QUESTIONS = [
  "delivered twice",
  "processed late",
  "never succeeds",
  "and everything else",
] as const;
export type Question = (typeof QUESTIONS)[number];

const at = duration().describe("When, counted from the first machine's start.");
const groupName = z.string().min(1);
const group = z
  .union([groupName, z.array(groupName).min(1)])
  .optional()
  .describe("Machines of this group, or of these groups; default: all.");

const eventSchema = z.discriminatedUnion("do", [
  z.strictObject({ at, do: z.literal("backend-away") }).describe("The backend's port closes."),
  z.strictObject({ at, do: z.literal("backend-back") }).describe("The backend is there again, well-behaved."),
  z
    .strictObject({ at, do: z.literal("backend-mode"), mode: z.enum(BACKEND_MODES) })
    .describe("The backend misbehaves in this way until it is told otherwise."),
  z
    .strictObject({
      at,
      do: z.literal("network"),
      of: z.enum(["backend", "machines"]).describe("Before which side of the gateway."),
      mode: z.enum(LINK_MODES),
    })
    .describe("The line misbehaves in this way until it is told otherwise; `pass` is well."),
  z
    .strictObject({ at, do: z.literal("kill-gateway"), down: duration().prefault("1s") })
    .describe("kill -9, and a start after `down`."),
  z
    .strictObject({ at, do: z.literal("restart-gateway"), down: duration().prefault("0s") })
    .describe("A decent stop (SIGTERM), and a start."),
  z
    .strictObject({ at, do: z.literal("redrive"), flow: z.string().min(1).optional() })
    .describe("A person puts dead letters and held unknowns back in line: of this flow, or all."),
  z
    .strictObject({ at, do: z.literal("discard"), flow: z.string().min(1).optional() })
    .describe("A person gives dead letters and held unknowns up for good: of this flow, or all."),
  z
    .strictObject({ at, do: z.literal("replay"), flow: z.string().min(1) })
    .describe("A person has all that this flow delivered delivered once more."),
  z
    .strictObject({ at, do: z.literal("reconnect-storm"), group })
    .describe("Machines lose their connection at the same moment."),
  z
    .strictObject({ at, do: z.literal("burst"), size: z.int().min(1).max(100_000), group })
    .describe("Each machine makes this many readings at once."),
  z
    .strictObject({ at, do: z.literal("machines-offline"), group })
    .describe("Machines lose their network. They go on, and keep their readings."),
  z
    .strictObject({ at, do: z.literal("machines-online"), group })
    .describe("They have it again, and send what they kept, oldest first."),
  z
    .strictObject({ at, do: z.literal("send-again"), last: z.int().min(1).max(10_000), group })
    .describe("Each machine publishes its last acknowledged readings once more, as new messages."),
  z
    .strictObject({
      at,
      do: z.literal("plc-fault"),
      fault: z.enum(["none", "exception", "silence", "slow", "spoilt", "garbage", "hang-up"]),
      code: z.int().min(1).max(11).default(4).describe("For `exception`."),
      ms: z.int().min(1).default(500).describe("For `slow`: how long an answer takes, in ms."),
      group,
    })
    .describe("PLCs misbehave in this way until they are told otherwise; `none` is well."),
  z
    .strictObject({ at, do: z.literal("plc-restart"), down: duration().prefault("0s"), group })
    .describe("PLCs are switched off, and on after `down`, with their counters begun anew."),
  z
    .strictObject({
      at,
      do: z.literal("instrument-fault"),
      fault: z.enum(INSTRUMENT_FAULTS),
      ms: z.int().min(1).default(300).describe("For `slow` and `split`: how long it takes, in ms."),
      group,
    })
    .describe("Instruments misbehave in this way until they are told otherwise; `none` is well."),
  z
    .strictObject({ at, do: z.literal("unplug"), down: duration().prefault("1s"), group })
    .describe("Instruments, and PLCs on serial lines, are pulled out, and plugged in again after `down`."),
  z
    .strictObject({ at, do: z.literal("opcua-fault"), fault: z.enum(OPCUA_FAULTS), group })
    .describe(
      "OPC UA servers fall silent until they are told otherwise, or end all sessions: with what was subscribed in them, or without.",
    ),
  z
    .strictObject({ at, do: z.literal("opcua-restart"), down: duration().prefault("0s"), group })
    .describe(
      "OPC UA servers are switched off, and on after `down`, without the sessions and subscriptions they had.",
    ),
]);

export type ScenarioEvent = z.output<typeof eventSchema>;

export const scenarioSchema = z.strictObject({
  title: z.string().default("").describe("What happens, in one line, for a listing."),
  question: z.enum(QUESTIONS).default("and everything else").describe("Which question it answers."),
  about: z.string().default("").describe("What it shows, in a sentence or two."),
  with: z
    .array(z.string().min(1))
    .default([])
    .describe(
      "Scenarios, by name or file, that run together with this one on one gateway. What this file says of duration, drain and expect stands for the whole.",
    ),
  seed: z.int().min(0).default(1).describe("The same seed gives the same readings with the same mishaps."),
  duration: duration({ min: 100 }).prefault("10s").describe("How long the machines make readings."),
  drain: duration({ min: 0 })
    .prefault("30s")
    .describe("At most this long after that for everything to arrive; the backend is well by then."),
  machines: z.array(machineGroupSchema).default([]).describe("Groups of equal machines."),
  plcs: z.array(plcGroupSchema).default([]).describe("Groups of equal PLCs, which the gateway reads."),
  instruments: z
    .array(instrumentGroupSchema)
    .default([])
    .describe("Groups of equal instruments on serial lines, which the gateway asks or hears."),
  opcua: z
    .array(opcuaGroupSchema)
    .default([])
    .describe("Groups of equal OPC UA servers, which the gateway reads."),
  backend: z
    .discriminatedUnion("type", [
      z.strictObject({
        type: z.literal("http"),
        ...backendOptions(),
        poisonStatus: z
          .int()
          .min(400)
          .max(599)
          .default(422)
          .describe("What the mode `reject-one` answers: 422 never, 423 not now."),
        failingStatus: z
          .int()
          .min(400)
          .max(599)
          .default(500)
          .describe("What the mode `failing` answers: 500, or 401 as one that lets nobody in."),
      }),
      z.strictObject({ type: z.literal("mqtt"), ...backendOptions() }),
      z.strictObject({ type: z.literal("file") }).describe("No backend: the gateway writes to its outbox."),
    ])
    .prefault({ type: "http" }),
  gateway: z
    .strictObject({
      config: z
        .record(z.string(), z.unknown())
        .default({})
        .describe(
          "For the gateway that the run starts: laid over a small config with one flow `all` to one target `backend`. The variable BACKEND_URL holds the backend's address.",
        ),
    })
    .prefault({}),
  timeline: z.array(eventSchema).default([]).describe("What happens, and when."),
  expect: expectSchema.prefault({}).describe("A number, or {min, max}."),
});

export type Scenario = Omit<z.output<typeof scenarioSchema>, GroupList> &
  WiredGroups & { readonly machines: readonly MachineGroup[] };

/** Where groups stand in a scenario, all of them under names of their own. */
export const GROUP_LISTS = ["machines", "plcs", "instruments", "opcua"] as const;
export type GroupList = (typeof GROUP_LISTS)[number];

const CONCERNED: Partial<Record<ScenarioEvent["do"], readonly GroupList[]>> = {
  "reconnect-storm": ["machines"],
  burst: ["machines"],
  "machines-offline": ["machines"],
  "machines-online": ["machines"],
  "send-again": ["machines"],
  "plc-fault": ["plcs"],
  "plc-restart": ["plcs"],
  "instrument-fault": ["instruments"],
  unplug: ["plcs", "instruments"],
  "opcua-fault": ["opcua"],
  "opcua-restart": ["opcua"],
};

/** Whose groups an event may name; none where it concerns everybody. */
export function concerned(event: ScenarioEvent): readonly GroupList[] {
  return CONCERNED[event.do] ?? [];
}

function backendOptions() {
  return {
    port: z
      .int()
      .min(0)
      .max(65_535)
      .default(0)
      .describe("Where the backend listens; 0: a free port. For a running gateway, the one in its config."),
    mode: z.enum(BACKEND_MODES).default("ok").describe("How it behaves from the start."),
    recovers: z
      .boolean()
      .default(true)
      .describe("Whether it and its line are well for the drain, whatever the timeline did to them."),
    slow: duration({ min: 1 }).prefault("200ms").describe("How long an answer takes in the mode `slow`."),
    dedupe: z
      .boolean()
      .default(true)
      .describe("Whether it makes a message that it gets twice under one id once in effect."),
  };
}
