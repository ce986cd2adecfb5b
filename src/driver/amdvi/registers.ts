/** The IOMMU's registers by name. Offsets and fields: `format/amdvi/registers.ts`. */
import { encode, type Values, wordsToU64 } from '../../base/layout.ts'
import { hi32, lo32 } from '../../base/u64.ts'
import type { Mmio } from '../../core/driver.ts'
import { type AmdFeatures, featuresOf } from '../../format/amdvi/features.ts'
import {
  CONTROL,
  EFR_GT_SUP,
  EFR_HI_EPH_SUP,
  EFR_HI_PPR_AUTO_RSP_SUP,
  EFR_IA_SUP,
  EFR_PPR_SUP,
  EFR2_GCR3_TRP_MODE,
  EFR2_HT_RANGE_IGNORE,
  REG,
  REGISTERS,
} from '../../format/amdvi/registers.ts'
import { NamedRegisters } from '../common/registers.ts'

const PLACES = new Map(REGISTERS.map(({ name, offset }) => [name, { offset, bytes: 8 as const }]))

type ControlField = keyof typeof CONTROL.fields

export class Registers extends NamedRegisters {
  readonly mmio: Mmio

  constructor(mmio: Mmio) {
    super(mmio, (name) => {
      const place = PLACES.get(name)
      if (place === undefined) throw new RangeError(`no register is called ${name}`)
      return place
    })
    this.mmio = mmio
  }

  writeWide(name: keyof typeof REG, value: bigint): void {
    this.mmio.write(REG[name], 8, value)
  }

  /** Bits of CONTROL, beside what is on. */
  control(names: readonly ControlField[], on: boolean): void {
    const mask = wordsToU64(encode(CONTROL, Object.fromEntries(names.map((name) => [name, 1]))))[0]!
    const now = this.readWide('CONTROL')
    this.writeWide('CONTROL', on ? now | mask : now & ~mask)
  }
}

/** What this IOMMU has, and what of it the driver uses. */
export interface Abilities {
  readonly features: AmdFeatures
  /** CONTROL once it is set up. */
  readonly control: bigint
  /** EXT_FEATURE2.GCR3TRPMode: guests can have GCR3 tables of their own. */
  readonly guests: boolean
  /** Addresses of HyperTransport are special. */
  readonly hyperTransport: boolean
  /** Page requests that find the log full are answered by hardware. */
  readonly autoResponse: boolean
  /** EXT_FEATURE.IASup. */
  readonly invalidateAll: boolean
}

/** 1 s, so that a dead device does not stop the others. */
const INV_TIMEOUT = 4

export function abilitiesOf(registers: Registers): Abilities {
  const efr = registers.readWide('EXT_FEATURE')
  const efr2 = registers.readWide('EXT_FEATURE2')
  const [low, high] = [lo32(efr), hi32(efr)]
  const ppr = (low & EFR_PPR_SUP) !== 0
  const autoResponse = ppr && (high & EFR_HI_PPR_AUTO_RSP_SUP) !== 0
  const guests = (lo32(efr2) & EFR2_GCR3_TRP_MODE) !== 0
  const on: Partial<Values<typeof CONTROL.fields>> = {
    IommuEn: 1,
    CmdBufEn: 1,
    EventLogEn: 1,
    EventIntEn: 1,
    Coherent: 1,
    InvTimeOut: INV_TIMEOUT,
    ...((low & EFR_GT_SUP) === 0 ? {} : { GTEn: 1 }),
    ...(ppr ? { PPREn: 1, PPRLogEn: 1, PPRIntEn: 1 } : {}),
    ...(ppr && (high & EFR_HI_EPH_SUP) !== 0 ? { EPHEn: 1 } : {}),
    ...(autoResponse ? { PprAutoRspEn: 1 } : {}),
    ...(guests ? { GCR3TRPMode: 1 } : {}),
  }
  const control = wordsToU64(encode(CONTROL, on))[0]!
  return {
    features: featuresOf(high, low, hi32(control), lo32(control)),
    control,
    guests,
    hyperTransport: (lo32(efr2) & EFR2_HT_RANGE_IGNORE) === 0,
    autoResponse,
    invalidateAll: (low & EFR_IA_SUP) !== 0,
  }
}
