/** An instrument made of the command line's flags, by the same schema as a configured one. Pure. */

import { safeParse } from "../../core/safe-parse.ts";
import { readEscapes } from "./bytes-text.ts";
import { groupNames } from "./pattern.ts";
import { type SerialDeviceConfig, serialDeviceSchema } from "./schema.ts";

export interface InstrumentFlags {
  readonly instrument?: string;
  readonly baud?: string;
  readonly parity?: string;
  readonly dataBits?: string;
  readonly stopBits?: string;
  readonly framing?: string;
  readonly start?: string;
  readonly end?: string;
  readonly bytes?: string;
  readonly quiet?: string;
  readonly checksum?: string;
  readonly checksumPlace?: string;
  readonly checksumEncoding?: string;
  readonly separator?: string;
  readonly send?: string;
  readonly match?: string;
  readonly timeout?: string;
}

/** Whatever the frame is, where no pattern says more. */
const ANYTHING = "^(?<content>[^]*)$";

/** The device, or what is wrong, a sentence for each. Without `--framing` whatever comes without a pause is one. */
export function instrumentOfFlags(flags: InstrumentFlags): SerialDeviceConfig | string[] {
  const problems: string[] = [];
  const bytes = (flag: string, text: string | undefined) => {
    const read = text === undefined ? undefined : readEscapes(text);
    if (read === null)
      problems.push(`${flag}: expected \\r, \\n, \\t, \\0, \\\\ or \\x02 behind a backslash`);
    return read ?? undefined;
  };
  const number = (text: string | undefined) => (text === undefined ? undefined : Number(text));
  const checksum = {
    algorithm: flags.checksum,
    place: flags.checksumPlace,
    encoding: flags.checksumEncoding,
    separator: bytes("--separator", flags.separator),
  };
  const framing = {
    type: flags.framing ?? "gap",
    start: bytes("--start", flags.start),
    end: bytes("--end", flags.end),
    bytes: number(flags.bytes),
    quiet: flags.quiet,
    checksum: flags.checksum === undefined ? undefined : given(checksum),
  };
  const match = flags.match ?? ANYTHING;
  const send = bytes("--send", flags.send);
  const fields = Object.fromEntries(groupNames(match).map((name) => [name, { type: "text" }]));
  if (problems.length > 0) return problems;
  const parsed = safeParse(serialDeviceSchema, {
    type: "serial",
    connection: given({
      path: flags.instrument,
      baud: number(flags.baud),
      parity: flags.parity,
      dataBits: number(flags.dataBits),
      stopBits: number(flags.stopBits),
    }),
    framing: given(framing),
    ...given({ timeout: flags.timeout }),
    groups: {
      // What is asked is answered in frames that `match` may not fit yet: they are to be seen all the same.
      probe: { ...(send === undefined ? {} : { request: { send } }), match, fields },
      ...(flags.match === undefined
        ? {}
        : { other: { match: ANYTHING, fields: { content: { type: "text" } } } }),
    },
  });
  if (parsed.success) return parsed.data;
  return parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
}

function given(keys: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(keys).filter(([, value]) => value !== undefined));
}
