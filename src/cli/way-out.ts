/** Exports for a person: through the gateway that runs, or, where it is down, on its store. */
import { systemClock } from "../core/clock.ts";
import type { ExportSelection, ImportReceipt } from "../core/export-file.ts";
import type { ExportEstimate, Holding } from "../relay/moving-out.ts";
import { VERSION } from "../version.ts";
import { type CliIo, dataDirFrom } from "./io.ts";

/** As the API shows one. */
export interface ExportView {
  readonly id: string;
  readonly state: string;
  readonly selection: ExportSelection;
  readonly who: string;
  readonly reason: string | null;
  readonly atMs: number;
  readonly messages: number | null;
  readonly holds: number;
  readonly movedTo: string | null;
}

export interface Ended {
  readonly ended: number;
  readonly left: number;
}

export interface WayOut {
  /** Why it works on the store; null where the running gateway does it. */
  readonly down: string | null;
  list(): Promise<readonly ExportView[]>;
  estimate(selection: ExportSelection): Promise<ExportEstimate>;
  begin(selection: ExportSelection, copy: boolean, reason: string): Promise<ExportView>;
  hold(id: string, after?: Holding["next"]): Promise<Holding>;
  seal(id: string): Promise<ExportView>;
  file(id: string): Promise<AsyncIterable<string | Uint8Array>>;
  finish(receipt: ImportReceipt): Promise<Ended>;
  cancel(id: string, reason: string): Promise<Ended>;
}

/** `data` and `config` as on the command line; the config is only read where the gateway is down, for its name. */
export async function withWayOut<T>(
  io: CliIo,
  { data, config }: { readonly data?: string; readonly config?: string },
  work: (way: WayOut) => Promise<T>,
): Promise<T> {
  const { GatewayClient, openAnswers } = await import("./api-client.ts");
  const dataDir = dataDirFrom(io, data);
  const answers = await openAnswers(dataDir, io.env);
  if (answers instanceof GatewayClient) {
    const post = (path: string, body: object) => answers.ask("POST", path, body, { waitS: 10 });
    return work({
      down: null,
      list: async () => ((await answers.ask("GET", "/v1/exports")) as { exports: ExportView[] }).exports,
      estimate: async (selection) => (await post("/v1/exports/estimate", selection)) as ExportEstimate,
      begin: async (selection, copy, reason) =>
        (await post("/v1/exports", { ...selection, copy, reason })) as ExportView,
      hold: async (id, after) =>
        (await post(`/v1/exports/${id}/hold`, { after: after ?? undefined })) as Holding,
      seal: async (id) => (await post(`/v1/exports/${id}/seal`, {})) as ExportView,
      file: (id) => answers.stream(`/v1/exports/${id}/file`),
      finish: async (receipt) => (await post("/v1/exports/finish", { receipt })) as Ended,
      cancel: async (id, reason) => (await post(`/v1/exports/${id}/cancel`, { reason })) as Ended,
    });
  }
  const down = answers.down?.sentence ?? "";
  answers.close();
  return onStore(io, dataDir, config, down, work);
}

async function onStore<T>(
  io: CliIo,
  dataDir: string,
  config: string | undefined,
  down: string,
  work: (way: WayOut) => Promise<T>,
): Promise<T> {
  const [{ StoppedStore }, { DirectReader }, { MovingOut }, { loadConfig }, { configFileFrom }, os] =
    await Promise.all([
      import("../queue/stopped-store.ts"),
      import("../queue/reader-direct.ts"),
      import("../relay/moving-out.ts"),
      import("../config.ts"),
      import("./io.ts"),
      import("node:os"),
    ]);
  const file = configFileFrom(io, config);
  const loaded = file === undefined ? undefined : await loadConfig({ path: file, env: io.env, cwd: io.cwd });
  const gateway = loaded?.config.gateway.name ?? os.hostname();
  const store = new StoppedStore(dataDir, VERSION, systemClock);
  const reader = new DirectReader(dataDir);
  const out = new MovingOut({ gateway, version: VERSION, store, reader, clock: systemClock });
  const who = "local";
  try {
    return await work({
      down,
      list: async () =>
        (await reader.query("exports", {})).map((each) => ({
          ...each,
          movedTo: each.receipt?.gateway ?? null,
        })),
      estimate: (selection) => out.estimate(selection),
      begin: async (selection, copy, reason) => {
        const act = { who, what: "beginExport", detail: { ...selection, copy }, reason };
        return { ...(await out.begin(selection, copy, act)), movedTo: null };
      },
      hold: (id, after) => out.hold(id, after ?? undefined),
      seal: async (id) => ({ ...(await out.seal(id)), movedTo: null }),
      file: (id) => out.file(id),
      finish: (receipt) => {
        const { export: id, gateway: to, import: number } = receipt;
        const detail = { export: id, gateway: to, import: number };
        return out.finish(receipt, { who, what: "finishExport", detail, reason: `moved to gateway ${to}` });
      },
      cancel: (id, reason) =>
        out.cancel(id, `${reason} (${who})`, { who, what: "cancelExport", detail: { export: id }, reason }),
    });
  } finally {
    reader.close();
    store.close();
  }
}
