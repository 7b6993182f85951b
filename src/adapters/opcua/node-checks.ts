/**
 * What is wrong with an OPC UA device though each of its keys is right: security that does not go together,
 * nodes that are read twice, limits that let nothing through, topics that would be one. Pure.
 */
import { type MapProblem, signalProblems, topicProblems } from "../device-keys.ts";
import type { NodeConfig, OpcuaDeviceConfig } from "./schema.ts";
import { writeProblems } from "./write-checks.ts";

type Checked = Pick<
  OpcuaDeviceConfig,
  "security" | "keepAlive" | "lifetime" | "place" | "topic" | "message" | "groups"
>;

interface Named {
  readonly signal: string;
  readonly node: NodeConfig;
  readonly path: readonly string[];
}

/** A server may do without so many keep-alives before the subscription ends [OPC 10000-4, 5.14.2.2]. */
const KEEP_ALIVES_PER_LIFETIME_MIN = 3;

export function nodeProblems(device: Checked): MapProblem[] {
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
    ...signalProblems(all),
    ...readTwice(all),
    ...topicProblems(device),
  ];
}

/** The same node has the same text: namespace 0 need not be written. */
export function idText(id: string): string {
  return /^ns=0;/i.test(id) ? id.slice("ns=0;".length) : id;
}

function securityProblems({ mode, policy, certificate, key }: Checked["security"]): MapProblem[] {
  const problems: MapProblem[] = [];
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

function timeProblems({ keepAlive, lifetime, groups }: Checked): MapProblem[] {
  const slowestMs = Math.max(keepAlive, ...Object.values(groups).map(({ every }) => every));
  if (lifetime >= KEEP_ALIVES_PER_LIFETIME_MIN * slowestMs) return [];
  const message = `it must be at least ${KEEP_ALIVES_PER_LIFETIME_MIN} times \`keepAlive\`, and \`every\` of each group`;
  return [{ path: ["lifetime"], message }];
}

function oneProblems({ node, path }: Named): MapProblem[] {
  const problems: MapProblem[] = [];
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

function readTwice(all: readonly Named[]): MapProblem[] {
  return [...Map.groupBy(all, ({ node }) => idText(node.node)).values()].flatMap(([first, ...others]) => {
    const message = `\`${first!.signal}\` is the same node; one signal is enough, many flows may take it`;
    return others.map(({ path }) => ({ path: [...path, "node"], message }));
  });
}
