/** Every operation of the API, in the order in which the document has them. */
import { actOperations } from "./acts.ts";
import { commandOperations } from "./commands.ts";
import { correctionOperations } from "./corrections.ts";
import { deadOperations } from "./dead.ts";
import { deviceOperations } from "./devices.ts";
import { flowOperations } from "./flows.ts";
import { historyOperations } from "./history.ts";
import { intakeOperations } from "./intake.ts";
import { jobOperations } from "./jobs.ts";
import { messageOperations } from "./messages.ts";
import { movingOperations } from "./moving.ts";
import { notificationOperations } from "./notifications.ts";
import { documentOperations } from "./openapi.ts";
import type { Operation } from "./operation.ts";
import { pauseOperations } from "./pauses.ts";
import { reconcileOperations } from "./reconcile.ts";
import { sessionOperations } from "./session.ts";
import { statusOperations } from "./status.ts";
import { streamOperations } from "./stream.ts";
import { tokenOperations } from "./token-operations.ts";
import { unknownOperations } from "./unknown.ts";

export const OPERATIONS: readonly Operation[] = [
  ...statusOperations,
  ...historyOperations,
  ...streamOperations,
  ...messageOperations,
  ...intakeOperations,
  ...flowOperations,
  ...reconcileOperations,
  ...deviceOperations,
  ...pauseOperations,
  ...deadOperations,
  ...correctionOperations,
  ...unknownOperations,
  ...jobOperations,
  ...movingOperations,
  ...commandOperations,
  ...notificationOperations,
  ...actOperations,
  ...sessionOperations,
  ...tokenOperations,
  ...documentOperations(() => OPERATIONS),
];
