// biome-ignore-all lint/style/useNodejsImportProtocol: Node 12 does not know node: names.
// biome-ignore-all lint/style/useTemplate: still older ones do not know template literals.

// The first thing that `npm start` and `npm test` run. It is written in the oldest JavaScript on purpose:
// whatever Node reads it, a machine that cannot run Holdfast gets a sentence and an exit code. Without it
// the native SQLite module takes an older Node down without a word.
"use strict";

var fs = require("fs");
var path = require("path");

var MAJOR_MIN = 24;
var MINOR_MIN = 12;

function complaint(version, root) {
  var parts = version.split(".");
  var major = Number(parts[0]);
  var minor = Number(parts[1]);
  var wanted = MAJOR_MIN + "." + MINOR_MIN;
  if (!(major > MAJOR_MIN || (major === MAJOR_MIN && minor >= MINOR_MIN))) {
    return "needs Node " + wanted + " or newer, this is " + version + ". Run ./holdfast, it brings its own.";
  }
  if (!fs.existsSync(path.join(root, "node_modules", "better-sqlite3"))) {
    return "its dependencies are not installed. Run npm ci --ignore-scripts, or ./holdfast, which does that.";
  }
  return "";
}

var said = complaint(process.versions.node, path.join(__dirname, ".."));
if (said) {
  console.error("holdfast: " + said);
  process.exit(69);
}
