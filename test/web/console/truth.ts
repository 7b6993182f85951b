/** The six questions, asked of the page, the API, the command line, and the store by plain SQL. */
import type { Locator, Page } from "playwright-core";
import { openForReading } from "../../../src/queue/database.ts";
import type { Status } from "../../support/journey.ts";

/** `flow state` or the like → how many. */
type Counts = Record<string, number>;

/** What the whole page, the API and the command line have to agree on with the store. */
export interface Figures {
  readonly taken: number;
  readonly openByFlow: Counts;
  readonly openByDevice: Counts;
  /** Id of the message that waits for longest. */
  readonly oldest: string;
  readonly dead: Counts;
  readonly lost: Counts;
  readonly retried: number;
  /** `flow state`, of all that were ever taken, and `flow accepted`, `flow replayed`. */
  readonly states: Counts;
  readonly paused: readonly string[];
  /** By flow. */
  readonly held: Counts;
  /** For which export; the oldest alone, since the page names no other. */
  readonly heldFor: string;
}

const STATES = "waiting sending unknown delivered dead expired evicted discarded".split(" ");
const OPEN = "('waiting', 'sending', 'unknown')";

function read<T>(dataDir: string, sql: string, ...params: unknown[]): T[] {
  const db = openForReading(dataDir);
  try {
    return db.prepare(sql).all(...params) as T[];
  } finally {
    db.close();
  }
}

const counts = (rows: readonly { name: string; n: number }[]): Counts =>
  Object.fromEntries(rows.filter(({ n }) => n > 0).map(({ name, n }) => [name, n]));

const FROM = "FROM deliveries d JOIN lanes l ON l.id = d.lane JOIN messages m ON m.seq = d.seq";

export function figuresOfStore(dataDir: string): Figures {
  const grouped = (name: string, where: string) =>
    counts(read(dataDir, `SELECT ${name} AS name, count(*) AS n ${FROM} WHERE ${where} GROUP BY 1`));
  // With what retention has removed meanwhile.
  const ever = (name: string) =>
    counts(
      read(
        dataDir,
        `SELECT ${name} AS name, sum(n) AS n FROM (
           SELECT l.flow, d.state, count(*) AS n FROM deliveries d JOIN lanes l ON l.id = d.lane GROUP BY 1, 2
           UNION ALL SELECT flow, what, n FROM pruned WHERE flow <> '') GROUP BY 1`,
      ),
    );
  const [taken] = read<{ n: number }>(
    dataDir,
    `SELECT (SELECT count(*) FROM messages) + coalesce((SELECT sum(n) FROM pruned WHERE flow = ''), 0) AS n`,
  );
  const [oldest] = read<{ id: string }>(
    dataDir,
    `SELECT m.id ${FROM} WHERE d.state IN ('waiting', 'sending') ORDER BY m.steady_at, m.seq LIMIT 1`,
  );
  const [retried] = read<{ n: number }>(
    dataDir,
    `SELECT count(*) AS n ${FROM} WHERE d.state IN ('waiting', 'sending')
     AND (d.attempts > 0 OR d.reason IS NOT NULL)`,
  );
  return {
    taken: taken!.n,
    openByFlow: grouped("l.flow", `d.state IN ${OPEN}`),
    openByDevice: grouped("m.device", `d.state IN ${OPEN}`),
    oldest: oldest!.id,
    dead: grouped("l.flow || ': ' || d.reason", "d.state = 'dead'"),
    lost: grouped("l.flow || ': ' || d.reason", "d.state = 'unknown'"),
    retried: retried!.n,
    states: {
      ...ever("flow || ' ' || state"),
      ...ever("flow || ' accepted'"),
      // How often something was put back that had been delivered: the message's history says it.
      ...counts(
        read(
          dataDir,
          `SELECT l.flow || ' replayed' AS name, count(*) AS n FROM history h JOIN lanes l ON l.id = h.lane
           WHERE h.kind = 'replay' GROUP BY 1`,
        ),
      ),
    },
    paused: read<{ name: string }>(dataDir, "SELECT kind || ' ' || name AS name FROM pauses ORDER BY 1").map(
      ({ name }) => name,
    ),
    held: grouped("l.flow", "d.export IS NOT NULL"),
    heldFor: read<{ id: string }>(
      dataDir,
      "SELECT id FROM exports WHERE number = (SELECT min(export) FROM deliveries WHERE export IS NOT NULL)",
    )[0]!.id,
  };
}

