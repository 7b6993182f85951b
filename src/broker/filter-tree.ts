/**
 * Topic filters, each with values under keys, found by the topics they match. Source: MQTT 3.1.1, section
 * 4.7. Matching costs by the levels of the topic and not by the number of filters.
 */
interface Node<V> {
  children: Map<string, Node<V>> | null;
  values: Map<string, V> | null;
}

export class FilterTree<V> {
  readonly #root: Node<V> = { children: null, values: null };
  #size = 0;

  /** How many values there are. */
  get size(): number {
    return this.#size;
  }

  set(filter: string, key: string, value: V): void {
    let node = this.#root;
    for (const level of filter.split("/")) {
      node.children ??= new Map();
      let child = node.children.get(level);
      if (!child) {
        child = { children: null, values: null };
        node.children.set(level, child);
      }
      node = child;
    }
    node.values ??= new Map();
    if (!node.values.has(key)) this.#size++;
    node.values.set(key, value);
  }

  delete(filter: string, key: string): void {
    this.#delete(this.#root, filter.split("/"), 0, key);
  }

  #delete(node: Node<V>, levels: readonly string[], at: number, key: string): void {
    if (at === levels.length) {
      if (node.values?.delete(key)) this.#size--;
      if (node.values?.size === 0) node.values = null;
      return;
    }
    const child = node.children?.get(levels[at]!);
    if (!child) return;
    this.#delete(child, levels, at + 1, key);
    if (!child.children && !child.values) node.children!.delete(levels[at]!);
    if (node.children!.size === 0) node.children = null;
  }

  /** Values of all filters that match, a filter with # before its longer kin. */
  match(topic: string): V[] {
    const found: V[] = [];
    if (this.#size > 0) this.#match(this.#root, topic.split("/"), 0, found);
    return found;
  }

  #match(node: Node<V>, levels: readonly string[], at: number, found: V[]): void {
    // A wildcard in front does not match `$…` [MQTT-4.7.2-1].
    const wild = at > 0 || !levels[0]!.startsWith("$");
    const children = node.children;
    if (wild) take(children?.get("#"), found);
    if (at === levels.length) {
      take(node, found);
      return;
    }
    const same = children?.get(levels[at]!);
    if (same) this.#match(same, levels, at + 1, found);
    const any = wild ? children?.get("+") : undefined;
    if (any) this.#match(any, levels, at + 1, found);
  }
}

function take<V>(node: Node<V> | undefined, found: V[]): void {
  if (node?.values) for (const value of node.values.values()) found.push(value);
}
