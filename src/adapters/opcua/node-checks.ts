/**
 * What is wrong with an OPC UA device though each of its keys is right: security that does not go together,
 * nodes that are read twice, limits that let nothing through, topics that would be one. Pure.
 */
import { missingValues, usesSignal } from "../topic-template.ts";
import type { NodeConfig, OpcuaDeviceConfig } from "./schema.ts";
import { writeProblems } from "./write-checks.ts";

interface NodeProblem {
  readonly path: readonly string[];
  readonly message: string;
}

type Checked = Pick<
  OpcuaDeviceConfig,
  "security" | "keepAlive" | "lifetime" | "place" | "topic" | "message" | "groups"
>;

interface Named {
  readonly signal: string;
  readonly node: NodeConfig;
  readonly path: readonly string[];
}

/** What `{signal}` and `{group}` are in the topic of a gap record. */
export const GAP = "gap";
/** A server may do without so many keep-alives before the subscription ends [OPC 10000-4, 5.14.2.2]. */
const KEEP_ALIVES_PER_LIFETIME_MIN = 3;

export function nodeProblems(device: Checked): NodeProblem[] {
  const all = Object.entries(device.groups).flatMap(([group, { nodes }]) =>
    Object.entries(nodes).map(([signal, node]) => ({
      signal,
      node,
      path: ["groups", group, "nodes", signal],
    })),
  );
  return [
    ...securityProblems(device.security),
    ...timeProblems(device),
    ...all.flatMap((each) => oneProblems(each)),
    ...twice(
      all,
      ({ signal }) => signal,
      [],
      (name) => `two signals are called \`${name}\``,
    ),
    ...twice(
      all,
      ({ node }) => idText(node.node),
      ["node"],
      (_, { signal }) => `\`${signal}\` is the same node; one signal is enough, many flows may take it`,
    ),
    ...topicProblems(device),
  ];
}

/** The same node has the same text: namespace 0 need not be written. */
export function idText(id: string): string {
  return /^ns=0;/i.test(id) ? id.slice("ns=0;".length) : id;
}

function securityProblems({ mode, policy, certificate, key }: Checked["security"]): NodeProblem[] {
  const problems: NodeProblem[] = [];
  const say = (name: string, message: string) => problems.push({ path: ["security", name], message });
  if (mode === "None" && policy !== undefined && policy !== "None") {
    say(
      "policy",
      `${policy} protects nothing while the mode is \`None\`; use \`Sign\` or \`SignAndEncrypt\``,
    );
  }
  if (mode !== "None" && policy === "None") {
    say(
      "policy",
      `\`${mode}\` needs a policy: Basic256Sha256, Aes128_Sha256_RsaOaep or Aes256_Sha256_RsaPss`,
    );
  }
  if ((certificate === undefined) !== (key === undefined)) {
    say(certificate === undefined ? "key" : "certificate", "`certificate` and `key` go together");
  }
  return problems;
}

function timeProblems({ keepAlive, lifetime, groups }: Checked): NodeProblem[] {
  const slowestMs = Math.max(keepAlive, ...Object.values(groups).map(({ every }) => every));
  if (lifetime >= KEEP_ALIVES_PER_LIFETIME_MIN * slowestMs) return [];
  const message = `it must be at least ${KEEP_ALIVES_PER_LIFETIME_MIN} times \`keepAlive\`, and \`every\` of each group`;
  return [{ path: ["lifetime"], message }];
}

function oneProblems({ signal, node, path }: Named): NodeProblem[] {
  const problems: NodeProblem[] = [];
  if (signal === GAP) {
    problems.push({ path, message: `\`${GAP}\` stands for gap records in topics; choose another name` });
  }
  if (node.deadband !== undefined && node.deadbandPercent !== undefined) {
    const message = "`deadband` and `deadbandPercent` exclude each other";
    problems.push({ path: [...path, "deadbandPercent"], message });
  }
  if (node.write) {
    for (const { key, message } of writeProblems(node.write)) {
      problems.push({ path: [...path, "write", ...(key ? [key] : [])], message });
    }
  }
  return problems;
}

function twice(
  all: readonly Named[],
  keyOf: (named: Named) => string,
  at: readonly string[],
  message: (key: string, first: Named) => string,
): NodeProblem[] {
  return [...Map.groupBy(all, keyOf)].flatMap(([key, [first, ...others]]) =>
    others.map(({ path }) => ({ path: [...path, ...at], message: message(key, first!) })),
  );
}

function topicProblems({ topic, place, message, groups }: Checked): NodeProblem[] {
  const missing = missingValues(topic, { ...place, device: "x", group: "x", signal: "x" });
  if (missing.length > 0) {
    return [{ path: ["topic"], message: `{${missing[0]}} needs \`place.${missing[0]}\`` }];
  }
  const many = message === "signal" || Object.keys(groups).length > 1;
  if (many && !usesSignal(topic) && !(message === "poll" && topic.includes("{group}"))) {
    return [{ path: ["topic"], message: "without {signal} all its messages would have one topic" }];
  }
  return [];
}
