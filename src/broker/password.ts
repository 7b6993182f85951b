/**
 * Passwords, as scrypt hashes: `$scrypt$ln=15,r=8,p=1$<salt>$<hash>` (base64 without padding; N = 2^ln).
 *
 * A check takes 128·N·r bytes of memory (32 MiB as written here) and a tenth of a second of a core, on
 * purpose; so a storm of logins is worked off a few at a time, and the queue for it is bounded. A password
 * that was right is remembered as a keyed digest for this run, so that a fleet that reconnects is let in at
 * once. A name that does not exist costs the same work as a wrong password, so that time tells nothing.
 */
import { createHmac, randomBytes, scrypt, timingSafeEqual } from "node:crypto";

export interface PasswordHash {
  /** Logarithm of the cost N. */
  readonly ln: number;
  readonly r: number;
  readonly p: number;
  readonly salt: Buffer;
  readonly hash: Buffer;
}

const DEFAULT_COST = { ln: 15, r: 8, p: 1 };
/** What a config may ask for: 128 MiB a check at the most. */
const LN_MIN = 10;
const LN_MAX = 17;
const R_MAX = 8;
const P_MAX = 4;
const SALT_BYTES = 16;
const HASH_BYTES = 32;
/** Checks that run at a time. */
const PARALLEL_MAX = 2;

const FORMAT =
  /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+={0,2})\$([A-Za-z0-9+/]+={0,2})$/;

/** The parts of a password line, or null where it is none or asks for more than is allowed. */
export function parsePasswordHash(text: string): PasswordHash | null {
  const match = FORMAT.exec(text);
  if (!match) return null;
  const [ln, r, p] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const salt = Buffer.from(match[4]!, "base64");
  const hash = Buffer.from(match[5]!, "base64");
  if (ln < LN_MIN || ln > LN_MAX || r < 1 || r > R_MAX || p < 1 || p > P_MAX) return null;
  if (salt.length < 8 || hash.length < 16 || hash.length > 64) return null;
  return { ln, r, p, salt, hash };
}

/** The line for `access.users.<name>.password`. */
export async function hashPassword(password: string | Buffer, cost = DEFAULT_COST): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const hash = await derive(password, { ...cost, salt }, HASH_BYTES);
  return `$scrypt$ln=${cost.ln},r=${cost.r},p=${cost.p}$${unpadded(salt)}$${unpadded(hash)}`;
}

/** True where `password` is the one that `line` was made from. */
export async function verifyPassword(password: string | Buffer, line: string): Promise<boolean> {
  const known = parsePasswordHash(line);
  if (!known) return false;
  return timingSafeEqual(await derive(password, known, known.hash.length), known.hash);
}

function derive(
  password: string | Buffer,
  cost: { ln: number; r: number; p: number; salt: Buffer },
  bytes: number,
): Promise<Buffer> {
  const N = 2 ** cost.ln;
  const maxmem = 128 * N * cost.r + 128 * cost.r * cost.p + 2 ** 20;
  return new Promise((resolve, reject) => {
    scrypt(password, cost.salt, bytes, { N, r: cost.r, p: cost.p, maxmem }, (error, key) =>
      error ? reject(error) : resolve(key),
    );
  });
}

const unpadded = (bytes: Buffer) => bytes.toString("base64").replace(/=+$/, "");

interface Waiting {
  readonly run: () => Promise<void>;
  readonly skip: () => boolean;
}

/** Checks passwords of many clients with bounded memory. */
export class PasswordChecker {
  readonly #pendingMax: number;
  readonly #key = randomBytes(32);
  /** The digest of the last password that was right, by the line it was right for. */
  readonly #right = new Map<string, Buffer>();
  readonly #waiting: Waiting[] = [];
  #running = 0;
  /** Stands in for a user who does not exist. */
  readonly #nobody: string;

  constructor(lines: readonly string[], pendingMax: number) {
    this.#pendingMax = pendingMax;
    // As dear as the users' own, or the time would tell which names exist.
    const first = lines.map(parsePasswordHash).find((known) => known !== null) ?? DEFAULT_COST;
    const cost = `ln=${first.ln},r=${first.r},p=${first.p}`;
    this.#nobody = `$scrypt$${cost}$${unpadded(randomBytes(SALT_BYTES))}$${unpadded(randomBytes(HASH_BYTES))}`;
  }

  /**
   * `line` is undefined for a user who does not exist or has no password. `gone` tells that nobody waits for
   * the answer any more. Answers "busy" where too many wait already.
   */
  async check(
    password: Buffer | string,
    line: string | undefined,
    gone: () => boolean = () => false,
  ): Promise<"right" | "wrong" | "busy"> {
    const digest = createHmac("sha256", this.#key).update(password).digest();
    const remembered = line === undefined ? undefined : this.#right.get(line);
    if (remembered && timingSafeEqual(remembered, digest)) return "right";
    if (this.#waiting.length >= this.#pendingMax) return "busy";
    const right = await this.#inTurn(() => verifyPassword(password, line ?? this.#nobody), gone);
    if (!right || line === undefined) return "wrong";
    this.#right.set(line, digest);
    return "right";
  }

  #inTurn(work: () => Promise<boolean>, gone: () => boolean): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({
        skip: () => {
          if (gone()) resolve(false);
          return gone();
        },
        run: () => work().then(resolve, reject),
      });
      this.#next();
    });
  }

  #next(): void {
    while (this.#running < PARALLEL_MAX) {
      const next = this.#waiting.shift();
      if (!next) return;
      if (next.skip()) continue;
      this.#running++;
      void next.run().finally(() => {
        this.#running--;
        this.#next();
      });
    }
  }
}
