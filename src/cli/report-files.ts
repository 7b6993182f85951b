/** Where the long runs (torture, soak) write what they found: as asked, or Markdown and JSON, named by date. */
import { accessSync, constants } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { errorText, HoldfastError } from "../core/errors.ts";
import type { CliIo } from "./io.ts";

export interface ReportFilesOptions {
  readonly given: readonly string[] | undefined;
  /** Where they go by default: this folder, or else the working directory. */
  readonly dir: string | undefined;
  readonly name: "torture" | "soak";
  /** ISO 8601. */
  readonly startedAt: string;
}

/** Absolute. Throws HF_USAGE before the run rather than after it. */
export function reportFiles(
  io: Pick<CliIo, "cwd">,
  { given, dir, name, startedAt }: ReportFilesOptions,
): string[] {
  const date = startedAt.slice(0, 19).replaceAll(":", "");
  const files =
    given ?? [".md", ".json"].map((ending) => join(dir ?? ".", `holdfast-${name}-${date}${ending}`));
  return files.map((file) => {
    const absolute = resolve(io.cwd, file);
    if (!/\.(md|json)$/.test(file)) {
      throw new HoldfastError("HF_USAGE", `${file}: a report is a .md or a .json file`);
    }
    // A folder that is asked for with --dir is made later.
    if (given !== undefined || dir === undefined) mayWrite(dirname(absolute));
    return absolute;
  });
}

function mayWrite(folder: string): void {
  try {
    accessSync(folder, constants.W_OK);
  } catch (error) {
    throw new HoldfastError("HF_USAGE", `no report can be written to ${folder}: ${errorText(error)}`);
  }
}
