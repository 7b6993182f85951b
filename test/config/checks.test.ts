import { describe, expect, it } from "vitest";
import { ConfigFolder, failure, PASSWORD_HASH } from "../support/config-folder.ts";

const here = ConfigFolder.forEachTest();
const load = (yaml: string) => here.load(yaml);
const problems = (yaml: string) => here.problems(yaml);

describe("parts of a config that do not fit together", () => {
  const flow = (options: string) =>
    `flows:\n  a: {from: "#", to: outbox, ${options}}\n  b: {from: "#", to: outbox}`;

  it.each([
    [
      "a target that does not exist",
      "targets: {backend: {type: file}}\nflows: {a: {from: x, to: bakend}}",
      '2:26: flows.a.to: found "bakend", and there is no such target; did you mean `backend`?',
    ],
    [
      "a target that does not exist, with nothing near",
      "targets: {backend: {type: file}}\nflows: {a: {from: x, to: cloud}}",
      '2:26: flows.a.to: found "cloud", and there is no such target; there are: backend',
    ],
    [
      "targets without flows",
      "targets: {backend: {type: file}}",
      "1:10: targets: there are targets but no flows, so nothing would reach them; add `flows`, each with `from` and `to`",
    ],
    [
      "a user in the name of a machine that is read",
      `devices: {plc: {type: modbus, connection: {type: tcp, host: a}, groups: {g: {registers: {s: {address: 0}}}}}}\naccess: {users: {plc: {password: "${PASSWORD_HASH}"}}}`,
      "2:23: access.users.plc: `plc` is a machine of `devices`, which Holdfast reads itself; no client may send in its name",
    ],
    [
      "late messages with nowhere to go",
      flow("lateAfter: 1m, late: divert"),
      "2:51: flows.a.late: `late: divert` needs `divertTo`, the name of the flow that takes late messages",
    ],
    [
      "late messages that go to no flow",
      flow("lateAfter: 1m, late: divert, divertTo: c1"),
      '2:69: flows.a.divertTo: found "c1", and there is no such flow; there are: a, b',
    ],
    [
      "a way for late messages that none takes",
      flow("lateAfter: 1m, divertTo: b"),
      "2:55: flows.a.divertTo: never used, since `late` is not `divert`",
    ],
    [
      "lateness that is never reached",
      flow("late: drop"),
      "2:36: flows.a.late: never used, since without `lateAfter` no message is late",
    ],
    [
      "a flow that diverts to itself",
      flow("lateAfter: 1m, late: divert, divertTo: a"),
      "2:69: flows.a.divertTo: goes in a circle: a → a",
    ],
    [
      "a circle of three",
      [
        "flows:",
        ...["ab", "bc", "ca"].map(
          ([one, two]) => `  ${one}: {from: x, to: outbox, lateAfter: 1m, late: divert, divertTo: ${two}}`,
        ),
      ].join("\n"),
      "2:67: flows.a.divertTo: goes in a circle: a → b → c → a",
    ],
    [
      "two listeners on one port",
      "broker: {listeners: [{type: tcp}, {type: ws, port: 1883}]}",
      "1:52: broker.listeners[1].port: 127.0.0.1:1883 is already taken by broker.listeners[0]; give one of them another port",
    ],
    [
      "a listener on the HTTP door's port",
      "web: {port: 1883}",
      "1:13: web.port: 127.0.0.1:1883 is already taken by broker.listeners[0]; give one of them another port",
    ],
    [
      "two listeners of one name",
      "broker: {listeners: [{type: tcp, name: a}, {type: ws, name: a}]}",
      '1:61: broker.listeners[1].name: two listeners are called "a"',
    ],
    [
      "payloads larger than the store has room for",
      "intake: {payloadBytesMax: 8MiB}\nqueue: {bytesMax: 12MiB, reserve: 4MiB}",
      "1:27: intake.payloadBytesMax: a payload of 8.0 MiB would hardly fit into the store; allowed is half of queue.bytesMax less queue.reserve, 4.0 MiB",
    ],
    [
      "two targets in one folder",
      "targets: {a: {type: file}, b: {type: file, folder: ./outbox/}}\nflows: {}",
      '1:52: targets.b.folder: the target `a` writes into the folder "./outbox/" too; give each its own',
    ],
    [
      "a question that the target cannot answer",
      "targets: {a: {type: http, url: 'http://127.0.0.1', idempotent: false}}\nflows: {a: {from: x, to: a, onUnknown: probe}}",
      "2:40: flows.a.onUnknown: `probe` asks the backend whether it has a message, and the target `a` has no hasUrl; use retry or hold",
    ],
  ])("are told: %s", async (_, yaml, problem) => {
    expect(await problems(yaml)).toEqual([`holdfast.yaml:${problem}`]);
  });

  it("are told together with what is wrong elsewhere", async () => {
    const lines = await problems("log: {level: loud}\nflows: {a: {from: x, to: outbx}}");
    expect(lines).toHaveLength(2);
    expect(lines[1]).toContain("did you mean `outbox`?");
  });

  it("may share port 0, and another interface", async () => {
    await load("broker: {listeners: [{type: tcp, port: 0}, {type: ws, port: 0}]}\nweb: {port: 0}");
    await load("broker: {listeners: [{type: tcp}, {type: tcp, host: '::1'}]}");
  });
});

