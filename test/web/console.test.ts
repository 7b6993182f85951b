/** The operator's page in a real browser, before a real gateway. What the tests share is in console/desk.ts. */
import { describe } from "vitest";
import { capability } from "../support/capabilities.ts";
import { itComesAndGoes } from "./console/coming-and-going.ts";
import { theyCommand } from "./console/commanding.ts";
import { sharedDesk } from "./console/desk.ts";
import { itSaysWhatIsSo } from "./console/figures.ts";
import { theyFind } from "./console/finding.ts";
import { itLooksWell } from "./console/looks.ts";
import { theyRepair } from "./console/repairs.ts";

describe.skipIf(!capability("chromium").present)("the operator's page", () => {
  const desk = sharedDesk();
  // First, while the store has all that was put there and nothing else.
  itSaysWhatIsSo(desk);
  theyCommand(desk);
  theyFind(desk);
  theyRepair(desk);
  itLooksWell(desk);
  // Last: from then on everybody needs a token.
  itComesAndGoes(desk);
});
