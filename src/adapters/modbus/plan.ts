/**
 * Which requests read a set of values: as few as the limits allow. Pure.
 *
 * Values of one table, in order of their addresses, are put into one request as long as it stays within the
 * size limit and no more than `gapMax` addresses between two of them are read for nothing. Taking as much as
 * fits each time is as good as any other way, since a value is never cut in two.
 */
import type { Table } from "./schema.ts";

export interface Span {
  readonly table: Table;
  readonly address: number;
  /** In registers, or in bits for coils and discrete inputs. */
  readonly size: number;
}

export interface Request<S extends Span> {
  readonly table: Table;
  readonly address: number;
  readonly count: number;
  readonly spans: readonly S[];
}

export interface PlanLimits {
  readonly gapMax: number;
  readonly registersMax: number;
  readonly bitsMax: number;
}

export function planRequests<S extends Span>(spans: readonly S[], limits: PlanLimits): Request<S>[] {
  const requests: Request<S>[] = [];
  for (const [table, all] of Map.groupBy(spans, (span) => span.table)) {
    const countMax = table === "coil" || table === "discrete" ? limits.bitsMax : limits.registersMax;
    let open: S[] = [];
    let [from, end] = [0, 0];
    const close = () => {
      if (open.length > 0) requests.push({ table, address: from, count: end - from, spans: open });
    };
    for (const span of all.toSorted((a, b) => a.address - b.address)) {
      const newEnd = Math.max(end, span.address + span.size);
      if (open.length === 0 || span.address - end > limits.gapMax || newEnd - from > countMax) {
        close();
        open = [span];
        [from, end] = [span.address, span.address + span.size];
      } else {
        open.push(span);
        end = newEnd;
      }
    }
    close();
  }
  return requests;
}
