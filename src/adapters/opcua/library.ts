/**
 * The OPC UA library, as far as it is used here: what is called, with what, and what comes back. It is loaded
 * when the first device needs it, since it takes a second and some 90 MB; its types are written down here, so
 * that Holdfast compiles without it.
 *
 * Only its channels, sessions and services are used. Its own subscriptions, its reconnection and its certificate
 * store are not: they acknowledge before anything is stored, retry without end, and trust whom they meet first.
 */
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { HoldfastError } from "../../core/errors.ts";
import { LIBRARY, LIBRARY_FOLDER, missingPackage } from "./library-folder.ts";

export interface StatusCode {
  readonly value: number;
  readonly name: string;
  readonly description: string;
}

export interface Variant {
  /** [OPC 10000-6, 5.1.2]: 1 Boolean, … 12 String, … */
  readonly dataType: number;
  /** 0 scalar, 1 array, 2 matrix. */
  readonly arrayType: number;
  readonly value: unknown;
}

export interface DataValue {
  readonly value?: Variant;
  readonly statusCode: StatusCode;
  readonly sourceTimestamp?: Date | null;
  readonly serverTimestamp?: Date | null;
}

export interface NotificationMessage {
  readonly sequenceNumber: number;
  readonly notificationData?:
    | readonly {
        /** Of a DataChangeNotification. */
        readonly monitoredItems?:
          | readonly { readonly clientHandle: number; readonly value: DataValue }[]
          | null;
        /** Of a StatusChangeNotification: the subscription has ended, or went to another session. */
        readonly status?: StatusCode;
      }[]
    | null;
}

export interface PublishResponse {
  readonly subscriptionId: number;
  readonly notificationMessage: NotificationMessage;
}

export interface ReferenceDescription {
  readonly nodeId: { toString(): string };
  readonly browseName: { readonly name?: string | null };
  readonly displayName: { readonly text?: string | null };
  readonly nodeClass: number;
}

interface BrowseResult {
  readonly statusCode: StatusCode;
  readonly references?: readonly ReferenceDescription[] | null;
  readonly continuationPoint?: Buffer | null;
}

export interface Session {
  readonly timeout: number;
  close(deleteSubscriptions: boolean): Promise<void>;
  createSubscription(options: object): Promise<{
    readonly subscriptionId: number;
    readonly revisedPublishingInterval: number;
    readonly revisedLifetimeCount: number;
    readonly revisedMaxKeepAliveCount: number;
  }>;
  deleteSubscriptions(options: { readonly subscriptionIds: readonly number[] }): Promise<unknown>;
  transferSubscriptions(options: {
    readonly subscriptionIds: readonly number[];
    readonly sendInitialValues: boolean;
  }): Promise<{ readonly results?: readonly { readonly statusCode: StatusCode }[] | null }>;
  createMonitoredItems(options: object): Promise<{
    readonly results?:
      | readonly { readonly statusCode: StatusCode; readonly revisedQueueSize: number }[]
      | null;
  }>;
  publish(options: object, callback: (error: Error | null, response?: PublishResponse) => void): void;
  republish(
    options: { readonly subscriptionId: number; readonly retransmitSequenceNumber: number },
    callback: (error: Error | null, response?: { readonly notificationMessage: NotificationMessage }) => void,
  ): void;
  read(nodes: readonly { readonly nodeId: string; readonly attributeId: number }[]): Promise<DataValue[]>;
  write(nodes: readonly object[]): Promise<StatusCode[]>;
  browse(request: object): Promise<BrowseResult>;
  browseNext(continuationPoint: Buffer, release: boolean): Promise<BrowseResult>;
}

export interface EndpointDescription {
  readonly endpointUrl?: string | null;
  readonly securityMode: number;
  readonly securityPolicyUri?: string | null;
  readonly serverCertificate?: Buffer | null;
  readonly userIdentityTokens?: readonly { readonly tokenType: number }[] | null;
}

export interface Client {
  connect(endpointUrl: string): Promise<void>;
  disconnect(): Promise<void>;
  getEndpoints(): Promise<EndpointDescription[]>;
  createSession(identity: object): Promise<Session>;
  /** The session goes on over this client's connection. */
  reactivateSession(session: Session): Promise<void>;
  on(event: "connection_lost" | "close", listener: () => void): unknown;
}

/** An object of the library's, made for a request and looked at no further. */
export type Made = object;

export interface Library {
  readonly OPCUAClient: { create(options: object): Client };
  readonly MessageSecurityMode: Readonly<Record<string, number>>;
  readonly SecurityPolicy: Readonly<Record<string, string>>;
  readonly UserTokenType: Readonly<Record<string, number>>;
  readonly DataType: Readonly<Record<string, number>> & Readonly<Record<number, string>>;
  readonly NodeClass: Readonly<Record<string, number>> & Readonly<Record<number, string>>;
  readonly AttributeIds: Readonly<Record<string, number>>;
  readonly DataChangeFilter: new (options: object) => Made;
  readonly crypto: {
    generatePrivateKey(bits: 2048 | 4096): Promise<object>;
    privateKeyToPEM(key: object): Promise<{ readonly privPem: string }>;
    createSelfSignedCertificate(options: object): Promise<{ readonly cert: string }>;
    coercePEMorDerToPrivateKey(pem: string): object;
    keyOperationsFromPrivateKey(key: object): object;
  };
}

let loading: Promise<Library> | undefined;

/** Rejects with HF_CONFIG where it is not installed. Loaded once, whoever asks. */
export function loadLibrary(): Promise<Library> {
  const missing = missingPackage();
  if (missing) return Promise.reject(new HoldfastError("HF_CONFIG", missing));
  loading ??= load();
  return loading;
}

async function load(): Promise<Library> {
  const { resolve } = createRequire(join(LIBRARY_FOLDER, "package.json"));
  const bring = (name: string) => import(pathToFileURL(resolve(name)).href);
  // It writes to the console whatever it is not happy with; what matters is said by who uses it.
  const debug = await bring("node-opcua-debug");
  for (const set of ["setDebugLogger", "setWarningLogger", "setErrorLogger", "setTraceLogger"]) {
    debug[set](() => {});
  }
  const [library, crypto] = await Promise.all([bring(LIBRARY), bring("node-opcua-crypto")]);
  return { ...library, crypto };
}
