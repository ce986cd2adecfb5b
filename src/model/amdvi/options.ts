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
  readonly caches: AmdCaches
  /** Commands are executed by `step` only. Default: at once. */
  readonly deferred: boolean
}

export const DEFAULT_CACHES: AmdCaches = { devices: 256, contexts: 1024, translations: 8192, interrupts: 1024 }

export const DEFAULT_OPTIONS: Omit<AmdOptions, 'caches'> = {
  efr: FULL_EXT_FEATURE,
  efr2: 0n,
  npCache: false,
  deferred: false,
}

/** What a caller may give: everything is optional. */
export type AmdChoices = Partial<Omit<AmdOptions, 'caches'>> & { readonly caches?: Partial<AmdCaches> }

/** The choices, and the defaults where there are none. */
export function optionsOf(choices: AmdChoices): AmdOptions {
  return { ...DEFAULT_OPTIONS, ...choices, caches: { ...DEFAULT_CACHES, ...choices.caches } }
}
