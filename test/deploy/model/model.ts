// What a sysroot should be after each operation, as simply as it can be said (docs/spec/deployments.md, section 4). No files: ids,
// references and the order of the menu.

/** An image under one of its manifests. */
export interface Variant {
  readonly id: string;
  readonly manifest: string;
}

/** A deployment that has a state directory. */
export interface ModelDeployment {
  readonly reference: string;
  readonly manifest: string;
  /** Local files of `/etc`. */
  readonly etc: ReadonlyMap<string, string>;
}

/** What a command comes to: what was decided, or the reason of its error. */
export type Outcome = string;

/** The model. Its methods are the commands; each says what the command should come to. */
export class Model {
  /** Undefined offline. */
  booted: string | undefined = undefined;
  /** The active menu, the default first. */
  menu: string[] = [];
  staged: { readonly id: string; locked: boolean } | undefined = undefined;
  /** Also those that only a collection has not removed yet. */
  readonly deployments: Map<string, ModelDeployment> = new Map();
  /** What each reference means now. */
  readonly published: Map<string, Variant> = new Map();
  /** Tags of other images, and their manifests. */
  readonly apps: Map<string, string> = new Map();

  copy(): Model {
    const other = new Model();
    other.booted = this.booted;
    other.menu = [...this.menu];
    other.staged = this.staged && { ...this.staged };
    for (const [id, one] of this.deployments) other.deployments.set(id, one);
    for (const [reference, one] of this.published) other.published.set(reference, one);
    for (const [tag, manifest] of this.apps) other.apps.set(tag, manifest);
    return other;
  }

  /** What stands for the booted deployment: offline the first of the menu. */
  get base(): string | undefined {
    return this.booted ?? this.menu[0];
  }

  /** The reference that an upgrade looks at. */
  get followed(): string | undefined {
    return this.of(this.staged?.id ?? this.base)?.reference;
  }

  /** Neither booted (or base) nor staged, in the order of the menu. */
  get rest(): string[] {
    return this.menu.filter((id) => id !== this.base && id !== this.staged?.id);
  }

  get isQueued(): boolean {
    const first = this.menu[0];
    return this.booted !== undefined && first !== undefined && this.rest.includes(first);
  }

  install(reference: string): Outcome {
    const { id, manifest } = this.variant(reference);
    if (this.menu.includes(id)) return "E_ALREADY_INSTALLED";
    this.deployments.set(id, { reference, manifest, etc: new Map() });
    this.menu = [id, ...this.menu];
    return "installed";
  }

  upgrade(downloadOnly: boolean): Outcome {
    const source = this.of(this.staged?.id ?? this.base);
    if (!source) return "E_NO_IMAGE_SOURCE";
    const { reference } = source;
    const { id, manifest } = this.variant(reference);
    if (manifest === this.of(this.staged?.id)?.manifest) {
      if (!this.staged?.locked || downloadOnly) return "none staged";
      this.staged.locked = false;
      return "unlock";
    }
    if (manifest === this.of(this.base)?.manifest) return "none booted";
    const slot = this.slotOf(id);
    if (slot === undefined) return this.stage(reference, downloadOnly);
    if (slot !== "booted" && slot !== "staged") return `none matches-${slot}`;
    return this.refresh(id, reference, slot);
  }

  fromDownloaded(): Outcome {
    if (!this.staged) return "E_NO_STAGED";
    if (!this.staged.locked) return "none not-download-only";
    this.staged.locked = false;
    return "unlock";
  }

  switchTo(reference: string, inPlace: boolean): Outcome {
    if (this.of(this.staged?.id ?? this.base)?.reference === reference) return "none unchanged-spec";
    const { id } = this.variant(reference);
    const slot = this.slotOf(id);
    if (slot === undefined) return this.stage(reference, false);
    return inPlace && (slot === "booted" || slot === "staged")
      ? this.refresh(id, reference, slot)
      : "E_SAME_DEPLOYMENT";
  }

  /** @param to offline: which one comes first */
  rollback(to: string): Outcome {
    if (this.booted === undefined) {
      if (!this.menu.includes(to)) return "E_DEPLOYMENT_NOT_FOUND";
      this.toFront(to);
      return "rollback";
    }
    const [rollback] = this.rest;
    if (rollback === undefined) return "E_NO_ROLLBACK";
    const isReverting = this.isQueued;
    this.toFront(isReverting ? this.booted : rollback);
    this.staged = undefined;
    return isReverting ? "current" : "rollback";
  }

  delete(id: string): Outcome {
    if (id === this.booted) return "E_DELETE_BOOTED";
    if (!this.menu.includes(id) && this.staged?.id !== id && !this.deployments.has(id)) return "E_DEPLOYMENT_NOT_FOUND";
    if (this.booted === undefined && this.menu.length === 1 && this.menu[0] === id) return "E_DELETE_LAST";
    if (this.isQueued && this.rest[0] === id) this.rollback("");
    if (this.staged?.id === id) this.staged = undefined;
    this.menu = this.menu.filter((one) => one !== id);
    return this.gc() === "collected" ? "deleted" : "E_GC_NO_ENTRIES";
  }

  gc(): Outcome {
    if (this.booted === undefined && this.menu.length === 0) return "E_GC_NO_ENTRIES";
    const live = this.live;
    for (const id of this.deployments.keys()) if (!live.has(id)) this.deployments.delete(id);
    return "collected";
  }

  /** The machine goes down and comes up. @param finalizes whether it goes down in order */
  reboot(finalizes: boolean): void {
    if (finalizes && this.staged && !this.staged.locked) this.activate(this.staged.id);
    this.staged = undefined;
    this.booted = this.menu[0];
  }

  edit(name: string, text: string): void {
    const { base } = this;
    const one = this.of(base);
    if (base !== undefined && one) this.deployments.set(base, { ...one, etc: new Map([...one.etc, [name, text]]) });
  }

  get live(): Set<string> {
    return new Set([...this.menu, ...(this.staged ? [this.staged.id] : [])]);
  }

  variant(reference: string): Variant {
    const found = this.published.get(reference);
    if (!found) throw new Error(`nothing is published as ${reference}`);
    return found;
  }

  private of(id: string | undefined): ModelDeployment | undefined {
    return id === undefined ? undefined : this.deployments.get(id);
  }

  private slotOf(id: string): "booted" | "staged" | "rollback" | "other" | undefined {
    if (id === this.base) return "booted";
    if (id === this.staged?.id) return "staged";
    if (!this.menu.includes(id)) return undefined;
    return this.booted !== undefined && id === this.rest[0] ? "rollback" : "other";
  }

  private stage(reference: string, downloadOnly: boolean): Outcome {
    const { id, manifest } = this.variant(reference);
    this.deployments.set(id, { reference, manifest, etc: new Map() });
    if (this.booted === undefined) this.activate(id);
    else this.staged = { id, locked: downloadOnly };
    this.gc();
    return "stage";
  }

  // What was changed locally goes along.
  private activate(id: string): void {
    const { base } = this;
    const one = this.of(id);
    if (one && base !== undefined) this.deployments.set(id, { ...one, etc: new Map(this.of(base)?.etc) });
    this.menu = base === undefined ? [id] : [id, base];
  }

  private refresh(id: string, reference: string, slot: string): Outcome {
    const one = this.of(id);
    if (one) this.deployments.set(id, { ...one, reference, manifest: this.variant(reference).manifest });
    return `refresh-origin ${slot}`;
  }

  private toFront(id: string): void {
    this.menu = [id, ...this.menu.filter((one) => one !== id)];
  }
}