/** Of GET /v1/status, and of `holdfast status --json`. */
export function figuresOfStatus({
  door,
  flows,
  devices,
  failing,
  retrying,
  health,
  exports,
}: Status): Figures {
  const groups = (of: (typeof failing)["dead"]) =>
    Object.fromEntries(of.groups.map(({ flow, reason, count }) => [`${flow}: ${reason}`, count]));
  const oldest = flows.flatMap((flow) => flow.oldest ?? []).sort((a, b) => b.ageMs - a.ageMs)[0];
  return {
    taken: door.accepted,
    openByFlow: counts(
      flows.map(({ flow, waiting, sending, unknown }) => ({ name: flow, n: waiting + sending + unknown })),
    ),
    openByDevice: counts(devices.devices.map(({ device, open }) => ({ name: device, n: open }))),
    oldest: oldest!.id,
    dead: groups(failing.dead),
    lost: groups(failing.unknown),
    retried: retrying.count,
    states: counts(
      flows.flatMap((flow) =>
        [...STATES, "accepted", "replayed"].map((what) => ({
          name: `${flow.flow} ${what}`,
          n: flow[what as keyof typeof flow] as number,
        })),
      ),
    ),
    paused: health.pauses.map(({ kind, name }) => `${kind} ${name}`).sort(),
    held: counts(flows.map(({ flow, held }) => ({ name: flow, n: held }))),
    heldFor: exports[0]!.id,
  };
}

const COMMANDS_FLOW = "commands to packer-1";
const flowName = (words: string) => (words === COMMANDS_FLOW ? "$command/packer-1" : words);
const number = (text: string) => Number(/[\d,]+/.exec(text)![0].replaceAll(",", ""));

/** As somebody reads them, on the overview. */
export async function figuresOfPage(page: Page): Promise<Figures> {
  const question = (n: number) => page.locator(".question").nth(n - 1);
  const rows = async (table: Locator): Promise<Counts> => {
    const cells = await table
      .locator("tbody tr")
      .evaluateAll((all) => all.map((row) => [...row.children].map((cell) => cell.textContent)));
    return Object.fromEntries(cells.map(([name, n]) => [flowName(name!), number(n!)]));
  };
  const reasons = async (list: Locator): Promise<Counts> =>
    Object.fromEntries(
      (await list.locator("li").allTextContents()).map((text) => {
        const [, n, flow, reason] = /^([\d,]+) × (.*?): (.*)$/s.exec(text)!;
        return [`${flowName(flow!)}: ${reason}`, number(n!)];
      }),
    );
  const states: Counts = {};
  const select = question(5).getByLabel("Of");
  const options = await select
    .locator("option")
    .evaluateAll((all) => all.map((each) => (each as unknown as { value: string }).value));
  for (const value of options.filter((each) => each !== "")) {
    await select.selectOption(value);
    for (const pair of await question(5).locator(".sum > div").allInnerTexts()) {
      const [name, n] = pair.split(/\n+/);
      const what = name!.startsWith("delivered again") ? "replayed" : name!.replace(/^[=+] /, "");
      if (number(n!) > 0) states[`${value} ${what}`] = number(n!);
    }
  }
  const [deadList, lostList] = [question(2).locator("ul").nth(0), question(2).locator("ul").nth(1)];
  const taken = await page
    .locator(".devices-box .small-figures > div", { hasText: "messages taken" })
    .innerText();
  const link = await question(1).locator("p a").getAttribute("href");
  const paused = await page.locator(".picture .paused").allInnerTexts();
  const held = await page
    .locator(".picture .flow")
    .evaluateAll((all) =>
      all.map((flow) => [
        flow.querySelector("h2")!.firstChild!.textContent!,
        flow.querySelector(".held")?.textContent ?? "0",
      ]),
    );
  const heldWords = await question(1).locator(".paused").innerText();
  return {
    taken: number(taken.split("\n").at(-1)!),
    openByFlow: await rows(question(1).locator("table").nth(0)),
    openByDevice: await rows(question(1).locator("table").nth(1)),
    oldest: decodeURIComponent(link!.split("/").at(-1)!),
    dead: await reasons(deadList),
    lost: await reasons(lostList),
    retried: number(await question(4).locator(".figure").innerText()),
    states,
    paused: [
      ...new Set(
        paused.map((text) => /^(\w+) (.*?) is paused/s.exec(text)!.slice(1).join(" ").toLowerCase()),
      ),
    ].sort(),
    held: counts(held.map(([name, text]) => ({ name: flowName(name!), n: number(text!) }))),
    heldFor: /export (\S+)/.exec(heldWords)![1]!,
  };
}

