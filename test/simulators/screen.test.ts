import { stripVTControlCharacters } from "node:util";
import { describe, expect, test } from "vitest";
import {
  narration,
  type PanelInput,
  panel,
  plainFigures,
  verdictLines,
} from "../../simulators/demo/panel.ts";
import { judge } from "../../simulators/oracle.ts";
import type { RigFigures } from "../../simulators/rig.ts";
import { bar, cutTo, openScreen, sparkline, wrap } from "../../simulators/screen.ts";

const WIDTH = 80;
const plain = (_style: string, text: string) => text;
const colored = (_style: string, text: string) => `\u001b[31m${text}\u001b[39m`;

const figures: RigFigures = {
  machines: 7,
  machinesUp: 7,
  sent: 123_456,
  acked: 123_450,
  repeats: 2_345,
  arrived: 100_000,
  wired: 0,
  wiredUp: 0,
  readings: 0,
  gatewayUp: true,
  backend: "commit-then-silent",
  gateway: {
    accepted: 123_450,
    delivered: 100_000,
    open: 23_400,
    waiting: 23_400,
    unknown: 0,
    dead: 50,
    expired: 0,
    evicted: 0,
    discarded: 0,
    duplicates: 2_345,
    late: 0,
    balanced: true,
    flows: {},
  },
};
const input: PanelInput = {
  figures,
  waitingHistory: Array.from({ length: 300 }, (_, i) => i * 80),
  doubled: 0,
  outOfOrder: 0,
  elapsedMs: 61_500,
  scene: "the backend takes messages, and its answers get lost",
};

/** What a terminal would show: understands only what openScreen writes. */
function terminal() {
  const rows: string[] = [];
  let at = 0;
  let cursorShown = true;
  return {
    isTTY: true as const,
    columns: WIDTH,
    rows: () => rows.join("\n").trimEnd(),
    cursorShown: () => cursorShown,
    write(text: string) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what this reads
      for (const [token] of text.matchAll(/\u001b\[\??(\d*)[A-Za-z]|\r|\n|[^\u001b\r\n]+/g)) {
        const count = Number(/\d+/.exec(token)?.[0] ?? 1);
        if (token.endsWith("A") && token.startsWith("\u001b")) at -= count;
        else if (token === "\u001b[J") rows.splice(at);
        else if (token === "\u001b[?25l") cursorShown = false;
        else if (token === "\u001b[?25h") cursorShown = true;
        else if (token === "\n") at++;
        else if (token !== "\r" && !token.startsWith("\u001b")) rows[at] = (rows[at] ?? "") + token;
        rows[at] ??= "";
      }
      return true;
    },
  };
}

describe("the screen", () => {
  test("keeps sentences above and draws the last lines in place", () => {
    const out = terminal();
    const screen = openScreen(out);
    screen.say("first");
    screen.draw(["a 1", "b 1"]);
    screen.say("second");
    screen.draw(["a 2"]);
    expect(out.rows()).toBe("first\nsecond\na 2");
    expect(out.cursorShown()).toBe(false);
    screen.end();
    expect(out.cursorShown()).toBe(true);
    screen.say("third");
    expect(out.rows()).toBe("first\nsecond\na 2\nthird");
  });

  test("takes the drawing away where asked, and gives the cursor back once", () => {
    const out = terminal();
    const screen = openScreen(out);
    screen.say("kept");
    screen.draw(["gone"]);
    screen.end(false);
    screen.end(false);
    expect(out.rows()).toBe("kept");
    expect(out.cursorShown()).toBe(true);
  });

  test("writes sentences alone, without escape sequences, where it is no terminal", () => {
    let text = "";
    const screen = openScreen({ write: (more) => (text += more) });
    screen.draw(["figures"]);
    screen.say("a sentence");
    screen.end();
    expect(screen.live).toBe(false);
    expect(text).toBe("a sentence\n");
  });

  test("cuts a line by what is seen of it", () => {
    expect(cutTo("abcdef", 4)).toBe("abc…");
    const cut = cutTo(`\u001b[31m${"x".repeat(100)}\u001b[39m`, 10);
    expect(stripVTControlCharacters(cut)).toBe(`${"x".repeat(9)}…`);
    expect(cut.endsWith("\u001b[39m…")).toBe(true);
  });

  test("wraps, and draws bars and curves of the width asked for", () => {
    expect(wrap("one two three", 8, "  ")).toBe("one two\n  three");
    expect(bar(0.5, 10)).toBe("█████░░░░░");
    expect(bar(7, 4)).toBe("████");
    expect(sparkline([0, 1, 2], 5)).toBe("▁▅█  ");
    expect(sparkline([0, 1, 2, 1, 0, 0], 3)).toBe("▅█▁");
  });
});

describe("the demo's panel", () => {
  test("fits into 80 columns, in colour and without, whatever the figures", () => {
    for (const paint of [plain, colored]) {
      for (const line of panel(input, paint)) {
        expect(stripVTControlCharacters(line).length).toBeLessThanOrEqual(WIDTH);
      }
    }
  });

  test("shows what is up, what waits and that the accounting adds up", () => {
    const text = panel(input, plain).join("\n");
    expect(text).toContain("23,400 waiting on disk");
    expect(text).toContain("accepted 123,450 = delivered 100,000 + waiting 23,400 + dead 50  ✓");
    const down = panel({ ...input, figures: { ...figures, gatewayUp: false, backend: "away" } }, plain).join(
      "\n",
    );
    expect(down).toContain("DOWN");
    expect(down).toContain("AWAY");
    const own = { ...figures.gateway!, balanced: false };
    expect(panel({ ...input, figures: { ...figures, gateway: own } }, plain).join("\n")).toContain(
      "does not add up",
    );
  });

  test("tells the story, its figures and its end in lines of at most 80 columns", () => {
    const story = {
      atMs: 8_100,
      text: "a long sentence about what happens now, ".repeat(5),
      weight: "scene" as const,
    };
    const verdict = judge({ sent: [], arrivals: [] });
    const lines = [
      ...narration(story, WIDTH, plain).split("\n"),
      ...verdictLines({ kept: true, drained: true, verdict, figures }, plain),
    ];
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(WIDTH);
    expect(lines.join("\n")).toContain("The promise was kept");
    const end = (kept: boolean, drained: boolean) =>
      verdictLines({ kept, drained, verdict, figures }, plain).join("\n");
    expect(end(false, true)).toContain("was not kept");
    expect(end(true, false)).toContain("Nothing is lost, but not all had arrived");
    expect(plainFigures({ ...figures, atMs: 1_000, doubled: 0, outOfOrder: 0 }, plain)).toContain(
      "waiting 23,400",
    );
  });
});
