/** The value below which a share of the values lies, 0 to 1; `values` in ascending order. 0 where there are none. */
export function percentile(values: readonly number[], share: number): number {
  return values[Math.max(0, Math.ceil(values.length * share) - 1)] ?? 0;
}
