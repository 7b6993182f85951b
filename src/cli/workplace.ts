/** A folder of our own on the disk that is to be tried; gone afterwards, with what had to be made above it. */
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { errorText, HoldfastError } from "../core/errors.ts";
import { type CliIo, dataDirFrom } from "./io.ts";

export interface Workplace {
  readonly dir: string;
  remove(): void;
}

/** In `asked`; else in the data folder, where there is one, since its disk is the one that will be used; else here. */
export function openWorkplace(
  io: Pick<CliIo, "env" | "cwd">,
  asked: string | undefined,
  name: string,
): Workplace {
  const data = dataDirFrom(io);
  const above = asked !== undefined ? resolve(io.cwd, asked) : existsSync(data) ? data : io.cwd;
  try {
    const made = mkdirSync(above, { recursive: true });
    const dir = mkdtempSync(join(realpathSync(above), `holdfast-${name}-`));
    return { dir, remove: () => remove(dir, made === undefined ? null : above) };
  } catch (error) {
    const message = `no folder can be made in ${above}: ${errorText(error)}`;
    throw new HoldfastError("HF_USAGE", message, { folder: above });
  }
}

function remove(dir: string, above: string | null): void {
  rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
  try {
    if (above !== null) rmdirSync(above);
  } catch {
    // The report lies there.
  }
}
