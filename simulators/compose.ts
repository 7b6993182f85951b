/**
 * Several scenarios as one, at the same time on one gateway: their machines side by side, their timelines laid
 * over each other, their gateway configs merged.
 *
 * - A scenario's machine events concern its own machines; what it does to the gateway, the backend and the
 *   network concerns everybody.
 * - Machines keep their seeds, so that each makes the same readings with the same mishaps as when it is alone.
 *   Groups of one name get their scenario's name in front.
 * - It lasts as long as the longest, and expectations add up (expectations.ts).
 * - Where two want different things of the gateway or the backend, nothing is run: the mistake is said with
 *   both places.
 */
import type { ConfigText, Path } from "../src/core/config-text.ts";
import { pathText } from "../src/core/config-text.ts";
import { HoldfastError } from "../src/core/errors.ts";
import { addExpectations } from "./expectations.ts";
import { nthSeed } from "./machines/fleet.ts";
import { concerned, GROUP_LISTS, type Scenario, type ScenarioEvent, scenarioSchema } from "./scenario.ts";

/** Where something stands in a file, for conflicts. */
export interface Fragment {
  readonly file: string;
  readonly text: Pick<ConfigText, "value" | "valuePlace">;
}

export interface Composable {
  readonly name: string;
  readonly scenario: Scenario;
  readonly fragments: readonly Fragment[];
}

export function compose(parts: readonly Composable[]): Composable {
  const [first] = parts;
  if (first && parts.length === 1) return first;
  const fragments = parts.flatMap((part) => part.fragments);
  const conflicts: string[] = [];
  const merged = (path: Path) => merge(path, fragments, conflicts);
  const backend = merged(["backend"]);
  const config = merged(["gateway", "config"]);
  if (conflicts.length > 0) {
    throw new HoldfastError("HF_SCENARIO", `these scenarios cannot run together:\n${conflicts.join("\n")}`);
  }
  const named = parts.map((part) => renamed(part, parts));
  const scenarios = parts.map(({ scenario }) => scenario);
  const scenario: Scenario = {
    ...scenarioSchema.parse({ backend, gateway: { config: config ?? {} } }),
    title: scenarios.map(({ title }, at) => title || parts[at]!.name).join("; "),
    about: scenarios.map(({ about }) => about.trim()).join(" "),
    seed: scenarios[0]!.seed,
    duration: Math.max(...scenarios.map((each) => each.duration)),
    drain: Math.max(...scenarios.map((each) => each.drain)),
    machines: named.flatMap(({ machines }) => machines),
    plcs: named.flatMap(({ plcs }) => plcs),
    instruments: named.flatMap(({ instruments }) => instruments),
    opcua: named.flatMap(({ opcua }) => opcua),
    timeline: named.flatMap(({ timeline }) => timeline),
    expect: addExpectations(scenarios.map(({ expect }) => expect)),
  };
  return { name: parts.map(({ name }) => name).join(" + "), scenario, fragments };
}

/** Machines under names that no other part has, with seeds of their own, and events that concern them alone. */
function renamed(
  part: Composable,
  parts: readonly Composable[],
): Pick<Scenario, (typeof GROUP_LISTS)[number]> & { readonly timeline: ScenarioEvent[] } {
  const { name, scenario } = part;
  const others = new Set(
    parts
      .filter((each) => each !== part)
      .flatMap((each) => GROUP_LISTS.flatMap((list) => each.scenario[list].map((group) => group.name))),
  );
  const prefix = name.replace(/[^A-Za-z0-9_-]+/g, "-");
  const nameOf = (group: string) => (others.has(group) ? `${prefix}-${group}` : group);
  const own = <Group extends { name: string; count: number; seed?: number }>(groups: readonly Group[]) => {
    let before = 0;
    return groups.map((group) => {
      const seed = group.seed ?? nthSeed(scenario.seed, before);
      before += group.count;
      return { ...group, name: nameOf(group.name), seed };
    });
  };
  const groups = {
    machines: own(scenario.machines),
    plcs: own(scenario.plcs),
    instruments: own(scenario.instruments),
    opcua: own(scenario.opcua),
  };
  const timeline = scenario.timeline.map((event): ScenarioEvent => {
    const named = concerned(event).flatMap((list): readonly { name: string }[] => groups[list]);
    const all = [...new Set(named.map(({ name }) => name))];
    if (all.length === 0) return event;
    const { group } = event as { group?: string | readonly string[] };
    return { ...event, group: group === undefined ? all : [group].flat().map(nameOf) } as ScenarioEvent;
  });
  return { ...groups, timeline };
}

/** What the files say at `path`, as one value; each two that differ are a conflict. */
function merge(path: Path, fragments: readonly Fragment[], conflicts: string[]): unknown {
  const said = fragments.flatMap((fragment) => {
    const value = valueAt(fragment.text.value, path);
    return value === undefined || value === null ? [] : [{ fragment, value }];
  });
  const [first, ...rest] = said;
  if (!first) return undefined;
  if (said.every(({ value }) => isMap(value))) {
    const keys = new Set(said.flatMap(({ value }) => Object.keys(value as object)));
    return Object.fromEntries([...keys].map((key) => [key, merge([...path, key], fragments, conflicts)]));
  }
  for (const other of rest) {
    if (JSON.stringify(other.value) === JSON.stringify(first.value)) continue;
    const place = ({ file, text }: Fragment) => {
      const { line, column } = text.valuePlace(path);
      return `${file}:${line}:${column}`;
    };
    conflicts.push(
      `  ${place(other.fragment)}: ${pathText(path)}: found ${JSON.stringify(other.value)}, and ${JSON.stringify(first.value)} at ${place(first.fragment)}`,
    );
  }
  return first.value;
}

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((at, key) => (isMap(at) ? at[key as string] : undefined), value);
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
