/** What somebody probably meant to write. */

/** A word this long and longer is not compared: nobody mistypes it by one letter, and the table is quadratic. */
const WORD_CHARS_MAX = 80;

/**
 * The one of `words` that `typed` is most likely a slip of, or null where none is near. Upper and lower
 * case, `-` and `_` count as no difference; otherwise about one slip in three letters is allowed.
 */
export function nearMiss(typed: string, words: Iterable<string>): string | null {
  if (typed.length > WORD_CHARS_MAX) return null;
  const plain = simplify(typed);
  let best: string | null = null;
  let bestSlips = Math.floor(plain.length / 3) + 1;
  for (const word of words) {
    if (word.length > WORD_CHARS_MAX) continue;
    const slips = word === typed ? Infinity : slipCount(plain, simplify(word));
    if (slips < bestSlips) {
      best = word;
      bestSlips = slips;
    }
  }
  return best;
}

const simplify = (word: string) => word.toLowerCase().replaceAll(/[-_\s]/g, "");

/**
 * Letters added, left out, changed, or swapped with their neighbour, to get from `a` to `b`.
 * The optimal string alignment distance.
 */
export function slipCount(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let slips = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        slips = Math.min(slips, beforeLast[j - 2]! + 1);
      }
      row.push(slips);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
