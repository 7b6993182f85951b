/** What a target says of a delivery that it would never take, without sending anything. */
import { expect, it } from "vitest";
import { silentLogger } from "../../src/core/logger.ts";
import { createTarget } from "../../src/targets/create.ts";
import { targetSchema } from "../../src/targets/schema.ts";
import type { TargetDelivery } from "../../src/targets/target.ts";
import { ManualClock } from "../support/manual-clock.ts";

const context = {
  name: "mes",
  gateway: "line-3",
  dataDir: "/nowhere",
  clock: new ManualClock(),
  logger: silentLogger,
};

function check(options: object, message: object): string[] | undefined {
  const delivery = {
    message: {
      id: "a-1",
      device: "a",
      topic: "plant/a",
      payload: Buffer.from("{}"),
      headers: {},
      contentType: null,
      traceparent: null,
      clockTrusted: true,
      ...message,
    },
    flow: "mes",
    lane: "mes/a",
    attempt: 1,
    resend: false,
    late: false,
    expiresInMs: null,
  } as unknown as TargetDelivery;
  return createTarget(targetSchema.parse(options), context).check?.(delivery);
}

it.each([
  [{ type: "http", url: "http://127.0.0.1:9/in/{device}" }, { device: ".." }, /the path segment ".."/],
  [
    { type: "mqtt", url: "mqtt://127.0.0.1:9", topic: "up/{device}" },
    { device: "a/b" },
    /device "a\/b" has a \//,
  ],
])("says why of %j", (options, message, problem) => {
  expect(check(options, {})).toEqual([]);
  expect(check(options, message)).toEqual([expect.stringMatching(problem)]);
});
