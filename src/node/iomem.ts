/** `/proc/iomem` as Linux prints it: what lies where in physical memory. Kernel: Documentation/filesystems/proc.rst. */
import type { MemoryRegion } from '../inspect/graph.ts'

/** So many regions are kept. */
const REGIONS = 1 << 14

/**
 * Regions in the order of the text, larger ones before those inside them. Lines of another form are left out, and so are all where the
 * kernel hides the addresses (it prints zeros to those who may not see them).
 */
export function parseIomem(lines: readonly string[]): MemoryRegion[] {
  const regions: MemoryRegion[] = []
  for (const line of lines) {
    const match = /^\s*([0-9a-f]{1,16})-([0-9a-f]{1,16}) : (.+?)\s*$/i.exec(line)
    if (match === null || regions.length >= REGIONS) continue
    const start = BigInt(`0x${match[1]}`)
    const end = BigInt(`0x${match[2]}`) + 1n
    if (end > start && end > 1n && end <= 1n << 52n) regions.push({ start, end, name: match[3]! })
  }
  return regions
}