describe("a listener that other machines reach", () => {
  const open = "broker:\n  listeners:\n    - {type: tcp, host: 0.0.0.0}\n";

  it("is refused without users, by a code of its own", async () => {
    const error = await failure(load(open));
    expect(error).toMatchObject({ code: "HF_OPEN_DOOR", exitCode: 78 });
    expect(error.message).toContain(
      'holdfast.yaml:3:25: broker.listeners[0].host: found "0.0.0.0", which is open to the network, and there are no users; add access.users, or listen on 127.0.0.1',
    );
  });

  it("is fine with users", async () => {
    await load(`${open}access: {users: {joe: {password: "${PASSWORD_HASH}"}}}`);
  });

  it("is one problem among others where there are others", async () => {
    expect(
      (await failure(load(`${open}web: {port: 1883}\naccess: {}\nflows: {a: {from: x, to: y}}`))).code,
    ).toBe("HF_CONFIG");
  });
});

describe("notifications", () => {
  const notify = async (text: string) => (await failure(load(`notify: ${text}`))).message;

  it("go to channels and targets that exist, and to topics that there are", async () => {
    expect(await notify("{channels: {phone: {type: mqtt}}, rules: {disk: {channels: [phon]}}}")).toContain(
      'notify.rules.disk.channels[0]: found "phon", and there is no such channel; did you mean `phone`?',
    );
    expect(await notify("{channels: {a: {type: mqtt, target: mes}}}")).toContain("there is no such target");
    expect(await notify("{channels: {a: {type: mqtt, target: outbox}}}")).toContain(
      "is of type file, which has no topics",
    );
    expect(await notify("{channels: {a: {type: mqtt, topic: 'a/#'}}}")).toContain("wildcard");
  });

  it("keep their secrets out of what is printed, and their thresholds in order", async () => {
    expect(await notify("{channels: {a: {type: webhook, url: 'http://me:secret@x/'}}}")).toContain(
      "under auth",
    );
    expect(await notify("{rules: {backlog: {above: 1m, clearAt: 2m}}}")).toContain(
      "clearAt must not exceed above",
    );
  });
});

describe("rules for commands", () => {
  const devices = `devices:
  press-7: {type: modbus, connection: {type: tcp, host: a}, groups: {g: {registers: {level: {address: 0, write: {min: 0, max: 9}}, speed: {address: 1}}}}}
  scale-1: {type: serial, connection: {path: /dev/ttyS0}, groups: {g: {match: "(?<kg>.+)", fields: {kg: {}}}}, commands: {tare: {send: T, answer: ok}}}
  packer-2: {type: mqtt, commands: {topic: a, replyTopic: b, signals: {step: {type: none}}}}
  meter: {type: modbus, connection: {type: tcp, host: b}, groups: {g: {registers: {kwh: {address: 0}}}}}
`;
  const classes = (entry: string) => `${devices}commands: {classes: {c: ${entry}}}`;

  it.each([
    "{devices: [press-7, scale-*, packer-2], signals: [level, tare, st*]}",
    "{signals: [level]}",
    "{onUnknown: hold}",
  ])("are for devices and signals that can be commanded: %s", async (entry) => {
    await load(classes(entry));
  });

  it.each([
    [
      "{devices: [pres-7]}",
      'devices[0]: found "pres-7", and there is no such device that takes commands; did you mean `press-7`?',
    ],
    [
      "{devices: [scale-1, meter]}",
      'devices[1]: found "meter", and there is no such device that takes commands; there are: ',
    ],
    ["{devices: [packing-*]}", 'devices[0]: found "packing-*", and there is no such device'],
    [
      "{signals: [speed]}",
      'signals[0]: found "speed", and there is no such signal of theirs that can be commanded; there are: level, tare, step',
    ],
    [
      "{devices: [press-7], signals: [step]}",
      'signals[0]: found "step", and there is no such signal of theirs',
    ],
  ])("and for none that a slip has made: %s", async (entry, sentence) => {
    const [problem = "", ...others] = await problems(classes(entry));
    expect(problem).toMatch(/^holdfast\.yaml:6:\d+: commands\.classes\.c\./);
    expect(problem).toContain(sentence);
    expect(others).toEqual([]);
  });

  it("from upstream too", async () => {
    const upstream = "{url: 'mqtt://a', topic: t, allow: [{devices: [packer-2], signals: [stop]}]}";
    expect(await problems(`${devices}commands: {upstreams: {scada: ${upstream}}}`)).toEqual([
      expect.stringContaining('commands.upstreams.scada.allow[0].signals[0]: found "stop"'),
    ]);
  });
});
