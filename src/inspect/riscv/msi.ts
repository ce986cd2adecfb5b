/** MSI page tables, told as notes: interrupt files are no address spaces. RISC-V IOMMU 1.0, "MSI page tables". */
import { hex } from '../../base/hex.ts'
import { getAddress } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import { swap32 } from '../../format/pt/entry.ts'
import { DC_MSI_MASK, DC_MSI_PATTERN, DC_MSIPTP, MSIPTP_FLAT, modeOf, ppnAddress } from '../../format/riscv/contexts.ts'
import type { RiscvFeatures } from '../../format/riscv/features.ts'
import { MSI_PTE_FLAT, MSI_PTE_MRIF, MSIPTE_FLAT, MSIPTE_MRIF } from '../../format/riscv/msi.ts'
import type { Findings } from '../source.ts'

/** So many entries of a table are looked at, and so many of its interrupt files named. */
const ENTRIES = 1 << 12
const NAMED = 4

/** Says what the MSI page table of a device context leads to, if it has one. */
export function reportMsiTable(
  memory: WordMemory,
  features: RiscvFeatures,
  dc: Int32Array,
  user: string,
  findings: Findings,
): void {
  if (!features.extended || modeOf(dc[DC_MSIPTP + 1]!) !== MSIPTP_FLAT) return
  const base = ppnAddress(dc[DC_MSIPTP + 1]!, dc[DC_MSIPTP]!)
  const place = `MSI page table of ${user} at ${hex(base)}`
  const maskLo = dc[DC_MSI_MASK]! & features.msiPageLo
  const maskHi = dc[DC_MSI_MASK + 1]! & features.msiPageHi
  const size = 2 ** (ones(maskLo) + ones(maskHi))
  const files: string[] = []
  let valid = 0
  let missing = 0
  for (let file = 0; file < Math.min(size, ENTRIES); file++) {
    const at = base + file * 16 >= features.addressLimit ? -1 : memory.index(base + file * 16, 16)
    if (at < 0) {
      missing++
      continue
    }
    const entry = Int32Array.from({ length: 4 }, (_, word) =>
      features.be ? swap32(memory.words[at + (word ^ 1)]!) : memory.words[at + word]!,
    )
    if ((entry[0]! & 1) === 0) continue
    valid++
    if (files.length < NAMED) files.push(`${file} → ${targetText(entry)}`)
  }
  const pattern = (dc[DC_MSI_PATTERN + 1]! & features.msiPageHi) * 2 ** 32 + ((dc[DC_MSI_PATTERN]! & features.msiPageLo) >>> 0)
  const where = `for guest pages like ${hex(BigInt(pattern) << 12n)}`
  const more = valid > files.length ? `, and ${valid - files.length} more` : ''
  const list = files.length === 0 ? '' : `: interrupt file ${files.join(', ')}${more}`
  const unread = size > ENTRIES ? `, of which ${ENTRIES} were looked at` : ''
  findings.add('note', place, `${valid} of ${size} entries${unread} are valid, ${where}${list}`, 'msi table')
  if (missing > 0) findings.add('error', place, `${missing} of its entries cannot be read`, 'missing table')
}

function targetText(entry: Int32Array): string {
  const mode = (entry[0]! >>> 1) & 3
  if (mode === MSIPTE_FLAT) return hex(getAddress(entry, MSI_PTE_FLAT.fields.PPN))
  if (mode !== MSIPTE_MRIF) return `a reserved mode (${mode})`
  const notice = hex(getAddress(entry, MSI_PTE_MRIF.fields.NPPN))
  return `memory-resident file at ${hex(getAddress(entry, MSI_PTE_MRIF.fields.MRIF_Address))}, notices to ${notice}`
}

function ones(word: number): number {
  let count = 0
  for (let rest = word; rest !== 0; rest &= rest - 1) count++
  return count
}
