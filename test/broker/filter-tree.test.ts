import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FilterTree } from "../../src/broker/filter-tree.ts";
import { topicMatches } from "../../src/core/topic.ts";

const level = fc.constantFrom("a", "b", "", "$a");
const topic = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join("/"));
const filter = fc
  .tuple(
    fc.array(fc.constantFrom("a", "b", "", "+", "$a"), { maxLength: 3 }),
    fc.constantFrom("a", "", "+", "#"),
  )
  .map(([levels, last]) => [...levels, last].join("/"));

describe("the tree of filters", () => {
  it("finds what matching each filter by itself finds, also after some are taken away", () => {
    fc.assert(
      fc.property(fc.uniqueArray(filter, { maxLength: 12 }), fc.nat(), topic, (filters, gone, name) => {
        const tree = new FilterTree<string>();
        for (const each of filters) tree.set(each, "client", each);
        const kept = filters.filter((_, at) => (at + gone) % 3 !== 0);
        for (const each of filters) if (!kept.includes(each)) tree.delete(each, "client");
        expect(tree.match(name).sort()).toEqual(kept.filter((each) => topicMatches(each, name)).sort());
        expect(tree.size).toBe(kept.length);
      }),
    );
  });

  it("keeps one value per filter and key", () => {
    const tree = new FilterTree<number>();
    tree.set("a/+", "x", 1);
    tree.set("a/+", "x", 2);
    tree.set("a/+", "y", 3);
    tree.delete("a/+", "z");
    tree.delete("never/there", "x");
    expect(tree.match("a/b")).toEqual([2, 3]);
    expect(tree.size).toBe(2);
  });
});
