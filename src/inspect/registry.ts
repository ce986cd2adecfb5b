/** Who reads which kind of IOMMU. A further architecture is one more line. */

import { inspectAmdvi } from './amdvi.ts'
import type { MachineGraph, Names } from './graph.ts'
import { inspectRiscv } from './riscv.ts'
import { inspectSmmuV3 } from './smmuv3.ts'
import type { Inspector, MachineSource } from './source.ts'
import { inspectVtd } from './vtd.ts'

/** By the name that captures use. */
export const INSPECTORS: ReadonlyMap<string, Inspector> = new Map<string, Inspector>([
  ['smmuv3', inspectSmmuV3],
  ['riscv', inspectRiscv],
  ['vtd', inspectVtd],
  ['amdvi', inspectAmdvi],
])

/** A machine that tells what an inspector needs; `Machine` of `machine/` does. */
export interface Inspectable {
  readonly architecture: { readonly kind: string }
  readonly memory: MachineSource['memory']
  register: MachineSource['register']
  names(): Names
}

/** Reads a machine of ours as if it were anybody's. @throws RangeError for a kind of IOMMU that no inspector reads. */
export function inspectMachine(machine: Inspectable, title = 'machine'): MachineGraph {
  const inspect = INSPECTORS.get(machine.architecture.kind)
  if (inspect === undefined)
    throw new RangeError(`no inspector reads ${machine.architecture.kind}; known: ${[...INSPECTORS.keys()].join(', ')}`)
  return inspect({
    title,
    memory: machine.memory,
    register: (offset, bytes) => machine.register(offset, bytes),
    names: machine.names(),
  })
}
