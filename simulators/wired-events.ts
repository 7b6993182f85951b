/** What befalls machines on wires while a scenario runs. */
import type { WiredFleet } from "./machines/wired-fleet.ts";
import type { ScenarioEvent } from "./scenario.ts";

type WiredEvent = Extract<
  ScenarioEvent,
  { do: "plc-fault" | "plc-restart" | "instrument-fault" | "unplug" | "opcua-fault" | "opcua-restart" }
>;

/** Resolves when it is over; `say` is told what happens, for people. */
export async function performWired(
  event: WiredEvent,
  wired: WiredFleet,
  say: (text: string) => void,
  signal?: AbortSignal,
): Promise<void> {
  const { group } = event;
  switch (event.do) {
    case "plc-fault":
      say(`${whose(event)} PLCs: ${inWords(event)}`);
      for (const plc of wired.plcs(group))
        plc.setFault({ kind: event.fault, code: event.code, ms: event.ms });
      return;
    case "plc-restart":
      say(`${whose(event)} PLCs are switched off`);
      await wired.restartPlcs(event.down, signal, group);
      say("the PLCs are on again, with their counters begun anew");
      return;
    case "instrument-fault":
      say(`${whose(event)} instruments: ${inWords(event)}`);
      for (const each of wired.instruments(group)) each.setFault({ kind: event.fault, ms: event.ms });
      return;
    case "unplug":
      say(`${whose(event)} serial lines are pulled out`);
      await wired.unplug(event.down, signal, group);
      say("the serial lines are plugged in again");
      return;
    case "opcua-fault":
      say(`${whose(event)} OPC UA servers: ${inWords(event)}`);
      for (const server of wired.opcua(group)) server.setFault(event.fault);
      return;
    case "opcua-restart":
      say(`${whose(event)} OPC UA servers are switched off`);
      await wired.restartOpcua(event.down, signal, group);
      say("the OPC UA servers are on again");
  }
}

/** "all", or the names of the groups. */
export function whose({ group }: { readonly group?: string | readonly string[] }): string {
  return group === undefined ? "all" : [group].flat().join(" and ");
}

function inWords({ fault }: { readonly fault: string }): string {
  return fault === "none" ? "well again" : fault;
}
