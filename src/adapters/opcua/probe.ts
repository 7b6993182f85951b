/**
 * Talks to one server once, for a person: what it offers, what stands in the nodes of a device, what it has at
 * all. It only reads.
 */
import type { Clock } from "../../core/clock.ts";
import type { Value } from "../readings.ts";
import { isGood, readingOf, statusText } from "./decode.ts";
import { type Library, loadLibrary } from "./library.ts";
import { endpointText, Link, type LinkConfig, type LinkOptions, listEndpoints } from "./link.ts";
import { idText } from "./node-checks.ts";
import type { NodeConfig, OpcuaDeviceConfig } from "./schema.ts";
import { fingerprintOf, leafOf, ownIdentity } from "./trust.ts";

const NODES_PER_READ_MAX = 100;
/** [OPC 10000-3, 7.11]: organizes, components, properties, and what is derived of them. */
const HIERARCHICAL = "i=33";
/** [OPC 10000-6, A.1]: the folder `Objects`, where everything begins. */
const OBJECTS = "i=85";
const REFERENCES_PER_ANSWER = 500;
/** Nobody reads more than that; `left` says that there is more. */
export const BROWSED_MAX = 5000;

export interface OfferedEndpoint {
  /** `SignAndEncrypt with Basic256Sha256` */
  readonly security: string;
  /** `Anonymous`, `UserName`, `Certificate` */
  readonly logins: readonly string[];
  readonly fingerprint: string | null;
}

export interface ProbedNode {
  readonly group: string;
  readonly signal: string;
  readonly node: string;
  readonly type: string | null;
  readonly unit: string | null;
  readonly value: Value;
  readonly writable: boolean;
  /** Why there is no value, or why it is not good. */
  readonly reason: string | null;
}

export interface BrowsedNode {
  readonly depth: number;
  readonly name: string;
  readonly node: string;
  readonly kind: string;
  /** Of a variable that could be read. */
  readonly type: string | null;
  readonly value: Value;
  readonly writable: boolean;
}

async function optionsFor(config: LinkConfig, dataDir: string, clock: Clock): Promise<LinkOptions> {
  const library = await loadLibrary();
  const identity = await ownIdentity(config.security, dataDir, library);
  return { config, library, identity, dataDir, clock };
}

export async function offeredEndpoints(
  config: LinkConfig,
  dataDir: string,
  clock: Clock,
): Promise<OfferedEndpoint[]> {
  const options = await optionsFor(config, dataDir, clock);
  const found = await listEndpoints(options);
  return found.map((each) => ({
    security: endpointText(each, options.library),
    logins: (each.userIdentityTokens ?? []).map(({ tokenType }) =>
      String(options.library.UserTokenType[tokenType]),
    ),
    fingerprint: each.serverCertificate ? fingerprintOf(leafOf(each.serverCertificate)) : null,
  }));
}

export async function probeDevice(
  config: OpcuaDeviceConfig,
  dataDir: string,
  clock: Clock,
): Promise<ProbedNode[]> {
  const options = await optionsFor(config, dataDir, clock);
  const all = Object.entries(config.groups).flatMap(([group, { nodes }]) =>
    Object.entries(nodes).map(([signal, node]) => ({ group, signal, node })),
  );
  return withLink(options, async (link) => {
    const found = await readNodes(
      link,
      options,
      all.map(({ node }) => node),
    );
    return all.map(({ group, signal, node }, at) => ({
      group,
      signal,
      node: node.node,
      unit: node.unit ?? null,
      ...found[at]!,
    }));
  });
}

