/**
 * The two parts of undici that are used. Its index would load a hundred files at each start, WebSockets and
 * caches among them. The version is pinned, so its file names are.
 */
import { createRequire } from "node:module";
import type * as undici from "undici";

const require = createRequire(import.meta.url);

export const Pool: typeof undici.Pool = require("undici/lib/dispatcher/pool.js");
export const buildConnector: typeof undici.buildConnector = require("undici/lib/core/connect.js");
