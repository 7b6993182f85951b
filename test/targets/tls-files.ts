/** Certificates for tests, made by openssl where it is installed. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { capability } from "../support/capabilities.ts";

const openssl = capability("openssl");

export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** A certificate for localhost and 127.0.0.1 that is its own authority, as files in `folder`. */
export function makeTlsFiles(folder: string, name: string): TlsFiles {
  const cert = join(folder, `${name}.crt`);
  const key = join(folder, `${name}.key`);
  const subject = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  const what = [
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
    "-days",
    "2",
  ];
  execFileSync(openssl.path, [...what, ...subject, "-keyout", key, "-out", cert], { stdio: "ignore" });
  return { ca: cert, cert, key };
}
