/** The straight line that fits points best, by least squares. */
export interface Line {
  /** Per unit of x. */
  readonly slope: number;
  /** What the line rises by between the first and the last point. */
  readonly rise: number;
}

/** `points` as [x, y]; fewer than two, or all at one x, are level. */
export function fitLine(points: readonly (readonly [number, number])[]): Line {
  const n = points.length;
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / n;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / n;
  let xx = 0;
  let xy = 0;
  for (const [x, y] of points) {
    xx += (x - meanX) ** 2;
    xy += (x - meanX) * (y - meanY);
  }
  if (n < 2 || xx === 0) return { slope: 0, rise: 0 };
  const slope = xy / xx;
  return { slope, rise: slope * (points.at(-1)![0] - points[0]![0]) };
}
