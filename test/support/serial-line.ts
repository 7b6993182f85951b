/** A serial line to pretend with: a pty whose other end is a TCP port, where a machine speaks RTU. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { capability } from "./capabilities.ts";
import { eventually, scratchFolder } from "./journey.ts";

/** The path of the pty. The line is gone when the test is over. */
export async function serialLineTo(port: number): Promise<string> {
  const { path } = await pluggedIn(port, join(scratchFolder(), "bus"));
  return path;
}

/** The same, to be pulled out while the test runs. */
export async function pluggedIn(port: number, path: string) {
  const child = spawn(capability("socat").path, [`PTY,link=${path},raw,echo=0`, `TCP:127.0.0.1:${port}`], {
    stdio: "ignore",
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  await eventually("the pty is there", () => existsSync(path));
  const pullOut = async () => {
    child.kill("SIGTERM");
    await once(child, "exit");
  };
  return { path, pullOut };
}