/** The tree from a node on, to a depth, each node once. Without `from`, the server's own objects are not opened. */
export async function browseServer(
  config: LinkConfig,
  from: string | undefined,
  depthMax: number,
  dataDir: string,
  clock: Clock,
): Promise<{ readonly nodes: readonly BrowsedNode[]; readonly left: boolean }> {
  const options = await optionsFor(config, dataDir, clock);
  return withLink(options, async (link) => {
    const nodes: Omit<BrowsedNode, "type" | "value" | "writable">[] = [];
    const seen = new Set<string>();
    let left = false;
    const visit = async (node: string, depth: number): Promise<void> => {
      for (const child of await childrenOf(link, options.library, node)) {
        if (nodes.length >= BROWSED_MAX) left = true;
        if (left || seen.has(child.node)) continue;
        seen.add(child.node);
        nodes.push({ depth, ...child });
        // What every server has about itself is long, and nobody's machine.
        const isOwn = from === undefined && child.node.startsWith("i=");
        if (depth + 1 < depthMax && !isOwn) await visit(child.node, depth + 1);
      }
    };
    await visit(from ?? OBJECTS, 0);
    const variables = nodes.filter(({ kind }) => kind === "Variable");
    const found = await readNodes(link, options, variables);
    const values = new Map(variables.map(({ node }, at) => [node, found[at]!]));
    const nothing = { type: null, value: null, writable: false };
    return { nodes: nodes.map((each) => ({ ...each, ...(values.get(each.node) ?? nothing) })), left };
  });
}

async function withLink<T>(options: LinkOptions, work: (link: Link) => Promise<T>): Promise<T> {
  const link = await Link.open(options, null);
  try {
    return await work(link);
  } finally {
    await link.close(true);
  }
}

interface Child {
  readonly name: string;
  readonly node: string;
  readonly kind: string;
}

async function childrenOf(link: Link, library: Library, nodeId: string): Promise<Child[]> {
  const children: Child[] = [];
  let answer = await link.ask(
    link.session.browse({
      nodeId,
      browseDirection: 0,
      referenceTypeId: HIERARCHICAL,
      includeSubtypes: true,
      nodeClassMask: 0,
      resultMask: 63,
    }),
  );
  if (!isGood(answer.statusCode)) throw new Error(`${nodeId}: ${statusText(answer.statusCode)}`);
  for (let n = 0; ; n++) {
    for (const { nodeId: id, browseName, displayName, nodeClass } of answer.references ?? []) {
      const name = displayName.text || browseName.name || id.toString();
      children.push({
        name,
        node: idText(id.toString()),
        kind: library.NodeClass[nodeClass] ?? String(nodeClass),
      });
    }
    const { continuationPoint } = answer;
    if (!continuationPoint?.length) return children;
    const enough = n * REFERENCES_PER_ANSWER > BROWSED_MAX || children.length > BROWSED_MAX;
    answer = await link.ask(link.session.browseNext(continuationPoint, enough));
    if (enough) return children;
  }
}

type Found = Pick<ProbedNode, "type" | "value" | "writable" | "reason">;

/** [OPC 10000-3, 8.57]: the user may write the value. */
const CURRENT_WRITE = 2;

async function readNodes(
  link: Link,
  { library, clock }: LinkOptions,
  nodes: readonly Pick<NodeConfig, "node" | "unit">[],
): Promise<Found[]> {
  const { AttributeIds, DataType } = library;
  const found: Found[] = [];
  for (let from = 0; from < nodes.length; from += NODES_PER_READ_MAX) {
    const some = nodes.slice(from, from + NODES_PER_READ_MAX);
    const asked = some.flatMap(({ node }) =>
      [AttributeIds.Value, AttributeIds.UserAccessLevel].map((attributeId) => ({
        nodeId: node,
        attributeId: attributeId!,
      })),
    );
    const answers = await link.ask(link.session.read(asked));
    for (const at of some.keys()) {
      const [data, access] = [answers[2 * at]!, answers[2 * at + 1]!];
      const { value, reason } = readingOf("", null, data, clock.wallMs());
      const list = data.value?.arrayType ? "[]" : "";
      const type = data.value?.dataType ? `${typeName(DataType[data.value.dataType] ?? "")}${list}` : null;
      const level = isGood(access.statusCode) ? Number(access.value?.value ?? 0) : 0;
      found.push({ type, value, writable: (level & CURRENT_WRITE) !== 0, reason });
    }
  }
  return found;
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  Boolean: "bool",
  SByte: "int8",
  Byte: "uint8",
  Float: "float32",
  Double: "float64",
};

/** As `write.type` is spelt. */
function typeName(name: string): string {
  return (
    TYPE_NAMES[name] ??
    name
      .replace(/^UInt/, "uint")
      .replace(/^Int/, "int")
      .replace(/^String$/, "string")
  );
}
