/**
 * Backends, as the doctor asks for them: by what the running gateway knows of them, or, with the gateway down, by
 * asking each as the gateway would before it sends anything. Sends no message.
 */
import { accessSync, constants } from "node:fs";
import { resolve } from "node:path";
import type { Config } from "../config.ts";
import { sleep, systemClock } from "../core/clock.ts";
import { nearestFolder } from "../core/disk.ts";
import { errorText } from "../core/errors.ts";
import { silentLogger } from "../core/logger.ts";
import { createTarget } from "../targets/create.ts";
import type { TargetHealth } from "../targets/target.ts";
import type { Status } from "./api-client.ts";
import type { Finding } from "./doctor-checks.ts";

const ANSWER_MS_MAX = 5000;

const STATES: Readonly<Record<string, Finding["verdict"]>> = {
  healthy: "good",
  unproven: "good",
  stalled: "attention",
  down: "bad",
};

export async function targetFindings(
  config: Config,
  status: Status | null,
  dataDir: string,
): Promise<Finding[]> {
  const known = status?.health?.targets ?? [];
  return Promise.all(
    Object.keys(config.targets).map(async (name): Promise<Finding> => {
      const about = `target ${name}`;
      const told = known.find(({ target }) => target === name);
      if (told) {
        const why = told.lastError === null ? "" : `: ${told.lastError}`;
        return { about, verdict: STATES[told.state] ?? "attention", says: `${told.state}${why}` };
      }
      const { reachable, detail } = await ask(config, name, dataDir);
      return reachable
        ? { about, verdict: "good", says: detail }
        : {
            about,
            verdict: "bad",
            says: detail,
            todo: "Until it answers, its messages wait on this box; nothing is lost.",
          };
    }),
  );
}

async function ask(config: Config, name: string, dataDir: string): Promise<TargetHealth> {
  const options = config.targets[name]!;
  // Started, it would take its files up where they were left; looking is enough.
  if (options.type === "file") return folderHealth(resolve(dataDir, options.folder));
  const target = createTarget(options, {
    name,
    gateway: config.gateway.name,
    dataDir,
    clock: systemClock,
    logger: silentLogger,
  });
  const over = new AbortController();
  const late = new AbortController();
  void sleep(systemClock, ANSWER_MS_MAX, late.signal).then(() => over.abort());
  try {
    await target.start();
    return await target.probe(over.signal);
  } catch (error) {
    return { reachable: false, detail: errorText(error) };
  } finally {
    late.abort();
    await target.stop();
  }
}

function folderHealth(dir: string): TargetHealth {
  const folder = nearestFolder(dir);
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return { reachable: true, detail: folder === dir ? `can be written: ${dir}` : `can be made: ${dir}` };
  } catch (error) {
    return { reachable: false, detail: errorText(error) };
  }
}
