/** Kinds of input that `iomm verify` runs. A further one (vectors of a reference model) is one more line. */
import { CAPTURES } from './capture.ts'
import type { Verifier } from './contract.ts'

export const VERIFIERS: readonly Verifier[] = [CAPTURES]
