/**
 * Finds the rows of a damaged store, table by table, around what cannot be read.
 *
 * Which table a page belongs to is told by three witnesses, so that one damaged page costs its own rows alone:
 *
 *   the tree      from the table's root page down, as SQLite itself would go
 *   the map       pages that say of every page what it is and which page is above it (auto_vacuum keeps them): a
 *                 leaf under a damaged page is found from below
 *   the rows      where neither of them knows, a page is what most of its rows fit; what it says may be out of date
 *
 * Pages that are free hold rows that were deleted: they are left alone.
 * The tables' roots are where the schema says, or, that being unreadable, where a new store has them: in a store
 * with auto_vacuum, root pages are kept at the front in the order in which their tables were made.
 */
import { type Db, PAGE_BYTES } from "./database.ts";
import type { PageFile } from "./page-file.ts";
import {
  childrenOf,
  INDEX_INTERIOR,
  INDEX_LEAF,
  kindOf,
  rowsOf,
  type StoredRow,
  TABLE_INTERIOR,
  TABLE_LEAF,
  type Value,
} from "./record.ts";

export interface Column {
  readonly name: string;
  readonly type: string;
  readonly required: boolean;
  /** The rowid under another name: its value is not in the record. */
  readonly isKey: boolean;
}

export interface Layout {
  readonly name: string;
  readonly root: number;
  readonly hasRowid: boolean;
  /** None for an index. */
  readonly columns: readonly Column[];
}

/** Tables and indexes of a store of this version. */
export function layoutsOf(db: Db): Layout[] {
  const objects = db
    .prepare(
      `SELECT s.name, s.rootpage AS root, s.type, coalesce(t.wr, 0) AS keyed
       FROM sqlite_schema s LEFT JOIN pragma_table_list t ON t.name = s.name AND t.schema = 'main'
       WHERE s.rootpage > 0 ORDER BY s.rootpage`,
    )
    .all() as { name: string; root: number; type: string; keyed: number }[];
  return objects.map(({ name, root, type, keyed }) => ({
    name,
    root,
    hasRowid: type === "table" && keyed === 0,
    columns: type === "table" ? columnsOf(db, name, keyed === 0) : [],
  }));
}

function columnsOf(db: Db, table: string, hasRowid: boolean): Column[] {
  const columns = db.pragma(`table_info(${table})`) as {
    name: string;
    type: string;
    notnull: number;
    pk: number;
    dflt_value: unknown;
  }[];
  return columns.map(({ name, type, notnull, pk }) => ({
    name,
    type,
    required: notnull === 1 || pk > 0,
    isKey: hasRowid && pk > 0 && type === "INTEGER",
  }));
}

/** A row's values by column; null where it cannot be one of this table. Columns added later may be missing. */
export function asRow(layout: Layout, row: StoredRow): Record<string, Value> | null {
  if (layout.hasRowid !== (row.key !== null) || row.values.length > layout.columns.length) return null;
  const fitted: Record<string, Value> = {};
  for (const [at, column] of layout.columns.entries()) {
    if (column.isKey && row.values[at] !== null) return null;
    const value = column.isKey ? row.key : row.values[at];
    if (value === undefined) continue;
    if (value === null ? column.required : !isOf(column.type, value)) return null;
    fitted[column.name] = value;
  }
  return fitted;
}

function isOf(type: string, value: NonNullable<Value>): boolean {
  if (type === "INTEGER") return typeof value === "number" && Number.isInteger(value);
  if (type === "TEXT") return typeof value === "string";
  return type === "BLOB" ? Buffer.isBuffer(value) : true;
}

export interface FoundRow {
  readonly table: Layout;
  readonly row: StoredRow;
}

export interface TreeFindings {
  /** Pages of tables that cannot be read at all. */
  pagesUnreadable: number;
  /** Rows on pages that can be read otherwise. */
  rowsUnreadable: number;
  /** Tables and indexes with any of these. */
  readonly tablesHit: Set<string>;
}

/** What the map says of a page: 1 a root, 2 free, 3 and 4 what a row runs over to, 5 of a tree. */
const MAP_ROOT = 1;
const MAP_FREE = 2;
const MAP_TREE = 5;
const MAP_ENTRY_BYTES = 5;
/** A map page and the pages that it speaks of. */
const MAP_REACH = 1 + Math.floor(PAGE_BYTES / MAP_ENTRY_BYTES);
/** A map page with more entries than this that make no sense is not believed at all. */
const MAP_NONSENSE_MAX = 2;
/** Trees are a few pages high. A longer way up is a circle. */
const DEPTH_MAX = 30;

