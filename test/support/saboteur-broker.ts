/**
 * A gateway whose MQTT door has a fault; run in place of src/main.ts, with its arguments. HOLDFAST_TEST_FAULT
 * says which:
 *
 *   throws-at-odd-packets  a PINGREQ with reserved bits set throws where nobody catches it
 *   keeps-ghosts           a connection that has ended is never let go, so its client id stays taken
 *   alters-payloads        one message in thirty loses its last byte on the way in
 *   shares-nothing         clients get no turns and no shares, each takes what it can
 */
import { Connection } from "../../src/broker/connection.ts";
import { PacketScan } from "../../src/broker/packet-scan.ts";
import { Turns } from "../../src/broker/turns.ts";
import { Amount } from "../../src/broker/workload.ts";
import { Intake } from "../../src/intake/intake.ts";

const fault = process.env.HOLDFAST_TEST_FAULT ?? "";

if (fault === "throws-at-odd-packets") {
  const { header } = PacketScan.prototype;
  PacketScan.prototype.header = function (this: PacketScan, buf, at, bytesMax) {
    const byte = buf[at] ?? 0;
    if (byte > 0xc0 && byte <= 0xcf) throw new Error("an odd packet");
    return header.call(this, buf, at, bytesMax);
  };
} else if (fault === "keeps-ghosts") {
  Connection.prototype.markGone = () => {};
} else if (fault === "alters-payloads") {
  const { accept } = Intake.prototype;
  let count = 0;
  Intake.prototype.accept = function (this: Intake, draft, signal) {
    const payload = ++count % 30 === 0 ? draft.payload.subarray(0, -1) : draft.payload;
    return accept.call(this, { ...draft, payload }, signal);
  };
} else if (fault === "shares-nothing") {
  Amount.prototype.fullFor = () => false;
  Object.defineProperty(Turns.prototype, "mayGoOn", { get: () => true });
} else if (fault !== "none") {
  throw new Error(`there is no fault named ${fault}`);
}

await import("../../src/main.ts");
