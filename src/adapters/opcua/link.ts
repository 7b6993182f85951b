/**
 * The way to one server: its endpoints asked for, the right one chosen, its certificate compared, a channel, a
 * session. Each step is bounded in time. A link is opened once and, when it breaks, never mended: who needs one
 * opens another, which goes on with the session of the one before where the server still has it.
 */
import type { Clock } from "../../core/clock.ts";
import { LinkError, unreachable } from "./failure.ts";
import type { Client, EndpointDescription, Library, Session } from "./library.ts";
import { type LoginConfig, type OpcuaDeviceConfig, policyOf } from "./schema.ts";
import { derOf, type Identity, pemText, requireTrust } from "./trust.ts";

const CLIENT_NAME = "Holdfast";
/** For what is done for courtesy's sake, when a link is closed. */
const GOODBYE_MS_MAX = 1000;

export type LinkConfig = Pick<
  OpcuaDeviceConfig,
  "endpoint" | "security" | "login" | "timeout" | "sessionTimeout"
>;

export interface LinkOptions {
  readonly config: LinkConfig;
  readonly library: Library;
  readonly identity: Identity;
  readonly dataDir: string;
  readonly clock: Clock;
  /** From then on nothing is waited for. */
  readonly stop?: AbortSignal;
}

export class Link {
  readonly session: Session;
  /** It goes on with a session that was there before, and so with all that the server held for it. */
  readonly isResumed: boolean;
  readonly #client: Client;
  readonly #options: LinkOptions;
  readonly #lost = Promise.withResolvers<LinkError>();

  private constructor(client: Client, session: Session, isResumed: boolean, options: LinkOptions) {
    this.#client = client;
    this.session = session;
    this.isResumed = isResumed;
    this.#options = options;
    for (const event of ["connection_lost", "close"] as const) {
      client.on(event, () => this.declareLost(unreachable("the connection broke")));
    }
  }

  /** Rejects with what failureOf() can name. */
  static async open(options: LinkOptions, before: Session | null): Promise<Link> {
    const endpoint = await chooseEndpoint(options);
    const { config, library, identity } = options;
    const client = library.OPCUAClient.create({
      ...clientOptions(options),
      securityMode: library.MessageSecurityMode[config.security.mode],
      securityPolicy: library.SecurityPolicy[policyOf(config.security)],
      // Compared before: with it the channel can only be made with who has its key.
      ...(config.security.mode === "None" ? {} : { serverCertificate: endpoint.serverCertificate }),
      applicationUri: identity.uri,
    });
    try {
      await within(options, client.connect(config.endpoint), "no channel");
      if (before) {
        // Whatever stands against it: where a new session cannot be had either, that says why.
        const resumed = await within(options, client.reactivateSession(before), "no session").then(
          () => true,
          () => false,
        );
        if (resumed) return new Link(client, before, true, options);
      }
      const login = loginOf(config.login, library);
      const session = await within(options, client.createSession(login), "no session");
      return new Link(client, session, false, options);
    } catch (error) {
      await farewell(options, client.disconnect());
      throw error;
    }
  }

  /** Resolves with the reason when it is no use any more. */
  get lost(): Promise<LinkError> {
    return this.#lost.promise;
  }

  declareLost(why: LinkError): void {
    this.#lost.resolve(why);
  }

