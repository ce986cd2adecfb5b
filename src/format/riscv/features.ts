/** What a RISC-V IOMMU can do, out of capabilities and fctl. RISC-V IOMMU 1.0, "IOMMU capabilities", "Features-control register". */
import { getBits } from '../../base/layout.ts'
import { type RiscvMode, type RiscvScheme, riscvScheme } from '../pt/riscv.ts'
import { IOHGATP_BARE, IOSATP_BARE, PDTP_BARE } from './contexts.ts'
import {
  CAP_AMO_HWAD,
  CAP_ATS,
  CAP_END,
  CAP_HI_PD8,
  CAP_HI_QOSID,
  CAP_MSI_FLAT,
  CAP_MSI_MRIF,
  CAP_SVPBMT,
  CAP_SVRSW60T59B,
  CAP_T2GPA,
  CAPABILITIES,
  FCTL_BE,
  FCTL_GXL,
} from './registers.ts'

/** Bits that no register tells: which fields software may write. */
export interface RiscvChoices {
  /** fctl.GXL can be written: DC.tc.SXL may be 1 while GXL is 0. */
  readonly gxlWritable: boolean
  /** fctl.BE can be written: DC.tc.SBE may differ from it. */
  readonly beWritable: boolean
  /** Supported bits of iommu_qosid: RCID 11:0, MCID 27:16. */
  readonly qosMask: number
}

/** What a register dump must be assumed to allow. */
export const UNKNOWN_CHOICES: RiscvChoices = { gxlWritable: true, beWritable: true, qosMask: 0x0fff0fff }

export interface RiscvFeatures {
  /** capabilities. */
  readonly capLo: number
  readonly capHi: number
  /** fctl.BE: directories, second stage, MSI page tables and queues are big-endian. */
  readonly be: boolean
  readonly gxl: boolean
  /** Extended-format device contexts (MSI_FLAT). */
  readonly extended: boolean
  readonly ats: boolean
  readonly t2gpa: boolean
  readonly hwad: boolean
  readonly mrif: boolean
  /** capabilities.PAS, and 2^PAS: addresses of structures at or above it are access faults. */
  readonly addressBits: number
  readonly addressLimit: number
  /** Legal values of a MODE field, as a mask of 1 << MODE: first stage by tc.SXL, second stage, process directory. */
  readonly stage1Modes: readonly [number, number]
  readonly stage2Modes: number
  readonly pdtModes: number
  /** Legal values of DC.tc.SXL and DC.tc.SBE, as masks of 1 << value. */
  readonly sxlValues: number
  readonly sbeValues: number
  /** Bits 63:32 of DC.ta that must be zero by capabilities.QOSID and the widths of RCID and MCID. */
  readonly qosReserved: number
  /** Page-number bits that MSI address masks and patterns have: bits below MGPAW - 12. */
  readonly msiPageHi: number
  readonly msiPageLo: number
  /** Tables by MODE; null where the MODE is Bare or not legal. First stage by tc.SXL. */
  readonly stage1: readonly [readonly (RiscvScheme | null)[], readonly (RiscvScheme | null)[]]
  readonly stage2: readonly (RiscvScheme | null)[]
}

const STAGE1: readonly RiscvMode[] = ['Sv39', 'Sv48', 'Sv57']
const STAGE2: readonly RiscvMode[] = ['Sv39x4', 'Sv48x4', 'Sv57x4']
const FIRST_MODE = 8

/** capabilities bits of Sv32, Sv39, Sv48, Sv57 start at 8; of the x4 ones at 16. */
const CAP_STAGE1 = 8
const CAP_STAGE2 = 16

export function featuresOf(capHi: number, capLo: number, fctl: number, choices: RiscvChoices = UNKNOWN_CHOICES): RiscvFeatures {
  const be = (fctl & FCTL_BE) !== 0
  const gxl = (fctl & FCTL_GXL) !== 0
  const extensions = { svpbmt: (capLo & CAP_SVPBMT) !== 0, svrsw60t59b: (capLo & CAP_SVRSW60T59B) !== 0 }
  const has = (bit: number) => ((capLo >>> bit) & 1) === 1
  const schemes = (modes: readonly RiscvMode[], bit: number, only32: RiscvMode | null) => {
    const table = new Array<RiscvScheme | null>(16).fill(null)
    if (only32 !== null) {
      if (has(bit)) table[FIRST_MODE] = riscvScheme(only32, extensions)
    } else
      modes.forEach((mode, at) => {
        if (has(bit + 1 + at)) table[FIRST_MODE + at] = riscvScheme(mode, extensions)
      })
    return table
  }
  const stage1 = [schemes(STAGE1, CAP_STAGE1, null), schemes(STAGE1, CAP_STAGE1, 'Sv32')] as const
  const stage2 = schemes(STAGE2, CAP_STAGE2, gxl ? 'Sv32x4' : null)
  const modes = (table: readonly (RiscvScheme | null)[], bare: number) =>
    table.reduce((mask, scheme, mode) => (scheme === null ? mask : mask | (1 << mode)), 1 << bare)
  const addressBits = getBits(Uint32Array.of(capLo, capHi), CAPABILITIES.fields.PAS.msb, CAPABILITIES.fields.PAS.lsb)
  // "MSI address mask and pattern": the widest guest physical address that any second stage has.
  const mgpaw = has(19) ? 59 : has(18) ? 50 : has(17) ? 41 : has(16) ? 34 : Math.max(addressBits, 12)
  const qos = (capHi & CAP_HI_QOSID) === 0 ? 0 : choices.qosMask
  return {
    capLo,
    capHi,
    be,
    gxl,
    extended: (capLo & CAP_MSI_FLAT) !== 0,
    ats: (capLo & CAP_ATS) !== 0,
    t2gpa: (capLo & CAP_T2GPA) !== 0,
    hwad: (capLo & CAP_AMO_HWAD) !== 0,
    mrif: (capLo & CAP_MSI_MRIF) !== 0,
    addressBits,
    addressLimit: 2 ** addressBits,
    stage1Modes: [modes(stage1[0], IOSATP_BARE), modes(stage1[1], IOSATP_BARE)],
    stage2Modes: modes(stage2, IOHGATP_BARE),
    // PD8, PD17, PD20 are MODE 1, 2, 3 and bits 38 to 40.
    pdtModes: (1 << PDTP_BARE) | (((capHi / CAP_HI_PD8) & 7) << 1),
    sxlValues: gxl ? 0b10 : choices.gxlWritable ? 0b11 : 0b01,
    sbeValues: choices.beWritable && (capLo & CAP_END) !== 0 ? 0b11 : 1 << (be ? 1 : 0),
    // RCID is bits 51:40 of ta, MCID bits 63:52.
    qosReserved: ~(((qos & 0xfff) << 8) | (((qos >>> 16) & 0xfff) << 20)),
    msiPageLo: mgpaw - 12 >= 32 ? -1 : (1 << (mgpaw - 12)) - 1,
    msiPageHi: mgpaw - 12 > 32 ? (1 << (mgpaw - 44)) - 1 : 0,
    stage1,
    stage2,
  }
}

/** Bits of DDI[0]: 64-byte contexts, 64 of them to a page, or 32-byte ones, 128. */
export function leafIndexBits(features: RiscvFeatures): number {
  return features.extended ? 6 : 7
}
