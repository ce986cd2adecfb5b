/** Shapes of the page tables that the driver writes. RISC-V privileged architecture, "Sv39" to "Sv57", and their x4 forms. */
import { PX } from '../../base/types.ts'
import { IommError } from '../../core/error.ts'
import type { RiscvMode, RiscvScheme } from '../../format/pt/riscv.ts'
import type { RiscvFeatures } from '../../format/riscv/features.ts'
import type { Shape } from '../common/pgtable.ts'
import type { FirstStageMode } from './options.ts'

/** A mode, and its number in iosatp, fsc or iohgatp. */
export interface Mode {
  readonly number: number
  readonly scheme: RiscvScheme
}

/** In the order in which they are taken when nobody asks for one. */
const PREFERRED: readonly FirstStageMode[] = ['Sv48', 'Sv39', 'Sv57']

function modeNamed(table: readonly (RiscvScheme | null)[], name: RiscvMode): Mode | null {
  const number = table.findIndex((scheme) => scheme?.mode === name)
  return number < 0 ? null : { number, scheme: table[number]! }
}

function modeOf(table: readonly (RiscvScheme | null)[], wanted: FirstStageMode | undefined, suffix: '' | 'x4'): Mode | null {
  for (const name of wanted === undefined ? PREFERRED : [wanted]) {
    const mode = modeNamed(table, `${name}${suffix}`)
    if (mode !== null) return mode
  }
  return null
}

/** The mode of our first stages; null when the IOMMU has none. */
export function firstStage(features: RiscvFeatures, wanted: FirstStageMode | undefined): Mode | null {
  return modeOf(features.stage1[0]!, wanted, '')
}

export function secondStage(features: RiscvFeatures, wanted: FirstStageMode | undefined): Mode | null {
  return modeOf(features.stage2, wanted, 'x4')
}

/** @throws IommError Unsupported when there is no such mode. */
export function shapeOf(features: RiscvFeatures, mode: Mode | null, stage: 1 | 2, wanted: FirstStageMode | undefined): Shape {
  if (mode === null) {
    const name = wanted === undefined ? `a ${stage === 1 ? 'first' : 'second'} stage` : `${wanted}${stage === 1 ? '' : 'x4'}`
    throw new IommError('Unsupported', `the IOMMU has not ${name} (capabilities)`)
  }
  const { format, topDepth, inputBits, top } = mode.scheme
  return {
    format,
    topDepth,
    inputBits,
    top,
    outputLimit: features.addressLimit,
    attributesLo: 0,
    // "The only PTE update supported without first clearing the V bit is a page size promotion or demotion."
    splitsAtOnce: true,
    // Pages of ours are user pages, which supervisor code never executes.
    rightsOf: stage === 1 ? (wantedRights) => wantedRights & ~PX : (wantedRights) => wantedRights,
  }
}
