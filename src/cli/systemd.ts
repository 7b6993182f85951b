/**
 * Telling systemd that the service is ready or stopping, for units with `Type=notify`.
 *
 * Node cannot write to a Unix datagram socket, so systemd's own `systemd-notify` does it. It is another
 * process than the service's main one: the unit needs `NotifyAccess=all`. Where there is no NOTIFY_SOCKET
 * nothing happens; where the program is missing, the service works all the same once `Type=exec` is set.
 */
import { spawn } from "node:child_process";

export type NotifyResult = "sent" | "not asked" | { readonly failed: string };

/** Resolves when systemd was told, or could not be; never rejects. `states` such as `READY=1`. */
export function notifySystemd(
  env: Readonly<Record<string, string | undefined>>,
  ...states: readonly string[]
): Promise<NotifyResult> {
  if (!env.NOTIFY_SOCKET) return Promise.resolve("not asked");
  return new Promise((resolve) => {
    const child = spawn("systemd-notify", states, { env: { ...env }, stdio: "ignore" });
    child.once("error", (error) => resolve({ failed: `systemd-notify: ${error.message}` }));
    child.once("exit", (code) =>
      resolve(code === 0 ? "sent" : { failed: `systemd-notify ended with ${code}` }),
    );
  });
}
