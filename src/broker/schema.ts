/** Options of the MQTT door (`broker`) and of who may enter (`access`). */
import { z } from "zod";
import { MQTT_PACKET_BYTES_MAX, NAME_BYTES_MAX } from "../core/limits.ts";
import { topicFilterProblem } from "../core/topic.ts";
import { duration, filePath, secret, size } from "../core/units.ts";
import { parsePasswordHash } from "./password.ts";

const listenerName = z
  .string()
  .min(1)
  .optional()
  .describe("What the log and the start-up line call this listener; default: its type.");
const host = z
  .string()
  .min(1)
  .default("127.0.0.1")
  .describe(
    "The address of the interface to listen on. Anything but 127.0.0.1, ::1 or localhost needs access.users.",
  );
const port = z.int().min(0).max(65_535);

const webSocketOptions = {
  path: z
    .string()
    .startsWith("/")
    .optional()
    .describe("Only this path is answered, such as /mqtt; default: any."),
  origins: z
    .array(z.string().min(1))
    .default([])
    .describe(
      "Web pages that may connect, such as https://panel.example; `*` for any. Pages served from this machine (127.0.0.1, ::1, localhost) and programs that are no browsers always may.",
    ),
};

const tlsOptions = {
  cert: filePath().describe("PEM file with the listener's certificate and its chain."),
  key: filePath().describe("PEM file with the certificate's private key."),
  clientCa: filePath()
    .optional()
    .describe(
      "PEM file with the authorities whose client certificates are believed. A certificate's common name (CN) is then a credential: see access.users.…certificate.",
    ),
  requireClientCert: z
    .boolean()
    .default(false)
    .describe("Refuse a client that shows no certificate signed by clientCa."),
};

const needsClientCa = [
  (listener: { requireClientCert: boolean; clientCa?: string }) =>
    !listener.requireClientCert || listener.clientCa !== undefined,
  { message: "requireClientCert needs clientCa", path: ["requireClientCert"] as PropertyKey[] },
] as const;

export const listenerSchema = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("tcp"),
    name: listenerName,
    host,
    port: port.default(1883).describe("0 picks a free port; the start-up line says which."),
  }),
  z.strictObject({
    type: z.literal("ws"),
    name: listenerName,
    host,
    port: port.default(9001).describe("0 picks a free port; the start-up line says which."),
    ...webSocketOptions,
  }),
  z
    .strictObject({
      type: z.literal("tls"),
      name: listenerName,
      host,
      port: port.default(8883).describe("0 picks a free port; the start-up line says which."),
      ...tlsOptions,
    })
    .refine(...needsClientCa),
  z
    .strictObject({
      type: z.literal("wss"),
      name: listenerName,
      host,
      port: port.default(8884).describe("0 picks a free port; the start-up line says which."),
      ...tlsOptions,
      ...webSocketOptions,
    })
    .refine(...needsClientCa),
]);

const limitsSchema = z
  .strictObject({
    connectionsMax: z
      .int()
      .min(1)
      .default(2000)
      .describe(
        "Connections at a time, over all listeners. One more takes the place of one that has not sent its CONNECT, of the address with most of them; where there is none it is closed at once.",
      ),
    connectionsPerAddressMax: z
      .int()
      .min(1)
      .default(1000)
      .describe(
        "Connections at a time from one address. One more takes the place of that address's oldest that has not sent its CONNECT, or is closed at once.",
      ),
    greetingsMax: z
      .int()
      .min(1)
      .default(500)
      .describe(
        "Connections at a time that have not sent their CONNECT; one more takes the place of the oldest, of the address with most of them.",
      ),
    connectTimeout: duration({ min: 100, max: 600_000 })
      .prefault("10s")
      .describe("A connection that is not through CONNECT after this is closed."),
    loginsPendingMax: z
      .int()
      .min(1)
      .default(1000)
      .describe("Logins that wait for their password to be checked; more are told to come back later."),
    connectPacketBytesMax: size({ min: 64, max: MQTT_PACKET_BYTES_MAX })
      .prefault("16KiB")
      .describe("The largest CONNECT packet, which comes from someone unknown: will and password included."),
    packetBytesMax: size({ min: 64, max: MQTT_PACKET_BYTES_MAX })
      .prefault("1MiB")
      .describe(
        "The largest packet of a client that is in. A client that sends a larger one is disconnected.",
      ),
    unackedMessagesMax: z
      .int()
      .min(1)
      .default(1024)
      .describe("Packets of one client that are being worked on; with more, its socket is not read."),
    unackedBytesMax: size({ min: 1024 })
      .prefault("4MiB")
      .describe("Bytes of messages of one client that wait for the disk; with more, its socket is not read."),
    unackedMessagesTotalMax: z
      .int()
      .min(1)
      .default(4096)
      .describe(
        "Messages of all clients that are being worked on, those for local subscribers counted as well; with more, clients that have more than their share are not read. It is how far the others wait behind a fast one.",
      ),
    unackedBytesTotalMax: size({ min: 1024 })
      .prefault("8MiB")
      .describe(
        "Bytes of messages of all clients that wait for the disk; with more, clients that have more than their share are not read.",
      ),
    partialBytesTotalMax: size({ min: 1024 })
      .prefault("16MiB")
      .describe(
        "Bytes of packets that have begun to come, of all clients; with more, those are finished one after the other, and a client that does not finish its own is closed.",
      ),
    publishRateMax: z
      .int()
      .min(0)
      .default(0)
      .describe("Messages a second that one client may publish; its socket is read no faster. 0: no limit."),
    publishByteRateMax: size()
      .prefault("0B")
      .describe("Bytes a second that one client may publish; its socket is read no faster. 0: no limit."),
    qos2InboundMax: z
      .int()
      .min(1)
      .max(65_535)
      .default(1000)
      .describe("QoS 2 messages of one client between PUBLISH and PUBREL; one more closes it."),
    subscriptionsMax: z
      .int()
      .min(1)
      .default(1000)
      .describe("Subscriptions of one client; more are refused in SUBACK."),
    inflightMax: z
      .int()
      .min(1)
      .max(65_535)
      .default(100)
      .describe("QoS 1 and 2 messages sent to one client that it has not acknowledged; others wait."),
    sendBufferBytesMax: size({ min: 16 * 1024 })
      .prefault("1MiB")
      .describe(
        "Bytes on their way to one client. Above this QoS 0 messages for it are dropped; others wait in its queue.",
      ),
    frozenAfter: duration({ min: 100 })
      .prefault("20s")
      .describe("A client that takes no byte of what waits for it for this long is disconnected."),
  })
  .refine((limits) => limits.connectPacketBytesMax <= limits.packetBytesMax, {
    message: "connectPacketBytesMax must be at most packetBytesMax",
    path: ["connectPacketBytesMax"],
  });

