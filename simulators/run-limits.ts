/** What a scenario asks for and a run cannot give: said before anything starts. */
import { HoldfastError } from "../src/core/errors.ts";
import { GROUP_LISTS, type Scenario } from "./scenario.ts";

export interface RunMeans {
  /** A gateway that runs already, with its HTTP address where that was given. */
  readonly running?: { readonly http: string | null };
  /** A capture is to be written. */
  readonly record?: string;
}

/** Throws HF_SCENARIO. */
export function demandMeans(scenario: Scenario, { running, record }: RunMeans): void {
  const isWired = GROUP_LISTS.some((list) => list !== "machines" && scenario[list].length > 0);
  const overHttp = scenario.machines.filter(({ door }) => door === "http").map(({ name }) => name);
  const refuse = (why: string) => {
    throw new HoldfastError("HF_SCENARIO", why);
  };
  if (running && isWired)
    refuse("a gateway that runs already reads the machines of its own config, not those of a scenario");
  if (overHttp.length === 0) return;
  const who = `machines that hand in over HTTP (${overHttp.join(", ")})`;
  if (running?.http === null) refuse(`${who} need the gateway's HTTP address: give it with --api`);
  if (record !== undefined)
    refuse(`${who} cannot be recorded: a capture holds what goes over MQTT. Leave out --record`);
}
