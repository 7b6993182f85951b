/** What moves between this box and another one (relay/moving-out.ts, relay/moving-in.ts): put together for the HTTP door. */
import type { Config } from "./config.ts";
import { MovingIn, type MovingInOptions } from "./relay/moving-in.ts";
import { MovingOut, type MovingOutOptions } from "./relay/moving-out.ts";
import { VERSION } from "./version.ts";

type Options = Omit<MovingInOptions & MovingOutOptions, "gateway" | "version"> & { readonly config: Config };

export function movingParts(of: Options): { readonly out: MovingOut; readonly in: MovingIn } {
  const parts = { ...of, gateway: of.config.gateway.name, version: VERSION };
  return { out: new MovingOut(parts), in: new MovingIn(parts) };
}
