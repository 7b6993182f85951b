import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { LIBRARY, LIBRARY_FOLDER, missingPackage } from "../../../src/adapters/opcua/library-folder.ts";
import { scratchFolder } from "./device.ts";

/** A checkout, or an installation without a launcher. */
function installation(launcher: boolean) {
  const root = scratchFolder();
  const folder = join(root, "extras/opcua");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ dependencies: { [LIBRARY]: "1.2.3" } }));
  if (launcher) writeFileSync(join(root, "holdfast"), "");
  return { root, folder };
}

describe("where the OPC UA library is not installed", () => {
  it("what to install is said, by its version, with the launcher where there is one", () => {
    const { root, folder } = installation(true);
    expect(missingPackage(folder)).toBe(
      `OPC UA needs the package node-opcua-client 1.2.3, which is not installed (32 MB); install it: ${root}/holdfast add opcua`,
    );
  });

  it("and with npm where there is none", () => {
    const { folder } = installation(false);
    expect(missingPackage(folder)).toContain(`npm ci --ignore-scripts --omit=dev --prefix ${folder}`);
  });

  it("nothing is said once it is there", () => {
    const { folder } = installation(true);
    mkdirSync(join(folder, "node_modules", LIBRARY), { recursive: true });
    writeFileSync(join(folder, "node_modules", LIBRARY, "package.json"), "{}");
    expect(missingPackage(folder)).toBeNull();
    expect(LIBRARY_FOLDER).toMatch(/extras\/opcua$/);
  });
});
