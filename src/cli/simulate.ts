/** `holdfast simulate`: machines, a backend and a gateway by a scenario, with an oracle at the end. */
import { resolve } from "node:path";
import type { Command } from "commander";
import type { RunEvent, RunResult } from "../../simulators/run-scenario.ts";
import type { Scenario } from "../../simulators/scenario.ts";
import type { Screen } from "../../simulators/screen.ts";
import { HoldfastError } from "../core/errors.ts";
import type { CliIo } from "./io.ts";
import { hostOf, httpUrl, Interrupted, mqttPortOf, mqttUrl, untilDone, wholeNumber } from "./simulation.ts";

interface Options {
  readonly seed?: number;
  readonly gateway?: URL;
  readonly api?: URL;
  readonly record?: string;
  readonly list?: true;
  readonly oneAfterAnother?: true;
}

/** How often a run tells its figures where there is no terminal to redraw them on. */
const PLAIN_FIGURES_EVERY_MS = 2_000;
const FINDINGS_SHOWN_MAX = 10;
const PROMISES: ReadonlySet<string> = new Set(["lost", "doubled", "outOfOrder", "dead"]);

export function register(program: Command, io: CliIo): void {
  program
    .command("simulate [scenarios...]")
    .description("Let simulated machines and a misbehaving backend loose, and judge what arrived")
    .option("--list", "name the scenarios that come with Holdfast")
    .option(
      "--seed <n>",
      "the same seed gives the same readings and mishaps (default: the scenario's)",
      wholeNumber,
    )
    .option(
      "--one-after-another",
      "several scenarios each on a gateway of its own, instead of together on one",
    )
    .option("--gateway <url>", "a gateway that runs already, such as mqtt://127.0.0.1:1883", mqttUrl)
    .option("--api <url>", "its HTTP address, for figures and histories", httpUrl)
    .option("--record <file>", "write what the machines do, for `holdfast replay`")
    .addHelpText(
      "after",
      `
A scenario is a file, or the name of one that comes with Holdfast. Several run together: all machines at the same
time on one gateway, their timelines laid over each other, their expectations added up; where two want different
things of the gateway, that is said with file and line. Without --gateway the run starts a gateway of its own in a
temporary folder, so that it can also kill it. With --gateway, the gateway's config must lead to the scenario's
backend (give it a port), and timelines may not kill it.

At the end the oracle holds the machines' books against what arrived: lost, doubled, out of order.
Exit code 0: as expected. 1: not.

Examples:
  $ holdfast simulate --list
  $ holdfast simulate backend-away
  $ holdfast simulate backend-away kill-and-restart late-delivered
  $ holdfast simulate twice-ack-lost never-rejected --one-after-another
  $ holdfast simulate kill-and-restart --seed 7 --json
  $ holdfast simulate my.yaml --record traffic.jsonl`,
    )
    .action((scenarios: string[], options: Options) => simulate(io, scenarios, options));
}

async function simulate(io: CliIo, named: readonly string[], options: Options): Promise<void> {
  const { loadTogether } = await import("../../simulators/scenario-library.ts");
  if (options.list) return list(io);
  if (named.length === 0) {
    throw new HoldfastError("HF_USAGE", "simulate needs a scenario; `holdfast simulate --list` names some");
  }
  if (options.oneAfterAnother && options.record && named.length > 1) {
    throw new HoldfastError("HF_USAGE", "--record is for one run; several --one-after-another are several");
  }
  const { cwd, env } = io;
  const runs = options.oneAfterAnother ? named.map((name) => [name]) : [named];
  const composed = runs.map((names) => loadTogether(names, { cwd, env, seed: options.seed }));
  for (const { name, scenario } of composed) checkRunning(name, scenario, options);
  let ok = true;
  for (const { name, scenario } of composed) {
    const result = await runOne(io, name, scenario, options);
    if (result === null) return; // broken off
    ok &&= result.ok;
  }
  io.exitCode = ok ? 0 : 1;
}

function checkRunning(name: string, scenario: Scenario, options: Options): void {
  if (!options.gateway) return;
  const own = scenario.timeline.find(({ do: what }) => what.endsWith("-gateway") || what === "network");
  if (!own) return;
  const what = own.do === "network" ? "disturbs the lines of the gateway" : "stops the gateway";
  throw new HoldfastError("HF_USAGE", `${name} ${what}, so it must start its own: leave --gateway out`);
}

async function list(io: CliIo): Promise<void> {
  const [{ listScenarios, loadScenario }, { QUESTIONS }, { missingMeans }] = await Promise.all([
    import("../../simulators/scenario-library.ts"),
    import("../../simulators/scenario.ts"),
    import("../../simulators/run-scenario.ts"),
  ]);
  const all = listScenarios().map(({ name }) => loadScenario(name, io.cwd, io.env));
  if (io.json) {
    io.printJson(
      all.map(({ name, file, scenario }) => ({
        name,
        file,
        question: scenario.question,
        title: scenario.title,
        about: scenario.about.trim(),
        missing: missingMeans(scenario).map(({ missing }) => missing),
      })),
    );
    return;
  }
  const width = Math.max(...all.map(({ name }) => name.length)) + 2;
  io.print("What happens if a message is …");
  for (const question of QUESTIONS) {
    io.print("");
    io.print(io.paint("bold", question === "and everything else" ? question : `… ${question}`));
    for (const { name, scenario } of all) {
      if (scenario.question !== question) continue;
      const not = missingMeans(scenario).map(({ missing }) => io.paint("dim", ` (not here: ${missing})`));
      io.print(`  ${name.padEnd(width)}${scenario.title}${not.join("")}`);
    }
  }
}

