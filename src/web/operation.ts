/**
 * One operation of the API, defined once: what it is called, who may ask, what it takes and what it answers. The
 * routes, the checks of what comes in, the types of the handlers and the OpenAPI document are all made from this.
 *
 * Schemas of answers are functions, since only the document and the tests look at them: a gateway that nobody asks
 * for its document builds none of them. That a handler's answer fits is the compiler's to check.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { HoldfastError } from "../core/errors.ts";
import { safeParse } from "../core/safe-parse.ts";
import type { Caller, Role } from "./callers.ts";
import type { ApiContext } from "./context.ts";

/** What a value of a schema looks like where nobody changes it. */
export type Told<T> = T extends readonly (infer U)[]
  ? readonly Told<U>[]
  : T extends object
    ? { readonly [K in keyof T]: Told<T[K]> }
    : T;

const nothing = z.strictObject({});
type Nothing = typeof nothing;

export interface Asked<P, Q, B> {
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  readonly caller: Caller;
  readonly request: FastifyRequest;
  /** For headers and another status than the usual one; the answer is what the handler returns. */
  readonly reply: FastifyReply;
}

interface Shape<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType> {
  readonly method: "GET" | "POST" | "DELETE";
  /** As fastify reads it: `/v1/messages/:id`. */
  readonly path: string;
  /** Name for programs that are made from the document. */
  readonly name: string;
  readonly tag: string;
  readonly summary: string;
  readonly notes?: string;
  /** Who may ask: `anyone` needs no token even where there are tokens. */
  readonly role: Role | "anyone";
  readonly params?: P;
  readonly query?: Q;
  readonly body?: B;
  /** Where it may be larger than others. */
  readonly bodyBytesMax?: number;
  /** In place of a body: what the handler itself reads from the request as it comes, by media type. */
  readonly upload?: Readonly<Record<string, () => z.ZodType>>;
  /** Of the usual answer; default 200. */
  readonly status?: number;
  /** Other answers of the same operation that are no problems, by status. */
  readonly also?: Readonly<Record<number, () => z.ZodType>>;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An operation whose answer is JSON of a schema. */
export interface JsonOperation<
  P extends z.ZodType,
  Q extends z.ZodType,
  B extends z.ZodType,
  A extends z.ZodType,
> extends Shape<P, Q, B> {
  readonly answer: () => A;
  handle(
    asked: Asked<z.output<P>, z.output<Q>, z.output<B>>,
    context: ApiContext,
  ): Promise<Told<z.output<A>>> | Told<z.output<A>>;
}

/** An operation whose answer is something else: a text, bytes, a stream. */
export interface OtherOperation<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType>
  extends Shape<P, Q, B> {
  /** Its media type. */
  readonly answer: string;
  handle(asked: Asked<z.output<P>, z.output<Q>, z.output<B>>, context: ApiContext): unknown;
}

/** Any of them, as the routes and the document take it. */
export interface Operation extends Shape<z.ZodType, z.ZodType, z.ZodType> {
  readonly answer: string | (() => z.ZodType);
  handle(asked: Asked<never, never, never>, context: ApiContext): unknown;
}

export function operation<
  A extends z.ZodType,
  P extends z.ZodType = Nothing,
  Q extends z.ZodType = Nothing,
  B extends z.ZodType = Nothing,
>(of: JsonOperation<P, Q, B, A>): Operation {
  return of as unknown as Operation;
}

export function otherOperation<
  P extends z.ZodType = Nothing,
  Q extends z.ZodType = Nothing,
  B extends z.ZodType = Nothing,
>(of: OtherOperation<P, Q, B>): Operation {
  return of as unknown as Operation;
}

export function addOperation(
  app: FastifyInstance,
  of: Operation,
  context: ApiContext,
  callerOf: (request: FastifyRequest) => Caller,
): void {
  if (of.upload) {
    const { upload } = of;
    void app.register(async (own) => {
      // Nothing is read before the handler does.
      own.removeAllContentTypeParsers();
      own.addContentTypeParser("*", (request, _, done) => done(kindProblem(request, Object.keys(upload))));
      addRoute(own, of, context, callerOf);
    });
  } else addRoute(app, of, context, callerOf);
}

function addRoute(
  app: FastifyInstance,
  of: Operation,
  context: ApiContext,
  callerOf: (request: FastifyRequest) => Caller,
): void {
  app.route({
    method: of.method,
    url: of.path,
    config: { role: of.role },
    ...(of.bodyBytesMax === undefined ? {} : { bodyLimit: of.bodyBytesMax }),
    handler: async (request, reply) => {
      const asked = {
        params: parse(of.params ?? nothing, request.params, "path"),
        query: parse(of.query ?? nothing, request.query, "query"),
        body: parse(of.body ?? nothing, request.body ?? {}, "body"),
        caller: callerOf(request),
        request,
        reply,
      };
      reply.code(of.status ?? 200);
      return of.handle(asked as unknown as Asked<never, never, never>, context);
    },
  });
}

/** Why what is sent is not of a kind that is taken; null where it is. */
function kindProblem({ headers }: FastifyRequest, kinds: readonly string[]): Error | null {
  const said = `expected one of ${kinds.join(", ")}, as it is`;
  const { "content-type": type = "nothing", "content-encoding": encoding } = headers;
  const problem = encoding !== undefined ? `content-encoding ${encoding}` : `content-type ${type}`;
  const fits = encoding === undefined && kinds.includes(mediaType(headers));
  return fits ? null : Object.assign(new Error(`${problem}: ${said}`), { statusCode: 415 });
}

export function mediaType({ "content-type": type = "" }: FastifyRequest["headers"]): string {
  return type.split(";")[0]!.trim().toLowerCase();
}

declare module "fastify" {
  interface FastifyContextConfig {
    readonly role?: Role | "anyone";
  }
}

/** Throws HF_REQUEST, which names each place that is wrong. */
function parse(schema: z.ZodType, value: unknown, what: string): unknown {
  const parsed = safeParse(schema, value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => ({
    at: [what, ...path].join("."),
    message,
  }));
  const sentence = problems.map(({ at, message }) => `${at}: ${message}`).join("; ");
  throw new HoldfastError("HF_REQUEST", sentence, { problems });
}
