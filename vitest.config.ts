import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { capability } from "./test/support/capabilities.ts";

/** They change what a whole process shares (its clock, its environment, a library's prototype) or measure it. */
const ALONE = [
  "test/adapters/conformance-liars.test.ts",
  "test/adapters/opcua/*.test.ts",
  "test/broker/gathering.test.ts",
  "test/cli/device-opcua.test.ts",
  "test/faults/fuzz-config.test.ts",
  "test/journeys/demo-accounts-for-every-message.test.ts",
  "test/model/simulation.test.ts",
  "test/queue/commit.test.ts",
  "test/watch/metrics-clock.test.ts",
];
/** They start gateways and command lines, some of them often: with others at work on the machine that takes its time. */
const PROCESSES = ["test/{cli,commands,faults,house,journeys,simulators}/**/*.test.ts", "test/tidy.test.ts"];
const ALL = "test/**/*.test.ts";
const PROCESS_TIMES = { testTimeout: 180_000 };

export default defineConfig({
  test: {
    // Many times what they take, for a machine with others at work on it.
    testTimeout: 60_000,
    hookTimeout: 180_000,
    // Processes rather than threads: tests load a native module, start threads and change directories.
    pool: "forks",
    // A file takes over the process of the one before: to load the code anew for each took half of all time.
    // So what a module of test/support does as it is loaded happens once, and hooks belong into the test files.
    isolate: false,
    // More than there are cores: most tests wait on sockets and disks rather than compute. The wide ones compute more.
    maxWorkers: availableParallelism() + (capability("wide").present ? 1 : 2),
    env: {
      // The launcher's. Threads and processes that tests start load the same code again and again: that is half the time.
      NODE_COMPILE_CACHE: fileURLToPath(new URL("node_modules/.cache/compiled", import.meta.url)),
    },
    projects: [
      { extends: true, test: { name: "alone", include: ALONE, isolate: true, ...PROCESS_TIMES } },
      { extends: true, test: { name: "processes", include: PROCESSES, exclude: ALONE, ...PROCESS_TIMES } },
      { extends: true, test: { name: "rooms", include: [ALL], exclude: [...ALONE, ...PROCESSES] } },
    ],
  },
});
