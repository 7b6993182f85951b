/**
 * Where the OPC UA library is, or what to do to have it. It is heavy, and few need it: so it is no dependency of
 * Holdfast but stands in a folder of its own, extras/opcua, with a lockfile of its own. Nothing that updates
 * Holdfast's own packages removes it, and every part of it has the version that was tested.
 */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dirname, "../../..");
export const LIBRARY = "node-opcua-client";
export const LIBRARY_FOLDER = join(ROOT, "extras/opcua");

/** Null where it is installed; else a sentence that says how to get it. */
export function missingPackage(folder = LIBRARY_FOLDER): string | null {
  if (existsSync(join(folder, "node_modules", LIBRARY, "package.json"))) return null;
  const launcher = join(folder, "../../holdfast");
  const command = existsSync(launcher)
    ? `${launcher} add opcua`
    : `npm ci --ignore-scripts --omit=dev --prefix ${folder}`;
  return `OPC UA needs the package ${LIBRARY} ${pinnedVersion(folder)}, which is not installed (32 MB); install it: ${command}`;
}

function pinnedVersion(folder: string): string {
  try {
    const { dependencies } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    return dependencies[LIBRARY];
  } catch {
    return "";
  }
}
