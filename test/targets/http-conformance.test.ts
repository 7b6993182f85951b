import { httpBench } from "./benches.ts";
import { describeTarget } from "./conformance.ts";

describeTarget("http", () => httpBench());
describeTarget(
  "http, batches as NDJSON with a result for each",
  () => httpBench({ batch: "ndjson" }, { itemResults: true }),
  ["wellBehaved", "resend", "commitThenDrop", "poison", "answersLost", "chaos"],
);
describeTarget("http, batches as a JSON array answered as a whole", () => httpBench({ batch: "json" }), [
  "wellBehaved",
  "failing",
  "poison",
  "chaosAgain",
]);
