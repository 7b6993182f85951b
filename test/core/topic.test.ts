/** Topic names and filters as MQTT 3.1.1, section 4.7 has them. */
import { describe, expect, it } from "vitest";
import { TOPIC_BYTES_MAX, topicFilterProblem, topicMatches, topicNameProblem } from "../../src/core/topic.ts";

describe("a filter", () => {
  // The examples of section 4.7 and their neighbours.
  it.each([
    ["sport/tennis/player1/#", "sport/tennis/player1", true],
    ["sport/tennis/player1/#", "sport/tennis/player1/ranking", true],
    ["sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true],
    ["sport/tennis/player1/#", "sport/tennis/player10", false],
    ["sport/tennis/player1/#", "sport/tennis", false],
    ["sport/#", "sport", true],
    ["sport/#", "sport/", true],
    ["sport/#", "sports", false],
    ["#", "sport", true],
    ["#", "/", true],
    ["#", "a/b/c", true],
    ["sport/tennis/+", "sport/tennis/player1", true],
    ["sport/tennis/+", "sport/tennis/player1/ranking", false],
    ["sport/+", "sport", false],
    ["sport/+", "sport/", true],
    ["+", "sport", true],
    ["+", "/finance", false],
    ["+/+", "/finance", true],
    ["/+", "/finance", true],
    ["+/tennis/#", "sport/tennis", true],
    ["+/tennis/#", "sport/tennis/x", true],
    ["+/+/#", "a", false],
    ["+/+/#", "a/b", true],
    ["+/#", "a", true],
    ["sport/+/player1", "sport/tennis/player1", true],
    ["sport/+/player1", "sport//player1", true],
    ["sport/+/player1", "sport/tennis/player2", false],
    ["a/b", "a/b", true],
    ["a/b", "A/b", false],
    ["a/b", "a/b/", false],
    ["a/b/", "a/b", false],
    ["/a", "a", false],
    ["a/+/c", "a/b", false],
    ["a/b/c", "a/b", false],
    ["a/b", "a/b/c", false],
    ["ab", "a", false],
    ["a", "ab", false],
    ["+a", "xa", false],
    ["#", "$SYS/broker", false],
    ["+/broker", "$SYS/broker", false],
    ["+/#", "$SYS/broker", false],
    ["$SYS/#", "$SYS/broker", true],
    ["$SYS/#", "$SYS", true],
    ["$SYS/monitor/+", "$SYS/monitor/Clients", true],
    ["plant/#", "plant/$x", true],
    ["+/ü", "a/ü", true],
  ])("%s and the topic %s: %s", (filter, topic, matches) => {
    expect(topicMatches(filter, topic)).toBe(matches);
  });
});

describe("what cannot be published to", () => {
  it.each([
    ["", /empty/],
    ["a/#", /wildcard/],
    ["a/+/b", /wildcard/],
    ["a+b", /wildcard/],
    ["a\u0000b", /NUL/],
    ["a\ufffdb", /UTF-8/],
    ["a\ud800b", /UTF-8/],
    ["x".repeat(TOPIC_BYTES_MAX + 1), /longer/],
    ["ü".repeat(TOPIC_BYTES_MAX / 2 + 1), /longer/],
  ])("%j", (topic, problem) => {
    expect(topicNameProblem(topic)).toMatch(problem);
  });

  it.each(["a", "/", "a//b", " ", "a b", "$SYS/x", "ü/€/😀", "x".repeat(TOPIC_BYTES_MAX)])(
    "%j can be",
    (topic) => {
      expect(topicNameProblem(topic)).toBeNull();
    },
  );
});

describe("what cannot be subscribed to", () => {
  it.each([
    ["", /empty/],
    ["sport/tennis#", /#/],
    ["sport/tennis/#/ranking", /#/],
    ["#/a", /#/],
    ["##", /#/],
    ["sport+", /\+/],
    ["+a/b", /\+/],
    ["a/++/b", /\+/],
    ["a\u0000", /NUL/],
  ])("%j", (filter, problem) => {
    expect(topicFilterProblem(filter)).toMatch(problem);
  });

  it.each(["#", "+", "/#", "+/+/#", "a/+/b/#", "a", "/", "$SYS/#"])("%j can be", (filter) => {
    expect(topicFilterProblem(filter)).toBeNull();
  });
});
