/** The machine's RAM, which also knows how often each frame was given out: so that a device that reaches freed memory is caught. */
import { PhysicalMemory } from '../memory/physical.ts'

export class MachineMemory extends PhysicalMemory {
  /** Frames that were freed at least once: how often, twice counted, plus 1 while free. */
  readonly #freed = new Map<number, number>()

  override allocate(bytes: number): number {
    const pa = super.allocate(bytes)
    for (let at = pa; at < pa + bytes; at += 4096) {
      const state = this.#freed.get(at)
      if (state !== undefined) this.#freed.set(at, state + 1)
    }
    return pa
  }

  override free(pa: number, bytes: number): void {
    super.free(pa, bytes)
    for (let at = pa; at < pa + bytes; at += 4096) this.#freed.set(at, (this.#freed.get(at) ?? 0) + 1)
  }

  /** How often the frame of this address was freed and given out again; odd: it is free. */
  generation(pa: number): number {
    return this.#freed.get(pa - (pa % 4096)) ?? 0
  }

  isFree(pa: number): boolean {
    return this.generation(pa) % 2 === 1
  }
}
