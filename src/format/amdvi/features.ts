/** What an AMD IOMMU can do and is set to do, out of EXT_FEATURE and CONTROL. AMD IOMMU specification (48882), 3.4.2, 3.4.3. */
import { getBits } from '../../base/layout.ts'
import { amdV1 } from '../pt/amd-v1.ts'
import { AD_IGNORE, AD_SET, type PtSpace, ptSpace } from '../pt/format.ts'
import { amdV2, x86Fix } from '../pt/x86.ts'
import {
  CONTROL_GA_EN,
  CONTROL_GT_EN,
  CONTROL_HI_DEV_TBL_SEG_SHIFT,
  CONTROL_HI_GA_UPDATE_DIS,
  CONTROL_HI_GCR3_TRP_MODE,
  CONTROL_HI_GD_UPDATE_DIS,
  CONTROL_HI_HAD_UPDATE_SHIFT,
  CONTROL_HI_XT_EN,
  EFR_GT_SUP,
  EFR_HI_GA_UPDATE_DIS_SUP,
  EFR_HI_GIO_SUP,
  EFR_HI_HA_SUP,
  EFR_HI_HD_SUP,
  EFR_HI_US_SUP,
  EFR_NX_SUP,
  EFR_PPR_SUP,
  EXT_FEATURE,
} from './registers.ts'

export interface AmdFeatures {
  /** EXT_FEATURE. */
  readonly efrLo: number
  readonly efrHi: number
  /** Levels of host and of guest page tables at most. */
  readonly hostLevels: number
  readonly guestLevels: 4 | 5
  /** EXT_FEATURE.GTSup, and CONTROL.GTEn with it: whether DTE.GV counts. */
  readonly guestSupported: boolean
  readonly guest: boolean
  /** Largest DTE.GLX. */
  readonly glxMax: number
  /** Width of PASIDs (PASmax + 1), 20 at most. */
  readonly pasidBits: number
  readonly ppr: boolean
  /** DTE.GIOV is there. */
  readonly giov: boolean
  /** NXSup: execution and privileges are known to the IOMMU. */
  readonly noExecute: boolean
  /** USSup: U/S of guest tables counts. */
  readonly userSupervisor: boolean
  /** Values that DTE.HAD may have, as a mask of 1 << HAD; and what of it CONTROL.HADUpdate lets hardware do (bit 0: A, bit 1: D). */
  readonly hadValues: number
  readonly hadUpdate: number
  /** Whether hardware sets A and D in guest tables. */
  readonly guestAccessed: boolean
  readonly guestDirty: boolean
  /** CONTROL.GCR3TRPMode: with host tables, the GCR3 table's own address is a guest physical one, as those in its entries are. */
  readonly gcr3RootGuest: boolean
  /** Bytes of an interrupt remapping entry (CONTROL.GAEn: 16), and whether destinations have 32 bits (CONTROL.XTEn). */
  readonly irteBytes: 4 | 16
  readonly x2apic: boolean
  /** log2 of the segments of the device table (CONTROL.DevTblSegEn). */
  readonly segmentsLog2: number
  /** Spaces with root 0, by DTE.Mode (null: 0, 7 and what HATS does not allow), and by DTE.GuestPagingMode. */
  readonly host: readonly (PtSpace | null)[]
  readonly guestTables: readonly (PtSpace | null)[]
}

/** Addresses of tables and pages have 52 bits. */
const PHYSICAL = { outputLimit: 2 ** 52, physicalLimit: 2 ** 52 }
const LEVELS = [1, 2, 3, 4, 5, 6] as const

export function featuresOf(efrHi: number, efrLo: number, controlHi: number, controlLo: number): AmdFeatures {
  const efr = Uint32Array.of(efrLo, efrHi)
  const field = (name: 'HATS' | 'GATS' | 'GLXSup' | 'PASmax') =>
    getBits(efr, EXT_FEATURE.fields[name].msb, EXT_FEATURE.fields[name].lsb)
  // HATS 3 is reserved: no host tables.
  const hostLevels = field('HATS') === 3 ? 0 : 4 + field('HATS')
  // x86 has no tables of 6 levels.
  const guestLevels = field('GATS') === 0 ? 4 : 5
  const guestSupported = (efrLo & EFR_GT_SUP) !== 0
  const noExecute = (efrLo & EFR_NX_SUP) !== 0
  const userSupervisor = (efrHi & EFR_HI_US_SUP) !== 0
  const had = ((efrHi & EFR_HI_HA_SUP) === 0 ? 0 : 1) | ((efrHi & EFR_HI_HD_SUP) === 0 ? 0 : 2)
  const guestAccessed = (efrHi & EFR_HI_GA_UPDATE_DIS_SUP) === 0 || (controlHi & CONTROL_HI_GA_UPDATE_DIS) === 0
  const guestDirty = (controlHi & CONTROL_HI_GD_UPDATE_DIS) === 0
  const guestSpace = (levels: 4 | 5) =>
    ptSpace({
      ...amdV2(levels, { noExecute: noExecute ? 'honoured' : 'ignored' }),
      ...PHYSICAL,
      root: 0,
      fix: x86Fix({ oneSide: !userSupervisor }),
      accessed: guestAccessed ? AD_SET : AD_IGNORE,
      dirty: guestDirty ? AD_SET : AD_IGNORE,
    })
  return {
    efrLo,
    efrHi,
    hostLevels,
    guestLevels,
    guestSupported,
    guest: guestSupported && (controlLo & CONTROL_GT_EN) !== 0,
    glxMax: field('GLXSup'),
    pasidBits: Math.min(20, field('PASmax') + 1),
    ppr: (efrLo & EFR_PPR_SUP) !== 0,
    giov: (efrHi & EFR_HI_GIO_SUP) !== 0,
    noExecute,
    userSupervisor,
    hadValues: 1 | (had & 1 ? 1 << 1 : 0) | (had === 3 ? 1 << 3 : 0),
    hadUpdate: (controlHi >>> CONTROL_HI_HAD_UPDATE_SHIFT) & had,
    guestAccessed,
    guestDirty,
    gcr3RootGuest: (controlHi & CONTROL_HI_GCR3_TRP_MODE) !== 0,
    irteBytes: (controlLo & CONTROL_GA_EN) !== 0 ? 16 : 4,
    x2apic: (controlHi & CONTROL_HI_XT_EN) !== 0,
    // 4 to 7 are reserved.
    segmentsLog2: Math.min(3, (controlHi >>> CONTROL_HI_DEV_TBL_SEG_SHIFT) & 7),
    host: [
      null,
      ...LEVELS.map((levels) => (levels <= hostLevels ? ptSpace({ ...amdV1(levels), ...PHYSICAL, root: 0 }) : null)),
      null,
    ],
    guestTables: [guestSpace(4), guestLevels === 5 ? guestSpace(5) : null, null, null],
  }
}
