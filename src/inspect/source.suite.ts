/** Memory and registers of a machine under test, whatever its IOMMU. */
import { PhysicalMemory } from '../memory/physical.ts'
import type { Names } from './graph.ts'
import type { MachineSource } from './source.ts'
import type { Budget } from './space.ts'

export const RAM = 0x4000_0000

/** A register's place. */
interface Place {
  readonly offset: number
  readonly bytes: 4 | 8
}

export class TestSource {
  readonly memory: PhysicalMemory
  readonly registers = new Map<number, bigint>()
  readonly #placeOf: (register: string) => Place

  constructor(placeOf: (register: string) => Place, bytes: number) {
    this.#placeOf = placeOf
    this.memory = new PhysicalMemory([{ start: RAM, end: RAM + bytes }])
  }

  set(register: string, value: bigint): void {
    const { offset, bytes } = this.#placeOf(register)
    this.registers.set(offset, value & 0xffffffffn)
    if (bytes === 8) this.registers.set(offset + 4, value >> 32n)
  }

  source(names?: Names, budget?: Budget): MachineSource {
    return {
      title: 'test',
      memory: this.memory,
      register: (offset, bytes) => {
        const low = this.registers.get(offset)
        return low === undefined || bytes === 4 ? (low ?? null) : low | ((this.registers.get(offset + 4) ?? 0n) << 32n)
      },
      ...(names === undefined ? {} : { names }),
      ...(budget === undefined ? {} : { budget }),
    }
  }

  write(pa: number, words: Uint32Array): void {
    words.forEach((word, index) => {
      this.memory.write32(pa + index * 4, word)
    })
  }

  /** Fills a page with 64-bit words. */
  fill(pa: number, value: bigint): void {
    for (let at = pa; at < pa + 4096; at += 8) this.memory.write64(at, value)
  }
}
