/**
 * Who may do what, once it is known who it is. Pure.
 *
 * While no users are configured anyone may publish and subscribe (the listeners are on loopback then, see
 * openDoorProblem). Once there are users, what no rule allows is refused.
 *
 * A rule is a topic filter in which `%u` and `%c` stand for the user's name and the client id, inside one
 * level. A name or id that holds `/`, `+`, `#` or NUL would make the rule say something else, and voids it.
 *
 * Nobody publishes to `$…` (the broker's own) or `holdfast/…` (what the gateway says of itself).
 */
import { topicFilterProblem, topicMatches } from "../core/topic.ts";
import type { AccessConfig, ListenerConfig, UserConfig } from "./schema.ts";

/** What the gateway publishes of itself stands under this. */
export const OWN_PREFIX = "holdfast/";

/** Who a connection turned out to be. */
export interface Identity {
  /** null where no users are configured. */
  readonly user: string | null;
  readonly clientId: string;
}

export class Access {
  readonly users: ReadonlyMap<string, UserConfig>;
  readonly #byCertificate = new Map<string, string>();
  readonly #pinned = new Map<string, readonly RegExp[]>();

  constructor(config: AccessConfig) {
    this.users = new Map(Object.entries(config.users));
    for (const [name, user] of this.users) {
      if (user.certificate !== undefined) this.#byCertificate.set(user.certificate, name);
      this.#pinned.set(
        name,
        user.clientIds.map((pattern) => clientIdPattern(pattern, name)),
      );
    }
  }

  /** True where anyone may do anything. */
  get open(): boolean {
    return this.users.size === 0;
  }

  userOfCertificate(commonName: string): string | undefined {
    return this.#byCertificate.get(commonName);
  }

  /** Whether a client id is one of this user's. */
  ownsClientId({ user, clientId }: Identity): boolean {
    if (user === null) return true;
    return this.#pinned.get(user)?.some((pattern) => pattern.test(clientId)) ?? false;
  }

  /** Whose messages these are: the user's device, else the user, else the client. */
  deviceOf({ user, clientId }: Identity): string {
    return user === null ? clientId : (this.users.get(user)?.device ?? user);
  }

  /** What this identity may do; made once per connection. */
  rulesOf(identity: Identity): Rules {
    if (identity.user === null) return OPEN_RULES;
    const user = this.users.get(identity.user);
    return new Rules(fill(user?.publish ?? [], identity), fill(user?.subscribe ?? [], identity));
  }
}

export class Rules {
  readonly #publish: readonly string[] | null;
  readonly #subscribe: readonly string[] | null;

  /** null: anything but what nobody may. */
  constructor(publish: readonly string[] | null, subscribe: readonly string[] | null) {
    this.#publish = publish;
    this.#subscribe = subscribe;
  }

  mayPublish(topic: string): boolean {
    if (isReserved(topic)) return false;
    return this.#publish === null || this.#publish.some((rule) => topicMatches(rule, topic));
  }

  maySubscribe(filter: string): boolean {
    // Shared subscriptions are of MQTT 5; here they would be topics that nobody publishes to.
    if (topicFilterProblem(filter) !== null || filter.startsWith("$share/")) return false;
    return this.#subscribe === null || this.#subscribe.some((rule) => covers(rule, filter));
  }
}

const OPEN_RULES = new Rules(null, null);

/** Topics that no client may publish to, whatever its rules. */
export function isReserved(topic: string): boolean {
  return topic.charCodeAt(0) === 36 /* $ */ || topic.startsWith(OWN_PREFIX);
}

/** True where every topic that `filter` matches is matched by `rule`. */
export function covers(rule: string, filter: string): boolean {
  const allowed = rule.split("/");
  const wanted = filter.split("/");
  // A wildcard in front never means `$…` [MQTT-4.7.2-1].
  if (wanted[0]!.startsWith("$") && (allowed[0] === "#" || allowed[0] === "+")) return false;
  for (let at = 0; ; at++) {
    // Also where the filter ends here: `a/#` matches `a`.
    if (allowed[at] === "#") return true;
    if (wanted[at] === undefined) return allowed[at] === undefined;
    if (allowed[at] === undefined || wanted[at] === "#") return false;
    if (allowed[at] !== "+" && allowed[at] !== wanted[at]) return false;
  }
}

/** The rules with names filled in; those that a name would widen are left out. */
function fill(rules: readonly string[], { user, clientId }: Identity): string[] {
  return rules.flatMap((rule) => {
    let safe = true;
    const filled = rule.replaceAll(/%[cu]/g, (mark) => {
      const value = mark === "%c" ? clientId : (user ?? "");
      safe &&= isPlain(value);
      return value;
    });
    return safe ? [filled] : [];
  });
}

function isPlain(value: string): boolean {
  return value !== "" && !/[/+#\0]/.test(value);
}

function clientIdPattern(pattern: string, user: string): RegExp {
  const parts = pattern.replaceAll("%u", user).split("*");
  return new RegExp(`^${parts.map((part) => RegExp.escape(part)).join(".*")}$`, "s");
}

const LOOPBACK = /^(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1|localhost)$/;

export function isLoopback(host: string): boolean {
  return LOOPBACK.test(host);
}

/** Why these listeners may not be open to anyone, as a sentence; null where they may. */
export function openDoorProblem(access: AccessConfig, listeners: readonly ListenerConfig[]): string | null {
  if (Object.keys(access.users).length > 0) return null;
  const at = listeners.findIndex((listener) => !isLoopback(listener.host));
  if (at < 0) return null;
  const { type, host, port } = listeners[at]!;
  return `broker.listeners[${at}] (${type}) would let anyone in on ${host}:${port}, since access.users is empty`;
}
