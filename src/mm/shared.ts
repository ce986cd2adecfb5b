/** Memory that several processes map: pages by index, brought in on first use, freed when the last process lets go. */
import type { Frames, Swap } from './frames.ts'
import type { Mm } from './mm.ts'

export class SharedMemory {
  readonly name: string
  /** Processes with an area on it. */
  readonly users = new Set<Mm>()
  /** Page index → its frame (one reference is ours), or its swap slot. */
  readonly #pages = new Map<number, { readonly frame: number } | { readonly slot: number }>()

  constructor(name: string) {
    this.name = name
  }

  /** The page's frame, brought in. The caller adds its own reference. */
  frame(index: number, frames: Frames, swap: Swap, write: (frame: number, data: Uint8Array) => void): number {
    const page = this.#pages.get(index)
    if (page !== undefined && 'frame' in page) return page.frame
    const frame = frames.allocate()
    if (page !== undefined) {
      write(frame, swap.read(page.slot))
      swap.put(page.slot)
    }
    this.#pages.set(index, { frame })
    return frame
  }

  /** The page's frame if it is in memory. */
  present(index: number): number | null {
    const page = this.#pages.get(index)
    return page !== undefined && 'frame' in page ? page.frame : null
  }

  /** Puts the page elsewhere; the caller has seen to its old frame. */
  move(index: number, place: { readonly frame: number } | { readonly slot: number }): void {
    this.#pages.set(index, place)
  }

  /** A process has no area on it any more. */
  leave(mm: Mm, frames: Frames, swap: Swap): void {
    if (!this.users.delete(mm) || this.users.size > 0) return
    for (const page of this.#pages.values()) {
      if ('frame' in page) frames.put(page.frame)
      else swap.put(page.slot)
    }
    this.#pages.clear()
  }
}
