/** Small machines with an Intel IOMMU for the tests of `inspect/` and the commands: tables written as a driver would, by the layouts alone. */
import { encode, type Fields, type Layout, type Values, wordsToU64 } from '../base/layout.ts'
import { ptSpace } from '../format/pt/format.ts'
import { PageTable } from '../format/pt/mapper.ts'
import { vtdSecond } from '../format/pt/vtd-second.ts'
import { vtdFirst } from '../format/pt/x86.ts'
import { CONTEXT_ENTRY, SM_CONTEXT_ENTRY } from '../format/vtd/contexts.ts'
import { PASID_DIR_ENTRY, PASID_ENTRY } from '../format/vtd/pasid.ts'
import { FAULT_RECORD } from '../format/vtd/records.ts'
import { CAP, FULL_CAP, FULL_ECAP, faultOffset, GS_RTP, GS_TE, RTADDR, registersOf } from '../format/vtd/registers.ts'
import { ROOT_ENTRY } from '../format/vtd/root.ts'
import { RAM, TestSource } from './source.suite.ts'

export { RAM }

type ValuesOf<L> = L extends Layout<infer F extends Fields> ? Partial<Values<F>> : never
export type ContextValues = ValuesOf<typeof CONTEXT_ENTRY>
export type SmContextValues = ValuesOf<typeof SM_CONTEXT_ENTRY>
export type PasidValues = ValuesOf<typeof PASID_ENTRY>

const PLACES = registersOf(FULL_CAP, FULL_ECAP)

function placeOf(name: string) {
  const found = PLACES.find((register) => register.name === name)
  if (found === undefined) throw new RangeError(`no register ${name}`)
  return { offset: found.offset, bytes: found.layout.bits === 32 ? 4 : 8 } as const
}

const one = <F extends Fields>(layout: Layout<F>, values: Partial<Values<F>>) => wordsToU64(encode(layout, values))[0]!

export class TestVtd extends TestSource {
  readonly scalable: boolean
  readonly root: number

  constructor({ scalable = true, bytes = 0x400_0000 } = {}) {
    super(placeOf, bytes)
    this.scalable = scalable
    this.root = this.page()
    for (const { name } of PLACES) this.set(name, 0n)
    this.set('CAP', FULL_CAP)
    this.set('ECAP', FULL_ECAP)
    this.set('GSTS', BigInt((GS_TE | GS_RTP) >>> 0))
    this.set('RTADDR', one(RTADDR, { TTM: scalable ? 1 : 0, RTA: BigInt(this.root) }))
  }

  page(): number {
    return this.memory.allocate(4096)
  }

  /** Where the context entry of a source-id lies; its table is made when it is not there. */
  contextAddress(source: number): number {
    const half = this.scalable ? (source >>> 7) & 1 : 0
    const at = this.root + (source >>> 8) * 16 + half * 8
    if (this.memory.read64(at) === 0n) this.memory.write64(at, one(ROOT_ENTRY, { P: 1, CTP: BigInt(this.page()) }))
    const table = Number(this.memory.read64(at) & ~0xfffn)
    return this.scalable ? table + (source & 0x7f) * 32 : table + (source & 0xff) * 16
  }

  context(source: number, values: ContextValues): number {
    const at = this.contextAddress(source)
    this.write(at, encode(CONTEXT_ENTRY, { P: 1, AW: 2, ...values }))
    return at
  }

  smContext(source: number, values: SmContextValues): number {
    const at = this.contextAddress(source)
    this.write(at, encode(SM_CONTEXT_ENTRY, { P: 1, ...values }))
    return at
  }

  /** A PASID directory with its tables. @returns the fields of a context entry that lead to it, and how to write an entry. */
  pasids(PDTS = 0) {
    const address = this.memory.allocate(Math.max(4096, 2 ** (PDTS + 10)))
    const at = (pasid: number): number => {
      const entry = address + (pasid >>> 6) * 8
      if (this.memory.read64(entry) === 0n)
        this.memory.write64(entry, one(PASID_DIR_ENTRY, { P: 1, SMPTBLPTR: BigInt(this.page()) }))
      return Number(this.memory.read64(entry) & ~0xfffn) + (pasid & 63) * 64
    }
    const put = (pasid: number, values: PasidValues): number => {
      this.write(at(pasid), encode(PASID_ENTRY, { P: 1, PWSNP: 1, ...values }))
      return at(pasid)
    }
    return { address, at, put, context: { PDTS, PASIDDIRPTR: BigInt(address) } satisfies SmContextValues }
  }

  /** A first stage. @returns the fields of a PASID table entry with its root, and the table. */
  first(levels: 4 | 5 = 4, DID = 1) {
    const root = this.page()
    const table = new PageTable(this.memory, this.memory, ptSpace({ ...vtdFirst(levels), root }))
    return { root, table, values: { PGTT: 1, FSPM: levels - 4, FSPTPTR: BigInt(root), DID } satisfies PasidValues }
  }

  /** A second stage. @returns the fields of a PASID table entry or legacy context entry with its root, and the table. */
  second(levels: 3 | 4 | 5 = 4, DID = 1) {
    const root = this.page()
    const table = new PageTable(this.memory, this.memory, ptSpace({ ...vtdSecond(levels), root }))
    const own = { SSPTPTR: BigInt(root), AW: levels - 2, DID }
    return { root, table, context: own satisfies ContextValues, values: { PGTT: 2, ...own } satisfies PasidValues }
  }

  /** A fault recording register. */
  fault(index: number, values: ValuesOf<typeof FAULT_RECORD>): void {
    const [low, high] = wordsToU64(encode(FAULT_RECORD, values))
    const offset = faultOffset(FULL_CAP) + index * 16
    ;[low!, high!].forEach((value, half) => {
      this.registers.set(offset + half * 8, value & 0xffffffffn)
      this.registers.set(offset + half * 8 + 4, value >> 32n)
    })
  }

  /** CAP with some fields changed. */
  cap(values: ValuesOf<typeof CAP>): void {
    this.set('CAP', FULL_CAP | one(CAP, values))
  }
}
