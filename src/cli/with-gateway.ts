/** With the running gateway, which alone may write to its store. */
import { HoldfastError } from "../core/errors.ts";
import type { GatewayClient } from "./api-client.ts";
import { type CliIo, dataDirFrom } from "./io.ts";

/** Throws HF_GATEWAY_DOWN, with `why` as the sentence that says what it is needed for. */
export async function withGateway<T>(
  io: CliIo,
  data: string | undefined,
  why: string,
  work: (gateway: GatewayClient) => Promise<T>,
): Promise<T> {
  const { GatewayClient, openAnswers } = await import("./api-client.ts");
  const answers = await openAnswers(dataDirFrom(io, data), io.env);
  try {
    if (answers instanceof GatewayClient) return await work(answers);
    throw new HoldfastError("HF_GATEWAY_DOWN", `${answers.down?.sentence ?? ""} ${why}`.trim());
  } finally {
    answers.close();
  }
}
