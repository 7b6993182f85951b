/** A folder of its own for each test, with a config in it that is loaded or refused. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect } from "vitest";
import { loadConfig } from "../../src/config.ts";
import { HoldfastError } from "../../src/core/errors.ts";

export class ConfigFolder {
  path = "";

  /** Made anew around each test of the file that calls this. */
  static forEachTest(): ConfigFolder {
    const folder = new ConfigFolder();
    beforeEach(() => {
      folder.path = mkdtempSync(join(tmpdir(), "holdfast-config-"));
    });
    afterEach(() => rmSync(folder.path, { recursive: true, force: true }));
    return folder;
  }

  load(yaml: string, env: Record<string, string> = {}) {
    const path = join(this.path, "holdfast.yaml");
    writeFileSync(path, yaml);
    return loadConfig({ path, env, cwd: this.path });
  }

  /** The lines below the headline of the message that refuses it. */
  async problems(yaml: string, env: Record<string, string> = {}): Promise<string[]> {
    const { message } = await failure(this.load(yaml, env));
    const [, ...lines] = message.split("\n");
    return lines.map((line) => line.trim());
  }
}

export async function failure(loading: Promise<unknown>): Promise<HoldfastError> {
  const error = await loading.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(HoldfastError);
  return error as HoldfastError;
}

/** A good password line, of a password that nobody knows. */
export const PASSWORD_HASH =
  "$scrypt$ln=15,r=8,p=1$Dvwitu15VyPTn5d/HQb99g$G+aQUvH3o1XBSUlQd2gsTmqt7XhuHad7KHawmf+xg0";
