/** The config of every gateway that is tried, but for its targets and flows: free ports, and short delays. */
export const TRIED_CONFIG = {
  gateway: { name: "tried" },
  log: { level: "warn" },
  broker: { listeners: [{ type: "tcp", port: 0 }] },
  web: { port: 0 },
  relay: { probeDelayMin: "50ms", probeDelayMax: "250ms", drainTimeout: "500ms" },
  health: { auditEvery: "1s" },
};
