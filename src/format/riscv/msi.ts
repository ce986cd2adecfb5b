/** MSI page table entries. RISC-V IOMMU 1.0, "Process to translate addresses of MSIs"; RISC-V AIA, "MSI page tables". */
import { addr, flag, layout, oneOf, uint } from '../../base/layout.ts'

export const MSIPTE_MRIF = 1
export const MSIPTE_FLAT = 3

const MODES = { 1: 'MRIF', 3: 'basic translate' }

/** MSI PTE in basic translate mode (M = 3): 16 bytes. The second doubleword is not interpreted. */
export const MSI_PTE_FLAT = layout('MSI PTE', 128, {
  V: flag(0, 'entry is valid'),
  M: oneOf(2, 1, MODES, 'mode'),
  PPN: addr(53, 10, 'page of the interrupt file', 12),
  C: flag(63, 'custom'),
})

/** MSI PTE in memory-resident interrupt file mode (M = 1): 16 bytes. */
export const MSI_PTE_MRIF = layout('MSI PTE', 128, {
  V: flag(0, 'entry is valid'),
  M: oneOf(2, 1, MODES, 'mode'),
  MRIF_Address: addr(53, 7, 'memory-resident interrupt file', 9),
  C: flag(63, 'custom'),
  N: uint(73, 64, 'notice identifier, bits 9:0'),
  NPPN: addr(117, 74, 'page of the notice MSI', 12),
  N10: flag(124, 'notice identifier, bit 10'),
})

/**
 * The bits of x:hi,lo that the mask selects, packed at the low end: `extract` of the specification, 52 bits wide.
 * The number is exact: at most 2^52.
 */
export function extract(hi: number, lo: number, maskHi: number, maskLo: number): number {
  let packed = 0
  let place = 1
  for (let bit = 0; bit < 52; bit++) {
    const mask = bit < 32 ? maskLo >>> bit : maskHi >>> (bit - 32)
    if ((mask & 1) === 0) continue
    if (((bit < 32 ? lo >>> bit : hi >>> (bit - 32)) & 1) !== 0) packed += place
    place *= 2
  }
  return packed
}
