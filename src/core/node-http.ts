/**
 * Node's HTTP, taken without naming its parts in an import: that asks the module for each of its exports, WebSocket
 * among them, and those load all of Node's own fetch. It was a twelfth of a start, and memory that nobody used.
 */
export const nodeHttp: typeof import("node:http") = process.getBuiltinModule("node:http");