const sessionsSchema = z.strictObject({
  expireAfter: duration({ min: 1000 })
    .prefault("7d")
    .describe("A persistent session (clean session 0) whose client stays away this long is forgotten."),
  sessionsMax: z
    .int()
    .min(1)
    .default(10_000)
    .describe(
      "Persistent sessions that may exist; a client that would need one more is told to come back later.",
    ),
  queuedMessagesMax: z
    .int()
    .min(1)
    .default(10_000)
    .describe("Messages kept for one client; with more, the oldest is dropped, counted and logged."),
  queuedBytesMax: size({ min: 1024 })
    .prefault("8MiB")
    .describe("Bytes of messages kept for one client; with more, the oldest are dropped."),
  queuedBytesTotalMax: size({ min: 1024 })
    .prefault("32MiB")
    .describe("Bytes kept for all clients together; with more, the longest queue loses its oldest."),
  retainedMessagesMax: z
    .int()
    .min(0)
    .default(10_000)
    .describe("Topics with a retained message; one more is delivered but not retained."),
  retainedBytesMax: size()
    .prefault("16MiB")
    .describe("Bytes of all retained messages; one that does not fit is delivered but not retained."),
});

export const brokerSchema = z.strictObject({
  listeners: z
    .array(listenerSchema)
    .prefault([{ type: "tcp" }, { type: "ws" }])
    .describe(
      "Where MQTT clients connect; default: MQTT on 127.0.0.1:1883, over WebSocket on 127.0.0.1:9001.",
    ),
  limits: limitsSchema.prefault({}).describe("What a client, and all of them together, may take up."),
  sessions: sessionsSchema.prefault({}).describe("What is kept for clients that are away."),
});

const topicRule = (what: string) =>
  z
    .array(
      z.string().superRefine((rule, context) => {
        // %c and %u stand for text inside one level, so the rule is held against any such text.
        const problem = topicFilterProblem(rule.replaceAll(/%[cu]/g, "x"));
        if (problem)
          context.addIssue({ code: "custom", message: `no topic filter: ${problem}`, input: rule });
      }),
    )
    .default([])
    .describe(what);

/** User names end up in client ids, topics and device names, so they hold nothing that has a meaning there. */
export const USER_NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]*$/;

const userSchema = z
  .strictObject({
    password: secret()
      .refine((text) => parsePasswordHash(text) !== null, "expected a line made by `holdfast user hash`")
      .optional()
      .describe("The user's password as `holdfast user hash` prints it; never the password itself."),
    certificate: z
      .string()
      .min(1)
      .optional()
      .describe(
        "The common name (CN) of the client certificate that stands for this user, on listeners with clientCa.",
      ),
    device: z
      .string()
      .min(1)
      .max(NAME_BYTES_MAX)
      .optional()
      .describe("The device whose messages these are; default: the user's name."),
    clientIds: z
      .array(z.string().min(1))
      .min(1)
      .default(["%u", "%u:*", "%u/*"])
      .describe(
        "Client ids this user may connect with; `%u` is the user's name, `*` any text. A client that brings none is given one.",
      ),
    publish: topicRule(
      "Topics this user may publish to, as topic filters; `%u` is the user's name, `%c` the client id. None: none.",
    ),
    subscribe: topicRule(
      "Topics this user may subscribe to, as topic filters; `%u` is the user's name, `%c` the client id. None: none.",
    ),
  })
  .refine((user) => user.password !== undefined || user.certificate !== undefined, {
    message: "a user needs a password or a certificate",
  });

export const accessSchema = z
  .strictObject({
    users: z
      .record(
        z.string().max(NAME_BYTES_MAX).regex(USER_NAME, "expected a name of letters, digits, . _ @ or -"),
        userSchema,
      )
      .default({})
      .describe(
        "Who may connect. While there are none, anyone may, and every listener must be on the loopback interface.",
      ),
  })
  .superRefine((access, context) => {
    const seen = new Map<string, string>();
    for (const [name, user] of Object.entries(access.users)) {
      if (user.certificate === undefined) continue;
      const other = seen.get(user.certificate);
      if (other === undefined) seen.set(user.certificate, name);
      else {
        context.addIssue({
          code: "custom",
          message: `the certificate ${user.certificate} is also that of ${other}`,
          path: ["users", name, "certificate"],
          input: user.certificate,
        });
      }
    }
  });

export type BrokerConfig = z.output<typeof brokerSchema>;
export type BrokerLimits = BrokerConfig["limits"];
export type SessionLimits = BrokerConfig["sessions"];
export type ListenerConfig = z.output<typeof listenerSchema>;
export type AccessConfig = z.output<typeof accessSchema>;
export type UserConfig = AccessConfig["users"][string];
