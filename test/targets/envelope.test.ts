import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodePayload, renderCloudEvent, renderEnvelope } from "../../src/targets/envelope.ts";
import { makeDelivery } from "./deliveries.ts";

const envelopeOf = (payload: Buffer | string, contentType: string | null = null) => {
  const line = renderEnvelope(
    makeDelivery({ payload: Buffer.from(payload as string), contentType }),
    "edge-1",
  );
  return { line, envelope: JSON.parse(line) };
};

/** The bytes that a reader gets back by the rule in the docs. */
function bytesOf({ encoding, payload }: { encoding: string; payload: unknown }): Buffer {
  return Buffer.from(payload as string, encoding === "base64" ? "base64" : "utf8");
}

describe("the envelope", () => {
  it("gives every payload that is not JSON back byte for byte, on one line", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 64 }),
        fc.constantFrom(null, "application/json", "text/plain", "application/octet-stream"),
        (bytes, contentType) => {
          const { line, envelope } = envelopeOf(Buffer.from(bytes) as never, contentType);
          expect(line).not.toMatch(/[\r\n]/);
          if (envelope.encoding !== "json") expect(bytesOf(envelope)).toEqual(Buffer.from(bytes));
        },
      ),
    );
  });

  it("gives every JSON payload back as the same value, however it was laid out", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(0, 2, "\t"), (value, indent) => {
        const { line, envelope } = envelopeOf(JSON.stringify(value, null, indent));
        expect(line).not.toMatch(/[\r\n]/);
        expect(envelope.encoding).toBe("json");
        expect(envelope.payload).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it("keeps a JSON number's digits, which parsing and printing would change", () => {
    const { line } = envelopeOf('{"celsius":21.50,"serial":12345678901234567890}');
    expect(line).toContain('"payload":{"celsius":21.50,"serial":12345678901234567890}}');
  });

  it("takes text for text and bytes for bytes, by the declared type before the look", () => {
    const encoding = (payload: string | Buffer, contentType: string | null) =>
      encodePayload({ payload: Buffer.from(payload as string), contentType }).encoding;
    expect(encoding("21.5", null)).toBe("json");
    expect(encoding("21.5", "text/plain")).toBe("text");
    expect(encoding("21.5", "application/octet-stream")).toBe("base64");
    expect(encoding("007", null)).toBe("text");
    expect(encoding("{broken", "application/json")).toBe("text");
    expect(encoding("", null)).toBe("text");
    expect(encoding("\u0001\u0002", null)).toBe("base64");
    expect(encoding(Buffer.from([0xff, 0xfe]), "text/plain")).toBe("base64");
    expect(encoding('{"a":1}', "application/vnd.plant+json; charset=utf-8")).toBe("json");
  });

  it("says null for a device clock that no calendar knows, rather than fail", () => {
    const line = renderEnvelope(makeDelivery({ producedAtMs: 1e300 }), "edge-1");
    expect(JSON.parse(line).producedAt).toBeNull();
  });
});

describe("a CloudEvent", () => {
  const eventOf = (payload: string | Buffer, contentType: string | null = null) =>
    JSON.parse(
      renderCloudEvent(
        makeDelivery({ payload: Buffer.from(payload as string), contentType, device: "press 4/a" }),
        "edge-1",
      ),
    );

  it("has the attributes that version 1.0 requires, and extension names it allows", () => {
    const event = eventOf("{}");
    expect(event).toMatchObject({
      specversion: "1.0",
      type: "holdfast.message",
      source: "/holdfast/edge-1/press%204%2Fa",
    });
    for (const name of Object.keys(event))
      if (name !== "data_base64") expect(name).toMatch(/^[a-z0-9]{1,20}$/);
  });

  it("carries JSON as a value, text as text with its type, and bytes as base64", () => {
    expect(eventOf('{"a":1}')).toMatchObject({ data: { a: 1 }, datacontenttype: "application/json" });
    expect(eventOf("hello")).toMatchObject({ data: "hello", datacontenttype: "text/plain; charset=utf-8" });
    expect(eventOf(Buffer.from([0, 1]))).toMatchObject({
      data_base64: "AAE=",
      datacontenttype: "application/octet-stream",
    });
    expect(eventOf("{broken", "application/json")).toMatchObject({
      data_base64: Buffer.from("{broken").toString("base64"),
    });
  });
});