/** Null where it was broken off. */
async function runOne(
  io: CliIo,
  name: string,
  scenario: Scenario,
  options: Options,
): Promise<RunResult | null> {
  const running = options.gateway && {
    host: hostOf(options.gateway),
    port: mqttPortOf(options.gateway),
    http: options.api?.href ?? null,
  };
  const [{ runScenario }, { openScreen, wrap }, { systemClock }] = await Promise.all([
    import("../../simulators/run-scenario.ts"),
    import("../../simulators/screen.ts"),
    import("../core/clock.ts"),
  ]);
  const screen = openScreen(io.json ? { write: () => true } : io.stdout);
  if (!io.json) screen.say(`${io.paint("bold", name)}: ${wrap(scenario.about.trim(), 100, "  ")}`);
  try {
    const result = await untilDone((signal) =>
      runScenario({
        scenario,
        seed: scenario.seed,
        clock: systemClock,
        running: running || undefined,
        record: options.record && resolve(io.cwd, options.record),
        report: io.json ? (event) => io.printJson(event) : progress(io, screen),
        signal,
      }),
    );
    screen.end(false);
    if (io.json) io.printJson({ event: "result", scenario: name, ...result });
    else tell(io, name, result);
    return result;
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    io.note(error.message);
    io.exitCode = error.exitCode;
    return null;
  } finally {
    screen.end(false);
  }
}

/** Steps scroll; figures are one line that is drawn anew, or now and then a line where that cannot be. */
function progress(io: CliIo, screen: Screen): (event: RunEvent) => void {
  let shownAtMs = 0;
  return (event) => {
    const time = `${(event.atMs / 1000).toFixed(1).padStart(5)} s`;
    if (event.event === "step") {
      screen.say(`${io.paint("dim", time)}  ${event.text}`);
      return;
    }
    const { machinesUp, machines, sent, acked, arrived, gateway, gatewayUp, backend } = event;
    const { wired, wiredUp, readings } = event;
    const line = [
      `${time}  ${machinesUp}/${machines} up`,
      ...(wired > 0 ? [`on wires ${wiredUp}/${wired}, ${readings} readings`] : []),
      `sent ${sent}`,
      `acked ${acked}`,
      `arrived ${arrived}`,
      `waiting ${gateway?.open ?? "?"}`,
      ...(gatewayUp ? [] : [io.paint("red", "gateway down")]),
      ...(backend === "there" ? [] : [io.paint("yellow", `backend ${backend}`)]),
    ].join(" · ");
    if (screen.live) screen.draw([line]);
    else if (event.atMs - shownAtMs >= PLAIN_FIGURES_EVERY_MS) {
      shownAtMs = event.atMs;
      screen.say(line);
    }
  };
}

function tell(io: CliIo, name: string, result: RunResult): void {
  const { figures, findings } = result.verdict;
  io.print("");
  io.print(
    `sent ${figures.sent}, acknowledged ${figures.acked}, arrived ${figures.arrived}, sent again ${figures.repeatsSent}`,
  );
  for (const { what, wanted, found, met } of result.expectations) {
    // Of what nothing is, and nothing should be, only the promises are said.
    if (met && wanted === "0" && !PROMISES.has(what)) continue;
    const mark = met === null ? "?" : met ? io.paint("green", "✓") : io.paint("red", "✗");
    const label = what.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
    io.print(`  ${mark} ${label.padEnd(22)}${String(found ?? "not known").padStart(9)}   expected ${wanted}`);
  }
  for (const { kind, id, detail } of findings.slice(0, FINDINGS_SHOWN_MAX)) {
    io.print(`  ${io.paint("red", kind)} ${id}: ${detail}`);
    for (const line of result.stories[id] ?? []) io.print(io.paint("dim", `      ${line}`));
  }
  if (findings.length > FINDINGS_SHOWN_MAX) {
    io.print(`  … and ${findings.length - FINDINGS_SHOWN_MAX} more; --json lists them all`);
  }
  tellUsage(io, result);
  for (const how of result.crashes) io.print(io.paint("red", `  the gateway ended by itself, ${how}`));
  if (!result.drained)
    io.print(io.paint("yellow", "  the time to drain was over before everything had arrived"));
  io.print(
    result.ok
      ? io.paint("green", `✓ ${name}: as expected (seed ${result.seed})`)
      : io.paint("red", `✗ ${name}: not as expected; again with --seed ${result.seed}`),
  );
}

function tellUsage(io: CliIo, { usage: { gateway, simulator } }: RunResult): void {
  const cost = (what: string, usage: RunResult["usage"]["gateway"]) => {
    if (!usage || usage.cpuShare === null || usage.rssBytesMax === null) return [];
    const memory = `${Math.round(usage.rssBytesMax / 2 ** 20)} MiB at most`;
    return [`${what} ${Math.round(usage.cpuShare * 100)} % of a core, ${memory}`];
  };
  const costs = [...cost("the gateway", gateway), ...cost("machines and backend", simulator)];
  if (costs.length > 0) io.print(io.paint("dim", `  ${costs.join("; ")}`));
}
