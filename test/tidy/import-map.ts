/**
 * Who may import whom. Type imports count like any other: they tie rooms together just as well.
 * Each check answers with its complaints, one sentence each; none means tidy.
 */
import { builtinModules } from "node:module";
import { resolveFrom, type SourceFile } from "./source-tree.ts";

/** Beside itself and core, which everyone may import. */
const ROOMS: Record<string, readonly string[]> = {
  core: [],
  adapters: ["intake"],
  broker: ["intake"],
  /** A door's front desk: what it takes goes into intake, and it looks at the store for what came of it. */
  commands: ["intake", "queue"],
  intake: ["queue"],
  queue: [],
  receipts: ["intake", "queue"],
  relay: ["queue", "targets"],
  targets: [],
  /** Notes what passes through intake, and to targets; neither knows of it. */
  telemetry: ["intake", "targets"],
  watch: ["broker", "queue", "relay"],
  web: ["commands", "intake", "queue", "relay", "watch"],
  cli: ["gateway.ts", "config.ts", "version.ts"],
  "main.ts": ["cli", "gateway.ts", "config.ts"],
  // biome-ignore format: one line, like the others
  "gateway.ts": ["config.ts", "version.ts", "adapters", "broker", "commands", "intake", "queue", "receipts", "relay", "targets", "telemetry", "watch", "web"],
  "config.ts": [],
  "version.ts": [],
  /** Doubles of machines and backends must not be made of the code they test. */
  simulators: ["gateway.ts", "config.ts"],
  tools: [],
};

export interface Exception {
  readonly from: RegExp;
  readonly to: RegExp;
  readonly why: string;
}

export const EXCEPTIONS: readonly Exception[] = [
  {
    from: /^src\/config(-[a-z-]+)?\.ts$/,
    to: /^src\/[a-z]+\/schema\.ts$/,
    why: "the config is composed of each room's schema",
  },
  {
    from: /^src\/cli\//,
    to: /^src\/queue\/(reader|queries)[a-z-]*\.ts$/,
    why: "status, messages and dead read the store themselves when the gateway is down",
  },
  {
    from: /^src\/cli\/(backup|salvage|verify|doctor-checks)\.ts$/,
    to: /^src\/queue\/(backup|by-hand|salvage-report)\.ts$/,
    why: "`backup`, `restore`, `verify`, `salvage` and `doctor` work on the store of a gateway that is down",
  },
  {
    from: /^src\/cli\/way-out\.ts$/,
    to: /^src\/(queue\/stopped-store|relay\/moving-out)\.ts$/,
    why: "`export` works on the store of a gateway that is down, too, by the very code of the gateway",
  },
  {
    from: /^src\/cli\/reconcile\.ts$/,
    to: /^src\/queue\/id-list\.ts$/,
    why: "`reconcile` holds a backend's list of any length against the store's in a scratch table",
  },
  {
    from: /^src\/cli\/doctor-targets\.ts$/,
    to: /^src\/targets\/(create|target)\.ts$/,
    why: "`doctor` asks the backends of a gateway that is down, as the gateway would",
  },
  {
    from: /^src\/cli\/user\.ts$/,
    to: /^src\/broker\/password\.ts$/,
    why: "`user hash` makes what the broker checks",
  },
  {
    from: /^src\/cli\/(token|config)\.ts$/,
    to: /^src\/web\/(tokens|callers|schema)\.ts$/,
    why: "`token` works on the same file as the gateway, also before one runs; `config check` says where one is missing",
  },
  {
    from: /^src\/cli\/device[a-z-]*\.ts$/,
    to: /^src\/adapters\//,
    why: "`device probe` talks to a machine before anything is configured",
  },
  {
    from: /^src\/cli\/(simulate|replay|demo|torture|soak)\.ts$/,
    to: /^simulators\//,
    why: "these commands run the simulators",
  },
];

/** A library that one room alone knows, so that it can be replaced there. */
const OWNED_LIBRARIES: Record<string, string> = {
  aedes: "broker",
  "aedes-packet": "broker",
  "aedes-persistence": "broker",
  "better-sqlite3": "queue",
  fastify: "web",
  "modbus-serial": "adapters",
  serialport: "adapters",
};

/** "src/queue/x.ts" is of the room queue, "src/config-x.ts" of config.ts, "simulators/…" of simulators. */
export function roomOf(path: string): string {
  const [area = "", next = ""] = path.split("/");
  return area === "src" ? next.replace(/-.*\.ts$/, ".ts") : area;
}

function mayImport(from: string, to: string): boolean {
  const [fromRoom, toRoom] = [roomOf(from), roomOf(to)];
  return (
    fromRoom === "test" ||
    fromRoom === toRoom ||
    toRoom === "core" ||
    ROOMS[fromRoom]?.includes(toRoom) === true
  );
}

