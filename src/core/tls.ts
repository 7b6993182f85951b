/** TLS options shared by all that connect somewhere. */
import { readFileSync } from "node:fs";
import { z } from "zod";
import { filePath, secret } from "./units.ts";

const pem = "PEM text, or the path of a PEM file";

export const tlsSchema = z.strictObject({
  ca: filePath().optional().describe(`Certificates to trust instead of the system's: ${pem}.`),
  cert: filePath().optional().describe(`Our own certificate, with its chain: ${pem}.`),
  key: secret().meta({ filePath: true }).optional().describe(`The private key of our certificate: ${pem}.`),
  passphrase: secret().optional().describe("What the private key is encrypted with."),
  servername: z
    .string()
    .min(1)
    .optional()
    .describe("The name to ask for and to find in the backend's certificate; default: the URL's host."),
  rejectUnauthorized: z
    .boolean()
    .prefault(true)
    .describe("Refuse a backend whose certificate is not valid. Turn it off for a trial only."),
});
export type TlsConfig = z.output<typeof tlsSchema>;

export interface TlsOptions {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly passphrase?: string;
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
}

/** Reads the files named; throws where one cannot be read. Read anew for each connection, so that renewed certificates are taken up. */
export function tlsOptions(config: TlsConfig | undefined): TlsOptions {
  if (!config) return {};
  const options: { -readonly [K in keyof TlsOptions]: TlsOptions[K] } = {
    rejectUnauthorized: config.rejectUnauthorized,
  };
  if (config.ca) options.ca = pemText(config.ca);
  if (config.cert) options.cert = pemText(config.cert);
  if (config.key) options.key = pemText(config.key);
  if (config.passphrase) options.passphrase = config.passphrase;
  if (config.servername) options.servername = config.servername;
  return options;
}

function pemText(textOrPath: string): string {
  return textOrPath.includes("-----BEGIN ") ? textOrPath : readFileSync(textOrPath, "utf8");
}
