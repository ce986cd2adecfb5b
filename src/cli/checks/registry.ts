/** Kinds of input that `iomm verify` runs. A further one is one more line; files of one architecture are among what is known of it. */
import { ARCHITECTURES } from '../architectures.ts'
import { CAPTURES, DUMPS } from './capture.ts'
import { LOGS } from './logs.ts'
import type { Verifier } from './verifier.ts'

export const VERIFIERS: readonly Verifier[] = [CAPTURES, DUMPS, ...ARCHITECTURES.flatMap(({ files = [] }) => files), LOGS]