/** Of GET /metrics. */
export function heldOfMetrics(text: string): Counts {
  const found = text.matchAll(/^holdfast_deliveries_held\{flow="([^"]+)"\} (\d+)$/gm);
  return counts(Array.from(found, ([, flow, n]) => ({ name: flowName(flow!), n: Number(n) })));
}

/** One message: the way that it took, where it came to, each try. */
export interface Story {
  readonly device: string;
  readonly flow: string;
  readonly version: string;
  readonly target: string;
  readonly state: string;
  /** Kinds of entries in its history, in order. */
  readonly history: readonly string[];
}

/** Of the message whose payload says so. */
export function idOf(dataDir: string, payloadId: string): string {
  const sql = "SELECT id FROM messages WHERE source = 'mqtt' AND CAST(payload AS TEXT) ->> '$.id' = ?";
  return read<{ id: string }>(dataDir, sql, payloadId)[0]!.id;
}

export function storyOfStore(dataDir: string, id: string): Story {
  const [row] = read<Omit<Story, "history"> & { seq: number }>(
    dataDir,
    `SELECT m.seq, m.device, l.flow, v.hash AS version, v.config ->> '$.to' AS target, d.state
     ${FROM} JOIN flow_versions v ON v.id = m.routes ->> '$[0][1]' WHERE m.id = ?`,
    id,
  );
  const { seq, ...rest } = row!;
  const history = read<{ kind: string }>(dataDir, "SELECT kind FROM history WHERE seq = ? ORDER BY id", seq);
  return { ...rest, history: history.map(({ kind }) => kind) };
}

/** Of GET /v1/messages/ID, and of `holdfast messages show --json`. */
export function storyOfAnswer({
  message,
  deliveries,
  history,
}: {
  message: { device: string };
  deliveries: readonly { flow: string; version: string | null; target: string | null; state: string }[];
  history: readonly { kind: string }[];
}): Story {
  const { flow, version, target, state } = deliveries[0]!;
  const kinds = history.map(({ kind }) => kind);
  return { device: message.device, flow, version: version!, target: target!, state, history: kinds };
}

const WORDS: Record<string, string> = {
  "Set aside as a dead letter": "dead",
  "Edited by a person": "edit",
  "Put back in line by a person": "redrive",
  "To be delivered again: a replay": "replay",
  Discarded: "discarded",
  Delivered: "delivered",
  "The backend was asked": "asked",
  "Not taken: its target was away (no try charged)": "outage",
  "Held for a person": "held",
  "Tried, not taken": "retry",
  "Sent, answer lost": "unknown",
};

export async function storyOfPage(page: Page, id: string): Promise<Story> {
  await page.evaluate(`location.hash = "#/messages/${encodeURIComponent(id)}"`);
  const box = page.locator("section.delivery");
  await page.getByRole("heading", { name: `Message ${id}` }).waitFor();
  await box.waitFor();
  const way = await box.locator(".way li").allInnerTexts();
  const after = (small: string) =>
    way
      .find((text) => text.startsWith(small))!
      .slice(small.length)
      .trim();
  const version = (await box.locator(".way code").getAttribute("title"))!;
  const entries = await page.locator(".timeline li > span").evaluateAll((all) =>
    all.map((each) =>
      [...each.childNodes]
        .filter(({ nodeType }) => nodeType === 3)
        .map((text) => text.textContent)
        .join(""),
    ),
  );
  return {
    device: after("device"),
    flow: after("flow, version").split(/\s/)[0]!,
    version,
    target: after("target"),
    state: await box.locator("p .state b").first().innerText(),
    // What the rows say is not an entry of its own.
    history: entries.flatMap((text) => WORDS[text] ?? []),
  };
}

/** Ids of dead letters, the newest message first. */
export function lettersOfStore(dataDir: string): string[] {
  const sql = `SELECT m.id ${FROM} WHERE d.state = 'dead' ORDER BY m.seq DESC`;
  return read<{ id: string }>(dataDir, sql).map(({ id }) => id);
}

/** Signal, value and the last thing that is on record of each command, the newest first. */
export function commandsOfStore(dataDir: string): [signal: string, value: unknown, state: string][] {
  return read<{ signal: string; value: string; event: string }>(
    dataDir,
    `SELECT signal, value, event FROM audit_trail
     WHERE id IN (SELECT max(id) FROM audit_trail GROUP BY command) AND command IS NOT NULL ORDER BY command DESC`,
  ).map(({ signal, value, event }) => [signal, JSON.parse(value), event]);
}
