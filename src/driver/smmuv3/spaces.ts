/** Shapes of the page tables that the driver writes: granule, start level, sizes. Arm IHI 0070, 3.4 "Address sizes"; DDI 0487, D8.2. */
import { IommError } from '../../core/error.ts'
import { type Granule, vmsav8 } from '../../format/pt/vmsav8.ts'
import { granuleSupported, type SmmuFeatures } from '../../format/smmuv3/features.ts'
import type { Shape } from '../common/pgtable.ts'

/** Memory attributes of leaves at stage 1: attribute 0 of MAIR, not global (each ASID has entries of its own). */
const STAGE1_ATTRIBUTES = 1 << 11
/** Inner shareable. With 52-bit addresses and small granules these bits hold an address, and the CD says the shareability. */
const INNER_SHAREABLE = 3 << 8
/** At stage 2: write-back normal memory. */
const STAGE2_ATTRIBUTES = (0b1111 << 2) | INNER_SHAREABLE

/** The smallest granule of the SMMU, or the one asked for. @throws IommError Unsupported */
export function chooseGranule(features: SmmuFeatures, wanted: Granule | undefined): Granule {
  const granules: Granule[] = wanted === undefined ? [12, 14, 16] : [wanted]
  const found = granules.find((granule) => granuleSupported(features, granule))
  if (found === undefined)
    throw new IommError(
      'Unsupported',
      `SMMU_IDR5 has no ${wanted === undefined ? 'granule' : `${2 ** (wanted - 10)} KiB granule`}`,
    )
  return found
}

/** Stage 1 through TTB0. @param inputBits at most what the SMMU takes; default 48. @throws IommError BadArgument */
export function stage1Shape(features: SmmuFeatures, granule: Granule, inputBits = 48): Shape {
  // 52 bits need 64 KiB granules (VAX), or DS with the others.
  const largest = granule === 16 || features.ds ? features.vaBits : 48
  if (inputBits < 25 || inputBits > Math.min(largest, 52))
    throw new IommError(
      'BadArgument',
      `a stage 1 of ${inputBits} bits: this SMMU takes 25 to ${Math.min(largest, 52)} with this granule`,
    )
  const wide = granule === 16 ? features.oas >= 52 : features.ds && (inputBits > 48 || features.oas >= 52)
  return {
    format: vmsav8(granule, 'el1', wide),
    topDepth: Math.ceil((inputBits - granule) / (granule - 3)) - 1,
    inputBits,
    outputLimit: 2 ** Math.min(features.oas, wide ? 52 : 48),
    attributesLo: STAGE1_ATTRIBUTES | (wide && granule !== 16 ? 0 : INNER_SHAREABLE),
    splitsAtOnce: false,
  }
}

/** Stage 2. Up to 16 top tables are concatenated, where that saves a level. @throws IommError BadArgument */
export function stage2Shape(features: SmmuFeatures, granule: Granule, inputBits = Math.min(features.oas, 48)): Shape {
  if (inputBits < 32 || inputBits > Math.min(features.oas, 48))
    throw new IommError('BadArgument', `a stage 2 of ${inputBits} bits: this SMMU takes 32 to ${Math.min(features.oas, 48)}`)
  const wide = granule === 16 && features.oas >= 52
  return {
    format: vmsav8(granule, features.xnx ? 'stage2-xnx' : 'stage2', wide),
    topDepth: Math.ceil((inputBits - 4 - granule) / (granule - 3)) - 1,
    inputBits,
    outputLimit: 2 ** Math.min(features.oas, wide ? 52 : 48),
    attributesLo: STAGE2_ATTRIBUTES,
    splitsAtOnce: false,
  }
}
