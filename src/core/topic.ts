/** MQTT topic names and filters: what is valid, and what matches what. Source: MQTT 3.1.1, section 4.7. */

/** Why `topic` cannot be published to, or null where it can. */
export function topicNameProblem(topic: string): string | null {
  if (topic.length === 0) return "it is empty";
  if (topic.includes("#") || topic.includes("+")) return "it contains a wildcard (# or +)"; // [MQTT-3.3.2-2]
  return topicTextProblem(topic);
}

/** Why `filter` cannot be subscribed to, or null where it can. */
export function topicFilterProblem(filter: string): string | null {
  if (filter.length === 0) return "it is empty";
  const levels = filter.split("/");
  for (const [at, level] of levels.entries()) {
    if (level.includes("#") && (level !== "#" || at !== levels.length - 1)) {
      return "# must stand alone in the last level"; // [MQTT-4.7.1-2]
    }
    if (level.includes("+") && level !== "+") return "+ must stand alone in its level"; // [MQTT-4.7.1-3]
  }
  return topicTextProblem(filter);
}

function topicTextProblem(text: string): string | null {
  if (text.includes("\u0000")) return "it contains a NUL character"; // [MQTT-4.7.3-2]
  if (text.includes("\ufffd") || !text.isWellFormed()) return "it is not valid UTF-8"; // [MQTT-1.5.3-1]
  if (Buffer.byteLength(text) > TOPIC_BYTES_MAX) return `it is longer than ${TOPIC_BYTES_MAX} bytes`; // [MQTT-4.7.3-3]
  return null;
}

export const TOPIC_BYTES_MAX = 65_535;

/** True where `filter` matches `topic`. A filter that starts with a wildcard never matches `$…` [MQTT-4.7.2-1]. */
export function topicMatches(filter: string, topic: string): boolean {
  if (filter === topic) return true;
  if (topic.charCodeAt(0) === DOLLAR && (filter.charCodeAt(0) === HASH || filter.charCodeAt(0) === PLUS)) {
    return false;
  }
  let f = 0;
  let t = 0;
  for (;;) {
    const c = filter.charCodeAt(f);
    if (c === HASH) return true;
    if (c === PLUS) {
      while (t < topic.length && topic.charCodeAt(t) !== SLASH) t++;
      f++;
    } else {
      while (f < filter.length && filter.charCodeAt(f) !== SLASH) {
        if (filter.charCodeAt(f++) !== topic.charCodeAt(t++)) return false;
      }
    }
    const filterEnds = f === filter.length;
    const topicEnds = t === topic.length;
    if (filterEnds || topicEnds) {
      // `a/#` also matches its parent `a` (section 4.7.1.2).
      return (filterEnds && topicEnds) || (topicEnds && filter.slice(f) === "/#");
    }
    if (topic.charCodeAt(t) !== SLASH) return false;
    f++;
    t++;
  }
}

const HASH = 35;
const PLUS = 43;
const SLASH = 47;
const DOLLAR = 36;

/** Characters that a topic level cannot have, or that would make two devices share one. */
const UNFIT = /[/+#%\ufffd]|\p{Cc}/gu; // [MQTT-4.7.3-2], [MQTT-3.3.2-2]

/** A device's name as one level of a topic: what does not fit is percent-encoded. */
export function topicLevel(device: string): string {
  return device.toWellFormed().replace(UNFIT, encodeURIComponent) || "%";
}
