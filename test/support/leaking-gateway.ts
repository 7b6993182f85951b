/**
 * The gateway with a leak, for tests that claim to notice one; run in place of src/main.ts. HOLDFAST_TEST_FAULT
 * says of what: `memory` takes 4 MiB every 50 ms and touches them, `handles` opens a file every 10 ms.
 */
import { openSync } from "node:fs";

const kept: unknown[] = [];
const leak = process.env.HOLDFAST_TEST_FAULT;
// The store's own saboteur reads the same variable.
process.env.HOLDFAST_TEST_FAULT = "none";
if (leak === "memory") setInterval(() => kept.push(Buffer.alloc(4 * 2 ** 20, 1)), 50).unref();
if (leak === "handles") setInterval(() => kept.push(openSync("/dev/null", "r")), 10).unref();

// Runs the gateway from here on.
await import("./saboteur-gateway.ts");
