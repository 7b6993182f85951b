import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 20_000,
    hookTimeout: 20_000,
    // A process each: tests load a native module, start threads and change directories.
    pool: "forks",
    // Two even on two cores: most tests wait on sockets and disks rather than compute.
    maxWorkers: Math.max(2, availableParallelism() - 1),
  },
});