export class TableFinder {
  readonly #file: PageFile;
  readonly #layouts: readonly Layout[];
  readonly #owner = new Map<number, Layout>();
  readonly #mapPages = new Map<number, Buffer | null>();
  readonly #hasMap: boolean;
  readonly #free: Set<number>;
  readonly findings: TreeFindings = { pagesUnreadable: 0, rowsUnreadable: 0, tablesHit: new Set() };

  constructor(file: PageFile, layouts: readonly Layout[]) {
    this.#file = file;
    this.#layouts = layouts;
    this.#hasMap = this.#looksLikeMap();
    this.#free = this.#freePages();
    const roots = this.#roots();
    for (const [root, layout] of roots) this.#owner.set(root, layout);
    for (const layout of layouts) if (![...roots.values()].includes(layout)) this.#missed(layout);
    for (const trusting of [false, true]) {
      for (const [root, layout] of roots) this.#walk(root, layout, trusting);
      if (!trusting) this.#climbAll();
    }
  }

  #missed({ name }: Layout): void {
    this.findings.pagesUnreadable += 1;
    this.findings.tablesHit.add(name);
  }

  /** Every row, those that may be out of date after all others. `ownedOnly`: not those of pages that nobody claims. */
  *rows(ownedOnly = false): Generator<FoundRow> {
    const unowned: number[] = [];
    const stale: FoundRow[] = [];
    for (let number = 1; number <= this.#file.pageCount; number++) {
      const layout = this.#owner.get(number);
      if (!layout) {
        if (number > 2 && !this.#isFree(number) && !this.#isMapPage(number)) unowned.push(number);
        continue;
      }
      const page = this.#file.page(number);
      if (!page || !this.#isOfTree(number, layout)) {
        this.#missed(layout);
        continue;
      }
      const { rows, unreadable } = rowsOf(number, page, (at) => this.#file.page(at));
      if (unreadable > 0) this.#rowsMissed(layout, unreadable);
      for (const row of rows) {
        if (row.stale) stale.push({ table: layout, row });
        else yield { table: layout, row };
      }
    }
    for (const [number, page] of this.#file.damagedPages()) {
      const table = this.#owner.get(number);
      const rows = table ? rowsOf(number, page, (at) => this.#file.page(at)).rows : [];
      for (const row of rows) yield { table: table!, row };
    }
    yield* stale;
    if (!ownedOnly) for (const number of unowned) yield* this.#byShape(number);
  }

  #rowsMissed({ name }: Layout, count: number): void {
    this.findings.rowsUnreadable += count;
    this.findings.tablesHit.add(name);
  }

  #roots(): Map<number, Layout> {
    const roots = new Map<number, Layout>();
    const named = new Map<string, number>();
    for (const { values } of this.#schemaRows()) {
      const [, name, , root] = values;
      if (typeof name === "string" && typeof root === "number") named.set(name, root);
    }
    for (const layout of this.#layouts) {
      const said = named.get(layout.name) ?? layout.root;
      const root = (this.#mapEntry(said)?.kind ?? MAP_ROOT) === MAP_ROOT ? said : layout.root;
      if (!roots.has(root) && this.#isOfTree(root, layout)) roots.set(root, layout);
      // A root that cannot be read: the pages below it are found from below.
      else if (!roots.has(root) && root <= this.#file.pageCount && !this.#kind(root)) roots.set(root, layout);
    }
    return roots;
  }

  #schemaRows(): StoredRow[] {
    const rows: StoredRow[] = [];
    const open = [1];
    for (let number = open.pop(); number !== undefined && rows.length < 1000; number = open.pop()) {
      const page = this.#file.page(number);
      const kind = page && kindOf(number, page);
      if (kind === TABLE_LEAF) rows.push(...rowsOf(number, page!, (at) => this.#file.page(at)).rows);
      else if (kind === TABLE_INTERIOR && open.length < DEPTH_MAX) open.push(...childrenOf(number, page!));
    }
    return rows;
  }

  /** Down from a root. What the map says otherwise is taken on the second walk alone, if nobody else has it. */
  #walk(root: number, layout: Layout, trusting: boolean): void {
    const open = [root];
    const seen = new Set(open);
    for (let number = open.pop(); number !== undefined; number = open.pop()) {
      const page = this.#file.page(number);
      const kind = page && kindOf(number, page);
      if (kind !== TABLE_INTERIOR && kind !== INDEX_INTERIOR) continue;
      for (const child of childrenOf(number, page!)) {
        if (child < 2 || child > this.#file.pageCount || seen.has(child) || this.#isFree(child)) continue;
        const owner = this.#owner.get(child);
        if (owner ? owner !== layout : !this.#isOfTree(child, layout)) continue;
        if (!owner && !trusting && this.#hasMap && this.#parentOf(child) !== number) continue;
        seen.add(child);
        this.#owner.set(child, layout);
        open.push(child);
      }
    }
  }

  /** Up from each page that the map calls one of a tree. */
  #climbAll(): void {
    if (!this.#hasMap) return;
    for (let number = 3; number <= this.#file.pageCount; number++) {
      if (this.#owner.has(number)) continue;
      const way: number[] = [];
      let at: number | null = number;
      while (at !== null && !this.#owner.has(at) && way.length < DEPTH_MAX) {
        way.push(at);
        at = this.#parentOf(at);
      }
      const layout = at === null ? undefined : this.#owner.get(at);
      if (!layout) continue;
      for (const below of way) this.#owner.set(below, layout);
    }
  }

  #byShape(number: number): FoundRow[] {
    const page = this.#file.page(number);
    if (!page) return [];
    const { rows } = rowsOf(number, page, (at) => this.#file.page(at));
    if (rows.length === 0) return [];
    let best: Layout | undefined;
    let most = rows.length / 2;
    for (const layout of this.#layouts) {
      if (layout.columns.length === 0) continue;
      const fitting = rows.filter(
        (row) => row.values.length === layout.columns.length && asRow(layout, row) !== null,
      ).length;
      if (fitting > most) [best, most] = [layout, fitting];
    }
    return best ? rows.map((row) => ({ table: best, row: { ...row, stale: true } })) : [];
  }

  #kind(number: number): number | null {
    const page = this.#file.page(number);
    return page && kindOf(number, page);
  }

  #isOfTree(number: number, layout: Layout): boolean {
    const kind = this.#kind(number);
    return layout.hasRowid
      ? kind === TABLE_LEAF || kind === TABLE_INTERIOR
      : kind === INDEX_LEAF || kind === INDEX_INTERIOR;
  }

  #isMapPage(number: number): boolean {
    return this.#hasMap && (number - 2) % MAP_REACH === 0;
  }

  /** The map's first page says of page 3, which is a root wherever there is a map, that it is one. */
  #looksLikeMap(): boolean {
    const header = this.#file.page(1);
    const map = this.#file.page(2);
    if (header && header.bytes.toString("latin1", 0, 15) === "SQLite format 3") {
      return header.bytes.readUInt32BE(52) !== 0;
    }
    return map?.bytes[0] === 1 && map.bytes.readUInt32BE(1) === 0;
  }

  /** Null where there is none, or none to be believed. */
  #mapEntry(number: number): { kind: number; parent: number } | null {
    if (!this.#hasMap || number < 3 || this.#isMapPage(number)) return null;
    const mapPage = 2 + Math.floor((number - 2) / MAP_REACH) * MAP_REACH;
    const bytes = this.#mapPage(mapPage);
    const at = (number - mapPage - 1) * MAP_ENTRY_BYTES;
    const kind = bytes?.[at] ?? 0;
    return kind >= MAP_ROOT && kind <= MAP_TREE ? { kind, parent: bytes!.readUInt32BE(at + 1) } : null;
  }

  #mapPage(number: number): Buffer | null {
    const known = this.#mapPages.get(number);
    if (known !== undefined) return known;
    const bytes = this.#file.page(number)?.bytes ?? null;
    const entries = Math.min(MAP_REACH - 1, this.#file.pageCount - number);
    let nonsense = 0;
    for (let entry = 0; bytes && entry < entries; entry++) {
      const kind = bytes[entry * MAP_ENTRY_BYTES]!;
      if (kind < MAP_ROOT || kind > MAP_TREE) nonsense += 1;
    }
    const believed = nonsense > MAP_NONSENSE_MAX ? null : bytes;
    this.#mapPages.set(number, believed);
    return believed;
  }

  #parentOf(number: number): number | null {
    const entry = this.#mapEntry(number);
    return entry?.kind === MAP_TREE ? entry.parent : null;
  }

  #isFree(number: number): boolean {
    const entry = this.#mapEntry(number);
    return entry ? entry.kind === MAP_FREE : this.#free.has(number);
  }

  #freePages(): Set<number> {
    const free = new Set<number>();
    let trunk = this.#file.page(1)?.bytes.readUInt32BE(32) ?? 0;
    while (trunk > 2 && trunk <= this.#file.pageCount && !free.has(trunk)) {
      const page = this.#file.page(trunk);
      if (!page || kindOf(trunk, page) !== null) break;
      free.add(trunk);
      const count = Math.min(page.bytes.readUInt32BE(4), PAGE_BYTES / 4 - 2);
      for (let at = 0; at < count; at++) free.add(page.bytes.readUInt32BE(8 + at * 4));
      trunk = page.bytes.readUInt32BE(0);
    }
    return free;
  }
}
