/** Small AMD machines for the tests of `inspect/` and the commands: tables written as a driver would, by the layouts alone. */
import { encode, type Fields, type Layout, type Values, wordsToU64 } from '../base/layout.ts'
import { DTE, setGcr3Root } from '../format/amdvi/dte.ts'
import { GCR3_ENTRY, GCR3_POINTER } from '../format/amdvi/gcr3.ts'
import { CONTROL, FULL_EXT_FEATURE, REGISTERS } from '../format/amdvi/registers.ts'
import { amdV1 } from '../format/pt/amd-v1.ts'
import { ptSpace } from '../format/pt/format.ts'
import { PageTable } from '../format/pt/mapper.ts'
import { amdV2 } from '../format/pt/x86.ts'
import { RAM, TestSource } from './source.suite.ts'

export { RAM }

type ValuesOf<L> = L extends Layout<infer F extends Fields> ? Partial<Values<F>> : never
export type DteValues = ValuesOf<typeof DTE>
export type ControlValues = ValuesOf<typeof CONTROL>

function placeOf(name: string) {
  const found = REGISTERS.find((register) => register.name === name)
  if (found === undefined) throw new RangeError(`no register ${name}`)
  return { offset: found.offset, bytes: 8 } as const
}

export class TestAmd extends TestSource {
  readonly table: number

  /** @param pages size of the device table. */
  constructor(control: ControlValues = {}, pages = 1) {
    super(placeOf, 0x400_0000)
    for (const { name } of REGISTERS) this.set(name, 0n)
    this.table = this.memory.allocate(pages * 4096)
    this.set('DEV_TAB_BASE', BigInt(this.table + pages - 1))
    this.set('EXT_FEATURE', FULL_EXT_FEATURE)
    this.control(control)
  }

  control(values: ControlValues): void {
    this.set('CONTROL', wordsToU64(encode(CONTROL, { IommuEn: 1, GTEn: 1, ...values }))[0]!)
  }

  page(): number {
    return this.memory.allocate(4096)
  }

  /** @param gcr3 address of a GCR3 table. @returns where it lies. */
  dte(device: number, values: DteValues, gcr3 = 0): number {
    const words = encode(DTE, { V: 1, TV: 1, IR: 1, IW: 1, DomainID: device + 0x100, ...values })
    setGcr3Root(words, gcr3)
    const at = this.table + device * 32
    this.write(at, words)
    return at
  }

  /** A GCR3 table of GLX + 1 levels. @returns its address, and how to write entries. */
  gcr3(GLX: 0 | 1 | 2) {
    const address = this.page()
    const set = (pasid: number, root: number, valid = 1): number => {
      let table = address
      for (let level = GLX; level > 0; level--) {
        const at = table + (Math.floor(pasid / 2 ** (9 * level)) % 512) * 8
        if (this.memory.read64(at) === 0n) this.write(at, encode(GCR3_POINTER, { V: 1, NextTable: BigInt(this.page()) }))
        table = Number(this.memory.read64(at) & ~0xfffn)
      }
      const at = table + (pasid % 512) * 8
      this.write(at, encode(GCR3_ENTRY, { V: valid, GCR3: BigInt(root) }))
      return at
    }
    return { address, set, dte: { GV: 1, GIOV: 1, GLX } satisfies DteValues }
  }

  /** Host tables. @returns the fields of a DTE that lead there, and the table. */
  host(levels: 1 | 2 | 3 | 4 | 5 | 6 = 3) {
    const root = this.page()
    const table = new PageTable(this.memory, this.memory, ptSpace({ ...amdV1(levels), root }))
    return { root, table, dte: { Mode: levels, HostPageTableRootPtr: BigInt(root) } satisfies DteValues }
  }

  /** Guest tables at system physical addresses. */
  guest(levels: 4 | 5 = 4) {
    const root = this.page()
    return { root, table: new PageTable(this.memory, this.memory, ptSpace({ ...amdV2(levels), root })) }
  }
}
