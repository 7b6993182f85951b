/** Ids that a backend tells by HTTP: in each form, page after page, and never with the token to somebody else. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { idsAt } from "../../src/cli/id-endpoint.ts";

const JSON_TYPE = "application/json";
const seen: IncomingMessage[] = [];
let url: string;
const server = createServer((request, response) => {
  seen.push(request);
  const answer = ANSWERS[request.url!];
  if (answer) answer(response);
  else response.writeHead(404).end();
});

const tell =
  (type: string, body: string, headers: Record<string, string> = {}) =>
  (response: ServerResponse) =>
    void response.writeHead(200, { "content-type": type, ...headers }).end(body);

const ANSWERS: Record<string, (response: ServerResponse) => void> = {
  "/array": tell(`${JSON_TYPE}; charset=utf-8`, '["a", 7]'),
  "/linked": tell(JSON_TYPE, '[{"id":"a"}]', { link: '</linked-2>; rel="prev", </linked-2>; rel="next"' }),
  "/linked-2": tell(JSON_TYPE, '[{"id":"b"}]'),
  "/field": tell(JSON_TYPE, '{"items":[{"id":"a"}],"next":"/field-2?x=1"}'),
  "/field-2?x=1": tell("application/hal+json", '{"items":["b"],"next":null}'),
  "/lines": tell("application/jsonl", '{"id":"a"}\n{"id":"b"}\n', { link: "<lines-2>; rel=next" }),
  "/lines-2": tell("text/csv", "id,at\nc,1\n"),
  "/elsewhere": tell(JSON_TYPE, '{"ids":[],"next":"http://127.0.0.2:9/ids"}'),
  "/moved": (response) => void response.writeHead(302, { location: "http://127.0.0.2:9/ids" }).end(),
  "/broken": tell(JSON_TYPE, '["a"'),
  "/no-ids": tell(JSON_TYPE, '[{"name":"x"}]'),
  "/nothing": tell(JSON_TYPE, '{"error":"x"}'),
  "/cut": (response) => {
    response.writeHead(200, { "content-type": "application/jsonl", "content-length": "1000" });
    response.write('{"id":"a"}\n', () => response.destroy());
  },
};

beforeAll(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(() => void server.close());

async function told(path: string): Promise<string[]> {
  const ids: string[] = [];
  for await (const batch of idsAt(url + path, { column: "id", token: "secret" })) ids.push(...batch);
  return ids;
}

it.each([
  ["/array", ["a", "7"]],
  ["/linked", ["a", "b"]],
  ["/field", ["a", "b"]],
  ["/lines", ["a", "b", "c"]],
])("are read from %s to their last page, with the token", async (path, ids) => {
  expect(await told(path)).toEqual(ids);
  expect(seen.at(-1)!.headers.authorization).toBe("Bearer secret");
});

it.each([
  ["/elsewhere", "its next page is at another origin, http://127.0.0.2:9/ids"],
  ["/moved", "redirect"],
  ["/absent", "it answers with status 404"],
  ["/broken", "it is no JSON"],
  ["/no-ids", 'entry 1 has no id in `id`: {"name":"x"}'],
  ["/nothing", "neither an array nor an object with one array"],
  ["/cut", ""],
])("are not made of what %s says, but a sentence", async (path, sentence) => {
  await expect(told(path)).rejects.toMatchObject({
    code: "HF_BACKEND",
    message: expect.stringContaining(sentence),
  });
});
