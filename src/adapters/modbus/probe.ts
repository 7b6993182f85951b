/**
 * Reads one device once, as it would be polled, and says for each register what stood there. Where the machine
 * refuses a request for several, each is asked for by itself, so that one sees which of them it does not have.
 */
import type { Clock } from "../../core/clock.ts";
import { safeParse } from "../../core/safe-parse.ts";
import type { Value } from "../readings.ts";
import { type Failure, failureText } from "./failure.ts";
import { Line } from "./line.ts";
import { isBitTable, typeOf } from "./map-checks.ts";
import { planRequests, type Request } from "./plan.ts";
import { decodeItem, type Item, itemsOf } from "./poller.ts";
import { type ModbusDeviceConfig, modbusDeviceSchema, TABLES, TYPES } from "./schema.ts";
import type { Answer } from "./wire.ts";

export interface ProbedRegister {
  readonly group: string;
  readonly signal: string;
  readonly table: string;
  readonly address: number;
  readonly type: string;
  readonly unit: string | null;
  readonly value: Value;
  /** What was received for it, in hex; null where nothing was. */
  readonly raw: string | null;
  /** Why there is no value. */
  readonly reason: string | null;
}

export interface Probed {
  readonly registers: readonly ProbedRegister[];
  readonly requests: number;
  /** The unit said something, if only no. */
  readonly answered: boolean;
}

export async function probeDevice(config: ModbusDeviceConfig, clock: Clock): Promise<Probed> {
  const line = new Line(config.connection, clock);
  const registers: ProbedRegister[] = [];
  let [requests, answered] = [0, false];
  let silent: Failure | null = null;
  const ask = async ({ table, address, count }: Omit<Request<Item>, "spans">): Promise<Answer> => {
    if (silent) return { ok: false, failure: silent };
    let answer: Answer;
    for (let n = 0; ; n++) {
      requests += 1;
      answer = await line.ask({ unit: config.unit, table, address, count }, config.timeout);
      if (answer.ok || answer.failure.answered || n >= config.retries) break;
    }
    if (answer.ok || answer.failure.answered) answered = true;
    else if (!answered) silent = answer.failure;
    return answer;
  };
  try {
    for (const [group, settings] of Object.entries(config.groups)) {
      for (const request of planRequests(itemsOf(settings), config)) {
        const answer = await ask(request);
        const apart = !answer.ok && answer.failure.answered && request.spans.length > 1;
        for (const item of request.spans) {
          const { table, address, size } = item;
          const own = apart ? await ask({ table, address, count: size }) : answer;
          registers.push(probed(group, item, apart ? address : request.address, own, config));
        }
      }
    }
  } finally {
    await line.close();
  }
  return { registers, requests, answered };
}

function probed(
  group: string,
  item: Item,
  from: number,
  answer: Answer,
  config: ModbusDeviceConfig,
): ProbedRegister {
  const { signal, table, address, size, register } = item;
  const base = { group, signal, table, address, type: typeOf(register), unit: register.unit ?? null };
  if (!answer.ok) return { ...base, value: null, raw: null, reason: failureText(answer.failure) };
  const decoded = decodeItem(answer.data, item, from, config);
  const at = address - from;
  const raw = isBitTable(table) ? null : answer.data.subarray(2 * at, 2 * (at + size)).toString("hex");
  return decoded.ok
    ? { ...base, value: decoded.value, raw, reason: null }
    : { ...base, value: null, raw, reason: decoded.reason };
}

export interface ProbeFlags {
  readonly host?: string;
  readonly port?: string;
  readonly serial?: string;
  readonly baud?: string;
  readonly parity?: string;
  readonly stopBits?: string;
  readonly unit?: string;
  readonly timeout?: string;
  readonly table?: string;
  readonly address?: string;
  readonly count?: string;
  readonly type?: string;
  readonly length?: string;
  readonly byteOrder?: string;
  readonly wordOrder?: string;
}

/** A device made of flags, by the same schema as a configured one; else what is wrong, a sentence for each. */
export function deviceOfFlags(flags: ProbeFlags): ModbusDeviceConfig | string[] {
  const table = flags.table ?? "holding";
  const bits = table === "coil" || table === "discrete";
  const type = flags.type ?? (bits ? "bool" : "uint16");
  const [address, count] = [number(flags.address ?? "0"), number(flags.count ?? "1")];
  if (!TABLES.includes(table as never)) return [`--table: expected one of ${TABLES.join(", ")}`];
  if (!TYPES.includes(type as never)) return [`--type: expected one of ${TYPES.join(", ")}`];
  if (!Number.isInteger(count) || count < 1 || count > COUNT_MAX) {
    return [`--count: expected a whole number from 1 to ${COUNT_MAX}`];
  }
  const wide = type === "string" ? Math.ceil(number(flags.length ?? "2") / 2) : (WIDTHS[type] ?? 1);
  const registers = Object.fromEntries(
    Array.from({ length: count }, (_, n) => {
      const at = address + n * wide;
      // Of a whole register's bits none has a name yet.
      const named =
        type === "bits" ? { bits: Object.fromEntries(SIXTEEN.map((bit) => [`${bit}`, bit])) } : {};
      const whole = { table, address: at, type, ...named };
      return [
        `${table}-${at}`,
        type === "string" ? { ...whole, length: number(flags.length ?? "2") } : whole,
      ];
    }),
  );
  const given = (name: string, value: unknown) => (value === undefined ? {} : { [name]: value });
  const connection =
    flags.serial === undefined
      ? { type: "tcp", host: flags.host, ...given("port", numberOr(flags.port)) }
      : {
          type: "serial",
          path: flags.serial,
          ...given("baud", numberOr(flags.baud)),
          ...given("parity", flags.parity),
          ...given("stopBits", numberOr(flags.stopBits)),
        };
  const parsed = safeParse(modbusDeviceSchema, {
    type: "modbus",
    connection,
    ...given("unit", numberOr(flags.unit)),
    ...given("timeout", flags.timeout),
    ...given("byteOrder", flags.byteOrder),
    ...given("wordOrder", flags.wordOrder),
    groups: { probe: { registers } },
  });
  if (parsed.success) return parsed.data;
  return parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
}

const COUNT_MAX = 500;
const SIXTEEN = Array.from({ length: 16 }, (_, bit) => bit);
const WIDTHS: Readonly<Record<string, number>> = {
  int32: 2,
  uint32: 2,
  float32: 2,
  int64: 4,
  uint64: 4,
  float64: 4,
};

const number = (text: string) => (/^\d+$/.test(text) ? Number(text) : Number.NaN);
const numberOr = (text: string | undefined) => (text === undefined ? undefined : number(text));
