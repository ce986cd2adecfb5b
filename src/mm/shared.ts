/** Memory that several processes map: pages by index, brought in on first use. */
import type { Mm } from './mm.ts'

export class SharedMemory {
  readonly name: string
  /** Page index → where the page is. */
  readonly pages = new Map<number, { frame: number } | { slot: number }>()
  /** Processes with an area on it, and how many areas. */
  readonly users = new Map<Mm, number>()

  constructor(name: string) {
    this.name = name
  }
}
