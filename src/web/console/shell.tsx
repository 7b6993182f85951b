/** What frames every screen: who this is and how it is, the way to the screens, and whether we are connected. */
import { useEffect, useRef } from "preact/hooks";
import { count, moment } from "../../core/plain-words.ts";
import { ActivityScreen } from "./activity-screen.tsx";
import { api } from "./api.ts";
import { CommandsScreen } from "./commands-screen.tsx";
import { DeadScreen } from "./dead-screen.tsx";
import { DevicesScreen } from "./devices-screen.tsx";
import { JobsScreen } from "./jobs-screen.tsx";
import { Keys, openKeys, watchKeys } from "./keys.tsx";
import { askNow, connection, loginNeeded, nowMs, seen, status } from "./live.ts";
import { LoginScreen } from "./login-screen.tsx";
import { State } from "./marks.tsx";
import { MessageScreen } from "./message-screen.tsx";
import { MessagesScreen } from "./messages-screen.tsx";
import { NotificationsScreen } from "./notifications-screen.tsx";
import { OverviewScreen } from "./overview-screen.tsx";
import { addressOf, route, type Screen } from "./route.ts";
import { chooseTheme, THEMES, type Theme, theme } from "./theme.ts";
import { visitor } from "./visitor.ts";

export const TITLES: Record<Screen, string> = {
  overview: "Overview",
  messages: "Messages",
  dead: "Dead letters",
  jobs: "Jobs",
  devices: "Devices",
  commands: "Commands",
  notifications: "Notifications",
  activity: "Activity",
};

export function Shell() {
  useEffect(watchKeys, []);
  const { screen, subject } = route.value;
  const title = loginNeeded.value ? "Sign in" : subject === null ? TITLES[screen] : `Message ${subject}`;
  const gateway = status.value?.health.gateway;
  const heading = useRef<HTMLHeadingElement>(null);
  const first = useRef(true);
  // The place is what the heading is focused for.
  useEffect(() => {
    // On a phone the row of screens is wider than its window.
    document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    // Another place in the page is announced, and reading begins there; not at the first, where nobody went anywhere.
    if (first.current) first.current = false;
    else heading.current?.focus();
  }, [screen, subject]);
  useEffect(() => {
    document.title = gateway ? `${title} · ${gateway}` : title;
  }, [title, gateway]);
  return (
    <>
      <button type="button" class="skip" onClick={() => heading.current?.focus()}>
        Skip to the content
      </button>
      <Head />
      <Connection />
      <main class={connection.value.kind === "down" ? "stale" : ""}>
        <h1
          ref={heading}
          tabIndex={-1}
          class={screen === "overview" && !loginNeeded.value ? "visually-hidden" : ""}
        >
          {title}
        </h1>
        {loginNeeded.value ? (
          <LoginScreen />
        ) : status.value === null ? (
          <p class="quiet">Asking the gateway …</p>
        ) : (
          <Content />
        )}
      </main>
      <Keys />
    </>
  );
}

function Content() {
  const { screen, subject } = route.value;
  switch (screen) {
    case "overview":
      return <OverviewScreen />;
    case "messages":
      return subject === null ? <MessagesScreen /> : <MessageScreen key={subject} id={subject} />;
    case "dead":
      return <DeadScreen />;
    case "jobs":
      return <JobsScreen />;
    case "devices":
      return <DevicesScreen />;
    case "commands":
      return <CommandsScreen />;
    case "notifications":
      return <NotificationsScreen />;
    case "activity":
      return <ActivityScreen />;
  }
}

function Head() {
  const health = status.value?.health;
  return (
    <header class="head">
      <div class="who">
        <a class="name" href={addressOf("overview")}>
          {health?.gateway ?? "Holdfast"}
        </a>
        {health && <Verdict />}
      </div>
      <nav aria-label="Screens" hidden={loginNeeded.value}>
        {(Object.keys(TITLES) as Screen[]).map((screen) => (
          <a
            key={screen}
            href={addressOf(screen)}
            aria-current={route.value.screen === screen ? "page" : undefined}
          >
            {TITLES[screen]}
            {screen === "dead" && <DeadCount />}
          </a>
        ))}
      </nav>
      <div class="tools">
        <Who />
        <button type="button" class="plain" onClick={openKeys} aria-label="Keyboard shortcuts">
          <kbd>?</kbd>
        </button>
        <label class="theme">
          <span class="visually-hidden">Colours</span>
          <select
            value={theme.value}
            onChange={({ currentTarget }) => chooseTheme(currentTarget.value as Theme)}
          >
            {THEMES.map((each) => (
              <option key={each} value={each}>
                {each === "system" ? "System colours" : each === "light" ? "Light" : "Dark"}
              </option>
            ))}
          </select>
        </label>
      </div>
    </header>
  );
}

/** Who is signed in, where one signs in, and the way out. */
function Who() {
  const here = visitor.value;
  if (loginNeeded.value || !here?.tokensExist || here.role === null) return null;
  const leave = async () => {
    await api.logout();
    visitor.value = null;
    askNow();
  };
  return (
    <span class="signed-in">
      {here.name} <span class="quiet">({here.role})</span>{" "}
      <button type="button" onClick={leave}>
        Sign out
      </button>
    </span>
  );
}

function DeadCount() {
  const dead = status.value?.failing.dead.count ?? 0;
  return dead === 0 ? null : (
    <span class="count">
      {count(dead)}
      <span class="visually-hidden"> dead letters</span>
    </span>
  );
}

const STATE_WORDS = {
  running: "running",
  blocked: "blocked: the store has no room",
  failed: "failed",
  stopping: "stopping",
} as const;

function Verdict() {
  const { state, verdict, problems } = status.value!.health;
  if (connection.value.kind === "down") return <State kind="unknown">not known now</State>;
  if (state !== "running") return <State kind="alarm">{STATE_WORDS[state]}</State>;
  if (verdict === "ok") return <State kind="ok">all is well</State>;
  const things = problems.length === 1 ? "1 thing needs" : `${problems.length} things need`;
  return <State kind={verdict === "alarm" ? "alarm" : "attention"}>{things} a look</State>;
}

/** Says when the gateway went and when it came back; read out by a screen reader when it changes. */
function Connection() {
  const state = connection.value;
  const back = seen.value.at(-1);
  const recent = state.kind === "up" && back && nowMs.value - back.atMs < 15_000;
  return (
    <div role="status" class="connection">
      {state.kind === "down" && (
        <p class="lost">
          <State kind="alarm">
            The gateway does not answer this page since {moment(state.sinceMs, nowMs.value)} ({state.why}).
            What you see is as of before. Trying again every second; nothing needs to be loaded anew.
          </State>
        </p>
      )}
      {recent && (
        <p class="back">
          <State kind="ok">{back.sentence}</State>
        </p>
      )}
    </div>
  );
}
