/**
 * What can go wrong with a request, each under a name that stays the same. An exception is an answer: the unit
 * is there, and says no. The others are silence, or a line that cannot be used.
 */
export interface Failure {
  readonly name: string;
  readonly sentence: string;
  /** True where the unit itself answered. */
  readonly answered: boolean;
  /** An exception: the unit's own, or of a Modbus gateway before it. */
  readonly exception: boolean;
}

/** [Modbus application protocol V1.1b3, section 7]; 9 is not given out. */
const EXCEPTIONS: Readonly<Record<number, readonly [name: string, sentence: string]>> = {
  1: ["illegal-function", "it does not know this request"],
  2: ["illegal-data-address", "it has no such register"],
  3: ["illegal-data-value", "it does not take this count"],
  4: ["device-failure", "it failed while it answered"],
  5: ["acknowledge", "it has begun, and needs more time"],
  6: ["device-busy", "it is busy; later"],
  7: ["negative-acknowledge", "it cannot do that"],
  8: ["memory-parity-error", "its memory is damaged"],
  10: ["gateway-path-unavailable", "the Modbus gateway has no way to it"],
  11: ["gateway-target-silent", "the Modbus gateway got no answer from it"],
};

export function exceptionFailure(code: number): Failure {
  const [name, sentence] = EXCEPTIONS[code] ?? [`exception-${code}`, "an exception that no standard names"];
  // From a gateway, for a unit that is not there.
  const answered = code !== 10 && code !== 11;
  return { name, sentence: `${sentence} (exception ${code})`, answered, exception: true };
}

export function timeoutFailure(timeoutMs: number): Failure {
  return { name: "timeout", sentence: `no answer within ${timeoutMs} ms`, answered: false, exception: false };
}

export function unreachableFailure(why: string): Failure {
  return { name: "unreachable", sentence: why, answered: false, exception: false };
}

/** Bytes came that are no answer: a wrong checksum, another unit's, too few or too many. */
export function garbledFailure(why: string): Failure {
  return { name: "garbled", sentence: why, answered: false, exception: false };
}

export function failureText({ name, sentence }: Failure): string {
  return `${name}: ${sentence}`;
}
