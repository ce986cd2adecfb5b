/** The architectures of machines. A further one is one more entry. */

import { amdvi } from './amdvi.ts'
import type { Architecture } from './architecture.ts'
import { ERROR_CODES } from './errors.ts'
import type { Architectures } from './language/scenario.ts'
import { FAULT_KINDS, RESULTS } from './language/words.ts'
import { riscv } from './riscv.ts'
import { smmuv3 } from './smmuv3.ts'
import { vtd } from './vtd.ts'

const ALL: readonly Architecture[] = [smmuv3, riscv, vtd, amdvi]

/** What a machine has of which nothing is said. */
export const STANDARD: string = smmuv3.kind

/** The architecture of this name. @throws RangeError that names those that there are. */
export function architecture(kind: string): Architecture {
  const found = ALL.find((one) => one.kind === kind)
  if (found === undefined)
    throw new RangeError(`no IOMMU is called '${kind}'; there are ${ALL.map((one) => one.kind).join(', ')}`)
  return found
}

/** What the scenario language says of them. */
export const ARCHITECTURES: Architectures = {
  standard: STANDARD,
  options: new Map(ALL.map(({ kind, keys, doc }) => [kind, { keys, doc }])),
  vocabulary: {
    results: RESULTS,
    faultKinds: FAULT_KINDS,
    errors: ERROR_CODES,
    faultNames: [...new Set(ALL.flatMap(({ faultNames }) => faultNames))],
    architectures: ALL.map(({ kind }) => kind),
  },
}
