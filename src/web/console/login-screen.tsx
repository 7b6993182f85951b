/** The way in where there are tokens. The token itself is not kept: the gateway gives a cookie for it. */
import { useSignal } from "@preact/signals";
import { api, said } from "./api.ts";
import { askNow } from "./live.ts";
import { askWhoIsHere, visitor } from "./visitor.ts";

export function LoginScreen() {
  const token = useSignal("");
  const error = useSignal<string | null>(null);
  // Who was here until the gateway asked; nobody after signing out.
  const before = visitor.value;
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
      {before?.role && (
        <p role="status">
          {before.tokensExist
            ? `The session of ${before.name} has ended, or its token was taken back. Nothing that was begun is undone.`
            : "From now on this gateway asks everybody for a token."}
        </p>
      )}
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
