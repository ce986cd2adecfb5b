/**
 * Address-space tags of the CPU, in generations: when all are used, a rollover starts a new generation in which only tags in use on a CPU,
 * and pinned ones, keep their meaning. Devices use pinned tags. Arm ARM (DDI 0487) D8.16 "ASID"; the pin limit is SYSTEM.md's, section 6.
 */

/** One address space's claim to a tag. */
export interface AsidContext {
  /** Generation in which `index` is valid; 0: it never had one. */
  generation: number
  index: number
  pins: number
}

export class AsidAllocator {
  /** Tags that user address spaces can choose from, number 0 (never given out) included. */
  readonly available: number
  /** How many can be pinned: one per CPU, number 0, and one more stay free, so that every rollover finds a tag. */
  readonly pinLimit: number
  readonly #kpti: boolean
  #generation = 1
  #pinned = 0
  #used: Uint8Array
  readonly #pinnedMap: Uint8Array
  readonly #active: (AsidContext | null)[]
  /** What ran on a CPU at the last rollover: it may still run there, with entries of its tag in that CPU's TLB. */
  readonly #reserved: (AsidContext | null)[]
  #next = 1

  /** @param kpti tags come in pairs, one for the kernel's half: half as many, and the user's is odd. */
  constructor(bits: number, cpus: number, kpti = false) {
    this.available = bits === 0 ? 0 : 2 ** (kpti ? bits - 1 : bits)
    this.pinLimit = Math.max(0, this.available - cpus - 2)
    this.#kpti = kpti
    this.#used = new Uint8Array(this.available)
    this.#pinnedMap = new Uint8Array(this.available)
    this.#active = new Array(cpus).fill(null)
    this.#reserved = new Array(cpus).fill(null)
    if (bits > 0 && this.available < cpus + 2)
      throw new RangeError(`${bits} ASID bits are too few for ${cpus} CPUs: ${cpus + 2} address spaces are needed at least`)
  }

  get generation(): number {
    return this.#generation
  }
  /** How many are pinned now. */
  get pinned(): number {
    return this.#pinned
  }

  newContext(): AsidContext {
    return { generation: 0, index: 0, pins: 0 }
  }

  /** The tag as the hardware has it; 0 when the context has none in this generation. */
  tag(context: AsidContext): number {
    if (context.generation !== this.#generation) return 0
    return this.#kpti ? context.index * 2 + 1 : context.index
  }

  /** A CPU switches to this address space. @returns its tag; 0 where there are no tags. */
  switchTo(cpu: number, context: AsidContext): number {
    if (!(cpu in this.#active)) throw new RangeError(`there is no CPU ${cpu}: the machine has ${this.#active.length}`)
    if (this.available === 0) return 0
    this.#renew(context)
    this.#active[cpu] = context
    return this.tag(context)
  }

  /** Keeps the tag through rollovers. Counted. @returns the tag; null when too many are pinned. */
  pin(context: AsidContext): number | null {
    if (context.pins === 0) {
      if (this.#pinned >= this.pinLimit) return null
      this.#renew(context)
      this.#pinnedMap[context.index] = 1
      this.#pinned++
    } else this.#renew(context)
    context.pins++
    return this.tag(context)
  }

  unpin(context: AsidContext): void {
    if (context.pins === 0) throw new RangeError('this ASID is not pinned: each unpin needs a pin before it')
    if (--context.pins > 0) return
    this.#pinnedMap[context.index] = 0
    this.#pinned--
  }

  /** Makes the context's tag valid in this generation. */
  #renew(context: AsidContext): void {
    if (context.generation === this.#generation) return
    if (context.generation !== 0) {
      // Pinned, or reserved by a CPU at the rollover: its place is marked in the new map already. Otherwise kept where nobody took it.
      const kept = context.pins > 0 || this.#reserved.includes(context) || this.#used[context.index] === 0
      if (kept) {
        this.#used[context.index] = 1
        context.generation = this.#generation
        return
      }
    }
    let index = this.#free()
    if (index < 0) {
      this.#rollover()
      index = this.#free()
    }
    this.#used[index] = 1
    context.index = index
    context.generation = this.#generation
  }

  #free(): number {
    while (this.#next < this.available) {
      if (this.#used[this.#next] === 0) return this.#next++
      this.#next++
    }
    return -1
  }

  #rollover(): void {
    this.#generation++
    this.#next = 1
    this.#used = this.#pinnedMap.slice()
    this.#active.forEach((active, cpu) => {
      const context = active ?? this.#reserved[cpu]!
      if (context === null) return
      this.#used[context.index] = 1
      this.#reserved[cpu] = context
      this.#active[cpu] = null
    })
  }
}
