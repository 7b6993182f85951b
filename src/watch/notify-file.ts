/**
 * What notifications must know after a restart: the alerts that are raised, and what is still to be told of them.
 *
 * A file of its own in the data folder rather than a table of the store, because it is needed most when the store is
 * full or has failed, and because it is no part of what the accounts are about. It is written whole, under its name
 * only when it is on disk, and never on the way of a message. Where the disk does not take even that, what is lost is
 * that a restart may tell an alert a second time.
 */
import { open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Logger } from "../core/logger.ts";
import type { Alert } from "./alerts.ts";
import type { Telling } from "./notification.ts";
import { notifySchema, type RuleName } from "./schema.ts";

export const NOTIFY_FILE = "notifications.json";

const ruleNames = Object.keys(notifySchema.parse({}).rules) as [RuleName, ...RuleName[]];

const alertShape: z.ZodType<Alert> = z.object({
  id: z.string(),
  key: z.string(),
  rule: z.enum(ruleNames),
  subject: z.string().nullable(),
  severity: z.enum(["alarm", "attention"]),
  sentence: z.string(),
  sinceMs: z.number(),
  toldSteadyMs: z.number(),
  reminders: z.number(),
  overSteadyMs: z.number().nullable(),
});
const tellingShape: z.ZodType<Telling> = z.object({
  event: z.enum(["raised", "reminder", "resolved"]),
  alert: alertShape,
  queuedSteadyMs: z.number(),
  atMs: z.number(),
});
const fileShape = z.object({
  alerts: z.array(alertShape),
  /** By channel. */
  waiting: z.record(z.string(), z.array(tellingShape)),
});

export type Remembered = z.output<typeof fileShape>;

export class NotifyFile {
  readonly #file: string;
  readonly #logger: Logger;
  #written = "";
  #writing: Promise<void> = Promise.resolve();
  #failing = false;

  constructor(dataDir: string, logger: Logger) {
    this.#file = join(dataDir, NOTIFY_FILE);
    this.#logger = logger;
  }

  /** What an earlier run left; nothing where there is no file that can be read. Never rejects. */
  async read(): Promise<Remembered> {
    try {
      const text = await readFile(this.#file, "utf8");
      const read = fileShape.parse(JSON.parse(text));
      this.#written = text;
      return read;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
        this.#logger.warn(
          { err: error },
          "what was told by an earlier run cannot be read: it may be told again",
        );
      }
      return { alerts: [], waiting: {} };
    }
  }

  /** Resolves when it is on disk, or cannot be; one write at a time. Never rejects. */
  write(remembered: Remembered): Promise<void> {
    this.#writing = this.#writing.then(() => this.#write(`${JSON.stringify(remembered)}\n`));
    return this.#writing;
  }

  async #write(text: string): Promise<void> {
    if (text === this.#written) return;
    const draft = `${this.#file}.new`;
    try {
      const file = await open(draft, "w");
      try {
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(draft, this.#file);
      this.#written = text;
      this.#failing = false;
    } catch (error) {
      await rm(draft, { force: true }).catch(() => {});
      if (!this.#failing) {
        this.#logger.warn({ err: error }, "what is told cannot be written down: a restart may tell it again");
      }
      this.#failing = true;
    }
  }
}
