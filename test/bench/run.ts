/**
 * `./holdfast bench [measure…] [--seconds N] [--runs N] [--backlog N] [--payload N] [--json]`
 *
 * Speed is compared, not asserted: each measure gives ratios against a peer that did the same work in the
 * same run, on the same machine, with the same load beside it. The median of the runs is printed.
 */
import { cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { type Figures, MEASURES, type Settings } from "./measures.ts";

const HELP = `holdfast bench: measures Holdfast beside its peers

  ./holdfast bench [measure...] [options]

measures (all by default)
${MEASURES.map(({ name, what }) => `  ${name.padEnd(14)}${what}`).join("\n")}

options
  --seconds N   length of each load (default 8)
  --runs N      how often each measure runs; the median counts (default 3)
  --backlog N   messages in the large store of \`drain\` and \`operator\` (default 1000000)
  --payload N   bytes of payload a message (default 200)
  --json        one JSON object instead of a table
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "8" },
    runs: { type: "string", default: "3" },
    backlog: { type: "string", default: "1000000" },
    payload: { type: "string", default: "200" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  process.stdout.write(HELP);
  process.exit(0);
}
const unknown = positionals.find((name) => !MEASURES.some((measure) => measure.name === name));
if (unknown) {
  process.stderr.write(`holdfast bench: there is no measure called ${unknown}\n\n${HELP}`);
  process.exit(64);
}

const settings: Settings = {
  seconds: Number(values.seconds),
  backlog: Number(values.backlog),
  payloadBytes: Number(values.payload),
  progress: (text) => process.stderr.write(`  … ${text}\n`),
};
const chosen =
  positionals.length === 0 ? MEASURES : MEASURES.filter(({ name }) => positionals.includes(name));
const report: Record<string, Figures> = {};
for (const measure of chosen) {
  process.stderr.write(`${measure.name}: ${measure.what}\n`);
  const runs: Figures[] = [];
  // A large store takes minutes to fill: once is enough for it.
  const times = ["drain", "operator"].includes(measure.name) ? 1 : Number(values.runs);
  for (let run = 0; run < times; run++) runs.push(await measure.run(settings));
  report[measure.name] = medians(runs);
}

const machine = { cores: cpus().length, cpu: cpus()[0]?.model ?? "", load: loadavg()[0] };
if (values.json) process.stdout.write(`${JSON.stringify({ machine, settings: values, report })}\n`);
else process.stdout.write(table(report));

function medians(runs: readonly Figures[]): Figures {
  return Object.fromEntries(
    Object.keys(runs[0] ?? {}).map((name) => {
      const sorted = runs.map((figures) => figures[name]!).sort((a, b) => a - b);
      return [name, sorted[Math.floor(sorted.length / 2)]!];
    }),
  );
}

function table(measured: Record<string, Figures>): string {
  const lines = [`${machine.cores} × ${machine.cpu}, load ${machine.load!.toFixed(1)}`];
  for (const [name, figures] of Object.entries(measured)) {
    lines.push("", name);
    for (const [what, figure] of Object.entries(figures)) {
      const shown = figure >= 100 ? Math.round(figure).toLocaleString("en") : figure.toFixed(2);
      lines.push(`  ${what.padEnd(34)}${shown.padStart(12)}`);
    }
  }
  return `${lines.join("\n")}\n`;
}
