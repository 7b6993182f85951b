/** One message's history in plain sentences, as lines of text. Pure. */
import type { DeliveryHistory, EditView, HistoryEntry, MessageHistory } from "../queue/queries-history.ts";
import type { GatewayHealth } from "./api-client.ts";
import type { Paint } from "./io.ts";
import { age, count, counted, cutTo, harmless, moment, width, wrap } from "./plain-words.ts";

export interface StoryOptions {
  /** What the running gateway says of its targets; none with the gateway down. */
  readonly targets: readonly TargetState[];
  readonly columns: number;
  readonly wallMs: number;
  readonly paint: (style: Paint, text: string) => string;
}

type TargetState = Pick<
  GatewayHealth["targets"][number],
  "target" | "state" | "lastError" | "downSinceMs" | "nextTryInMs"
>;

const INDENT = "  ";
const PAYLOAD_LINES_MAX = 20;

const SOURCES: Record<string, string> = { mqtt: "MQTT", http: "HTTP" };
const STATE_STYLE: Record<DeliveryHistory["state"], Paint> = {
  waiting: "cyan",
  sending: "cyan",
  unknown: "yellow",
  delivered: "green",
  dead: "red",
  expired: "yellow",
  evicted: "yellow",
  discarded: "yellow",
};

export function messageStory(found: MessageHistory, options: StoryOptions): string[] {
  const { paint } = options;
  const lines: string[] = [paint("bold", `Message ${harmless(found.message.id)}`)];
  const say = (text: string) => {
    for (const line of wrap(text, options.columns - width(INDENT))) lines.push(INDENT + line);
  };
  for (const sentence of origin(found, options)) say(sentence);
  lines.push(...payload(found.message, options));
  if (found.deliveries.length === 0) {
    lines.push("");
    say("No flow takes its topic: it is kept, and goes nowhere.");
  }
  for (const delivery of found.deliveries) {
    const { flow, target, state } = delivery;
    lines.push(
      "",
      `${paint("bold", `Flow ${flow} → target ${target ?? "?"}`)}: ${paint(STATE_STYLE[state], state)}`,
    );
    say(workflow(delivery, found.message.device));
    for (const sentence of deliverySentences(delivery, found.message.id, options)) say(sentence);
    const edit = delivery.edits.at(-1);
    if (edit) lines.push(...editLines(edit, found, options));
  }
  lines.push("", paint("bold", "What happened"));
  for (const { atMs, text } of timeline(found)) {
    const time = `${INDENT}${moment(atMs, options.wallMs)}  `;
    const [first = "", ...rest] = wrap(text, options.columns - width(time));
    lines.push(paint("dim", time) + first, ...rest.map((line) => " ".repeat(width(time)) + line));
  }
  if (found.historyCut) say("(older entries are not shown)");
  return lines;
}

function origin({ message }: MessageHistory, { wallMs }: StoryOptions): string[] {
  const { seq, device, source, topic, qos, payloadBytes, contentType, producedAtMs, acceptedAtMs } = message;
  const door = SOURCES[source] ?? harmless(source);
  const made =
    producedAtMs === null ? "" : `Made by the device at ${moment(producedAtMs, wallMs)} by its clock. `;
  const trust = message.clockTrusted ? "" : " by a clock that was not set";
  const type = contentType === null ? "" : ` of ${harmless(contentType)}`;
  const sentences = [
    `From device ${harmless(device)} by ${door} (QoS ${qos}), topic ${harmless(topic)}.`,
    `${made}Accepted at ${moment(acceptedAtMs, wallMs)}${trust}, ${age(message.ageMs)} ago, as number ${seq} of this store.`,
    `${counted(payloadBytes, "byte")}${type}; ${message.duplicates === 0 ? "no duplicates" : `${counted(message.duplicates, "duplicate")} suppressed`}.`,
  ];
  if (message.traceparent !== null) sentences.push(`Trace: ${harmless(message.traceparent)}`);
  const headers = Object.entries(message.headers).map(
    ([name, value]) => `${harmless(name)}: ${harmless(value)}`,
  );
  if (headers.length > 0) sentences.push(`Headers: ${headers.join(", ")}`);
  return sentences;
}

