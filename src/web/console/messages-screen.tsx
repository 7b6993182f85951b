/** Finding messages. */
import { useSignal } from "@preact/signals";
import { addressOf, go } from "./route.ts";

export function MessagesScreen() {
  const id = useSignal("");
  return (
    <form
      class="find"
      onSubmit={(event) => {
        event.preventDefault();
        if (id.value.trim() !== "") go(addressOf("messages", id.value.trim()));
      }}
    >
      <label>
        By its id, or its number in the store{" "}
        <input
          type="search"
          data-search
          value={id.value}
          onInput={({ currentTarget }) => {
            id.value = currentTarget.value;
          }}
        />
      </label>
      <button type="submit">Show</button>
    </form>
  );
}
