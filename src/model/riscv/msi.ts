/** Accesses to virtual interrupt files. RISC-V IOMMU 1.0, "MSI address mask and pattern", "Process to translate addresses of MSIs". */

import { uncovered } from '../../base/layout.ts'
import { NO_ANSWER, POISONED, type WordMemory } from '../../base/memory.ts'
import { toDouble } from '../../base/u64.ts'
import { swap32 } from '../../format/pt/entry.ts'
import { DC_MSI_MASK, DC_MSI_PATTERN, DC_MSIPTP, MSIPTP_OFF, modeOf } from '../../format/riscv/contexts.ts'
import type { RiscvFeatures } from '../../format/riscv/features.ts'
import { extract, MSI_PTE_FLAT, MSI_PTE_MRIF, MSIPTE_FLAT, MSIPTE_MRIF } from '../../format/riscv/msi.ts'
import { CAUSE_MSI_CORRUPT, CAUSE_MSI_INVALID, CAUSE_MSI_LOAD, CAUSE_MSI_MISCONFIGURED } from '../../format/riscv/records.ts'

const FLAT_ZERO = uncovered(MSI_PTE_FLAT)
const MRIF_ZERO = uncovered(MSI_PTE_MRIF)
const PTE_C = 1 << 31

/** Where an MSI goes. Reused. */
export class MsiTarget {
  /** Words of the entry. */
  readonly entry = new Int32Array(4)
  /** Where the entry lies (physical). */
  readonly at = new Float64Array(1)
  /** Memory-resident interrupt file mode: the bridge stores into the file. */
  mrif = false
  /** Page of the interrupt file; in MRIF mode, page of the notice MSI. */
  pageHi = 0
  pageLo = 0
}

/** Page number bits in which a GPA's page differs from the pattern where the mask has zeros; 0: it is an interrupt file. */
function differsHi(features: RiscvFeatures, dc: Int32Array, at: number, pageHi: number): number {
  // Mask and pattern bits at or above MGPAW - 12 are reserved: taken as 0.
  const mask = dc[at + DC_MSI_MASK + 1]! & features.msiPageHi
  const pattern = dc[at + DC_MSI_PATTERN + 1]! & features.msiPageHi
  return (pageHi ^ pattern) & ~mask
}

function differsLo(features: RiscvFeatures, dc: Int32Array, at: number, pageLo: number): number {
  const mask = dc[at + DC_MSI_MASK]! & features.msiPageLo
  const pattern = dc[at + DC_MSI_PATTERN]! & features.msiPageLo
  return (pageLo ^ pattern) & ~mask
}

/** Whether a guest physical address is that of a virtual interrupt file. `at`: first word of the device context. */
export function isInterruptFile(features: RiscvFeatures, dc: Int32Array, at: number, hi: number, lo: number): boolean {
  if (modeOf(dc[at + DC_MSIPTP + 1]!) === MSIPTP_OFF) return false
  const page = (hi << 20) | (lo >>> 12)
  return differsHi(features, dc, at, hi >>> 12) === 0 && differsLo(features, dc, at, page) === 0
}

/**
 * The largest block around a GPA, at most 2^log2 bytes of the second stage's leaf, in which no page is an interrupt file. Blocks shrink
 * by a level's size, 512; 4 MiB shrinks to 4 KiB.
 */
export function withoutInterruptFiles(
  features: RiscvFeatures,
  dc: Int32Array,
  at: number,
  hi: number,
  lo: number,
  log2: number,
): number {
  if (modeOf(dc[at + DC_MSIPTP + 1]!) === MSIPTP_OFF) return log2
  const outsideHi = differsHi(features, dc, at, hi >>> 12)
  const outsideLo = differsLo(features, dc, at, (hi << 20) | (lo >>> 12))
  for (let size = log2; size > 12; ) {
    // A block holds an interrupt file when only bits inside the block differ from the pattern.
    const pages = size - 12
    const above = pages >= 32 ? outsideHi >>> (pages - 32) : outsideHi | (outsideLo >>> pages)
    if (above !== 0) return size
    size = size === 22 ? 12 : size - 9
    log2 = size
  }
  return 12
}

/**
 * Finds the MSI page table entry of an interrupt file's address.
 * @returns 0, or the cause of the fault.
 */
export function translateMsi(
  memory: WordMemory,
  features: RiscvFeatures,
  dc: Int32Array,
  at: number,
  hi: number,
  lo: number,
  target: MsiTarget,
): number {
  // step 5: I = extract(A >> 12, DC.msi_addr_mask)
  const maskHi = dc[at + DC_MSI_MASK + 1]! & features.msiPageHi
  const maskLo = dc[at + DC_MSI_MASK]! & features.msiPageLo
  const file = extract(hi >>> 12, (hi << 20) | (lo >>> 12), maskHi, maskLo)
  // step 6: m = DC.msiptp.PPN x 2^12
  const mHi = ((dc[at + DC_MSIPTP + 1]! & 0xfff) << 12) | (dc[at + DC_MSIPTP]! >>> 20)
  const mLo = dc[at + DC_MSIPTP]! << 12
  // step 7: msipte is the sixteen bytes at m | (I x 16); access violation: 261
  const pa = toDouble(mHi | ((file * 16) / 4294967296), mLo | (file * 16))
  target.at[0] = pa
  const index = pa >= features.addressLimit ? NO_ANSWER : memory.index(pa, 16)
  // step 8: corrupt data: 270
  if (index < 0) return index === POISONED ? CAUSE_MSI_CORRUPT : CAUSE_MSI_LOAD
  const { words } = memory
  const { entry } = target
  for (let word = 0; word < 4; word++) entry[word] = features.be ? swap32(words[index + (word ^ 1)]!) : words[index + word]!
  // step 9: if msipte.V == 0, "MSI PTE not valid" (262)
  if ((entry[0]! & 1) === 0) return CAUSE_MSI_INVALID
  // step 10: C == 1 is for custom use; none is defined here
  if ((entry[1]! & PTE_C) !== 0) return CAUSE_MSI_MISCONFIGURED
  const mode = (entry[0]! >>> 1) & 3
  if (mode === MSIPTE_FLAT) {
    // step 13: basic translate mode: reserved bits: 263; the address is msipte.PPN << 12 | A[11:0]. The second doubleword is software's.
    if (((entry[0]! & FLAT_ZERO[0]!) | (entry[1]! & FLAT_ZERO[1]!)) !== 0) return CAUSE_MSI_MISCONFIGURED
    target.mrif = false
    target.pageHi = (entry[1]! >>> 10) & 0xfff
    target.pageLo = (entry[1]! << 22) | (entry[0]! >>> 10)
    return 0
  }
  // step 12: M == 0 or M == 2: 263; step 14: M == 1 needs capabilities.MSI_MRIF
  if (mode !== MSIPTE_MRIF || !features.mrif) return CAUSE_MSI_MISCONFIGURED
  for (let word = 0; word < 4; word++) if ((entry[word]! & MRIF_ZERO[word]!) !== 0) return CAUSE_MSI_MISCONFIGURED
  target.mrif = true
  target.pageHi = (entry[3]! >>> 10) & 0xfff
  target.pageLo = (entry[3]! << 22) | (entry[2]! >>> 10)
  return 0
}
