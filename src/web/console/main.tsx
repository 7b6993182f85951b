/** The operator's page begins here: follows address and theme, begins to ask, and draws. */
import { render } from "preact";
import { keepAsking } from "./live.ts";
import { followAddress } from "./route.ts";
import { Shell } from "./shell.tsx";
import { followTheme } from "./theme.ts";

followTheme();
followAddress();
keepAsking();
render(<Shell />, document.getElementById("page")!);
