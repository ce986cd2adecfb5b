/** Kinds of input that `iomm verify` runs. A further one is one more line. */
import { CAPTURES, DUMPS } from './capture.ts'
import type { Verifier } from './contract.ts'
import { LOGS } from './logs.ts'
import { VECTORS } from './vectors.ts'

export const VERIFIERS: readonly Verifier[] = [CAPTURES, DUMPS, VECTORS, LOGS]
