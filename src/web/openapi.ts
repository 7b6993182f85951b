/**
 * The API as an OpenAPI 3.1 document, made from its operations when somebody asks. Made here rather than by a
 * package: zod writes the schemas, and what is left is putting them under their paths.
 */
import { z } from "zod";
import { type Operation, otherOperation } from "./operation.ts";
import { PROBLEM_TYPE, problemShape } from "./problem.ts";

export function documentOperations(all: () => readonly Operation[]): readonly Operation[] {
  return [
    otherOperation({
      method: "GET",
      path: "/v1/openapi.json",
      name: "getDocument",
      tag: "gateway",
      summary: "This document",
      role: "view",
      answer: "application/json",
      handle: (_, { watch }) => openApi(all(), watch.report().version),
    }),
  ];
}

export function openApi(operations: readonly Operation[], version: string): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const each of operations) {
    const path = each.path.replace(/:(\w+)/g, "{$1}");
    paths[path] = { ...paths[path], [each.method.toLowerCase()]: described(each) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Holdfast",
      version,
      description:
        "A messaging gateway for the factory edge. What it answers is as of the store's last commit; asking never delays an acknowledgement.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    paths,
    components: {
      schemas: { Problem: schemaOf(problemShape(), "output") },
      securitySchemes: {
        token: {
          type: "http",
          scheme: "bearer",
          description: "A token of `holdfast token create`. None is needed on loopback while there are none.",
        },
        session: {
          type: "apiKey",
          in: "cookie",
          name: "holdfast_session",
          description: "For the page: see POST /v1/session.",
        },
      },
    },
  };
}

function described(each: Operation): Record<string, unknown> {
  const parameters = [...parametersOf(each.params, "path"), ...parametersOf(each.query, "query")];
  for (const [name, description] of Object.entries(each.headers ?? {})) {
    parameters.push({ name, in: "header", required: false, description, schema: { type: "string" } });
  }
  return {
    operationId: each.name,
    tags: [each.tag],
    summary: each.summary,
    ...(each.notes === undefined ? {} : { description: each.notes }),
    ...(each.role === "anyone"
      ? { security: [] }
      : { security: [{ token: [] }, { session: [] }], "x-holdfast-role": each.role }),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...requestBody(each),
    responses: {
      [each.status ?? 200]: answerOf("As asked.", each.answer),
      ...Object.fromEntries(
        Object.entries(each.also ?? {}).map(([status, shape]) => [status, answerOf("As asked.", shape)]),
      ),
      default: {
        description: "A problem (RFC 9457); `code` is one of docs/errors.md.",
        content: { [PROBLEM_TYPE]: { schema: { $ref: "#/components/schemas/Problem" } } },
      },
    },
  };
}

function requestBody({ body, upload }: Operation): Record<string, unknown> {
  const kinds = upload ?? (body ? { "application/json": () => body } : {});
  const content = Object.entries(kinds).map(([type, shape]) => [
    type,
    { schema: schemaOf(shape(), "input") },
  ]);
  return content.length === 0
    ? {}
    : { requestBody: { required: true, content: Object.fromEntries(content) } };
}

function answerOf(description: string, answer: Operation["answer"]): Record<string, unknown> {
  const content =
    typeof answer === "string"
      ? { [answer]: {} }
      : { "application/json": { schema: schemaOf(answer(), "output") } };
  return { description, content };
}

interface ObjectSchema {
  readonly properties?: Readonly<Record<string, { readonly description?: string }>>;
  readonly required?: readonly string[];
}

function parametersOf(schema: z.ZodType | undefined, place: "path" | "query"): Record<string, unknown>[] {
  if (!schema) return [];
  const { properties = {}, required = [] } = schemaOf(schema, "input") as ObjectSchema;
  return Object.entries(properties).map(([name, { description, ...value }]) => ({
    name,
    in: place,
    required: required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema: value,
  }));
}

/** What cannot be said in JSON Schema (a check of our own) is left to the words of its description. */
function schemaOf(schema: z.ZodType, io: "input" | "output"): Record<string, unknown> {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: "any" });
  return rest;
}
