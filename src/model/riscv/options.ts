/** What an instance of the model is made of: the choices that the specification leaves to implementations. */
import { FULL_CAPABILITIES } from '../../format/riscv/registers.ts'

export interface RiscvCaches {
  /** Device contexts. Each size is 0 (none) or a power of two. */
  readonly devices: number
  /** Process contexts. */
  readonly processes: number
  /** Translations (IOATC), pages of 4 KiB. */
  readonly translations: number
}

export interface RiscvQuirks {
  readonly pqcsrWithoutAts: boolean
  readonly icvecUpperHalf: boolean
}

export interface RiscvOptions {
  /** The `capabilities` register. */
  readonly capabilities: bigint
  /** Reset value of `fctl`. */
  readonly fctl: number
  /** Reset value of `ddtp.iommu_mode`: 0 Off, 1 Bare. */
  readonly resetMode: number
  /** Largest `ddtp.iommu_mode` that can be written: 2 is 1LVL, 4 is 3LVL. */
  readonly maxMode: number
  /** Bits of device_id that IODIR commands take. */
  readonly deviceIdMask: number
  /** Whether fctl.GXL can be written, and fctl.BE differ from DC.tc.SBE. */
  readonly gxlWritable: boolean
  readonly beWritable: boolean
  /** log2 of the translation size that a Bare stage contributes. */
  readonly stage1BareLog2: number
  readonly stage2BareLog2: number
  /** log2 of the translation size that a 64 KiB NAPOT leaf gives: 16, or 12 where the IOMMU splits it into pages. */
  readonly napotLog2: number
  /** Counters, iohpmcycles included (2 to 32, where capabilities.HPM is 1); width of iohpmctr; largest eventID that can be written. */
  readonly counters: number
  readonly counterBits: number
  readonly maxEvent: number
  /** Writable bits of each `icvec` field: 2^vectorBits MSI table entries exist. */
  readonly vectorBits: number
  /** Writable bits of `iommu_qosid`, RCID 11:0 and MCID 27:16; also the widths that DC.ta may use. */
  readonly qosMask: number
  /** Invalidation requests that can wait for their completion. */
  readonly invalidationTags: number
  readonly caches: RiscvCaches
  /**
   * Departures from the specification that other implementations have, for comparing with them. `pqcsrWithoutAts`: pqcsr can be written
   * where capabilities.ATS is 0. `icvecUpperHalf`: a 4-byte write to the upper half of icvec goes to the lower half.
   */
  readonly quirks: RiscvQuirks
}

export { FULL_CAPABILITIES }

export const DEFAULT_OPTIONS: RiscvOptions = {
  capabilities: FULL_CAPABILITIES,
  fctl: 0,
  resetMode: 0,
  maxMode: 4,
  deviceIdMask: 0xffffff,
  gxlWritable: false,
  beWritable: true,
  stage1BareLog2: 30,
  stage2BareLog2: 30,
  napotLog2: 16,
  counters: 8,
  counterBits: 64,
  maxEvent: 8,
  vectorBits: 4,
  qosMask: 0x0fff0fff,
  invalidationTags: 2,
  caches: { devices: 256, processes: 1024, translations: 4096 },
  quirks: { pqcsrWithoutAts: false, icvecUpperHalf: false },
}
