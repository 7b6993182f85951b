/** A serial line to pretend with: a pty whose other end is a TCP port, where a machine speaks RTU. */
import { onTestFinished } from "vitest";
import { type Pty, ptyTo } from "../../simulators/machines/pty.ts";

/** The path of the pty. The line is gone when the test is over. */
export async function serialLineTo(port: number): Promise<string> {
  return (await pluggedIn(port)).path;
}

/** The same, to be pulled out while the test runs. */
export async function pluggedIn(port: number, path?: string): Promise<Pty> {
  const pty = ptyTo(port, path);
  onTestFinished(() => pty.close());
  await pty.plugIn();
  return pty;
}
