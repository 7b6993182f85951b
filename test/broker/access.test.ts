import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Access, covers, isLoopback, openDoorProblem } from "../../src/broker/access.ts";
import { accessSchema, brokerSchema, listenerSchema } from "../../src/broker/schema.ts";
import { topicMatches } from "../../src/core/topic.ts";

const PASSWORD = "$scrypt$ln=10,r=8,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg";
const access = (user: object, name = "press-7") =>
  new Access(accessSchema.parse({ users: { [name]: { password: PASSWORD, ...user } } }));
const rules = (user: object, clientId = "press-7", name = "press-7") =>
  access(user, name).rulesOf({ user: name, clientId });

describe("a user", () => {
  it("may do nothing that no rule allows", () => {
    const none = rules({});
    expect(none.mayPublish("a")).toBe(false);
    expect(none.maySubscribe("a")).toBe(false);
  });

  it("may publish what a rule matches", () => {
    const some = rules({ publish: ["plant/+/%u/#"] });
    expect(some.mayPublish("plant/1/press-7/temp")).toBe(true);
    expect(some.mayPublish("plant/1/press-8/temp")).toBe(false);
    expect(some.maySubscribe("plant/1/press-7/temp")).toBe(false);
  });

  it("may not publish to $SYS or holdfast/ whatever the rules", () => {
    for (const each of [
      rules({ publish: ["#", "$SYS/#", "holdfast/#"] }),
      new Access({ users: {} }).rulesOf({ user: null, clientId: "x" }),
    ]) {
      expect(each.mayPublish("$SYS/x/new/clients")).toBe(false);
      expect(each.mayPublish("holdfast/gateway/status")).toBe(false);
      expect(each.mayPublish("plant")).toBe(true);
    }
  });

  it("sees $SYS only where a rule names it", () => {
    expect(rules({ subscribe: ["#"] }).maySubscribe("$SYS/#")).toBe(false);
    expect(rules({ subscribe: ["+/#"] }).maySubscribe("$SYS/broker")).toBe(false);
    expect(rules({ subscribe: ["$SYS/#"] }).maySubscribe("$SYS/broker")).toBe(true);
  });

  it("may subscribe to # only where a rule says #", () => {
    expect(rules({ subscribe: ["plant/#"] }).maySubscribe("#")).toBe(false);
    expect(rules({ subscribe: ["#"] }).maySubscribe("#")).toBe(true);
  });

  it.each(["a/b", "+", "#", "a#", "a+b", "x\0y", ""])(
    "with the client id %j does not widen a rule",
    (clientId) => {
      const some = rules({ publish: ["plant/%c/#"], subscribe: ["plant/%c/#"] }, clientId);
      expect(some.mayPublish(`plant/${clientId}/x`)).toBe(false);
      expect(some.mayPublish("plant/other/x")).toBe(false);
      expect(some.maySubscribe("plant/other/x")).toBe(false);
      expect(some.maySubscribe("plant/+/x")).toBe(false);
    },
  );

  it("has the client ids that are its name, or begin with it and a mark that no name holds", () => {
    const owns = (clientId: string) => access({}).ownsClientId({ user: "press-7", clientId });
    for (const own of ["press-7", "press-7:a", "press-7/sensor"]) expect(owns(own)).toBe(true);
    for (const other of ["press-70", "press-7-b", "press-", "xpress-7", ""]) expect(owns(other)).toBe(false);
    expect(access({ clientIds: ["cell4-*"] }).ownsClientId({ user: "press-7", clientId: "cell4-x" })).toBe(
      true,
    );
    expect(access({ clientIds: ["cell4.*"] }).ownsClientId({ user: "press-7", clientId: "cell4xy" })).toBe(
      false,
    );
  });

  it("gives its messages the name of its device", () => {
    const device = (config: object) => access(config).deviceOf({ user: "press-7", clientId: "press-7:x" });
    expect(device({ device: "Press 7" })).toBe("Press 7");
    expect(device({})).toBe("press-7");
    expect(new Access({ users: {} }).deviceOf({ user: null, clientId: "abc" })).toBe("abc");
  });
});

describe("a rule covers a filter", () => {
  it.each([
    ["#", "#", true],
    ["#", "a/+/b", true],
    ["a/#", "a", true],
    ["a/#", "a/#", true],
    ["a/#", "+/b", false],
    ["a/+", "a/b", true],
    ["a/+", "a/+", true],
    ["a/+", "a/#", false],
    ["a/+", "a", false],
    ["a/b", "a/+", false],
    ["+/b", "a/b", true],
    ["+", "a/b", false],
    ["#", "$SYS/#", false],
  ])("%s over %s: %s", (rule, filter, answer) => {
    expect(covers(rule, filter)).toBe(answer);
  });

  it("only where every topic of the filter is one of the rule", () => {
    const level = fc.constantFrom("a", "b", "", "$x");
    const topic = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join("/"));
    const filter = fc
      .tuple(
        fc.array(fc.constantFrom("a", "b", "", "+", "$x"), { maxLength: 3 }),
        fc.constantFrom("a", "+", "#"),
      )
      .map(([levels, last]) => [...levels, last].join("/"));
    fc.assert(
      fc.property(filter, filter, topic, (rule, wanted, name) => {
        fc.pre(covers(rule, wanted) && topicMatches(wanted, name));
        return topicMatches(rule, name);
      }),
      { numRuns: 500 },
    );
  });
});

describe("an open door", () => {
  const listeners = (...hosts: string[]) => hosts.map((host) => listenerSchema.parse({ type: "tcp", host }));

  it("is allowed on loopback alone", () => {
    expect(openDoorProblem({ users: {} }, listeners("127.0.0.1", "::1", "localhost"))).toBeNull();
    expect(openDoorProblem({ users: {} }, listeners("127.0.0.1", "0.0.0.0"))).toContain(
      "broker.listeners[1]",
    );
    expect(
      openDoorProblem(accessSchema.parse({ users: { a: { password: PASSWORD } } }), listeners("0.0.0.0")),
    ).toBeNull();
    expect(["127.0.0.1.example", "127.0.0.1 ", "0.0.0.0", "::", ""].filter(isLoopback)).toEqual([]);
  });

  it("is what the default config has, on loopback", () => {
    const config = brokerSchema.parse({});
    expect(config.listeners.map(({ type, host, port }) => [type, host, port])).toEqual([
      ["tcp", "127.0.0.1", 1883],
      ["ws", "127.0.0.1", 9001],
    ]);
    expect(openDoorProblem(accessSchema.parse({}), config.listeners)).toBeNull();
  });
});
