/** Small RISC-V machines for the tests of `inspect/` and the commands: tables written as a driver would, by the layouts alone. */
import { encode, type Fields, type Layout, type Values, wordsToU64 } from '../base/layout.ts'
import { ptSpace } from '../format/pt/format.ts'
import { PageTable } from '../format/pt/mapper.ts'
import { type RiscvMode, riscvScheme } from '../format/pt/riscv.ts'
import { DC, DC_BASE, DDTE, PC, PDTE } from '../format/riscv/contexts.ts'
import { CAPABILITIES, DDTP, FULL_CAPABILITIES, REGISTERS } from '../format/riscv/registers.ts'
import { RAM, TestSource } from './source.suite.ts'

export { RAM }

type ValuesOf<L> = L extends Layout<infer F extends Fields> ? Partial<Values<F>> : never
export type DcValues = ValuesOf<typeof DC>
export type PcValues = ValuesOf<typeof PC>

export const MODE = { Sv39: 8, Sv48: 9, Sv57: 10, Sv39x4: 8, Sv48x4: 9, Sv57x4: 10 } as const

function placeOf(name: string) {
  const found = REGISTERS.find((register) => register.name === name)
  if (found === undefined) throw new RangeError(`no register ${name}`)
  return { offset: found.offset, bytes: found.layout.bits === 64 ? 8 : 4 } as const
}

/** capabilities with everything but what is taken away. */
function without(...names: readonly (keyof typeof CAPABILITIES.fields)[]): bigint {
  return names.reduce((all, name) => {
    const { msb, lsb } = CAPABILITIES.fields[name]
    return all & ~(((1n << BigInt(msb - lsb + 1)) - 1n) << BigInt(lsb))
  }, FULL_CAPABILITIES)
}

export class TestRiscv extends TestSource {
  readonly #leafBits: number
  readonly #extended: boolean
  #levels = 0
  #root = 0

  constructor({ extended = true, bytes = 0x400_0000 } = {}) {
    super(placeOf, bytes)
    this.#extended = extended
    this.#leafBits = extended ? 6 : 7
    for (const { name } of REGISTERS) this.set(name, 0n)
    this.set('capabilities', extended ? FULL_CAPABILITIES : without('MSI_FLAT', 'MSI_MRIF'))
  }

  page(): number {
    return this.memory.allocate(4096)
  }

  directory(levels: 1 | 2 | 3): number {
    this.#root = this.page()
    this.#levels = levels
    this.set('ddtp', wordsToU64(encode(DDTP, { iommu_mode: levels + 1, PPN: BigInt(this.#root) }))[0]!)
    return this.#root
  }

  /** Where an entry lies below a root; tables in between are made when they are not there. */
  #entry(
    root: number,
    levels: number,
    leafBits: number,
    entryBytes: number,
    layout: typeof DDTE | typeof PDTE,
    id: number,
  ): number {
    let table = root
    for (let level = levels - 1; level > 0; level--) {
      const at = table + (Math.floor(id / 2 ** (leafBits + 9 * (level - 1))) % 512) * 8
      if (this.memory.read64(at) === 0n) this.write(at, encode(layout, { V: 1, PPN: BigInt(this.page()) } as never))
      table = Number((this.memory.read64(at) >> 10n) << 12n)
    }
    return table + (id % 2 ** leafBits) * entryBytes
  }

  dcAddress(device: number): number {
    return this.#entry(this.#root, this.#levels, this.#leafBits, this.#extended ? 64 : 32, DDTE, device)
  }

  /** @returns where it lies. */
  dc(device: number, values: DcValues): number {
    const at = this.dcAddress(device)
    this.write(at, this.#extended ? encode(DC, { 'tc.V': 1, ...values }) : encode(DC_BASE, { 'tc.V': 1, ...values } as never))
    return at
  }

  /** A process directory. @returns the fields of a DC that lead to it, and how to write a PC. */
  processDirectory(form: 'PD8' | 'PD17' | 'PD20') {
    const levels = { PD8: 1, PD17: 2, PD20: 3 }[form]
    const address = this.page()
    const pc = (process: number, values: PcValues): number => {
      const at = this.#entry(address, levels, 8, 16, PDTE, process)
      this.write(at, encode(PC, { 'ta.V': 1, ...values }))
      return at
    }
    const dc: DcValues = { 'tc.PDTV': 1, 'tc.DPE': 1, 'fsc.MODE': levels, 'fsc.PPN': BigInt(address) }
    return { address, pc, dc }
  }

  /** A first stage. @returns the fields of a PC or DC with its root, and the table. */
  stage1(mode: 'Sv39' | 'Sv48' | 'Sv57' = 'Sv48', pscid = 0) {
    const { table, root } = this.#table(mode)
    const values = { 'ta.PSCID': pscid, 'fsc.MODE': MODE[mode], 'fsc.PPN': BigInt(root) }
    return { values, root, table }
  }

  /** A second stage. @returns the fields of a DC with its root, and the table. */
  stage2(mode: 'Sv39x4' | 'Sv48x4' | 'Sv57x4' = 'Sv48x4', gscid = 0) {
    const { table, root } = this.#table(mode)
    return { values: { 'iohgatp.MODE': MODE[mode], 'iohgatp.GSCID': gscid, 'iohgatp.PPN': BigInt(root) }, root, table }
  }

  #table(mode: RiscvMode) {
    const { format, topDepth, inputBits } = riscvScheme(mode, { svpbmt: true, svrsw60t59b: true })
    const root = this.memory.allocate(16384)
    const space = ptSpace({ format, root, topDepth, inputBits, outputLimit: 2 ** 56 })
    return { root, table: new PageTable(this.memory, this.memory, space) }
  }
}