  /** An answer in bounded time, or a rejection. */
  ask<T>(answer: Promise<T>, timeoutMs = this.#options.config.timeout): Promise<T> {
    return within(this.#options, Promise.race([answer, this.#broken()]), "no answer", timeoutMs);
  }

  /** `forget`: the server may throw away the session and what it holds for it. */
  async close(forget: boolean): Promise<void> {
    if (forget) await farewell(this.#options, this.session.close(true));
    await farewell(this.#options, this.#client.disconnect());
    this.declareLost(unreachable("it was closed"));
  }

  async #broken(): Promise<never> {
    throw await this.#lost.promise;
  }
}

async function chooseEndpoint(options: LinkOptions): Promise<EndpointDescription> {
  const { config, library, dataDir } = options;
  const { mode } = config.security;
  const policy = policyOf(config.security);
  const found = await listEndpoints(options);
  const endpoint = found.find(
    ({ securityMode, securityPolicyUri }) =>
      securityMode === library.MessageSecurityMode[mode] &&
      securityPolicyUri === library.SecurityPolicy[policy],
  );
  if (!endpoint) {
    const has = found.map((each) => endpointText(each, library)).join(", ") || "none";
    throw new LinkError("no-such-endpoint", `it offers no ${mode} with ${policy}; it offers: ${has}`, true);
  }
  const kind = TOKENS[config.login.type];
  const tokens = endpoint.userIdentityTokens ?? [];
  if (!tokens.some(({ tokenType }) => tokenType === library.UserTokenType[kind])) {
    const has = tokens.map(({ tokenType }) => library.UserTokenType[tokenType]).join(", ") || "none";
    throw new LinkError("no-such-login", `it takes no login of kind ${kind} there; it takes: ${has}`, true);
  }
  if (mode !== "None") {
    if (!endpoint.serverCertificate) {
      throw new LinkError("no-certificate", "it shows no certificate, though it says it signs", true);
    }
    requireTrust(endpoint.serverCertificate, config.security, dataDir);
  }
  return endpoint;
}

const TOKENS = { anonymous: "Anonymous", password: "UserName", certificate: "Certificate" } as const;

/** What the server offers to anybody who asks. */
export async function listEndpoints(options: LinkOptions): Promise<EndpointDescription[]> {
  const client = options.library.OPCUAClient.create(clientOptions(options));
  try {
    await within(options, client.connect(options.config.endpoint), "no connection");
    return await within(options, client.getEndpoints(), "no answer");
  } finally {
    await farewell(options, client.disconnect());
  }
}

export function endpointText(
  { securityMode, securityPolicyUri }: EndpointDescription,
  { MessageSecurityMode }: Library,
): string {
  const policy = securityPolicyUri?.split("#")[1] ?? "?";
  const mode = (MessageSecurityMode as Readonly<Record<number, unknown>>)[securityMode];
  return mode === "None" ? "None" : `${mode} with ${policy}`;
}

function clientOptions({ config, library, identity }: LinkOptions): object {
  const certificate = derOf(identity.certificatePem);
  const key = library.crypto.coercePEMorDerToPrivateKey(identity.keyPem);
  return {
    applicationName: CLIENT_NAME,
    clientName: CLIENT_NAME,
    certificateKeyPairProvider: {
      getCertificate: () => certificate,
      getCertificateChain: () => [certificate],
      getPrivateKey: () => key,
    },
    // One try: when the next one is due is not the library's to say.
    connectionStrategy: { maxRetry: 0, initialDelay: 100, maxDelay: 100 },
    // Machines are addressed by numbers, and name themselves by names that nobody here can resolve.
    endpointMustExist: false,
    keepSessionAlive: false,
    keepPendingSessionsOnDisconnect: true,
    requestedSessionTimeout: config.sessionTimeout,
    defaultTransactionTimeout: config.timeout,
    transportTimeout: config.timeout,
  };
}

function loginOf(login: LoginConfig, { UserTokenType, crypto }: Library): object {
  if (login.type === "anonymous") return { type: UserTokenType.Anonymous };
  if (login.type === "password") {
    return { type: UserTokenType.UserName, userName: login.user, password: login.password };
  }
  const key = crypto.coercePEMorDerToPrivateKey(pemText(login.key));
  return {
    type: UserTokenType.Certificate,
    certificateData: derOf(pemText(login.certificate)),
    keyOperations: crypto.keyOperationsFromPrivateKey(key),
  };
}

async function within<T>(
  { clock, config, stop }: Pick<LinkOptions, "clock" | "config" | "stop">,
  work: Promise<T>,
  what: string,
  timeoutMs = config.timeout,
): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = clock.after(timeoutMs, () =>
    late.reject(new LinkError("timeout", `${what} within ${timeoutMs} ms`, false)),
  );
  const stopped = () => late.reject(unreachable("the gateway stops"));
  if (stop?.aborted) stopped();
  stop?.addEventListener("abort", stopped);
  // What comes after the time has run out is of no use, and must not count as forgotten.
  work.catch(() => {});
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    timer.cancel();
    stop?.removeEventListener("abort", stopped);
  }
}

async function farewell({ clock, config }: LinkOptions, work: Promise<unknown>): Promise<void> {
  await within({ clock, config }, work, "no goodbye", GOODBYE_MS_MAX).catch(() => {});
}
