/**
 * The one start/stop contract. Every part of the gateway that lives (listens, polls, holds a file) is a
 * Service, so that gateway.ts can start them in order and stop them in the reverse order.
 *
 * - start() may be called again: it answers with the first call's promise.
 * - stop() may be called before start, during it, and again; it resolves when nothing of the service
 *   runs any more. A stopped service is not started again: make a new one.
 */
export interface Service {
  start(): Promise<void>;
  stop(): Promise<void>;
}

export abstract class BaseService implements Service {
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  start(): Promise<void> {
    if (this.#stopping) return Promise.reject(new Error("a stopped service cannot be started again"));
    this.#starting ??= this.onStart();
    return this.#starting;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#settle();
    return this.#stopping;
  }

  get stopping(): boolean {
    return this.#stopping !== undefined;
  }

  async #settle(): Promise<void> {
    if (!this.#starting) return;
    await this.#starting.catch(() => {});
    await this.onStop();
  }

  protected abstract onStart(): Promise<void>;
  /** Called once, after onStart has settled, also when it failed: free whatever was taken. */
  protected abstract onStop(): Promise<void>;
}
