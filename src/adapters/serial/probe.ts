/**
 * Listens to one instrument, and says of each frame what it is: its bytes, whether its checksum is right, what
 * its fields are. Where the device is configured to be asked, it is asked, once for each group.
 */
import { type Clock, sleep } from "../../core/clock.ts";
import { shownBytes } from "./bytes-text.ts";
import { Conversation } from "./conversation.ts";
import { belongs, type FieldValue, groupsOf, readFields } from "./fields.ts";
import type { FrameEvent, Verdict } from "./framing.ts";
import { bytesToSend } from "./instrument.ts";
import type { SerialDeviceConfig } from "./schema.ts";

/** As it came over the line: `text` with escapes, `hex` without. A bad frame is told by its beginning. */
export interface ProbedFrame {
  /** Wall clock, epoch ms. */
  readonly atMs: number;
  readonly text: string;
  readonly hex: string;
  readonly checksum: Verdict | null;
  /** Why it is none. */
  readonly problem: string | null;
  /** The group it belongs to; null for none. */
  readonly group: string | null;
  readonly fields: readonly FieldValue[];
}

export interface Probed {
  readonly frames: readonly ProbedFrame[];
  /** Bytes outside of any frame. */
  readonly noiseBytes: number;
  /** Groups whose request was not answered. */
  readonly unanswered: readonly string[];
  /** Why the port could not be opened; null where it was. */
  readonly unreachable: string | null;
}

export interface ProbeOptions {
  readonly clock: Clock;
  /** How long is listened, beside the time that answers take. */
  readonly forMs: number;
  readonly framesMax: number;
  readonly onFrame?: (frame: ProbedFrame) => void;
}

export async function probeInstrument(
  config: SerialDeviceConfig,
  { clock, forMs, framesMax, onFrame }: ProbeOptions,
): Promise<Probed> {
  const frames: ProbedFrame[] = [];
  const unanswered: string[] = [];
  const groups = groupsOf(config);
  const enough = new AbortController();
  const opened = Promise.withResolvers<string | null>();
  const take = (event: FrameEvent, group = event.kind === "frame" ? of(event.content) : undefined) => {
    if (frames.length >= framesMax) return;
    const { raw, checksum } = event;
    const frame: ProbedFrame = {
      atMs: clock.wallMs(),
      text: shownBytes(raw),
      hex: raw.toString("hex"),
      checksum,
      problem: event.kind === "bad" ? event.reason : null,
      group: group?.name ?? null,
      fields: group && event.kind === "frame" ? readFields(group, event.content, config.encoding) : [],
    };
    frames.push(frame);
    onFrame?.(frame);
    if (frames.length >= framesMax) enough.abort();
  };
  const of = (content: Buffer) => groups.find((each) => belongs(each, content, config.encoding));
  const conversation = new Conversation(config.connection, config.framing, clock, {
    onFrame: (frame) => take(frame),
    onBad: (frame) => take(frame),
    onOpen: () => opened.resolve(null),
    onGone: (why) => {
      opened.resolve(why);
      enough.abort();
    },
  });
  conversation.start();
  try {
    const unreachable = await opened.promise;
    if (unreachable !== null) return { frames, noiseBytes: 0, unanswered, unreachable };
    for (const group of groups) {
      const { request } = group.config;
      if (!request || enough.signal.aborted) continue;
      // Every frame is told, an answer or not; the one that is taken says that it was answered.
      const before = frames.length;
      await conversation.exchange({
        bytes: bytesToSend(request, config.framing),
        judge: () => null,
        timeoutMs: config.timeout,
        signal: enough.signal,
      });
      const { encoding } = config;
      const answers = frames.slice(before).filter(({ problem }) => problem === null);
      const isNo = ({ hex }: ProbedFrame) =>
        group.error?.test(Buffer.from(hex, "hex").toString(encoding)) === true;
      if (!answers.some((frame) => frame.group === group.name || isNo(frame))) unanswered.push(group.name);
    }
    if (groups.some(({ config: { request } }) => !request)) await sleep(clock, forMs, enough.signal);
    return { frames, noiseBytes: conversation.noiseBytes, unanswered, unreachable };
  } finally {
    await conversation.stop();
  }
}
