/**
 * Registers of IOMMUs out of the memory of the Linux kernel that drives them: VMCOREINFO tells where its page tables and symbols are, symbols
 * where its variables and BTF are, BTF how they are laid out. x86-64 with an Intel IOMMU; Linux 6.0 and later, built with BTF.
 */
import { PhysicalMemory } from '../../memory/physical.ts'
import type { Dump } from '../dump/contract.ts'
import { parseVmcoreInfo, type VmcoreInfo } from '../dump/vmcoreinfo.ts'
import { parseBtf } from './btf.ts'
import { INTEL_SYMBOLS, intelUnits, type KernelUnit } from './intel.ts'
import { symbolsNamed } from './kallsyms.ts'
import { kernelMemory } from './virtual.ts'

export interface KernelFindings {
  /** `6.1.0-56-cloud-amd64`. */
  readonly release: string
  readonly kind: 'vtd'
  readonly units: readonly KernelUnit[]
}

const X86_64 = 62
const BTF_SYMBOLS = ['__start_BTF', '__stop_BTF'] as const
const MOST_BTF = 256 << 20

/**
 * What the kernel in a dump says; null when it does not say it, or the dump does not hold enough of it.
 * @param proceed is asked now and then; false ends the search.
 */
export function kernelFindings(dump: Dump, proceed: (bytes: number) => boolean): KernelFindings | null {
  if (dump.machine !== null && dump.machine !== X86_64) return null
  const memory = new PhysicalMemory([], dump)
  if (dump.vmcoreinfo !== null) return findingsOf(memory, dump.vmcoreinfo)
  for (const info of infosIn(dump, proceed)) {
    const found = findingsOf(memory, info)
    if (found !== null) return found
  }
  return null
}

function findingsOf(memory: PhysicalMemory, info: VmcoreInfo): KernelFindings | null {
  const kernel = kernelMemory(memory, info)
  const symbols = kernel === null ? null : symbolsNamed(kernel, info, [...INTEL_SYMBOLS, ...BTF_SYMBOLS])
  const [start, stop] = BTF_SYMBOLS.map((name) => symbols?.get(name))
  if (kernel === null || symbols === null || start === undefined || stop === undefined) return null
  if (stop <= start || stop - start > BigInt(MOST_BTF)) return null
  const bytes = kernel.bytes(start, Number(stop - start))
  const btf = bytes === null ? null : parseBtf(bytes)
  const units = btf === null ? null : intelUnits(kernel, btf, symbols)
  return units === null || units.length === 0 ? null : { release: info.release ?? 'unknown', kind: 'vtd', units }
}

/** `OSRE`, of `OSRELEASE=`: VMCOREINFO begins with it, in a page of its own. */
const BEGINS = 0x4552534f
const PAGES_PER_LOOK = 1024

/** VMCOREINFO in memory, for dumps that were not written by the kernel. */
function* infosIn(dump: Dump, proceed: (bytes: number) => boolean): Iterable<VmcoreInfo> {
  const words = new Int32Array(1024)
  let pages = 0
  for (const { start, end } of dump.ranges()) {
    for (let pa = Math.ceil(start / 4096) * 4096; pa + 4096 <= end; pa += 4096) {
      if (pages++ % PAGES_PER_LOOK === 0 && !proceed(pages * 4096)) return
      if (!dump.load(pa / 4096, words, 0) || words[0] !== BEGINS) continue
      const bytes = new Uint8Array(words.buffer).slice()
      const info = parseVmcoreInfo(bytes)
      if (info.values.has('OSRELEASE') && info.pageSize === 4096) yield info
    }
  }
}
