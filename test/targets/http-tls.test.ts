import { readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HttpTarget } from "../../src/targets/http.ts";
import { httpTargetSchema } from "../../src/targets/http-options.ts";
import { capability } from "../support/capabilities.ts";
import { makeContext, noAbort, nth, tempFolder } from "./deliveries.ts";
import { makeTlsFiles, type TlsFiles } from "./tls-files.ts";

const openssl = capability("openssl");

describe.skipIf(!openssl.present)("the http target over TLS", () => {
  let folder: string;
  let ours: TlsFiles;
  let strange: TlsFiles;
  let server: Server;

  beforeAll(async () => {
    folder = tempFolder();
    ours = makeTlsFiles(folder, "ours");
    strange = makeTlsFiles(folder, "strange");
    const options = {
      cert: readFileSync(ours.cert),
      key: readFileSync(ours.key),
      ca: readFileSync(ours.cert),
      requestCert: true,
      rejectUnauthorized: false,
    };
    server = createServer(options, (request, response) => {
      const client = (request.socket as { authorized?: boolean }).authorized ? "known" : "stranger";
      request
        .resume()
        .on("end", () =>
          response.writeHead(request.url === "/known" && client === "stranger" ? 403 : 204).end(),
        );
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });

  afterAll(async () => {
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true, force: true });
  });

  async function outcomeWith(tls: object | undefined, path = "/", host = "127.0.0.1") {
    const url = `https://${host}:${(server.address() as AddressInfo).port}${path}`;
    const target = new HttpTarget(httpTargetSchema.parse({ type: "http", url, tls }), makeContext());
    await target.start();
    try {
      return (await target.deliver([nth("a", 1)], noAbort))[0]!;
    } finally {
      await target.stop();
    }
  }

  it("believes a certificate that it trusts, by file and as text, and no other", async () => {
    expect(await outcomeWith({ ca: ours.ca })).toMatchObject({ kind: "delivered" });
    expect(await outcomeWith({ ca: readFileSync(ours.ca, "utf8") })).toMatchObject({ kind: "delivered" });
    expect(await outcomeWith({ ca: strange.ca })).toMatchObject({ kind: "retry", fault: "target" });
    expect(await outcomeWith(undefined)).toMatchObject({ kind: "retry", fault: "target" });
    expect(await outcomeWith({ rejectUnauthorized: false })).toMatchObject({ kind: "delivered" });
  });

  it("wants the name in the certificate", async () => {
    expect(await outcomeWith({ ca: ours.ca, servername: "other.example" })).toMatchObject({
      kind: "retry",
      fault: "target",
      reason: expect.stringMatching(/altnames|ALTNAME/i),
    });
    expect(await outcomeWith({ ca: ours.ca, servername: "localhost" })).toMatchObject({ kind: "delivered" });
  });

  it("shows its own certificate", async () => {
    expect(await outcomeWith({ ca: ours.ca }, "/known")).toMatchObject({ kind: "retry" });
    const own = { ca: ours.ca, cert: ours.cert, key: ours.key };
    expect(await outcomeWith(own, "/known")).toMatchObject({ kind: "delivered" });
  });

  it("says which file it cannot read, and takes it when it is there", async () => {
    const outcome = await outcomeWith({ ca: `${folder}/missing.pem` });
    expect(outcome).toMatchObject({
      kind: "retry",
      fault: "target",
      reason: expect.stringMatching(/ENOENT.*missing\.pem/),
    });
  });
});
