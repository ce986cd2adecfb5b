/** GCR3 table: the table by PASID, 512 entries of 8 bytes to a page. AMD IOMMU specification (48882), 2.2.6.3 "GCR3 Tables". */
import { addr, flag, layout } from '../../base/layout.ts'

/** Entry of the lowest level: the top of one guest page table. */
export const GCR3_ENTRY = layout('GCR3 entry', 64, {
  V: flag(0, 'entry is valid'),
  GCR3: addr(51, 12, 'top of the guest page table'),
})

/** Entry of a higher level. */
export const GCR3_POINTER = layout('GCR3 pointer', 64, {
  V: flag(0, 'entry is valid'),
  NextTable: addr(51, 12, 'GCR3 table one level down'),
})

export const GCR3_BYTES = 8
export const GCR3_V = 1

/** Width of the PASIDs that a GCR3 table of GLX + 1 levels takes: 9, 18, and 20 (PCIe has no more). */
export function gcr3Bits(glx: number): number {
  return glx === 0 ? 9 : glx === 1 ? 18 : 20
}

/** The address in an entry: a double, exact. */
export function gcr3Address(high: number, low: number): number {
  return (high & 0xfffff) * 4294967296 + ((low & 0xfffff000) >>> 0)
}
