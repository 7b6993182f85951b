/** A serial line to pretend with: a pty whose other end is a TCP port, where a machine speaks RTU. */
import { onTestFinished } from "vitest";
import { ptyTo } from "../../simulators/machines/pty.ts";

/** The path of the pty. The line is gone when the test is over. */
export async function serialLineTo(port: number): Promise<string> {
  const pty = ptyTo(port);
  onTestFinished(() => pty.close());
  await pty.plugIn();
  return pty.path;
}
