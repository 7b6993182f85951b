import { fileBench } from "./benches.ts";
import { describeTarget } from "./conformance.ts";

describeTarget("file", () => fileBench(), [
  "wellBehaved",
  "resend",
  "failing",
  "drop",
  "commitThenDrop",
  "switchedOff",
  "stopping",
  "chaos",
  "chaosAgain",
]);
describeTarget("file, a new one every few lines", () => fileBench({ rotateBytes: 4096 }), [
  "wellBehaved",
  "resend",
  "chaos",
]);
