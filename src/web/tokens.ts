/**
 * Tokens: who may use the HTTP door, in `<data>/tokens.json`.
 *
 * A token is `hf_<id>_<secret>`: 256 random bits, shown once and kept as their SHA-256 alone. Nobody guesses such a
 * secret, so it needs no slow hash as a password does, and a check costs microseconds. The file is in the data folder
 * rather than in the config because it is written by a program, also while no gateway runs, and is nobody's to share;
 * it is replaced as a whole, readable by its owner alone. A running gateway sees a change within a second.
 *
 * A file that cannot be read lets nobody in, rather than everybody.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { errorText, HoldfastError } from "../core/errors.ts";
import { COMMANDS_PATTERN, COMMANDS_PATTERNS_MAX, ROLES, type Role } from "./callers.ts";

export const TOKENS_FILE = "tokens.json";
const TOKENS_MAX = 1000;

const tokenRecord = z.object({
  id: z.string().regex(/^[0-9a-f]{12}$/),
  name: z.string().min(1).max(64),
  role: z.enum(ROLES),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  createdAtMs: z.number(),
  /** Epoch ms; null for never. */
  expiresAtMs: z.number().nullable(),
  /** As Caller has it. */
  commands: z.array(z.string().regex(COMMANDS_PATTERN)).max(COMMANDS_PATTERNS_MAX).nullable().default(null),
});
const tokensFile = z.object({ tokens: z.array(tokenRecord).max(TOKENS_MAX) });

export type TokenRecord = Readonly<z.output<typeof tokenRecord>>;

const FORMAT = /^hf_([0-9a-f]{12})_([A-Za-z0-9_-]{43})$/;

/** Throws HF_CONFIG where there is a file that cannot be read. */
export function readTokens(dataDir: string): readonly TokenRecord[] {
  const file = join(dataDir, TOKENS_FILE);
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw unreadable(file, errorText(error));
  }
  try {
    return tokensFile.parse(JSON.parse(text)).tokens;
  } catch (error) {
    throw unreadable(file, error instanceof z.ZodError ? z.prettifyError(error) : errorText(error));
  }
}

function unreadable(file: string, why: string): HoldfastError {
  return new HoldfastError("HF_CONFIG", `the tokens in ${file} cannot be read: ${why}`, { file });
}

export interface TokenWish {
  readonly name: string;
  readonly role: Role;
  /** Epoch ms; null for never. */
  readonly expiresAtMs: number | null;
  /** Left out: everything that takes commands, where the role may command at all. */
  readonly commands?: readonly string[] | null;
  readonly nowMs: number;
}

export interface MadeToken {
  /** Its text, which is known this once. */
  readonly token: string;
  readonly record: TokenRecord;
}

/** Throws HF_TOKEN_EXISTS where there is one of that name. */
export function createToken(
  dataDir: string,
  { name, role, expiresAtMs, commands = null, nowMs }: TokenWish,
): MadeToken {
  const tokens = readTokens(dataDir);
  if (tokens.some((each) => each.name === name)) {
    throw new HoldfastError("HF_TOKEN_EXISTS", `there is a token called ${name} already`, { name });
  }
  if (tokens.length >= TOKENS_MAX) {
    const message = `there are ${TOKENS_MAX} tokens already; revoke those that are not used`;
    throw new HoldfastError("HF_TOO_MANY", message);
  }
  const id = randomBytes(6).toString("hex");
  const secret = randomBytes(32).toString("base64url");
  const record: TokenRecord = {
    id,
    name,
    role,
    sha256: digest(secret).toString("hex"),
    createdAtMs: nowMs,
    expiresAtMs,
    commands: commands === null ? null : [...commands],
  };
  write(dataDir, [...tokens, record]);
  return { token: `hf_${id}_${secret}`, record };
}

/** By name or id. Returns what was taken away; throws HF_NOT_FOUND. */
export function revokeToken(dataDir: string, which: string): TokenRecord {
  const tokens = readTokens(dataDir);
  const found = tokens.find(({ id, name }) => name === which || id === which);
  if (!found) throw new HoldfastError("HF_NOT_FOUND", `there is no token ${which}`, { token: which });
  write(
    dataDir,
    tokens.filter((each) => each !== found),
  );
  return found;
}

function write(dataDir: string, tokens: readonly TokenRecord[]): void {
  mkdirSync(dataDir, { recursive: true });
  writePrivately(join(dataDir, TOKENS_FILE), `${JSON.stringify({ tokens }, null, 2)}\n`);
}

/** As a whole or not at all, for its owner alone. */
export function writePrivately(file: string, text: string): void {
  const draft = `${file}.new`;
  const fd = openSync(draft, "w", 0o600);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(draft, file);
}

function digest(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}

/** The tokens as a running gateway knows them. */
export class Tokens {
  readonly #dataDir: string;
  readonly #monoMs: () => number;
  #records: readonly TokenRecord[] = [];
  #sign = "";
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  /** Why the file cannot be read, or null. */
  problem: string | null = null;
  /** Called when the file has changed. */
  onChange: () => void = () => {};

  constructor(dataDir: string, monoMs: () => number) {
    this.#dataDir = dataDir;
    this.#monoMs = monoMs;
  }

  /** True where somebody has made a token, expired or not: nobody enters without one any more. */
  get exist(): boolean {
    this.#look();
    return this.problem !== null || this.#records.length > 0;
  }

  /** Those that have expired included. */
  get all(): readonly TokenRecord[] {
    this.#look();
    return this.#records;
  }

  /** Throws HF_TOKEN_EXISTS. */
  create(wish: TokenWish): MadeToken {
    const made = createToken(this.#dataDir, wish);
    this.#lookedAtMs = Number.NEGATIVE_INFINITY;
    return made;
  }

  /** By name or id; throws HF_NOT_FOUND. */
  revoke(which: string): TokenRecord {
    const revoked = revokeToken(this.#dataDir, which);
    this.#lookedAtMs = Number.NEGATIVE_INFINITY;
    return revoked;
  }

  /** The record of a token that is valid, or null. */
  check(token: string, wallMs: number): TokenRecord | null {
    const [, id = "", secret = ""] = FORMAT.exec(token) ?? [];
    const record = this.byId(id, wallMs);
    // The same work for an id that does not exist.
    const right = timingSafeEqual(digest(secret), Buffer.from(record?.sha256 ?? "0".repeat(64), "hex"));
    return right ? record : null;
  }

  byId(id: string, wallMs: number): TokenRecord | null {
    this.#look();
    const record = this.#records.find((each) => each.id === id);
    return record && (record.expiresAtMs === null || record.expiresAtMs > wallMs) ? record : null;
  }

  #look(): void {
    const nowMs = this.#monoMs();
    if (nowMs - this.#lookedAtMs < LOOK_EVERY_MS) return;
    this.#lookedAtMs = nowMs;
    const sign = signOf(join(this.#dataDir, TOKENS_FILE));
    if (sign === this.#sign) return;
    const first = this.#sign === "";
    this.#sign = sign;
    try {
      this.#records = readTokens(this.#dataDir);
      this.problem = null;
    } catch (error) {
      this.#records = [];
      this.problem = errorText(error);
    }
    if (!first) this.onChange();
  }
}

const LOOK_EVERY_MS = 1000;

/** Tells one state of a file from another. */
function signOf(file: string): string {
  try {
    const { ino, size, mtimeMs } = statSync(file);
    return `${ino} ${size} ${mtimeMs}`;
  } catch (error) {
    return `none: ${(error as NodeJS.ErrnoException).code}`;
  }
}
