/**
 * Intel IOMMUs as the Linux driver knows them: the list `dmar_drhd_units`, and what its structures hold of the registers. Linux,
 * include/linux/dmar.h (struct dmar_drhd_unit), drivers/iommu/intel/iommu.h (struct intel_iommu), iommu.c (iommu_set_root_entry).
 */
import { GS_IRE, GS_IRTP, GS_RTP, GS_TE, REG } from '../../format/vtd/registers.ts'
import type { RegisterValue } from '../registers.ts'
import type { Btf } from './btf.ts'
import type { KernelMemory } from './virtual.ts'

export interface KernelUnit {
  /** `dmar0`. */
  readonly name: string
  readonly registers: readonly RegisterValue[]
}

/** Symbols that this needs; those behind the first are of use. */
export const INTEL_SYMBOLS = ['dmar_drhd_units', 'intel_iommu_sm', 'eim_mode'] as const

/** No machine has more. */
const MOST_UNITS = 1024
const ECAP_SMTS = 1n << 43n
const RTADDR_SMT = 1n << 10n

/** IOMMUs with a root table; null when the structures are not as they should be. */
export function intelUnits(kernel: KernelMemory, btf: Btf, symbols: ReadonlyMap<string, bigint>): KernelUnit[] | null {
  const head = symbols.get('dmar_drhd_units')
  const list = btf.offset('dmar_drhd_unit', 'list')
  const iommuAt = btf.offset('dmar_drhd_unit', 'iommu')
  const at = Object.fromEntries(MEMBERS.map((member) => [member, btf.offset('intel_iommu', member)])) as Record<
    Member,
    number | null
  >
  if (head === undefined || list === null || iommuAt === null || MEMBERS.some((member) => at[member] === null)) return null
  const smSymbol = symbols.get('intel_iommu_sm')
  const scalable = smSymbol === undefined ? null : kernel.u32(smSymbol)
  const units: KernelUnit[] = []
  const seen = new Set<bigint>()
  for (let node = kernel.u64(head); node !== head; node = kernel.u64(node)) {
    if (node === null || seen.has(node) || seen.size >= MOST_UNITS) return null
    seen.add(node)
    const iommu = kernel.u64(node - BigInt(list) + BigInt(iommuAt))
    if (iommu === null) return null
    if (iommu === 0n) continue
    const place = (member: Member) => iommu + BigInt(at[member]!)
    const [cap, ecap, rootEntry] = [kernel.u64(place('cap')), kernel.u64(place('ecap')), kernel.u64(place('root_entry'))]
    const command = kernel.u32(place('gcmd'))
    const name = kernel.text(place('name'), NAME_BYTES)
    if (cap === null || ecap === null || rootEntry === null || command === null || name === null) return null
    if (rootEntry === 0n) continue
    const root = kernel.physical(rootEntry)
    if (root < 0 || root % 4096 !== 0 || !/^dmar\d+$/.test(name)) return null
    // Where scalable mode can be had, the driver's choice decides.
    const capable = (ecap & ECAP_SMTS) !== 0n
    if (capable && scalable === null) return null
    const mode = capable && scalable !== 0 ? RTADDR_SMT : 0n
    const interrupts = (command & GS_IRE) === 0 ? [] : interruptTable(kernel, btf, iommu, symbols.get('eim_mode'))
    if (interrupts === null) return null
    units.push({
      name,
      registers: [
        ...interrupts,
        { offset: REG.CAP, size: 8, value: cap },
        { offset: REG.ECAP, size: 8, value: ecap },
        { offset: REG.GSTS, size: 4, value: BigInt(statusOf(command)) },
        { offset: REG.RTADDR, size: 8, value: BigInt(root) | mode },
      ],
    })
  }
  return units
}

const MEMBERS = ['cap', 'ecap', 'gcmd', 'root_entry', 'name'] as const
type Member = (typeof MEMBERS)[number]
const NAME_BYTES = 13

/** Linux has tables of 65536 entries (irq_remapping.c, INTR_REMAP_TABLE_REG_SIZE). IRTA.EIME is the driver's choice. */
const IRTA_SIZE = 15n
const IRTA_EIME = 1n << 11n

/** IRTA; null when the table is not found. */
function interruptTable(kernel: KernelMemory, btf: Btf, iommu: bigint, choice: bigint | undefined): RegisterValue[] | null {
  const [tableAt, baseAt] = [btf.offset('intel_iommu', 'ir_table'), btf.offset('ir_table', 'base')]
  if (tableAt === null || baseAt === null || choice === undefined) return null
  const table = kernel.u64(iommu + BigInt(tableAt))
  const base = table === null ? null : kernel.u64(table + BigInt(baseAt))
  const extended = kernel.u32(choice)
  const address = base === null ? -1 : kernel.physical(base)
  if (extended === null || address < 0 || address % 4096 !== 0) return null
  return [{ offset: REG.IRTA, size: 8, value: BigInt(address) | IRTA_SIZE | (extended === 0 ? 0n : IRTA_EIME) }]
}

/** GCMD holds what is switched on; the bits of pointers are in GSTS alone, and stay set. */
function statusOf(command: number): number {
  const pointers = ((command & GS_TE) === 0 ? 0 : GS_RTP) | ((command & GS_IRE) === 0 ? 0 : GS_IRTP)
  return (command | pointers) >>> 0
}