function payload({ preview }: Pick<EditView, "preview">, { columns, paint }: StoryOptions): string[] {
  if (preview.text === "") return [];
  const shown = preview.form === "hex" ? (preview.text.match(/.{1,64}/g) ?? []) : preview.text.split(/\r?\n/);
  const lines = shown
    .slice(0, PAYLOAD_LINES_MAX)
    .map((line) => `${INDENT}${paint("dim", "│")} ${cutTo(harmless(line), columns - 4)}`);
  const more = preview.cut || shown.length > PAYLOAD_LINES_MAX;
  return ["", ...lines, ...(more ? [`${INDENT}${paint("dim", "│ … (only its beginning is shown)")}`] : [])];
}

/** What its target is given in place of what was accepted. */
function editLines(edit: EditView, { message }: MessageHistory, options: StoryOptions): string[] {
  const { atMs, who, reason, topic, contentType, payloadBytes, preview } = edit;
  const topicNow = topic === message.topic ? "" : ` Topic ${harmless(topic)}.`;
  const type = contentType === null ? "" : ` of ${harmless(contentType)}`;
  const text = `Its target is given it as edited by ${harmless(who)} at ${moment(atMs, options.wallMs)} (${harmless(reason)}):${topicNow} ${counted(payloadBytes, "byte")}${type}.`;
  const lines = wrap(text, options.columns - width(INDENT)).map((line) => INDENT + line);
  return [...lines, ...payload({ preview }, options)];
}

function workflow({ version, config, key }: DeliveryHistory, device: string): string {
  const { orderBy, from } = (config ?? {}) as { orderBy?: string; from?: string | string[] };
  const filters = [from ?? []].flat().join(", ");
  const order =
    orderBy === "none" || key === null ? "in no order" : `in order with all of ${orderBy} ${harmless(key)}`;
  const told = orderBy === "device" && key === device ? "in order with all of this device" : order;
  return `Taken by its version ${version ?? "(not recorded)"}${filters ? `, which takes ${harmless(filters)}` : ""}; ${told}.`;
}

function deliverySentences(delivery: DeliveryHistory, id: string, options: StoryOptions): string[] {
  const { late, state, resend, target } = delivery;
  const away = options.targets.find((each) => each.target === target && each.state === "down");
  const sentences = [
    delivery.export === null
      ? stateSentence(delivery, id, options.wallMs)
      : heldSentence(delivery, options.wallMs),
  ];
  if (away && delivery.export === null && (state === "waiting" || state === "unknown"))
    sentences.push(awaySentence(away, options.wallMs));
  if (late) sentences.push("It was late when it came.");
  if (resend && state === "waiting") {
    sentences.push(
      "An earlier answer was lost, so the backend may have it already; it goes out under the same id.",
    );
  }
  return sentences;
}

function heldSentence({ state, export: id, heldSinceMs }: DeliveryHistory, wallMs: number): string {
  const since = heldSinceMs === null ? "" : ` since ${moment(heldSinceMs, wallMs)}`;
  return `It is ${state}, and held for export ${id}${since}: it is on its way to another box. What became of it is said by holdfast export finish, or cancel.`;
}

function awaySentence({ lastError, downSinceMs, nextTryInMs }: TargetState, wallMs: number): string {
  const since = downSinceMs === null ? "" : ` since ${moment(downSinceMs, wallMs)}`;
  const next = nextTryInMs ? `asked again in ${age(nextTryInMs)}` : "being asked again now";
  const why = lastError === null ? "" : ` (${harmless(lastError)})`;
  return `It is stored here. Its target is away${since}${why} and is ${next}; no try is charged for that.`;
}

