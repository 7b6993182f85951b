/**
 * Reading a zod schema instead of a value: which keys a place has, what is allowed there, what is a secret.
 * Explanations, redaction, the printed config and the documentation are all made from this, so that the
 * schema stays the only place where a key, its range and its default are written.
 *
 * A place may have several schemas (a union, a wrapper around another): functions here take and give lists,
 * and a property holds for a place where it holds for any of its schemas. For secrets that errs on the side
 * of silence.
 */
import { type core, globalRegistry } from "zod";
import type { Path } from "./config-text.ts";

export type Schema = core.$ZodType;

export interface SchemaMeta {
  readonly description?: string;
  readonly secret?: boolean;
  readonly filePath?: boolean;
  /** `duration` or `size`: a number that people write with a unit. */
  readonly quantity?: string;
  readonly limits?: string;
}

/** `_zod.def`, seen loosely: what each type of schema has is looked at by its `type`. */
interface Def {
  readonly type: string;
  readonly innerType?: Schema;
  readonly in?: Schema;
  readonly out?: Schema;
  readonly options?: readonly Schema[];
  readonly discriminator?: string;
  readonly shape?: Readonly<Record<string, Schema>>;
  readonly element?: Schema;
  readonly items?: readonly Schema[];
  readonly keyType?: Schema;
  readonly valueType?: Schema;
  readonly left?: Schema;
  readonly right?: Schema;
  readonly getter?: () => Schema;
  readonly defaultValue?: unknown;
  readonly entries?: Readonly<Record<string, string | number>>;
  readonly values?: readonly unknown[];
  readonly format?: string;
  readonly checks?: readonly { readonly _zod: { readonly def: CheckDef } }[];
}

interface CheckDef {
  readonly check: string;
  readonly value?: number;
  readonly inclusive?: boolean;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly length?: number;
  readonly format?: string;
  readonly prefix?: string;
}

export const defOf = (schema: Schema): Def => schema._zod.def as unknown as Def;

/** What a wrapper holds, one step in; null for a schema that is no wrapper. */
function wrapped(schema: Schema): Schema | null {
  const def = defOf(schema);
  if (def.innerType) return def.innerType;
  if (def.type === "lazy") return def.getter!();
  if (def.type === "pipe") return defOf(def.in!).type === "transform" ? def.out! : def.in!;
  return null;
}

/** The schema and everything it wraps, from the outside in. */
export function layers(schema: Schema): Schema[] {
  const found = [schema];
  for (let inner = wrapped(schema); inner; inner = wrapped(inner)) found.push(inner);
  return found;
}

/** True where what is read is not what was written: a transformation stands between. */
export function isTransformed(schema: Schema): boolean {
  return layers(schema).some((layer) => defOf(layer).type === "pipe");
}

/** All that is noted on a schema and on what it wraps; the outer note wins, a secret anywhere is a secret. */
export function schemaMeta(schema: Schema): SchemaMeta {
  const notes = layers(schema).map((layer) => (globalRegistry.get(layer) ?? {}) as SchemaMeta);
  return Object.assign({}, ...notes.toReversed());
}

/**
 * The bare schemas a value at this place may follow: wrappers off, unions spread. With `value` at hand, only
 * those options of a discriminated union stay that its discriminator names (all, where it names none).
 */
export function bareSchemas(schema: Schema, value?: unknown): Schema[] {
  const bare = layers(schema).at(-1)!;
  const def = defOf(bare);
  if (def.type === "union") return unionOptions(bare, value).flatMap((option) => bareSchemas(option, value));
  if (def.type === "intersection") return [def.left!, def.right!].flatMap((side) => bareSchemas(side, value));
  return [bare];
}

function unionOptions(union: Schema, value: unknown): readonly Schema[] {
  const { options = [], discriminator } = defOf(union);
  if (discriminator === undefined || typeof value !== "object" || value === null) return options;
  const named = (value as Record<string, unknown>)[discriminator];
  const fitting = options.filter((option) => {
    const values = option._zod.propValues?.[discriminator];
    return values?.has(named as core.util.Primitive);
  });
  return fitting.length > 0 ? fitting : options;
}

/** Schemas of what stands under `key` in a map or list. */
export function childSchemas(schema: Schema, key: string | number, value?: unknown): Schema[] {
  return bareSchemas(schema, value).flatMap((bare) => {
    const def = defOf(bare);
    switch (def.type) {
      case "object":
        return Object.hasOwn(def.shape!, key) ? [def.shape![key]!] : [];
      case "record":
      case "map":
        return [def.valueType!];
      case "array":
        return [def.element!];
      case "tuple":
        return def.items![Number(key)] ? [def.items![Number(key)]!] : [];
      default:
        return [];
    }
  });
}

/** Schemas of the place `path`, narrowed by the values on the way to it. */
export function schemasAt(root: Schema, path: Path, value: unknown): Schema[] {
  let schemas: Schema[] = [root];
  let at = value;
  for (const key of path) {
    schemas = schemas.flatMap((schema) => childSchemas(schema, key, at));
    at = child(at, key);
  }
  return schemas;
}

export function valueAt(value: unknown, path: Path): unknown {
  return path.reduce(child, value);
}

function child(value: unknown, key: string | number): unknown {
  if (value === null || typeof value !== "object" || !Object.hasOwn(value, key)) return undefined;
  return (value as Record<string, unknown>)[key];
}

/** True where the place, or one that holds it, is a secret. */
export function isSecretAt(root: Schema, path: Path, value: unknown): boolean {
  return path.some((_, at) => schemasAt(root, path.slice(0, at + 1), value).some(hasSecret));
}

/** A union with a secret among its options is one, since nobody can tell which option a wrong value meant. */
export function hasSecret(schema: Schema): boolean {
  return schemaMeta(schema).secret === true || bareSchemas(schema).some((bare) => schemaMeta(bare).secret);
}

/** Names of the keys a map may have here; empty where it may have any. */
export function knownKeys(schemas: readonly Schema[], value?: unknown): string[] {
  const bare = schemas.flatMap((schema) => bareSchemas(schema, value));
  return [...new Set(bare.flatMap((each) => Object.keys(defOf(each).shape ?? {})))];
}

/**
 * A copy of `value` in which `change` had its say at every place, the outer ones first. It is given the
 * place's schemas, and returns what is to stand there, or undefined to go on inside.
 */
export function mapBySchema(
  root: Schema,
  value: unknown,
  change: (value: unknown, schemas: readonly Schema[], path: Path) => unknown,
): unknown {
  const visit = (schemas: readonly Schema[], at: unknown, path: Path): unknown => {
    const changed = change(at, schemas, path);
    if (changed !== undefined || at === null || typeof at !== "object") return changed ?? at;
    const below = (key: string | number, inner: unknown) =>
      visit(
        schemas.flatMap((schema) => childSchemas(schema, key, at)),
        inner,
        [...path, key],
      );
    if (Array.isArray(at)) return at.map((inner, index) => below(index, inner));
    return Object.fromEntries(Object.entries(at).map(([key, inner]) => [key, below(key, inner)]));
  };
  return visit([root], value, []);
}
