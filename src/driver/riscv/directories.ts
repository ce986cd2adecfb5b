/** The device directory, and the process directories of domains. RISC-V IOMMU 1.0, "Device-directory-table", "Process-directory-table". */
import { encode } from '../../base/layout.ts'
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { IommError } from '../../core/error.ts'
import { DC, DC_BASE, DDTE, PC, PDTE, PDTP_PD8, PDTP_PD17, PDTP_PD20 } from '../../format/riscv/contexts.ts'
import { leafIndexBits, type RiscvFeatures } from '../../format/riscv/features.ts'
import { RadixTable } from '../common/radix-table.ts'
import type { ProcessDirectoryMode } from './options.ts'

/** Width of the device_ids that a directory of so many levels takes. */
export function deviceBits(features: RiscvFeatures, levels: number): number {
  return Math.min(24, leafIndexBits(features) + 9 * (levels - 1))
}

export class DeviceDirectory {
  readonly levels: number
  readonly bits: number
  readonly #table: RadixTable

  /** @param levels 1 to 3. */
  constructor(memory: WordMemory, pages: PageAllocator, features: RiscvFeatures, levels: number) {
    this.levels = levels
    this.bits = deviceBits(features, levels)
    const layout = features.extended ? DC : DC_BASE
    const leaf = leafIndexBits(features)
    // Of three levels of base-format contexts, the top one uses 8 bits: device_ids have 24.
    const bits = levels === 1 ? [leaf] : levels === 2 ? [9, leaf] : [24 - 9 - leaf, 9, leaf]
    this.#table = new RadixTable(memory, pages, {
      bits,
      entryBytes: layout.bits / 8,
      pointer: (table) => encode(DDTE, { V: 1, PPN: BigInt(table) }),
    })
  }

  get base(): number {
    return this.#table.base
  }

  /** Where the device context lies; its tables are made when there are none. Entries with V = 0 are never cached: nothing to invalidate. */
  make(device: number): number {
    if (device >= 2 ** this.bits || device < 0)
      throw new IommError(
        'BadArgument',
        `device_id 0x${device.toString(16)} needs more than the ${this.bits} bits of the device directory; give the driver more deviceIdBits`,
      )
    return this.#table.make(device).entry
  }
}

/** pdtp.MODE, the width of its process_ids, and the bits of each level. */
const MODES: Record<ProcessDirectoryMode, { readonly mode: number; readonly bits: readonly number[] }> = {
  PD8: { mode: PDTP_PD8, bits: [8] },
  PD17: { mode: PDTP_PD17, bits: [9, 8] },
  PD20: { mode: PDTP_PD20, bits: [3, 9, 8] },
}
const widthOf = (mode: ProcessDirectoryMode) => MODES[mode].bits.reduce((sum, bits) => sum + bits, 0)

export class ProcessDirectory extends RadixTable {
  /** DC.fsc.MODE. */
  readonly mode: number

  constructor(memory: WordMemory, pages: PageAllocator, mode: ProcessDirectoryMode) {
    const pointer = (table: number) => encode(PDTE, { V: 1, PPN: BigInt(table) })
    super(memory, pages, { bits: MODES[mode].bits, entryBytes: PC.bits / 8, pointer })
    this.mode = MODES[mode].mode
  }
}

/** The modes that the IOMMU has, the smallest first. */
export function processDirectoryModes(features: RiscvFeatures): ProcessDirectoryMode[] {
  return (['PD8', 'PD17', 'PD20'] as const).filter((mode) => (features.pdtModes & (1 << MODES[mode].mode)) !== 0)
}

/** Width of the process_ids that the IOMMU takes, with this mode or any; 0: it has no process directories. */
export function processBits(features: RiscvFeatures, wanted: ProcessDirectoryMode | undefined): number {
  const modes = wanted === undefined ? processDirectoryModes(features) : [wanted]
  return Math.max(0, ...modes.map(widthOf))
}

/** The smallest mode for process_ids of so many bits; null when there is none. */
export function modeFor(
  features: RiscvFeatures,
  bits: number,
  wanted: ProcessDirectoryMode | undefined,
): ProcessDirectoryMode | null {
  const modes = wanted === undefined ? processDirectoryModes(features) : [wanted]
  return modes.find((mode) => widthOf(mode) >= bits) ?? null
}
