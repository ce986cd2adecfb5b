/** Small SMMUv3 machines for the tests of `inspect/` and the commands: tables written as a driver would, by the layouts alone. */
import { encode, type Fields, type Layout, type Values } from '../base/layout.ts'
import type { PtSpace } from '../format/pt/format.ts'
import { PageTable } from '../format/pt/mapper.ts'
import { CD } from '../format/smmuv3/cd.ts'
import { stage1Space, stage2Space } from '../format/smmuv3/context.ts'
import { featuresFromIdr, GENEROUS_IDR } from '../format/smmuv3/features.ts'
import { L1CD, L1STD } from '../format/smmuv3/l1.ts'
import { CR0, registerNamed, STRTAB_BASE, STRTAB_BASE_CFG } from '../format/smmuv3/registers.ts'
import { STE } from '../format/smmuv3/ste.ts'
import { RAM, TestSource } from './source.suite.ts'

export { RAM }

export const FEATURES = featuresFromIdr((name) => GENEROUS_IDR[name as 'IDR0'] ?? 0)

type ValuesOf<L> = L extends Layout<infer F extends Fields> ? Partial<Values<F>> : never

/** A CD that walks TTB0 with 4 KiB pages and 48 bits. */
export const PLAIN_CD: ValuesOf<typeof CD> = { V: 1, AA64: 1, T0SZ: 16, TG0: 0, IPS: 5, EPD1: 1, A: 1, R: 1, ASET: 1 }
/** A stage 2 of 40 bits with 4 KiB pages, from level 1 with two concatenated tables. */
export const PLAIN_S2: ValuesOf<typeof STE> = { S2AA64: 1, S2T0SZ: 24, S2SL0: 1, S2TG: 0, S2PS: 5, S2R: 1 }

export class TestMachine extends TestSource {
  #strtab = { address: 0, twoLevel: false, split: 0 }

  constructor(bytes = 0x400_0000) {
    super(registerNamed, bytes)
    for (const [name, value] of Object.entries(GENEROUS_IDR)) this.set(name, BigInt(value))
    this.set('CR0', BigInt(encode(CR0, { SMMUEN: 1, EVENTQEN: 1, CMDQEN: 1 })[0]!))
  }

  streamTable(log2size: number, twoLevel = false, split = 8): void {
    const address = this.memory.allocate(Math.max(4096, 2 ** (twoLevel ? log2size - split + 3 : log2size + 6)))
    this.#strtab = { address, twoLevel, split }
    this.set('STRTAB_BASE', BigInt(address) | (encode(STRTAB_BASE, { RA: 1 })[1] ? 1n << 62n : 0n))
    this.set('STRTAB_BASE_CFG', BigInt(encode(STRTAB_BASE_CFG, { LOG2SIZE: log2size, FMT: twoLevel ? 1 : 0, SPLIT: split })[0]!))
  }

  /** Where the STE of a stream lies; its second-level table is made when there is none. */
  steAddress(sid: number): number {
    const { address, twoLevel, split } = this.#strtab
    if (!twoLevel) return address + sid * 64
    const at = address + (sid >>> split) * 8
    if (this.memory.read64(at) === 0n) {
      const leaf = this.memory.allocate(2 ** (split + 6))
      this.write(at, encode(L1STD, { Span: split + 1, L2Ptr: BigInt(leaf) }))
    }
    return Number(this.memory.read64(at) & 0xffffffffffc0n) + (sid % 2 ** split) * 64
  }

  /** @returns the words. */
  ste(sid: number, values: ValuesOf<typeof STE>): Uint32Array {
    const words = encode(STE, values)
    this.write(this.steAddress(sid), words)
    return words
  }

  /** A CD table. @returns the fields of an STE that lead to it, and how to write a CD. */
  cdTable(log2: number, form: 'linear' | '4K' | '64K' = 'linear') {
    const split = form === 'linear' ? 0 : form === '4K' ? 6 : 10
    const address = this.memory.allocate(Math.max(4096, 2 ** (split === 0 ? log2 + 6 : Math.max(0, log2 - split) + 3)))
    const cd = (index: number, values: ValuesOf<typeof CD>): number => {
      let at = address + index * 64
      if (split > 0) {
        const first = address + (index >>> split) * 8
        if (this.memory.read64(first) === 0n)
          this.write(first, encode(L1CD, { V: 1, L2Ptr: BigInt(this.memory.allocate(2 ** (split + 6))) }))
        at = Number(this.memory.read64(first) & 0xfffffffff000n) + (index % 2 ** split) * 64
      }
      this.write(at, encode(CD, values))
      return at
    }
    const ste = {
      V: 1,
      Config: 0b101,
      S1ContextPtr: BigInt(address),
      S1CDMax: log2,
      S1Fmt: split === 0 ? 0 : split === 6 ? 1 : 2,
      S1DSS: 2,
    }
    return { address, cd, ste }
  }

  /** A page table for this CD (in the context of a plain stage 1 stream). @returns the CD's values with its root, and the table. */
  stage1(values: ValuesOf<typeof CD> = PLAIN_CD, half: 0 | 1 = 0) {
    const root = this.memory.allocate(4096)
    const filled = { ...values, [half === 0 ? 'TTB0' : 'TTB1']: BigInt(root) }
    const ste = encode(STE, { V: 1, Config: 0b101 })
    const space = stage1Space(encode(CD, filled), 0, ste, 0, FEATURES, half)!
    return { values: filled, root, space, table: new PageTable(this.memory, this.memory, space) }
  }

  /** A stage 2. @returns the STE's fields, and the table. */
  stage2(values: ValuesOf<typeof STE> = PLAIN_S2) {
    const root = this.memory.allocate(8192)
    const ste = { ...values, S2TTB: BigInt(root) }
    const space: PtSpace = stage2Space(encode(STE, { V: 1, Config: 0b110, ...ste }), 0, FEATURES)!
    return { ste, root, space, table: new PageTable(this.memory, this.memory, space) }
  }
}
