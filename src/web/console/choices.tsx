/** A few things of which one is chosen, side by side. One that cannot be chosen now says why. */

export interface Choice<T extends string> {
  readonly value: T;
  readonly name: string;
  readonly not?: string | null;
}

export function Choices<T extends string>({
  label,
  choices,
  chosen,
  onChoose,
}: {
  label: string;
  choices: readonly Choice<T>[];
  chosen: T;
  onChoose: (value: T) => void;
}) {
  return (
    <fieldset class="choices" aria-label={label}>
      {choices.map(({ value, name, not = null }) => (
        <button
          key={value}
          type="button"
          aria-pressed={chosen === value}
          aria-disabled={not !== null}
          title={not ?? undefined}
          onClick={() => {
            if (not === null) onChoose(value);
          }}
        >
          {name}
          {not !== null && <span class="visually-hidden"> (not: {not})</span>}
        </button>
      ))}
    </fieldset>
  );
}