function stateSentence(delivery: DeliveryHistory, id: string, wallMs: number): string {
  const { state, attempts, behind, dueInMs } = delivery;
  const at = moment(delivery.updatedAtMs, wallMs);
  const reason = delivery.reason === null ? "" : harmless(delivery.reason);
  const because = reason === "" ? "" : `: ${reason}`;
  const tries = counted(attempts, "try", "tries");
  const again = dueInMs === null || dueInMs === 0 ? "as soon as it can be" : `in ${age(dueInMs)}`;
  switch (state) {
    case "waiting":
      if (behind > 0) return `It waits: ${counted(behind, "other")} of its lane stand before it.`;
      if (attempts > 0)
        return `After ${tries} it is tried again ${again}; the last answer was${because || " not recorded"}.`;
      return reason === "" ? "It waits for its turn." : `It waits, not charged with a try${because}.`;
    case "sending":
      return `It is being sent since ${at}.`;
    case "unknown":
      return dueInMs === null
        ? `It was sent and the answer was lost${because}. A person must decide; holdfast dead retry '${harmless(id)}' sends it again, holdfast unknown probe | delivered says that it is there.`
        : `It was sent and the answer was lost${because}. It is taken up again ${again}, under the same id.`;
    case "delivered":
      return `Delivered at ${at}, ${attempts <= 1 ? "at the first try" : `with the ${ordinal(attempts)} try`}${because}.`;
    case "dead":
      return `Set aside at ${at} after ${tries}${because}. Once mended, holdfast dead retry '${harmless(id)}' puts it back.`;
    case "expired":
    case "evicted":
    case "discarded":
      return `${state.charAt(0).toUpperCase()}${state.slice(1)} at ${at}${because}.`;
  }
}

function ordinal(n: number): string {
  const tens = n % 100;
  const suffix = tens >= 11 && tens <= 13 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th");
  return `${count(n)}${suffix}`;
}

interface Event {
  readonly atMs: number;
  readonly text: string;
}

function timeline({ message, deliveries, history }: MessageHistory): Event[] {
  const flows = deliveries.map(({ flow }) => flow).join(", ");
  const accepted = `accepted, and on disk${flows === "" ? "" : `; put on ${flows}`}`;
  const ends = deliveries.filter(
    ({ flow, state }) =>
      state !== "waiting" &&
      state !== "sending" &&
      !history.some((entry) => entry.flow === flow && (entry.kind === state || entry.kind === "moved")),
  );
  const events = history.map((entry): Event => ({ atMs: entry.atMs, text: entrySentence(entry) }));
  for (const { flow, state, reason, updatedAtMs: atMs } of ends) {
    const text = `${flow}: ${state}${reason === null ? "" : `: ${harmless(reason)}`}`;
    // What was written down stays in the order of writing, whatever the clock did meanwhile.
    const next = events.findIndex((event) => event.atMs > atMs);
    events.splice(next === -1 ? events.length : next, 0, { atMs, text });
  }
  return [{ atMs: message.acceptedAtMs, text: accepted }, ...events];
}

/** What the kinds of entries mean (queue/ and relay/ write them); one that is not known is shown as it is. */
const KINDS: Record<string, string> = {
  retry: "tried, not taken",
  outage: "not taken, because its target was away (not charged)",
  unknown: "sent, answer lost",
  held: "held for a person",
  dead: "set aside as dead",
  delivered: "delivered",
  redrive: "put back in line by a person",
  expired: "expired",
  asked: "its backend was asked at once",
  edit: "edited by a person",
  discarded: "given up by a person",
  export: "on its way to another box",
  released: "goes on here",
  moved: "on another box",
  imported: "taken in",
};

function entrySentence({ flow, kind, detail }: HistoryEntry): string {
  if (kind === "duplicate" && detail !== null) return harmless(detail);
  const what = KINDS[kind] ?? harmless(kind);
  return `${flow === null ? "" : `${flow}: `}${what}${detail === null ? "" : `: ${harmless(detail)}`}`;
}
