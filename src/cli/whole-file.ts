/** A file that is there whole and on the disk, or not at all. */
import { open, rename } from "node:fs/promises";

/** For its owner alone. `check` reads what was written, before it has its name: a stick may be full, or broken. */
export async function writeWhole(
  file: string,
  chunks: Iterable<string> | AsyncIterable<string | Uint8Array>,
  check?: (written: string) => Promise<void>,
): Promise<void> {
  const part = `${file}.part`;
  const handle = await open(part, "w", 0o600);
  try {
    for await (const chunk of chunks) await handle.appendFile(chunk);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await check?.(part);
  await rename(part, file);
}