/** Complaints about one file's imports; exceptions that were needed are added to `used`. */
export function importComplaints(file: SourceFile, used = new Set<Exception>()): string[] {
  const complaints: string[] = [];
  for (const { specifier, line, kind } of file.references) {
    if (!specifier.startsWith(".")) continue;
    const at = `${file.path}:${line}`;
    const to = resolveFrom(file.path, specifier);
    if (kind === "import" && !/\.(tsx?|json|cjs)$/.test(specifier)) {
      complaints.push(`${at}: "${specifier}" should name the file with its ending`);
    }
    // The version and the like.
    if (to === "package.json" || !file.path.includes("/")) continue;
    if (mayImport(file.path, to)) continue;
    const exception = EXCEPTIONS.find((each) => each.from.test(file.path) && each.to.test(to));
    if (exception) used.add(exception);
    else complaints.push(`${at}: ${roomOf(file.path)} may not import ${to}`);
  }
  return complaints;
}

export interface Packages {
  readonly dependencies?: Record<string, string>;
  readonly optionalDependencies?: Record<string, string>;
  readonly devDependencies?: Record<string, string>;
}

/** Every library is declared, for production where production needs it, and stays in its room. */
export function libraryComplaints(file: SourceFile, declared: Packages): string[] {
  const shipped = /^(src|simulators)\//.test(file.path);
  const known = {
    ...declared.dependencies,
    ...declared.optionalDependencies,
    ...(shipped ? {} : declared.devDependencies),
  };
  return file.references.flatMap(({ specifier, line }) => {
    if (specifier.startsWith(".") || specifier.startsWith("node:")) return [];
    const at = `${file.path}:${line}`;
    const library = /^(@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier;
    if (builtinModules.includes(library)) return [`${at}: "${specifier}" should be "node:${specifier}"`];
    const owner = OWNED_LIBRARIES[library];
    return [
      ...(library in known ? [] : [`${at}: ${library} is not among package.json's dependencies`]),
      ...(owner && file.path.startsWith("src/") && roomOf(file.path) !== owner
        ? [`${at}: ${library} is known to ${owner} alone`]
        : []),
    ];
  });
}

/** Rooms that import each other, in a circle of any length. */
export function cycleComplaints(files: readonly SourceFile[]): string[] {
  const edges = new Map<string, Set<string>>();
  for (const file of files) {
    const from = roomOf(file.path);
    for (const { specifier } of file.references) {
      if (!specifier.startsWith(".")) continue;
      const to = roomOf(resolveFrom(file.path, specifier));
      if (to !== from) edges.set(from, (edges.get(from) ?? new Set()).add(to));
    }
  }
  const done = new Set<string>();
  const visit = (room: string, way: readonly string[]): string[] => {
    if (way.includes(room))
      return [`rooms import each other: ${[...way.slice(way.indexOf(room)), room].join(" → ")}`];
    if (done.has(room)) return [];
    const found = [...(edges.get(room) ?? [])].flatMap((next) => visit(next, [...way, room]));
    done.add(room);
    return found;
  };
  return [...edges.keys()].flatMap((room) => visit(room, []));
}

/** Files that cannot be reached from `entries` by imports, URLs, or a string that names them. */
export function orphanComplaints(
  files: readonly SourceFile[],
  entries: readonly string[],
  counts: (path: string) => boolean,
): string[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const reached = new Set<string>();
  const open = entries.filter((path) => byPath.has(path));
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    const file = byPath.get(path);
    if (!file || reached.has(path)) continue;
    reached.add(path);
    for (const { specifier } of file.references) {
      if (specifier.startsWith(".")) open.push(resolveFrom(path, specifier));
    }
    for (const text of file.strings) {
      if (text.endsWith(".ts")) open.push(text, resolveFrom(path, text));
    }
  }
  return files
    .filter((file) => counts(file.path) && !reached.has(file.path))
    .map((file) => `${file.path}: nothing uses this file`);
}

/** Entries of threads that start with every store. What they load, each of them has for itself: 20 MB for the first. */
const LIGHT_THREADS = ["src/queue/store-thread.ts", "src/queue/reader-thread.ts"];
const LIGHT_LIBRARIES = ["better-sqlite3"];

/** Threads that load, through whatever they import, a library that they could do without. */
export function weightComplaints(files: readonly SourceFile[], entries = LIGHT_THREADS): string[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const seen = new Set<string>();
  const visit = (path: string, way: readonly string[]): string[] => {
    const file = byPath.get(path);
    if (!file || seen.has(path)) return [];
    seen.add(path);
    return loadedBy(file).flatMap((specifier) => {
      if (specifier.startsWith(".")) return visit(resolveFrom(path, specifier), [...way, path]);
      if (specifier.startsWith("node:") || LIGHT_LIBRARIES.includes(specifier)) return [];
      return [`${[...way, path].join(" → ")} loads ${specifier}`];
    });
  };
  return entries.flatMap((entry) => visit(entry, []));
}

/** What a file loads as it is loaded: no types, and nothing that waits for its first use. */
function loadedBy({ nodes }: SourceFile): string[] {
  type Kind = { readonly importKind?: string; readonly exportKind?: string };
  const isType = ({ importKind, exportKind }: Kind) => importKind === "type" || exportKind === "type";
  return nodes.flatMap((node) => {
    if (!/^(ImportDeclaration|ExportNamedDeclaration|ExportAllDeclaration)$/.test(node.type)) return [];
    const { source, specifiers = [] } = node as { source?: { value: string } | null; specifiers?: Kind[] };
    const typesAlone = specifiers.length > 0 && specifiers.every(isType);
    return source && !isType(node as Kind) && !typesAlone ? [source.value] : [];
  });
}
