/** Collects garbage, in a Node that was not started for it. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Three times, with a turn of the event loop after each: what is found at the first may hold on to more. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  for (let n = 0; n < 3; n++) {
    collect();
    await new Promise((resolve) => setImmediate(resolve));
  }
}
