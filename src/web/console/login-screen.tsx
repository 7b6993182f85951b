/** The way in where there are tokens. The token itself is not kept: the gateway gives a cookie for it. */
import { useSignal } from "@preact/signals";
import { api, said } from "./api.ts";
import { askNow } from "./live.ts";
import { askWhoIsHere } from "./visitor.ts";

export function LoginScreen() {
  const token = useSignal("");
  const error = useSignal<string | null>(null);
  const enter = async (event: Event) => {
    event.preventDefault();
    error.value = null;
    try {
      await api.login(token.value.trim());
      await askWhoIsHere();
      askNow();
    } catch (thrown) {
      error.value = said(thrown);
    }
  };
  return (
    <form class="login box" onSubmit={enter}>
      <label>
        Token
        <input
          type="password"
          autocomplete="current-password"
          spellcheck={false}
          required
          aria-describedby="login-help"
          value={token.value}
          onInput={({ currentTarget }) => {
            token.value = currentTarget.value;
          }}
        />
      </label>
      <button type="submit" class="main">
        Enter
      </button>
      <p role="alert" class="error">
        {error.value}
      </p>
      <p id="login-help" class="quiet">
        It begins with <code>hf_</code>. Whoever runs this box makes one with{" "}
        <code>holdfast token create</code>. This browser stays signed in for half a day, and keeps no token.
      </p>
    </form>
  );
}
