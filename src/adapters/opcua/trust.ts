/**
 * Whom we are, and whom we trust.
 *
 * Promise: a server is trusted because a person said so, by its fingerprint in the config or by its certificate
 * in the folder `trusted`; never because it was the first to answer. What was refused is kept in `rejected`, to
 * be compared and moved. Our own key is made once, readable by its owner alone.
 *
 * Trust is in the certificate itself: who signed it and how long it is valid is not asked. A person who compared
 * the fingerprint knows more than a date does, and a box without a battery clock does not know the date.
 */
import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { CLOCK_TRUSTED_FROM_MS } from "../../core/clock.ts";
import { errorText, HoldfastError } from "../../core/errors.ts";
import { LinkError } from "./failure.ts";
import type { Library } from "./library.ts";
import type { OpcuaDeviceConfig } from "./schema.ts";

/** Of a certificate that we make: by no clock, since that of a box may stand in 1970, and as long as a machine may stand. */
const VALID_FROM = new Date(CLOCK_TRUSTED_FROM_MS);
const VALID_TO = new Date(CLOCK_TRUSTED_FROM_MS + 30 * 365 * 86_400_000);
/** What was refused is kept, but not without end. */
const REJECTED_MAX = 100;

export interface Identity {
  readonly certificatePem: string;
  readonly keyPem: string;
  /** The application URI that the certificate is for. */
  readonly uri: string;
}

/** Where trust is kept, in the data folder. */
const trustFolder = (dataDir: string) => join(dataDir, "opcua");

/** Ours as configured, or the one of the data folder, made where there is none yet. */
export async function ownIdentity(
  { certificate, key }: Pick<OpcuaDeviceConfig["security"], "certificate" | "key">,
  dataDir: string,
  library: Library,
): Promise<Identity> {
  if (certificate !== undefined && key !== undefined) return checked(pemText(certificate), pemText(key));
  const folder = join(trustFolder(dataDir), "own");
  const [certificateFile, keyFile] = [join(folder, "certificate.pem"), join(folder, "key.pem")];
  if (!existsSync(certificateFile) || !existsSync(keyFile)) {
    const made = await makeIdentity(library);
    makeFolders(dataDir);
    writeFileSync(keyFile, made.keyPem, { mode: 0o600 });
    // Last: a start that was interrupted before this makes both anew.
    writeFileSync(certificateFile, made.certificatePem);
    return made;
  }
  return checked(readFileSync(certificateFile, "utf8"), readFileSync(keyFile, "utf8"));
}

function makeFolders(dataDir: string): void {
  for (const name of ["own", "trusted", "rejected"]) {
    mkdirSync(join(trustFolder(dataDir), name), { recursive: true, mode: 0o700 });
  }
}

async function makeIdentity({ crypto }: Library): Promise<Identity> {
  const host = hostname().replaceAll(/[^A-Za-z0-9.-]/g, "-") || "localhost";
  const uri = `urn:${host}:holdfast`;
  const key = await crypto.generatePrivateKey(2048);
  const { cert } = await crypto.createSelfSignedCertificate({
    privateKey: key,
    subject: `CN=Holdfast@${host}`,
    applicationUri: uri,
    dns: [host],
    notBefore: VALID_FROM,
    notAfter: VALID_TO,
    purpose: APPLICATION,
  });
  const { privPem } = await crypto.privateKeyToPEM(key);
  return { certificatePem: cert, keyPem: privPem, uri };
}

/** The library's word for a certificate of an application, not of an authority or a user. */
const APPLICATION = 2;

function checked(certificatePem: string, keyPem: string): Identity {
  try {
    const certificate = new X509Certificate(certificatePem);
    if (!certificate.checkPrivateKey(createPrivateKey(keyPem))) throw new Error("the key is another one's");
    const uri = /URI:([^,\s]+)/.exec(certificate.subjectAltName ?? "")?.[1];
    if (!uri) throw new Error("it names no application URI in its subjectAltName, which OPC UA needs");
    return { certificatePem, keyPem, uri };
  } catch (error) {
    throw new HoldfastError("HF_CONFIG", `our own OPC UA certificate cannot be used: ${errorText(error)}`);
  }
}

export function pemText(textOrPath: string): string {
  return textOrPath.includes("-----BEGIN ") ? textOrPath : readFileSync(textOrPath, "utf8");
}

export const derOf = (pem: string): Buffer => new X509Certificate(pem).raw;

/** SHA-256, as `openssl x509 -fingerprint -sha256` prints it. */
export function fingerprintOf(der: Buffer): string {
  return createHash("sha256").update(der).digest("hex").toUpperCase().match(/../g)!.join(":");
}

/** Throws where nobody has said that this certificate is the right one; says what to do. */
export function requireTrust(
  chain: Buffer,
  { trusted }: Pick<OpcuaDeviceConfig["security"], "trusted">,
  dataDir: string,
): void {
  const der = leafOf(chain);
  const fingerprint = fingerprintOf(der);
  const bare = fingerprint.replaceAll(":", "");
  const same = (text: string) => text.replaceAll(/[: ]/g, "").toUpperCase() === bare;
  if (trusted.some(same) || trustedFiles(dataDir).some((each) => same(fingerprintOf(each)))) return;
  const file = keepRejected(der, bare, dataDir);
  const kept = file ? `, or move ${file} to the folder \`trusted\` beside its own` : "";
  throw new LinkError(
    "server-not-trusted",
    `nobody has said that its certificate is the right one. Compare its SHA-256 fingerprint with the one that the server shows, ${fingerprint}; then write it into \`security.trusted\`${kept}`,
    true,
  );
}

/** A server may send those who signed its certificate along, one after the other. */
export function leafOf(chain: Buffer): Buffer {
  if (chain.length < 4 || chain[0] !== 0x30 || chain[1] !== 0x82) return chain;
  return chain.subarray(0, 4 + chain.readUInt16BE(2));
}

function trustedFiles(dataDir: string): Buffer[] {
  const folder = join(trustFolder(dataDir), "trusted");
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((name) => {
    try {
      return [new X509Certificate(readFileSync(join(folder, name))).raw];
    } catch {
      // Whatever else lies there is no certificate, and makes nobody trusted.
      return [];
    }
  });
}

function keepRejected(der: Buffer, name: string, dataDir: string): string | null {
  const folder = join(trustFolder(dataDir), "rejected");
  try {
    makeFolders(dataDir);
    const file = join(folder, `${name}.pem`);
    if (!existsSync(file) && readdirSync(folder).length >= REJECTED_MAX) return null;
    writeFileSync(file, new X509Certificate(der).toString());
    return file;
  } catch {
    return null;
  }
}
