/** What an instance of the model is made of: the choices that the specification leaves to implementations. */
import { FULL_EXT_FEATURE } from '../../format/amdvi/registers.ts'

/** Sizes of the caches, in entries; 0: off. */
export interface AmdCaches {
  /** Device table entries. */
  readonly devices: number
  /** GCR3 table entries, with what follows from the device table entry. */
  readonly contexts: number
  /** Translations (IOTLB). */
  readonly translations: number
  /** Interrupt remapping entries. */
  readonly interrupts: number
}

export interface AmdOptions {
  /** The extended feature registers. */
  readonly efr: bigint
  readonly efr2: bigint
  /** Capability header, NpCache: what is not present is remembered too, until software invalidates it. */
  readonly npCache: boolean
  /** Width of a system physical address (MISC_INFO0.PAsize), 32 to 52. */
  readonly physicalBits: number
  readonly caches: AmdCaches
  /** Commands are executed by `step` only. Default: at once. */
  readonly deferred: boolean
}

export const DEFAULT_CACHES: AmdCaches = { devices: 256, contexts: 1024, translations: 8192, interrupts: 1024 }

export const DEFAULT_OPTIONS: Omit<AmdOptions, 'caches'> = {
  efr: FULL_EXT_FEATURE,
  efr2: 0n,
  npCache: false,
  physicalBits: 52,
  deferred: false,
}

/** What a caller may give: everything is optional. */
export type AmdChoices = Partial<Omit<AmdOptions, 'caches'>> & { readonly caches?: Partial<AmdCaches> }

/** The choices, and the defaults where there are none. @throws RangeError when a width is not one. */
export function optionsOf(choices: AmdChoices): AmdOptions {
  const options = { ...DEFAULT_OPTIONS, ...choices, caches: { ...DEFAULT_CACHES, ...choices.caches } }
  const { physicalBits } = options
  if (!Number.isInteger(physicalBits) || physicalBits < 32 || physicalBits > 52)
    throw new RangeError(`physicalBits ${physicalBits}: an integer from 32 to 52`)
  return options
}
